//! Schedulers other than round robin: least connections, with and without weights, and hashes.

use anyhow::{Result, ensure};
use dispatcher_common::{backend::NEW, reason::Reason, service::scheduler};
use dispatcher_lab::{cpus};
use dispatcher_tests::{case::Case, datapath::{self, Datapath, VIP, World, action, usable}, packet_builder::{ACK, FIN, SYN, eth}};

use crate::{
    flows::Family,
    schedule::{client, connections, syn_of},
};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Family::both(|f| {
        let slot = |n| f.web_slot(n);
        let least = || World::standard().scheduled(scheduler::LEAST);
        let weighted = World::standard()
            .scheduled(scheduler::WEIGHTED_LEAST)
            .backend(slot(1), |b| b.weight = 3)
            .backend(slot(2), |b| b.weight = 2);
        let shares = [1, 2, 3, 1, 2, 1, 1, 2, 3, 1, 2, 1];
        let by_weight = shares.iter().zip(1001..).fold(
            f.case_in(weighted, "wlc: fewest active connections for the weight, the first of equals"),
            |case, (n, port)| case.opens(f.tcp(port, SYN), slot(*n)),
        );
        vec![
            by_weight,
            f.case_in(least(), "lc: fewest active connections, the first of equals")
                .opens(f.tcp(1001, SYN), slot(1))
                .opens(f.tcp(1002, SYN), slot(2))
                .opens(f.tcp(1003, SYN), slot(3))
                .follows(f.tcp(1002, ACK), slot(2))
                .follows(f.tcp(1002, FIN | ACK), slot(2))
                .opens(f.tcp(1004, SYN), slot(2))
                .opens(f.tcp(1005, SYN), slot(1)),
            f.case_in(
                least().backend(slot(2), |b| b.flags &= !NEW),
                "lc: a backend that takes no new connections is skipped",
            )
            .opens(f.tcp(1001, SYN), slot(1))
            .opens(f.tcp(1002, SYN), slot(3))
            .opens(f.tcp(1003, SYN), slot(1)),
            f.case_in(
                least().backend(slot(1), |b| b.max_connections = 1),
                "lc: a full backend is skipped until it has room",
            )
            .opens(f.tcp(1001, SYN), slot(1))
            .opens(f.tcp(1002, SYN), slot(2))
            .opens(f.tcp(1003, SYN), slot(3))
            .opens(f.tcp(1004, SYN), slot(2))
            .follows(f.tcp(1001, FIN | ACK), slot(1))
            .opens(f.tcp(1005, SYN), slot(1)),
            f.case_in(
                World::standard().backend(slot(2), |b| b.max_connections = 2),
                "a ring passes over a full backend",
            )
            .opens(f.tcp(1001, SYN), slot(1))
            .opens(f.tcp(1002, SYN), slot(2))
            .opens(f.tcp(1003, SYN), slot(3))
            .opens(f.tcp(1004, SYN), slot(1))
            // Half-open connections count for one of the two schedulers.
            .opens(f.tcp(1005, SYN), slot(2))
            .opens(f.tcp(1006, SYN), slot(3))
            .opens(f.tcp(1007, SYN), slot(1))
            .opens(f.tcp(1008, SYN), slot(2))
            .follows(f.tcp(1002, ACK), slot(2))
            .opens(f.tcp(1009, SYN), slot(3))
            .opens(f.tcp(1010, SYN), slot(1))
            .opens(f.tcp(1011, SYN), slot(3)),
            all_full(f),
            hashed(f, scheduler::FLOW_HASH, "maglev: a flow tells its backend"),
            hashed(f, scheduler::CLIENT_HASH, "sh: a client tells its backend").then(move |d| {
                let macs = macs(d, (3000..3050).map(|port| f.tcp(port, SYN).build().bytes))?;
                ensure!(macs.windows(2).all(|two| two[0] == two[1]), "one client, two backends");
                Ok(())
            }),
        ]
    });
    cases.push(long_ring_of_full_backends());
    cases
}

