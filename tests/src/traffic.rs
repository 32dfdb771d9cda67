//! Random traffic: all kinds of packets, and changes in between.
//!
//! Flows come from a small pool, so that they recur, end and start again. Flags, tags, options and extension headers are
//! mixed, and some frames are damaged.

use std::net::{Ipv4Addr, Ipv6Addr};

use dispatcher_common::{
    backend::{LOCAL, NEW, NO_MAC, PRESENT, RESET, STICKY, UP, USABLE},
    net,
    service::{Affinity, orphan, scheduler},
};
use rand::{Rng, rngs::SmallRng, seq::IndexedRandom as _};

use crate::{
    datapath::{Backend, Interface, Rule, VIP, VIP6, World},
    packet_builder::{
        ACK, FIN, PSH, PacketBuilder, RST, SYN, eth,
        protocol::{
            AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, GRE, HOP_BY_HOP, NO_NEXT, ROUTING,
        },
    },
};

/// Something that happens to a load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A frame arrives.
    Frame(Vec<u8>),
    /// A backend changes.
    Backend(Backend),
    /// A service gets another ring.
    Ring(u32, Vec<u16>),
    /// A rule of a service gets another ring, or becomes active or inactive.
    Rule(u32, Rule),
    /// A service gets another scheduler and affinity.
    Choices(u32, u8, Affinity),
    /// This many half-open connections are allowed from now on.
    Guard(u64),
    /// This many ticks pass, and the table is swept.
    Pass(u64),
}

/// The mix of traffic.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// One event in this many is a change; 0: no changes.
    pub changes: u32,
    /// One frame in this many is damaged.
    pub damaged: u32,
}

const SECOND_VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 90);
const SECOND_VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x90);
const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);
const STRANGER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x99);
const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// Services of every kind: both families and protocols, one port and all ports, each orphan policy. Backends are behind this
/// NIC, behind another one, and on this host.
#[must_use]
pub fn world() -> World {
    let mut world = World::standard()
        .service(5, SECOND_VIP.into(), 0, net::TCP, 4)
        .service(6, SECOND_VIP6.into(), 0, net::UDP, 4)
        .service(7, SECOND_VIP.into(), 0, net::UDP, 2)
        .service(8, SECOND_VIP6.into(), 80, net::TCP, 2)
        .service(9, VIP.into(), 81, net::TCP, 2)
        .service(10, Ipv4Addr::UNSPECIFIED.into(), 80, net::TCP, 2)
        .service(11, Ipv4Addr::UNSPECIFIED.into(), 0, net::UDP, 2)
        .service(12, Ipv6Addr::UNSPECIFIED.into(), 0, net::TCP, 2)
        .service(13, Ipv6Addr::UNSPECIFIED.into(), 53, net::UDP, 2)
        .backend(52, |backend| backend.interface = 1)
        .backend(53, |backend| backend.flags |= LOCAL)
        .backend(62, |backend| backend.interface = 1)
        .backend(63, |backend| backend.flags |= LOCAL);
    for (service, slot) in [(1, 13), (2, 23), (3, 33), (5, 53), (6, 63)] {
        world.services.iter_mut().filter(|s| s.id == service).for_each(|s| s.local = slot);
    }
    for (service, rule) in rules() {
        world = world.rule(service, rule);
    }
    world.own_addresses =
        vec![OWN.into(), OWN6.into(), SECOND_VIP.into(), Ipv4Addr::LOCALHOST.into()];
    world.services[10].orphan = orphan::SCHEDULE;
    world.services[11].orphan = orphan::RESET;
    world.services[1].orphan = orphan::SCHEDULE;
    world.services[4].orphan = orphan::PASS;
    world.services[7].orphan = orphan::RESET;
    world.services[8].orphan = orphan::RESET;
    // The same backends serve ports 80 and 81 of the VIP.
    world.peers = vec![(1, 91, 11), (1, 92, 12), (9, 11, 91), (9, 12, 92)];
    world.interfaces.push(Interface { index: 1, mac: [2, 0, 0, 0, 0xdd, 2], ifindex: 1, mtu: 0 });
    world.buckets = 4096;
    world
}

