//! The datapath's counts of connections agree with its table.

use anyhow::{Result, ensure};
use dispatcher_common::backend::{NEW, UP, USABLE};
use dispatcher_tests::{case::Case, datapath::{Datapath, World}, packet_builder::{ACK, FIN, RST, SYN}};

use crate::{
    flows::{Family, without},
    tcp_established::age_all,
};

pub(crate) fn cases() -> Vec<Case> {
    Family::both(|f| {
        let one = f.web_slot(1);
        vec![
            f.case("a tcp connection is counted while it lives")
                .opens(f.tcp(1001, SYN), one)
                .then(move |d| says(d, one, 1, 1))
                .repeats(f.tcp(1001, SYN), one)
                .then(move |d| says(d, one, 1, 1))
                .follows(f.tcp(1001, ACK), one)
                .then(move |d| says(d, one, 1, 0))
                .follows(f.tcp(1001, ACK), one)
                .follows(f.tcp(1001, FIN | ACK), one)
                .then(move |d| says(d, one, 0, 0))
                .follows(f.tcp(1001, FIN | ACK), one)
                .follows(f.tcp(1001, RST), one)
                .then(move |d| says(d, one, 0, 0)),
            f.case("a handshake that the client resets is counted no longer")
                .opens(f.tcp(1001, SYN), one)
                .follows(f.tcp(1001, RST), one)
                .then(move |d| says(d, one, 0, 0)),
            f.case("a port used again counts for its new backend")
                .opens(f.tcp(1001, SYN), one)
                .follows(f.tcp(1001, ACK), one)
                .follows(f.tcp(1001, FIN | ACK), one)
                .then(|d| age_all(d, 2))
                .opens(f.tcp(1001, SYN), f.web_slot(2))
                .then(move |d| says(d, one, 0, 0))
                .then(move |d| says(d, f.web_slot(2), 1, 1)),
            f.case("a udp flow is active, and never half-open")
                .opens(f.udp(1001), f.dns_slot(1))
                .then(move |d| says(d, f.dns_slot(1), 1, 0))
                .follows(f.udp(1001), f.dns_slot(1))
                .then(move |d| says(d, f.dns_slot(1), 1, 0)),
            f.case("a flow that moves because its backend is down counts where it is")
                .opens(f.udp(1001), f.dns_slot(1))
                .then(move |d| without(d, f.dns_slot(1), USABLE | UP | NEW))
                .opens(f.udp(1001), f.dns_slot(2))
                .then(move |d| says(d, f.dns_slot(1), 0, 0))
                .then(move |d| says(d, f.dns_slot(2), 1, 0)),
            evicted(f),
        ]
    })
}

/// A flood that fills a table of 16 ways many times over.
fn evicted(f: Family) -> Case {
    let mut world = World::standard();
    world.buckets = 2;
    f.case_in(world, "evicted and overflown connections leave true counts").then(move |d| {
        for port in 1000..1400 {
            let _run = d.run(&f.tcp(port, SYN).build().bytes)?;
            if port % 3 == 0 {
                let _run = d.run(&f.tcp(port, ACK).build().bytes)?;
            }
            if port % 7 == 0 {
                let _run = d.run(&f.udp(port).build().bytes)?;
            }
            d.counts_are_true()?;
        }
        ensure!(!d.overflow()?.is_empty(), "nothing was put into the overflow map");
        Ok(())
    })
}

pub(crate) fn says(datapath: &Datapath, slot: u16, active: u64, half_open: u64) -> Result<()> {
    let said = datapath.active_count(slot)?;
    let (a, h) = (said.active(), said.half_open());
    ensure!((a, h) == (active, half_open), "slot {slot}: {a} active, {h} half-open");
    datapath.counts_are_true()
}
