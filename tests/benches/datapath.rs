//! What does the loaded program cost a packet, everything in the first-level cache?
//!
//! Each case repeats one packet many times in one `BPF_PROG_TEST_RUN`, which is idempotent: the backends of this world have
//! the NIC's own MAC, so a rewritten frame is the frame that came. The cost of a program of two instructions is
//! subtracted. Rounds go through all cases by turns; medians and spreads are over rounds.

use std::hint::black_box;

use anyhow::{Context as _, Result, ensure};
use dispatcher_tests::{
    datapath::{self, CLIENT, CLIENT6, Datapath, VIP, VIP6, World, action},
    lab::xdp_pass,
    packet_builder::{ACK, NIC_MAC, PacketBuilder, SYN, eth},
};

/// Packets of one measurement: some tens of milliseconds.
const REPEAT: u32 = 1_000_000;
const ROUNDS: usize = 15;

/// One line of the table.
struct Case {
    name: &'static str,
    frame: Vec<u8>,
    action: u32,
    /// Nanoseconds a packet, one for each round.
    figures: Vec<f64>,
}

fn main() -> Result<()> {
    if !datapath::available() {
        return Ok(());
    }
    let datapath = Datapath::load(&world())?;
    let empty = xdp_pass::load().context("cannot load an empty program")?;
    let mut cases = cases(&datapath)?;
    let frame = cases[0].frame.clone();
    let mut floor = Vec::new();
    for _ in 0..ROUNDS {
        floor
            .push(timed(|| xdp_pass::run(&empty, &frame, REPEAT).map(|_| ()).map_err(Into::into))?);
        for case in &mut cases {
            let mut last = None;
            case.figures.push(timed(|| {
                last = Some(datapath.run_times(&case.frame, REPEAT)?);
                Ok(())
            })?);
            let run = last.context("no run")?;
            ensure!(run.action == case.action, "{}: action {}", case.name, run.action);
            ensure!(run.bytes == case.frame, "{}: the frame changed", case.name);
        }
    }
    let (floor, spread) = median(&mut floor);
    println!("{:24} {:>8} {:>8}", "ns/packet", "median", "spread");
    println!("{:24} {floor:8.1} {spread:8.1}   not subtracted", "empty program");
    for case in &mut cases {
        let (median, spread) = median(&mut case.figures);
        println!("{:24} {:8.1} {spread:8.1}", case.name, median - floor);
    }
    Ok(())
}

/// Services of both families and protocols, whose backends have the NIC's MAC.
fn world() -> World {
    let mut world = World::standard();
    world.backends.iter_mut().for_each(|backend| backend.mac = NIC_MAC);
    world
}

/// The cases; their connections are opened.
fn cases(datapath: &Datapath) -> Result<Vec<Case>> {
    let open = |name, first: PacketBuilder, next: PacketBuilder| -> Result<Case> {
        datapath.run(&first.build().bytes)?;
        // What the program makes of it is what it will make of it each time.
        let frame = datapath.run(&next.build().bytes)?.bytes;
        Ok(Case { name, frame, action: action::TX, figures: Vec::new() })
    };
    let v4 = || eth().ipv4(CLIENT, VIP);
    let v6 = || eth().ipv6(CLIENT6, VIP6);
    let strangers = eth().ipv4(CLIENT, [203, 0, 113, 9].into()).tcp(40_000, 80, ACK).build().bytes;
    Ok(vec![
        open("known, IPv4, TCP", v4().tcp(40_000, 80, SYN), v4().tcp(40_000, 80, ACK))?,
        open("known, IPv6, TCP", v6().tcp(40_000, 80, SYN), v6().tcp(40_000, 80, ACK))?,
        open("known, IPv4, UDP", v4().udp(40_000, 53), v4().udp(40_000, 53))?,
        open("known, IPv6, UDP", v6().udp(40_000, 53), v6().udp(40_000, 53))?,
        open(
            "known, VLAN, IPv4, TCP",
            v4().vlan(7).tcp(40_001, 80, SYN),
            v4().vlan(7).tcp(40_001, 80, ACK),
        )?,
        Case {
            name: "not ours, IPv4",
            frame: strangers,
            action: action::PASS,
            figures: Vec::new(),
        },
    ])
}

/// Nanoseconds a packet, of this thread's own time: a test run happens in it, and what else the machine does is not in it.
fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = thread_time();
    black_box(work()?);
    Ok((thread_time() - start) / f64::from(REPEAT))
}

/// Nanoseconds that this thread has run.
fn thread_time() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes into `time`, which lives through the call; the clock is one of every thread's.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Median, and the distance between the quartiles.
fn median(figures: &mut [f64]) -> (f64, f64) {
    figures.sort_by(f64::total_cmp);
    let at = |part: usize| figures[figures.len() * part / 4];
    (at(2), at(3) - at(1))
}