/// Rules of every kind; two rules of the second service use one backend.
fn rules() -> Vec<(u32, Rule)> {
    let v4 = |last| Ipv4Addr::new(198, 51, 100, last);
    let v6 = |last| Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, last);
    let mut some_ports = Rule::always(2, &[12]);
    some_ports.ports = (1005, 1010);
    let mut marked = Rule::always(4, &[22]).clients(v6(2), v6(3));
    marked.tos = (0xb8, 0xfc);
    let mut off = Rule::always(6, &[31]);
    off.active = false;
    vec![
        (1, Rule::always(1, &[12, 13, 12]).clients(v4(2), v4(2))),
        (1, some_ports),
        (2, Rule::always(3, &[22]).clients(v6(1), v6(1)).clients(v6(3), v6(9))),
        (2, marked),
        (3, Rule::always(5, &[32, 33]).clients(v4(0), v4(1)).clients(v4(3), v4(3))),
        (3, off),
        (5, Rule::always(7, &[54])),
    ]
}

/// A sequence of events in a [`world`].
pub fn events(rng: &mut SmallRng, world: &World, mix: Mix, length: usize) -> Vec<Event> {
    (0..length)
        .map(|_| {
            if one_in(rng, mix.changes) {
                change(rng, world)
            } else {
                Event::Frame(frame(rng, mix))
            }
        })
        .collect()
}

fn change(rng: &mut SmallRng, world: &World) -> Event {
    match rng.random_range(0..16) {
        0..3 => return choices(rng, world),
        3 => return Event::Pass(*[1, 1, 2, 2, 3, 4, 24, 120].choose(rng).unwrap_or(&4)),
        4 => return Event::Guard(*[0, 3, 20, 1000, 1000, 1000].choose(rng).unwrap_or(&1000)),
        _ => {}
    }
    let Some(backend) = world.backends.choose(rng) else { return Event::Ring(0, Vec::new()) };
    if rng.random_ratio(1, 4)
        && let Some(changed) = changed_rule(rng, world)
    {
        return changed;
    }
    if rng.random_ratio(1, 3) {
        let of_service = world.backends.iter().filter(|other| other.service == backend.service);
        let slots: Vec<u16> = of_service.map(|other| other.slot).collect();
        let length = rng.random_range(0..=8);
        let ring = (0..length).filter_map(|_| slots.choose(rng).copied()).collect();
        return Event::Ring(backend.service, ring);
    }
    let healthy = PRESENT | USABLE | UP | NEW | STICKY;
    let states = [
        healthy,
        healthy,
        healthy,
        healthy & !STICKY,
        healthy | LOCAL,
        PRESENT | USABLE | UP | STICKY,
        PRESENT | USABLE | UP,
        PRESENT | USABLE,
        PRESENT,
        PRESENT | UP | NO_MAC,
        PRESENT | NO_MAC,
        0,
        healthy | RESET,
        PRESENT | RESET,
        PRESENT | UP | NO_MAC | RESET,
        RESET,
    ];
    let mut changed = *backend;
    changed.weight = rng.random_range(1..5);
    changed.max_connections = *[0, 0, 0, 1, 5].choose(rng).unwrap_or(&0);
    changed.flags = states.choose(rng).copied().unwrap_or(healthy);
    changed.mac[2] = rng.random_range(0..4);
    // The third NIC does not exist.
    changed.interface = [0, 0, 0, 1, 2].choose(rng).copied().unwrap_or(0);
    Event::Backend(changed)
}

fn changed_rule(rng: &mut SmallRng, world: &World) -> Option<Event> {
    let services: Vec<_> = world.services.iter().filter(|s| !s.rules.is_empty()).collect();
    let service = services.choose(rng)?;
    let mut rule = service.rules.choose(rng)?.clone();
    rule.active = rng.random();
    let length = rng.random_range(0..=3);
    rule.ring = (0..length).filter_map(|_| service.ring.choose(rng).copied()).collect();
    Some(Event::Rule(service.id, rule))
}

fn choices(rng: &mut SmallRng, world: &World) -> Event {
    let Some(service) = world.services.choose(rng) else { return Event::Guard(1000) };
    let schedulers = [
        scheduler::RING,
        scheduler::LEAST,
        scheduler::WEIGHTED_LEAST,
        scheduler::FLOW_HASH,
        scheduler::CLIENT_HASH,
    ];
    let scheduler = *schedulers.choose(rng).unwrap_or(&scheduler::RING);
    // Services 1 and 9 share affinity records.
    let group = if service.id == 9 { 1 } else { service.id as u16 };
    let ticks = *[0, 10, 10, 50].choose(rng).unwrap_or(&0);
    let (v4, v6) = *[(32, 128), (32, 128), (24, 64), (0, 0)].choose(rng).unwrap_or(&(32, 128));
    Event::Choices(service.id, scheduler, Affinity::new(ticks, group, v4, v6))
}

