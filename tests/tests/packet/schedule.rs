//! Shares: every new connection takes the next slot of the ring, on whichever CPU it arrives.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Result, ensure};
use dispatcher_common::{reason::Reason, service::Policy};
use dispatcher_lab::{cpus};
use dispatcher_tests::{case::Case, datapath::{self, Datapath, VIP, World, action, mapped::Mapped, usable}, packet_builder::{SYN, eth}};

use crate::flows::Family;

/// Weights 3:2:1 in the order of interleaved weighted round robin.
const THREE_TWO_ONE: [u16; 6] = [11, 11, 12, 11, 12, 13];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Family::both(|f| {
        let ring = [1, 1, 2, 1, 2, 3].map(|n| f.web_slot(n));
        let weighted = f.case_in(World::standard().ring(f.web(), &ring), "a weighted ring");
        let all = (0..30_u16).fold(weighted, |case, i| {
            case.opens(f.tcp(1001 + i, SYN), ring[usize::from(i) % 6])
        });
        vec![
            all,
            f.case("the cursor goes on over a swap")
                .opens(f.tcp(1001, SYN), f.web_slot(1))
                .then(move |d| d.set_ring(f.web(), &[f.web_slot(1), f.web_slot(2)]))
                .opens(f.tcp(1002, SYN), f.web_slot(2))
                .then(move |d| d.set_ring(f.web(), &[3, 2, 1].map(|n| f.web_slot(n))))
                .opens(f.tcp(1003, SYN), f.web_slot(1))
                .opens(f.tcp(1004, SYN), f.web_slot(3)),
            f.case("services have cursors of their own")
                .opens(f.tcp(1001, SYN), f.web_slot(1))
                .opens(f.udp(1001), f.dns_slot(1))
                .opens(f.tcp(1002, SYN), f.web_slot(2))
                .opens(f.udp(1002), f.dns_slot(2)),
            f.case("packets of known flows take no turn")
                .opens(f.tcp(1001, SYN), f.web_slot(1))
                .repeats(f.tcp(1001, SYN), f.web_slot(1))
                .leaves(f.tcp(1009, dispatcher_tests::packet_builder::ACK), Reason::OrphanAck)
                .of_service(f.web())
                .opens(f.tcp(1002, SYN), f.web_slot(2)),
        ]
    });
    cases.push(long_ring());
    cases
}

/// A ring longer than a page of its map; every position is reached.
fn long_ring() -> Case {
    let mut world = World::standard();
    world.backends.retain(|backend| backend.service != 1);
    world.backends.extend((100..700).map(|slot| usable(slot, 1)));
    let ring: Vec<u16> = (100..700).collect();
    let world = world.ring(1, &ring);
    ring.iter().zip(1..).fold(Case::new("a long ring", world), |case, (slot, port)| {
        case.opens(Family::V4.tcp(port, SYN), *slot)
    })
}

/// The n-th of many clients.
pub(crate) fn client(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 0)) + n / 50_000)
}

/// The SYN of the n-th of many flows.
pub(crate) fn syn_of(n: u32) -> Vec<u8> {
    eth().ipv4(client(n), VIP).tcp((n % 50_000) as u16 + 1, 80, SYN).build().bytes
}

/// A world whose table has room for many flows.
pub(crate) fn roomy() -> World {
    let mut world = World::standard();
    world.buckets = 4096;
    world
}

pub(crate) fn clear(table: &Mapped) {
    table.words().iter().for_each(|word| word.store(0, Ordering::Relaxed));
}

#[test]
fn two_cpus_at_once_share_exactly() {
    if datapath::available() {
        Datapath::with(&roomy().ring(1, &THREE_TWO_ONE), two_cpus_share).unwrap();
    }
}

fn two_cpus_share(datapath: &mut Datapath) -> Result<()> {
    const FLOWS: u32 = 6_000;
    let datapath = &*datapath;
    let before = connections(datapath)?;
    let ran = cpus::on_two(|which| {
        for n in 0..FLOWS / 2 {
            let run = datapath.run(&syn_of(2 * n + which as u32))?;
            ensure!(run.action == action::TX, "flow {n}: action {}", run.action);
        }
        Ok(())
    })?;
    if ran.is_some() {
        let after = connections(datapath)?;
        let shares: [u64; 3] = std::array::from_fn(|i| after[i] - before[i]);
        ensure!(shares == [3_000, 2_000, 1_000], "shares {shares:?}");
        let cursor = datapath.service_state(1)?.cursor;
        ensure!(cursor == u64::from(FLOWS), "cursor {cursor}");
    }
    Ok(())
}

/// Connections placed on the backends of the IPv4 TCP service so far.
pub(crate) fn connections(datapath: &Datapath) -> Result<[u64; 3]> {
    let mut counts = [0; 3];
    for (count, slot) in counts.iter_mut().zip(11..) {
        *count = datapath.backend_counts(slot)?.connections;
    }
    Ok(counts)
}

#[test]
fn a_ring_swapped_under_load_loses_nothing() {
    if datapath::available() {
        Datapath::with(&roomy(), swap_under_load).unwrap();
    }
}

/// One CPU opens connections while the other swaps rings of different lengths and contents.
fn swap_under_load(datapath: &mut Datapath) -> Result<()> {
    const FLOWS: u32 = 20_000;
    let rings = datapath.rings(&[&[11, 12, 13], &[12], &[13, 11], &[11, 11, 12, 12, 13]])?;
    let datapath = &*datapath;
    let before: u64 = connections(datapath)?.iter().sum();
    let policies = datapath.mapped_policies()?;
    let schedule = &policies.words()[size_of::<Policy>() / 8];
    let table = datapath.mapped_table()?;
    let done = AtomicBool::new(false);
    let ran = cpus::on_two(|which| {
        if which == 1 {
            let mut swaps = 0_u64;
            while !done.load(Ordering::Relaxed) {
                schedule.store(rings[swaps as usize % rings.len()].0, Ordering::Relaxed);
                swaps += 1;
            }
            return Ok(swaps);
        }
        let result = (0..FLOWS).try_for_each(|n| {
            if n % 5_000 == 0 {
                clear(&table);
            }
            let run = datapath.run(&syn_of(n))?;
            ensure!(run.action == action::TX, "flow {n}: action {}", run.action);
            Ok(())
        });
        done.store(true, Ordering::Relaxed);
        result.map(|()| 0)
    })?;
    if let Some([_, swaps]) = ran {
        ensure!(swaps > 1_000, "only {swaps} swaps: nothing was shown");
        let placed = connections(datapath)?.iter().sum::<u64>() - before;
        ensure!(placed == u64::from(FLOWS), "{placed} connections of {FLOWS}");
    }
    Ok(())
}
