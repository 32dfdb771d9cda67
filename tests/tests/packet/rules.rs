//! Rules: which connections are placed on only some of a service's backends, and which rules have precedence.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Result, ensure};
use dispatcher_common::{
    backend::{NEW, STICKY, UP, USABLE},
    reason::Reason,
    service::{Affinity, scheduler},
};
use dispatcher_tests::{case::Case, datapath::{CLIENT, CLIENT6, Datapath, Rule, VIP, VIP6, World, action}, packet_builder::{ACK, PacketBuilder, RST, SYN, eth, protocol::DESTINATION_OPTIONS}};

use crate::flows::{Family, without};

/// Rules of the cases: the first before the second.
const FIRST: u32 = 1;
const SECOND: u32 = 2;

pub(crate) fn cases() -> Vec<Case> {
    Family::both(|f| {
        [conditions(f), precedence(f), schedulers(f), in_need(f)].into_iter().flatten().collect()
    })
}

/// The standard world with this rule of the TCP service.
fn ruled(f: Family, rule: Rule) -> World {
    World::standard().rule(f.web(), rule)
}

/// A rule for the client of most cases.
fn for_client(f: Family, ring: &[u16]) -> Rule {
    match f {
        Family::V4 => Rule::always(FIRST, ring).clients(CLIENT, CLIENT),
        Family::V6 => Rule::always(FIRST, ring).clients(CLIENT6, CLIENT6),
    }
}

/// A SYN of the n-th client of another network.
fn other(f: Family, n: u8, port: u16) -> PacketBuilder {
    let frame = match f {
        Family::V4 => eth().ipv4(Ipv4Addr::new(203, 0, 113, n), VIP),
        Family::V6 => eth().ipv6(Ipv6Addr::new(0x2001, 0xdb8, 0xd, 0, 0, 0, 0, n.into()), VIP6),
    };
    frame.tcp(port, 80, SYN)
}

fn conditions(f: Family) -> Vec<Case> {
    let slot = move |n| f.web_slot(n);
    let case = |rule, name: &str| f.case_in(ruled(f, rule), &format!("rule: {name}"));
    let range = match f {
        Family::V4 => {
            let net = |n| Ipv4Addr::new(203, 0, 113, n);
            Rule::always(FIRST, &[slot(3)]).clients(net(10), net(20)).clients(net(31), net(31))
        }
        Family::V6 => {
            let net = |n| Ipv6Addr::new(0x2001, 0xdb8, 0xd, 0, 0, 0, 0, n);
            Rule::always(FIRST, &[slot(3)]).clients(net(10), net(20)).clients(net(31), net(31))
        }
    };
    let mut ports = Rule::always(FIRST, &[slot(3)]);
    ports.ports = (1024, 2047);
    let mut tos = Rule::always(FIRST, &[slot(3)]);
    tos.tos = (0xb8, 0xfc);
    let mut all = for_client(f, &[slot(3)]);
    (all.ports, all.tos) = (ports.ports, tos.tos);
    let mut off = Rule::always(FIRST, &[slot(3)]);
    off.active = false;
    let marked = |port, mark| f.ip().tos(mark).tcp(port, 80, SYN);
    let tag = || f.on(eth().vlan(7)).tos(0xb8);
    let long = match f {
        Family::V4 => f.ip().tos(0xb8).options(&[1, 1, 1, 1]),
        Family::V6 => f.ip().tos(0xb8).extension(DESTINATION_OPTIONS, 8),
    };
    vec![
        case(range, "client addresses from the first to the last of each range")
            .opens(other(f, 9, 1001), slot(1))
            .opens(other(f, 10, 1001), slot(3))
            .opens(other(f, 20, 1001), slot(3))
            .opens(other(f, 21, 1001), slot(2))
            .opens(other(f, 31, 1001), slot(3))
            .opens(other(f, 32, 1001), slot(3))
            .opens(other(f, 32, 1002), slot(1))
            .then(|d| chosen(d, FIRST, 3)),
        case(ports, "client ports from the first to the last")
            .opens(f.tcp(1023, SYN), slot(1))
            .opens(f.tcp(1024, SYN), slot(3))
            .opens(f.tcp(2047, SYN), slot(3))
            .opens(f.tcp(2048, SYN), slot(2)),
        case(tos, "tos under its mask, behind a tag and options too")
            .opens(marked(1001, 0), slot(1))
            .opens(marked(1002, 0xb8), slot(3))
            .opens(marked(1003, 0xbb), slot(3))
            .opens(marked(1004, 0xbc), slot(2))
            .opens(tag().tcp(1005, 80, SYN), slot(3))
            .opens(long.tcp(1006, 80, SYN), slot(3))
            .follows(marked(1001, 0xb8).tcp(1001, 80, ACK), slot(1)),
        case(all, "all of its conditions must hold")
            .opens(f.ip().tos(0xb8).tcp(1500, 80, SYN), slot(3))
            .opens(f.ip().tcp(1501, 80, SYN), slot(1))
            .opens(f.ip().tos(0xb8).tcp(999, 80, SYN), slot(2))
            .opens(other(f, 1, 1502).tos(0xb8), slot(3))
            .opens(other(f, 1, 1503).tos(0xb8), slot(1)),
        case(off, "what the controller says decides, from now on")
            .opens(f.tcp(1001, SYN), slot(1))
            .then(move |d| d.set_rule(f.web(), &Rule::always(FIRST, &[slot(3)])))
            .opens(f.tcp(1002, SYN), slot(3))
            .follows(f.tcp(1001, ACK), slot(1))
            .opens(f.tcp(1003, SYN), slot(3)),
        f.case_in(
            World::standard().rule(f.dns(), Rule::always(FIRST, &[f.dns_slot(3)])),
            "rule: of a udp service, and of no other",
        )
        .opens(f.udp(1001), f.dns_slot(3))
        .opens(f.udp(1002), f.dns_slot(3))
        .opens(f.tcp(1001, SYN), slot(1)),
    ]
}