fn frame(rng: &mut SmallRng, mix: Mix) -> Vec<u8> {
    let mut bytes = packet(rng).build().bytes;
    if one_in(rng, mix.damaged) {
        for _ in 0..rng.random_range(1..4) {
            damage(rng, &mut bytes);
        }
    }
    bytes
}

fn packet(rng: &mut SmallRng) -> PacketBuilder {
    let mut frame = eth();
    if one_in(rng, 6) {
        // A frame from a backend: it comes back.
        let slot = 10 * rng.random_range(1..9) + rng.random_range(1..4);
        frame = frame.from([2, 0, rng.random_range(0..2), 0xbe, 0, slot]);
    }
    if one_in(rng, 40) {
        frame = frame.to([2, 0, 0, 0, 0xdd, rng.random()]);
    }
    for _ in 0..[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 3][rng.random_range(0..14)] {
        frame = frame.tag(if rng.random() { 0x8100 } else { 0x88a8 }, rng.random());
    }
    if one_in(rng, 100) {
        return frame.ethertype(rng.random()).payload(&rng.random::<[u8; 32]>());
    }
    let ip = if rng.random() { ipv4(rng, frame) } else { ipv6(rng, frame) };
    let length = if rng.random() { 0 } else { rng.random_range(1..40) };
    let payload: Vec<u8> = (0..length).map(|_| rng.random()).collect();
    let packet = transport(rng, ip);
    if packet.has_payload() { packet } else { packet.payload(&payload) }
}

fn ipv4(rng: &mut SmallRng, frame: PacketBuilder) -> PacketBuilder {
    let client = Ipv4Addr::new(198, 51, 100, rng.random_range(1..4));
    let special = [
        OWN,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::BROADCAST,
        Ipv4Addr::new(169, 254, 7, 7),
        Ipv4Addr::new(224, 0, 0, 1),
        Ipv4Addr::new(223, 255, 255, 254),
    ];
    let special = *special.choose(rng).unwrap_or(&OWN);
    let vips =
        [VIP, VIP, VIP, VIP, VIP, SECOND_VIP, SECOND_VIP, SECOND_VIP, STRANGER, STRANGER, special];
    let mut ip = frame.ipv4(client, *vips.choose(rng).unwrap_or(&VIP)).tos(tos(rng));
    if one_in(rng, 10) {
        ip = ip.options(&rng.random::<[u8; 40]>()[..rng.random_range(1..=40)]);
    }
    if one_in(rng, 10) { fragment(rng, ip) } else { ip }
}

fn ipv6(rng: &mut SmallRng, frame: PacketBuilder) -> PacketBuilder {
    let client = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, rng.random_range(1..4));
    let special = [
        OWN6,
        VIP.to_ipv6_mapped(),
        Ipv6Addr::UNSPECIFIED,
        Ipv6Addr::LOCALHOST,
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7),
        Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 7),
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
    ];
    let special = *special.choose(rng).unwrap_or(&OWN6);
    let strangers = [STRANGER6, STRANGER6, special];
    let vips = [&[VIP6; 7][..], &[SECOND_VIP6; 3], &strangers].concat();
    let mut ip = frame.ipv6(client, *vips.choose(rng).unwrap_or(&VIP6)).tos(tos(rng));
    if one_in(rng, 6) {
        for _ in 0..rng.random_range(1..=10) {
            let kinds = [HOP_BY_HOP, DESTINATION_OPTIONS, ROUTING, AUTHENTICATION, FRAGMENT];
            let kind = *kinds.choose(rng).unwrap_or(&ROUTING);
            ip = match kind {
                FRAGMENT if rng.random() => fragment(rng, ip),
                FRAGMENT => ip.fragment(0, false),
                _ => ip.extension(kind, 8 * rng.random_range(1..4)),
            };
        }
    }
    ip
}

/// TOS or traffic class: usually 0.
fn tos(rng: &mut SmallRng) -> u8 {
    [0, 0, 0, 0, 0xb8, 0xba, 0x10, 0xff].choose(rng).copied().unwrap_or(0)
}

