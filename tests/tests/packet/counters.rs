//! Counters: per NIC, exact over all CPUs, in L3 bytes.

use anyhow::{Result, ensure};
use dispatcher_common::reason::Reason;
use dispatcher_lab::{cpus};
use dispatcher_tests::{case::Case, datapath::{self, Datapath, Interface, World}, packet_builder::{ACK, At, NIC_MAC, SYN, eth}};

use crate::flows::Family;

pub(crate) fn cases() -> Vec<Case> {
    Family::both(|f| {
        let mut fifth = World::standard();
        fifth.interface = 5;
        fifth.interfaces = vec![Interface { index: 5, mac: NIC_MAC, ifindex: 0, mtu: 0 }];
        fifth.backends.iter_mut().for_each(|backend| backend.interface = 5);
        vec![
            f.case_in(fifth, "the nic the program was loaded for")
                .opens(f.tcp(1001, SYN), f.web_slot(1))
                .follows(f.tcp(1001, ACK), f.web_slot(1))
                .leaves(f.to_stranger().tcp(1001, 80, ACK), Reason::NotOurs)
                .leaves(f.ip().echo(), Reason::Icmp),
            f.case("tags and padding are not counted")
                .opens(f.on(eth().vlan(7)).udp(1001, 53).cut(At::L2, 90), f.dns_slot(1))
                .follows(f.udp(1001).payload(&[0; 1400]), f.dns_slot(1)),
        ]
    })
}

#[test]
fn two_cpus_at_once_are_counted_exactly() {
    if datapath::available() {
        Datapath::with(&World::standard(), |datapath| two_cpus_are_counted(datapath)).unwrap();
    }
}

/// Both CPUs send packets of one established flow.
fn two_cpus_are_counted(datapath: &Datapath) -> Result<()> {
    const PACKETS: u64 = 5_000;
    let f = Family::V6;
    for flags in [SYN, ACK] {
        let _run = datapath.run(&f.tcp(1001, flags).build().bytes)?;
    }
    let (before, backend) = (datapath.counts()?, datapath.backend_counts(21)?);
    let data = f.tcp(1001, ACK).payload(&[7; 100]).build().bytes;
    let stranger = f.to_stranger().udp(1, 2).build().bytes;
    let ran = cpus::on_two(|_| {
        for _ in 0..PACKETS {
            let _runs = (datapath.run(&data)?, datapath.run(&stranger)?);
        }
        Ok(())
    })?;
    if ran.is_some() {
        let (packets, bytes) = (2 * PACKETS, 2 * PACKETS * 160);
        let expected =
            [(Reason::Forwarded, packets, bytes), (Reason::NotOurs, packets, 2 * PACKETS * 48)];
        let counted = datapath.counts()?.since(&before);
        ensure!(counted == expected, "counted {counted:?}");
        let counts = datapath.backend_counts(21)?;
        let counted = (counts.packets - backend.packets, counts.bytes - backend.bytes);
        ensure!(counted == (packets, bytes), "backend: {counted:?}");
    }
    Ok(())
}
