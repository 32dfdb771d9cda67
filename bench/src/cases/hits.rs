//! Packets of known connections.

use dispatcher_ctl::model::Scheduler;
use dispatcher_tests::{
    datapath::{CLIENT, CLIENT6, VIP, VIP6, World},
    packet_builder::{ACK, SYN, eth},
};

use super::{Case, Flows, SIZES, Scale, USUAL};
use crate::{
    driver::Layout,
    subject::Subject,
    worlds::{self, BACKENDS, FIRST_VIP, Keys, PORT},
};

/// A client's SYN and the request that follows it: flags and payload. When the table is full, a connection without a request
/// gives way to others, and would be missing in the measurement.
const OPENING: [(u8, &[u8]); 2] = [(SYN, &[]), (ACK, &[7; 12])];

/// A client's SYN and the packet that follows it.
pub(super) fn tcp4() -> [Vec<u8>; 2] {
    OPENING.map(|(flags, payload)| {
        eth().ipv4(CLIENT, VIP).tcp(0x8000, PORT, flags).payload(payload).build().bytes
    })
}

/// As [`tcp4`], in IPv6.
pub(super) fn tcp6() -> [Vec<u8>; 2] {
    OPENING.map(|(flags, payload)| {
        eth().ipv6(CLIENT6, VIP6).tcp(0x8000, PORT, flags).payload(payload).build().bytes
    })
}

/// As [`tcp4`], behind a VLAN tag.
pub(super) fn vlan() -> [Vec<u8>; 2] {
    OPENING.map(|(flags, payload)| {
        eth().vlan(7).ipv4(CLIENT, VIP).tcp(0x8000, PORT, flags).payload(payload).build().bytes
    })
}

/// Two UDP packets: the second shows that the client continues.
pub(super) fn udp4() -> [Vec<u8>; 2] {
    let frame = eth().ipv4(CLIENT, VIP).udp(0x8000, PORT).payload(&[7; 12]).build().bytes;
    [frame.clone(), frame]
}

/// As [`udp4`], in IPv6.
pub(super) fn udp6() -> [Vec<u8>; 2] {
    let frame = eth().ipv6(CLIENT6, VIP6).udp(0x8000, PORT).payload(&[7; 12]).build().bytes;
    [frame.clone(), frame]
}

/// Packets to the first of many services.
pub(super) fn many4() -> [Vec<u8>; 2] {
    OPENING.map(|(flags, payload)| {
        eth().ipv4(CLIENT, FIRST_VIP).tcp(0x8000, PORT, flags).payload(payload).build().bytes
    })
}

/// A kind of hit: its name, its layout, its packets, and how many of the sizes it is measured with.
type Kind = (&'static str, Layout, [Vec<u8>; 2], usize);

pub(super) fn cases(scale: Scale) -> Vec<Case> {
    let kinds: [Kind; 5] = [
        ("ipv4-tcp", Layout::Ipv4, tcp4(), SIZES.len()),
        ("ipv6-tcp", Layout::Ipv6, tcp6(), SIZES.len()),
        ("ipv4-udp", Layout::Ipv4, udp4(), SIZES.len()),
        ("ipv6-udp", Layout::Ipv6, udp6(), SIZES.len()),
        ("vlan", Layout::Vlan, vlan(), 2),
    ];
    let plain = |ways| worlds::world(ways, Scheduler::Wrr, BACKENDS);
    let mut cases = Vec::new();
    for (name, layout, frames, sizes) in kinds {
        for size in scale.sizes(sizes) {
            // Each kind and table size gets a table of its own, also for the kinds below: sharing a table would change the
            // cost of a hit.
            let subject = format!("plain/{name}/{}", scale.ways(SIZES[size].2));
            cases.push(known(scale, name, subject, (layout, &frames), size, plain));
        }
    }
    let measured = |ways| worlds::world(ways, Scheduler::Wrr, BACKENDS).measured();
    for size in scale.sizes(USUAL) {
        let subject = format!("measured/{}", scale.ways(SIZES[size].2));
        cases.push(known(scale, "measured", subject, (Layout::Ipv4, &tcp4()), size, measured));
    }
    let kept = |ways| worlds::with_affinity(worlds::world(ways, Scheduler::Wrr, BACKENDS));
    for size in scale.sizes(2) {
        let subject = "affinity".to_owned();
        cases.push(known(scale, "affinity", subject, (Layout::Ipv4, &tcp4()), size, kept));
    }
    for backends in [3, 256] {
        let name = format!("{backends}-backends");
        let world = move |ways| worlds::world(ways, Scheduler::Wrr, backends);
        cases.push(known(scale, &name, name.clone(), (Layout::Ipv4, &tcp4()), 1, world));
    }
    for services in [128, 1024] {
        let name = format!("{services}-services");
        let services = scale.services(services);
        let world = move |ways| worlds::many(ways, services);
        let mut case = known(scale, &name, name.clone(), (Layout::Ipv4, &many4()), 1, world);
        case.vip_mask = services - 1;
        cases.push(case);
    }
    cases
}

/// A case of known connections, with one of the sizes.
fn known(
    scale: Scale,
    name: &str,
    subject: String,
    (layout, [first, next]): (Layout, &[Vec<u8>; 2]),
    size: usize,
    world: impl Fn(u32) -> World + 'static,
) -> Case {
    let (size, flows, ways) = SIZES[size];
    let ways = scale.ways(ways);
    let load = move |keys: &Keys| Subject::datapath(&keys.put_into(world(ways)));
    Case::new(format!("hit/{name}/{size}"), subject, load, (layout, next.clone()))
        .opening(vec![(layout, first.clone()), (layout, next.clone())])
        .flows(Flows::Of(scale.flows(flows)))
        .floor(format!("floor/service/{size}"))
}