/// The first fragment of one of a few datagrams, a later fragment, or a whole datagram.
fn fragment(rng: &mut SmallRng, ip: PacketBuilder) -> PacketBuilder {
    let offset = [0, 0, 1, 185].choose(rng).copied().unwrap_or(0);
    ip.fragment(offset, rng.random()).id(rng.random_range(0..4))
}

fn transport(rng: &mut SmallRng, ip: PacketBuilder) -> PacketBuilder {
    let client_port = rng.random_range(1000..1020);
    match rng.random_range(0..100) {
        0..60 => {
            let ports = [80, 80, 80, 80, 80, 80, 80, 80, 80, 81, 53];
            ip.tcp(client_port, *ports.choose(rng).unwrap_or(&80), flags(rng))
        }
        60..94 => {
            let ports = [53, 53, 53, 53, 53, 53, 53, 53, 53, 80, 54];
            ip.udp(client_port, *ports.choose(rng).unwrap_or(&53))
        }
        94..95 => ip.echo(),
        95..97 => error(rng, ip),
        _ => ip.protocol(*[GRE, NO_NEXT, 50, 132, 135, 1, 58].choose(rng).unwrap_or(&GRE)),
    }
}

/// An ICMP error, or another ICMP message, that quotes a packet that a backend may have sent to a client.
fn error(rng: &mut SmallRng, ip: PacketBuilder) -> PacketBuilder {
    let is_v4 = ip.is_ipv4();
    let client = rng.random_range(1..4);
    let is_strangers = one_in(rng, 4);
    let mut quoted = if is_v4 {
        let from = if is_strangers { STRANGER } else { VIP };
        eth().ipv4(from, Ipv4Addr::new(198, 51, 100, client))
    } else {
        let from = if is_strangers { STRANGER6 } else { VIP6 };
        eth().ipv6(from, Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, client.into()))
    };
    if one_in(rng, 4) {
        quoted =
            if is_v4 { quoted.options(&[1; 12]) } else { quoted.extension(DESTINATION_OPTIONS, 8) };
    }
    if one_in(rng, 4) {
        quoted = fragment(rng, quoted);
    }
    let client_port = rng.random_range(1000..1020);
    quoted = if rng.random() {
        quoted.tcp(80, client_port, ACK)
    } else {
        quoted.udp(53, client_port).payload(b"answer")
    };
    let kinds = if is_v4 { [3, 3, 3, 11, 12, 4, 8] } else { [1, 2, 2, 3, 4, 128, 135] };
    let kind = *kinds.choose(rng).unwrap_or(&3);
    let length = if one_in(rng, 4) { rng.random_range(0..80) } else { 1000 };
    ip.icmp(kind, rng.random_range(0..5), 1400).quoting(quoted, length)
}

fn flags(rng: &mut SmallRng) -> u8 {
    let usual = [SYN, SYN, SYN, SYN, ACK, ACK, ACK, PSH | ACK, FIN | ACK, FIN, RST, RST | ACK];
    if one_in(rng, 10) { rng.random() } else { *usual.choose(rng).unwrap_or(&SYN) }
}

/// Damages a frame as errors or attackers do.
fn damage(rng: &mut SmallRng, bytes: &mut Vec<u8>) {
    let length = bytes.len();
    let near_the_front = length.min(80);
    match rng.random_range(0..8) {
        0 => bytes[rng.random_range(0..length)] ^= 1 << rng.random_range(0..8),
        1 => bytes[rng.random_range(0..near_the_front)] = rng.random(),
        2 => bytes[rng.random_range(12..near_the_front)] ^= 1 << rng.random_range(0..8),
        3 => {
            bytes[rng.random_range(12..near_the_front)] =
                *[0, 1, 5, 0x0f, 0x3f, 0x40, 0x45, 0x7f, 0x80, 0xf0, 0xff].choose(rng).unwrap_or(&0)
        }
        4 => bytes.truncate(rng.random_range(14..=length)),
        5 => bytes.resize(length + rng.random_range(1..60), 0),
        6 => {
            // A length that is wrong by a little.
            let at = rng.random_range(12..near_the_front);
            bytes[at] = bytes[at].wrapping_add(rng.random_range(-4_i8..=4).cast_unsigned());
        }
        _ => {
            let (from, to) =
                (rng.random_range(12..near_the_front), rng.random_range(12..near_the_front));
            bytes[to] = bytes[from];
        }
    }
}

fn one_in(rng: &mut SmallRng, many: u32) -> bool {
    many != 0 && rng.random_ratio(1, many)
}