fn precedence(f: Family) -> Vec<Case> {
    let slot = move |n| f.web_slot(n);
    let two = || {
        ruled(f, for_client(f, &[slot(3)])).rule(f.web(), Rule::always(SECOND, &[slot(2), slot(3)]))
    };
    let staying = ruled(f, for_client(f, &[slot(3)])).affinity(f.web(), Affinity::new(3, 1, 32, 128));
    let full = two().backend(slot(3), |b| b.max_connections = 1);
    vec![
        f.case_in(two(), "rule: the first that holds")
            .opens(f.tcp(1001, SYN), slot(3))
            .opens(other(f, 1, 1001), slot(2))
            .opens(f.tcp(1002, SYN), slot(3))
            .opens(other(f, 1, 1002), slot(3))
            .opens(other(f, 1, 1003), slot(2)),
        f.case_in(two(), "rule: one without a backend that takes connections is passed over")
            .then(move |d| without(d, slot(3), NEW))
            .opens(f.tcp(1001, SYN), slot(2))
            .then(move |d| without(d, slot(2), NEW | UP | USABLE))
            .opens(f.tcp(1002, SYN), slot(1))
            .then(move |d| without(d, slot(1), NEW))
            .leaves(f.tcp(1003, SYN), Reason::NoBackend)
            .of_service(f.web()),
        f.case_in(two(), "rule: one whose ring is empty is passed over")
            .then(move |d| d.set_rule(f.web(), &for_client(f, &[])))
            .opens(f.tcp(1001, SYN), slot(2)),
        f.case_in(full, "rule: one whose backends are full is passed over")
            .opens(f.tcp(1001, SYN), slot(3))
            .opens(f.tcp(1002, SYN), slot(2))
            .follows(f.tcp(1001, RST), slot(3))
            .opens(f.tcp(1003, SYN), slot(3)),
        f.case_in(staying, "rule: affinity outranks it")
            .opens(other(f, 1, 1001), slot(1))
            .opens(f.tcp(1001, SYN), slot(3))
            .then(move |d| d.set_rule(f.web(), &for_client(f, &[slot(2)])))
            .opens(f.tcp(1002, SYN), slot(3))
            .then(move |d| without(d, slot(3), NEW | UP | USABLE | STICKY))
            .opens(f.tcp(1003, SYN), slot(2)),
        f.case_in(two(), "rule: another set of them takes the place of the first")
            .opens(f.tcp(1001, SYN), slot(3))
            .then(move |d| {
                let mut world = World::standard().rule(f.web(), Rule::always(7, &[slot(2)]));
                let service = world.services.remove(f.web() as usize - 1);
                d.set_rules(&service)
            })
            .opens(f.tcp(1002, SYN), slot(2))
            .opens(f.tcp(1003, SYN), slot(2)),
        f.case_in(
            ruled(f, Rule::always(FIRST, &[f.dns_slot(1)])),
            "rule: a slot of another service is none of its backends",
        )
        .opens(f.tcp(1001, SYN), slot(1)),
    ]
}

