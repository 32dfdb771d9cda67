//! Packets of other kinds: for no service, fragments, ICMP errors.

use std::net::{Ipv4Addr, Ipv6Addr};

use dispatcher_common::reason::Reason;
use dispatcher_ctl::model::Scheduler;
use dispatcher_tests::{
    datapath::{CLIENT, CLIENT6, VIP},
    packet_builder::{ACK, At, eth, protocol::UDP},
};

use super::{Case, Fate, Flows, NEW_WAYS, Scale, hits};
use crate::{
    driver::Layout,
    subject::Subject,
    worlds::{self, BACKENDS, Keys, PORT},
};

/// An address that is no VIP.
const STRANGER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const STRANGER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9);

/// The first fragment of a datagram, and a later one.
pub(super) fn fragments() -> [Vec<u8>; 2] {
    let first = eth().ipv4(CLIENT, VIP).fragment(0, true).udp(0x8000, PORT).payload(&[7; 64]);
    let next = eth().ipv4(CLIENT, VIP).fragment(9, true).protocol(UDP).payload(&[7; 64]);
    // The UDP header has the length of the whole datagram.
    [first.patch(At::L4, 4, &[1, 0]).build().bytes, next.build().bytes]
}

/// "Fragmentation needed", about a packet from the service to its client.
pub(super) fn icmp() -> Vec<u8> {
    let answer = eth().ipv4(VIP, CLIENT).tcp(PORT, 0x8000, ACK);
    eth().ipv4(STRANGER, VIP).icmp(3, 4, 1400).quoting(answer, 28).build().bytes
}

pub(super) fn cases(scale: Scale) -> Vec<Case> {
    let ways = scale.ways(NEW_WAYS);
    let world = move || worlds::world(ways, Scheduler::Wrr, BACKENDS);
    let load = move |keys: &Keys| Subject::datapath(&keys.put_into(world()));
    let case = |name, layout, frame| {
        Case::new(name, "plain", load, (layout, frame)).flows(Flows::Of(1 << 10))
    };
    let to_stranger = eth().ipv4(CLIENT, STRANGER).tcp(0x8000, PORT, ACK).build().bytes;
    let to_stranger6 = eth().ipv6(CLIENT6, STRANGER6).tcp(0x8000, PORT, ACK).build().bytes;
    let [fragment, following] = fragments();
    let mut fragments = case("other/fragment/1k", Layout::Fragment, following);
    fragments.opening = vec![(Layout::Fragment, fragment)];
    fragments.reopens = true;
    vec![
        case("other/not-ours-ipv4", Layout::Ipv4, to_stranger).fate(Fate::Passed(Reason::NotOurs)),
        case("other/not-ours-ipv6", Layout::Ipv6, to_stranger6).fate(Fate::Passed(Reason::NotOurs)),
        fragments.floor("floor/service/1k"),
        case("other/icmp-error/1k", Layout::Icmp, icmp())
            .opening(hits::tcp4().map(|frame| (Layout::Ipv4, frame)).to_vec())
            .floor("floor/service/1k"),
    ]
}
