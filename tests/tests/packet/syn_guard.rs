//! While too many connections are half-open, SYNs get no entry: their flows are placed by hash until the handshake
//! completes.

use anyhow::{Result, ensure};
use dispatcher_common::connection::State::{self, Established, HalfOpen};
use dispatcher_tests::{case::Case, datapath::{Datapath, World, action}, packet_builder::{ACK, FIN, SYN}};

use crate::flows::Family;

/// Allowed half-open connections.
const GUARD: u16 = 3;

pub(crate) fn cases() -> Vec<Case> {
    Family::both(|f| {
        vec![
            flooded(f, "established connections go on")
                .follows(f.tcp(2001, ACK), f.web_slot(1))
                .follows(f.tcp(2001, FIN | ACK), f.web_slot(1)),
            flooded(f, "syns beyond the guard are not entered").then(move |d| {
                let hashed = d.hashed(f.web())?;
                for port in 5000..5100 {
                    let _mac = mac(d, f, port, SYN)?;
                }
                ensure!(d.hashed(f.web())? == hashed + 100, "not all were counted");
                holds(d, HalfOpen, usize::from(GUARD) + 1)
            }),
            flooded(f, "a flow's next packet is entered where its syn went").then(move |d| {
                for port in 5000..5020 {
                    let first = mac(d, f, port, SYN)?;
                    ensure!(mac(d, f, port, SYN)? == first, "port {port}: retransmitted elsewhere");
                    for _ in 0..3 {
                        ensure!(mac(d, f, port, ACK)? == first, "port {port}: parted");
                    }
                }
                holds(d, Established, 21)
            }),
            flooded(f, "with fewer half-open connections syns are entered again")
                .follows(f.tcp(1000, ACK), f.web_slot(2))
                .then(move |d| mac(d, f, 5000, SYN).map(|_| ()))
                .then(|d| holds(d, HalfOpen, usize::from(GUARD) + 1)),
        ]
    })
}

/// One established connection on the first backend, and one more half-open than the guard allows.
fn flooded(f: Family, name: &str) -> Case {
    let mut world = World::standard();
    world.syn_guard = GUARD.into();
    let case = f
        .case_in(world, &format!("syn guard: {name}"))
        .opens(f.tcp(2001, SYN), f.web_slot(1))
        .follows(f.tcp(2001, ACK), f.web_slot(1));
    (0..=GUARD).fold(case, |case, n| case.opens(f.tcp(1000 + n, SYN), f.web_slot((n + 1) % 3 + 1)))
}

fn mac(datapath: &Datapath, f: Family, port: u16, flags: u8) -> Result<Vec<u8>> {
    let run = datapath.run(&f.tcp(port, flags).build().bytes)?;
    ensure!(run.action == action::TX, "port {port}: {run:?}");
    Ok(run.bytes[..6].to_vec())
}

fn holds(datapath: &Datapath, state: State, expected: usize) -> Result<()> {
    let held = datapath.ways()?.iter().filter(|(_, way)| way.state() == state).count();
    ensure!(held == expected, "{held} ways {state:?}, expected {expected}");
    datapath.counts_are_true()
}
