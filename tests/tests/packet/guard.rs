//! The same new flow on two CPUs at once: one entry, one backend.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use dispatcher_common::{connection::State, reason::Reason};
use dispatcher_lab::cpus;
use dispatcher_tests::{
    datapath::{self, Datapath, VIP, action},
    packet_builder::{ACK, eth},
};

use crate::schedule::{clear, client, connections, roomy, syn_of};

/// Flows between two checks of the table.
const ROUND: u32 = 2_000;
/// Withdrawals after which the test ends.
const ENOUGH: u64 = 200;
const TIME: Duration = Duration::from_secs(30);
/// Time limit without any withdrawal, as on an emulated machine, where CPUs rarely meet.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn a_flow_that_two_cpus_claim_has_one_way() {
    if datapath::available() {
        Datapath::with(&roomy(), |datapath| race(datapath)).unwrap();
    }
}

/// Both CPUs send the same SYNs in step, until enough claims were withdrawn.
fn race(datapath: &Datapath) -> Result<()> {
    let before: u64 = connections(datapath)?.iter().sum();
    let table = datapath.mapped_table()?;
    let start = Instant::now();
    let (mut flows, mut withdrawn, mut homeless, mut parted) = (0, 0, 0, 0);
    let is_over = |withdrawn| match withdrawn {
        0 => start.elapsed() > PATIENCE,
        some => some >= ENOUGH || start.elapsed() > TIME,
    };
    while !is_over(withdrawn) {
        let cursor = datapath.service_state(1)?.cursor;
        let arrived = [AtomicU32::new(flows), AtomicU32::new(flows)];
        let ran = cpus::on_two(|which| send_in_step(datapath, &arrived, which, flows))?;
        let Some([one, other]) = ran else { return Ok(()) };
        parted += one.iter().zip(&other).filter(|(one, other)| one != other).count();
        let ways = datapath.ways()?;
        let mut fingerprints: Vec<u64> = ways.iter().map(|(_, way)| way.0 >> 28).collect();
        fingerprints.sort_unstable();
        fingerprints.dedup();
        ensure!(fingerprints.len() == ways.len(), "a flow has two ways");
        // Every choice took a turn; those without an entry were withdrawn.
        withdrawn += datapath.service_state(1)?.cursor - cursor - ways.len() as u64;
        homeless += u64::from(ROUND) - ways.len() as u64;
        everyone_goes_on(datapath, flows)?;
        clear(&table);
        flows += ROUND;
    }
    println!(
        "{flows} flows: {withdrawn} claims withdrawn, {homeless} without a way, {parted} parted"
    );
    ensure!(parted * 500 <= flows as usize, "{parted} of {flows} flows went to two backends");
    ensure!(withdrawn > 0, "no claim was withdrawn in {flows} flows: nothing was shown");
    let placed = connections(datapath)?.iter().sum::<u64>() - before;
    ensure!(placed >= u64::from(flows) - homeless, "{placed} connections, {flows} flows");
    Ok(())
}

/// Sends a round's SYNs, each when the other CPU is about to send it, too. Returns the last byte of each backend's MAC.
fn send_in_step(
    datapath: &Datapath,
    arrived: &[AtomicU32; 2],
    which: usize,
    first: u32,
) -> Result<Vec<u8>> {
    let mut backends = Vec::with_capacity(ROUND as usize);
    let frames: Vec<Vec<u8>> = (first..first + ROUND).map(syn_of).collect();
    for (n, frame) in (first + 1..).zip(&frames) {
        arrived[which].store(n, Ordering::Release);
        while arrived[1 - which].load(Ordering::Acquire) < n {
            std::hint::spin_loop();
        }
        match datapath.run(frame) {
            Ok(run) if run.action == action::TX => backends.push(run.bytes[5]),
            run => {
                // The other CPU must not wait for this one.
                arrived[which].store(u32::MAX, Ordering::Release);
                anyhow::bail!("flow {n}: {run:?}");
            }
        }
    }
    Ok(backends)
}

/// Whatever happened to its SYN, a flow's ACK is forwarded, and establishes a half-open connection.
fn everyone_goes_on(datapath: &Datapath, first: u32) -> Result<()> {
    let before = datapath.counts()?;
    for n in first..first + ROUND {
        let ack = eth().ipv4(client(n), VIP).tcp((n % 50_000) as u16 + 1, 80, ACK).build();
        let _run = datapath.run(&ack.bytes)?;
    }
    let counted = datapath.counts()?.since(&before);
    let expected = [(Reason::Forwarded, u64::from(ROUND), u64::from(ROUND) * 40)];
    ensure!(counted == expected, "ACKs after the race: {counted:?}");
    let ways = datapath.ways()?;
    let established = ways.iter().filter(|(_, way)| way.state() == State::Established).count();
    ensure!(established + 100 > ROUND as usize, "{established} of {ROUND} established");
    Ok(())
}