fn schedulers(f: Family) -> Vec<Case> {
    let slot = move |n| f.web_slot(n);
    let weighted = [slot(2), slot(2), slot(3)];
    let least = ruled(f, Rule::always(FIRST, &[slot(2), slot(3)])).scheduled(scheduler::LEAST);
    // The rule has its own cursor; the service's stays where it is.
    let shares = (0..9_u16).fold(
        f.case_in(ruled(f, for_client(f, &weighted)), "rule: shares are exact within it"),
        |case, n| {
            let case = case.opens(f.tcp(1001 + n, SYN), weighted[usize::from(n) % 3]);
            case.opens(other(f, 1, 1001 + n), slot(n % 3 + 1))
        },
    );
    vec![
        shares.then(|d| chosen(d, FIRST, 9)),
        f.case_in(least, "rule: lc compares its backends")
            .opens(f.tcp(1001, SYN), slot(2))
            .opens(f.tcp(1002, SYN), slot(3))
            .follows(f.tcp(1002, RST), slot(3))
            .opens(f.tcp(1003, SYN), slot(3)),
        hashed(f, scheduler::FLOW_HASH, "maglev"),
        hashed(f, scheduler::CLIENT_HASH, "sh"),
    ]
}

/// A flow is placed by hash over the rule's backends, and so are its packets when its entry is gone.
fn hashed(f: Family, scheduler: u8, name: &str) -> Case {
    let (two, three) = (f.web_slot(2), f.web_slot(3));
    let world = ruled(f, for_client(f, &[two, three])).scheduled(scheduler);
    f.case_in(world, &format!("rule: {name}")).then(move |d| {
        let syns = slots(d, (1000..1050).map(|port| f.tcp(port, SYN)))?;
        ensure!(syns.iter().all(|slot| [two, three].contains(slot)), "{syns:?}");
        for bucket in 0..64 {
            d.clear_bucket(bucket)?;
        }
        ensure!(slots(d, (1000..1050).map(|port| f.tcp(port, ACK)))? == syns, "flows were parted");
        Ok(())
    })
}

/// Without an entry, for lack of room or because of the SYN guard, a flow's packets are placed by hash over the rule's
/// backends.
fn in_need(f: Family) -> Vec<Case> {
    let (two, three) = (f.web_slot(2), f.web_slot(3));
    let mut world = ruled(f, for_client(f, &[two, three]));
    world.syn_guard = 0;
    let case = f.case_in(world, "rule: syns beyond the guard are placed among its backends");
    vec![case.opens(f.tcp(999, SYN), two).then(move |d| {
        let syns = slots(d, (1000..1050).map(|port| f.tcp(port, SYN)))?;
        ensure!(syns.contains(&two) && syns.contains(&three), "{syns:?}");
        ensure!(!syns.contains(&f.web_slot(1)), "{syns:?}");
        ensure!(slots(d, (1000..1050).map(|port| f.tcp(port, ACK)))? == syns, "flows were parted");
        Ok(())
    })]
}

/// The slots that packets go to, recognised by MAC.
fn slots(
    datapath: &Datapath,
    packets: impl Iterator<Item = PacketBuilder>,
) -> Result<Vec<u16>> {
    packets
        .map(|packet| {
            let run = datapath.run(&packet.build().bytes)?;
            ensure!(run.action == action::TX, "{run:?}");
            Ok(u16::from_be_bytes([run.bytes[4], run.bytes[5]]))
        })
        .collect()
}

fn chosen(datapath: &Datapath, rule: u32, expected: u64) -> Result<()> {
    let counted = datapath.rule_connections(rule)?;
    ensure!(counted == expected, "rule {rule} chose {counted}, expected {expected}");
    Ok(())
}