fn all_full(f: Family) -> Case {
    let world = (1..4).fold(World::standard(), |world, n| {
        world.backend(f.web_slot(n), |b| b.max_connections = 1)
    });
    f.case_in(world, "with every backend full there is none")
        .opens(f.tcp(1001, SYN), f.web_slot(1))
        .opens(f.tcp(1002, SYN), f.web_slot(2))
        .opens(f.tcp(1003, SYN), f.web_slot(3))
        .leaves(f.tcp(1004, SYN), Reason::NoBackend)
        .of_service(f.web())
}

/// Weights 100 : 1, and the heavy backend full: the other one is found, however long the run of the first.
fn long_ring_of_full_backends() -> Case {
    let f = Family::V4;
    let mut ring = vec![11; 100];
    ring.push(12);
    let world = World::standard().ring(1, &ring).backend(11, |b| b.max_connections = 1);
    (1002..1010).fold(
        f.case_in(world, "a long run of a full backend").opens(f.tcp(1001, SYN), 11),
        |case, port| case.opens(f.tcp(port, SYN), 12),
    )
}

/// A service that places by hash: all packets of a flow go to the same backend, with or without an entry, and all
/// backends get some flows.
fn hashed(f: Family, scheduler: u8, name: &str) -> Case {
    f.case_in(World::standard().scheduled(scheduler), name).then(move |d| {
        let packet = |n: u16, flags| match f {
            Family::V4 => eth().ipv4(client(u32::from(n) * 50_000), VIP).tcp(n, 80, flags),
            Family::V6 => f.tcp(n, flags),
        };
        let syns = macs(d, (1000..1100).map(|n| packet(n, SYN).build().bytes))?;
        for bucket in 0..64 {
            d.clear_bucket(bucket)?;
        }
        // The entries are gone: each flow's packets are placed as its first one was.
        let acks = macs(d, (1000..1100).map(|n| packet(n, ACK).build().bytes))?;
        ensure!(syns == acks, "flows went elsewhere once their entries were gone");
        if scheduler == scheduler::FLOW_HASH || f == Family::V4 {
            for n in 1..4 {
                let share = syns.iter().filter(|mac| mac[5] == f.web_slot(n) as u8).count();
                ensure!((15..=55).contains(&share), "backend {n} was given {share} of 100");
            }
        }
        Ok(())
    })
}

fn macs(datapath: &Datapath, frames: impl Iterator<Item = Vec<u8>>) -> Result<Vec<Vec<u8>>> {
    frames
        .map(|frame| {
            let run = datapath.run(&frame)?;
            ensure!(run.action == action::TX, "{run:?}");
            Ok(run.bytes[..6].to_vec())
        })
        .collect()
}

/// Connections that all live, over equal backends, made by two CPUs at once.
#[test]
fn least_connections_keep_backends_level_while_two_cpus_place() {
    if !datapath::available() {
        return;
    }
    const BACKENDS: u16 = 16;
    let mut world = World::empty().service(1, VIP.into(), 80, dispatcher_common::net::TCP, 0);
    world.buckets = 1 << 14;
    world.backends = (11..11 + BACKENDS).map(|slot| usable(slot, 1)).collect();
    let ring: Vec<u16> = (11..11 + BACKENDS).collect();
    let world = world.ring(1, &ring).scheduled(scheduler::LEAST);
    Datapath::with(&world, |datapath| {
        let ran = cpus::on_two(|which| {
            (0..20_000_u32).try_for_each(|n| {
                let run = datapath.run(&syn_of(n * 2 + which as u32))?;
                ensure!(run.action == action::TX, "{run:?}");
                Ok(())
            })
        })?;
        if ran.is_some() {
            let active: Result<Vec<u64>> =
                ring.iter().map(|slot| Ok(datapath.active_count(*slot)?.active())).collect();
            let active = active?;
            let (most, least) = (active.iter().max(), active.iter().min());
            ensure!(most.zip(least).is_some_and(|(m, l)| m - l <= 2), "{active:?}");
            ensure!(connections(datapath)?.iter().sum::<u64>() > 0, "nothing was placed");
            datapath.counts_are_true()?;
        }
        Ok(())
    })
    .unwrap();
}
