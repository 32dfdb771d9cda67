//! A connection's packets after its SYN: the same backend, and a record of the flow.

use anyhow::{Result, ensure};
use dispatcher_common::{
    connection::State::{Established, HalfOpen},
    net,
};
use dispatcher_tests::{case::Case, datapath::{CLIENT, Datapath, VIP, mapped}, packet_builder::{ACK, PSH, SYN}};

use crate::flows::Family;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Family::both(|f| {
        vec![
            f.case("the first ack establishes")
                .opens(f.tcp(1001, SYN), f.web_slot(1))
                .opens(f.tcp(1002, SYN), f.web_slot(2))
                .follows(f.tcp(1001, ACK), f.web_slot(1))
                .table(&[(HalfOpen, f.web_slot(2)), (Established, f.web_slot(1))])
                .follows(f.tcp(1001, ACK | PSH).payload(b"GET /"), f.web_slot(1))
                .follows(f.tcp(1002, ACK | PSH).payload(b"GET /"), f.web_slot(2))
                .table(&[(Established, f.web_slot(1)), (Established, f.web_slot(2))]),
            f.case("a syn on an established connection changes nothing")
                .opens(f.tcp(1001, SYN), f.web_slot(1))
                .follows(f.tcp(1001, ACK), f.web_slot(1))
                .follows(f.tcp(1001, SYN), f.web_slot(1))
                .table(&[(Established, f.web_slot(1))])
                .opens(f.tcp(1002, SYN), f.web_slot(2)),
            f.case("a connection outlives its backend's place in the ring")
                .opens(f.tcp(1001, SYN), f.web_slot(1))
                .follows(f.tcp(1001, ACK), f.web_slot(1))
                .then(move |d| d.set_ring(f.web(), &[f.web_slot(3)]))
                .follows(f.tcp(1001, ACK), f.web_slot(1))
                .opens(f.tcp(1002, SYN), f.web_slot(3)),
            f.case("every packet restarts the idle time")
                .opens(f.tcp(1001, SYN), f.web_slot(1))
                .then(|d| age_all(d, 5))
                .then(|d| ages(d, 5..=6))
                .follows(f.tcp(1001, ACK), f.web_slot(1))
                .then(|d| ages(d, 0..=1))
                .then(|d| age_all(d, 60))
                .follows(f.tcp(1001, ACK), f.web_slot(1))
                .then(|d| ages(d, 0..=1)),
        ]
    });
    let v4 = Family::V4;
    cases.push(
        v4.case("the record names the flow")
            .opens(v4.tcp(1001, SYN), 11)
            .follows(v4.tcp(1001, ACK), 11)
            .then(record_names_the_flow),
    );
    cases
}

fn record_names_the_flow(datapath: &mut Datapath) -> Result<()> {
    let flow = datapath.flow(datapath.ways()?[0].0)?;
    ensure!(
        net::ip(&flow.client) == CLIENT && net::ip(&flow.vip) == VIP,
        "addresses of {flow:?}"
    );
    ensure!(u16::from_be_bytes(flow.client_port) == 1001, "client port of {flow:?}");
    ensure!(u16::from_be_bytes(flow.vip_port) == 80, "port of {flow:?}");
    ensure!(flow.protocol() == net::TCP, "protocol of {flow:?}");
    let age = (mapped::now() as u32 & 0xff_ffff).wrapping_sub(flow.born());
    ensure!(age <= 1, "born {age} ticks ago: {flow:?}");
    Ok(())
}

/// Makes every way look as if its last packet was this many ticks ago.
pub(crate) fn age_all(datapath: &mut Datapath, ticks: u64) -> Result<()> {
    for (place, way) in datapath.ways()? {
        datapath.set_way(place, mapped::aged(way, ticks))?;
    }
    Ok(())
}

pub(crate) fn ages(datapath: &Datapath, expected: std::ops::RangeInclusive<u64>) -> Result<()> {
    for (_, way) in datapath.ways()? {
        let age = way.age(mapped::now());
        ensure!(expected.contains(&age), "idle for {age} ticks, expected {expected:?}");
    }
    Ok(())
}
