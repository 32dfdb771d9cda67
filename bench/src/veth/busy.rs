//! Measures how long a CPU worked on frames, without its other work.
//!
//! The thread that makes frames also receives them at the other end, inside the kernel on its way back to the thread. If that
//! is too much work, the kernel leaves it to the CPU's `ksoftirqd`. The time of both counts; that of other processes does not.

use std::{fs, path::PathBuf, time::Instant};

use anyhow::{Context as _, Result};

use crate::driver::thread_time;

/// The start of a measurement.
pub(super) struct Busy {
    wall: Instant,
    thread: f64,
    kernel: Option<(PathBuf, f64)>,
}

impl Busy {
    /// Starts a measurement for the calling thread, which must stay on one CPU.
    pub(super) fn start() -> Result<Self> {
        let statistics = kernel_thread()?.map(|directory| directory.join("schedstat"));
        let kernel = statistics.and_then(|path| Some((run_time(&path)?, path)));
        let kernel = kernel.map(|(time, path)| (path, time));
        Ok(Self { wall: Instant::now(), thread: thread_time(), kernel })
    }

    /// Nanoseconds of work since the start; by the clock, if the kernel does not show the times of its own thread.
    pub(super) fn elapsed(&self) -> f64 {
        let thread = thread_time() - self.thread;
        let kernel = self.kernel.as_ref().and_then(|(path, start)| Some(run_time(path)? - start));
        kernel.map_or_else(|| self.wall.elapsed().as_secs_f64() * 1e9, |kernel| thread + kernel)
    }
}

/// Directory of this CPU's `ksoftirqd` in /proc, if /proc shows it.
fn kernel_thread() -> Result<Option<PathBuf>> {
    let cpu = nix::sched::sched_getcpu().context("cannot find out the CPU of this thread")?;
    let name = format!("ksoftirqd/{cpu}\n");
    for entry in fs::read_dir("/proc").context("/proc")?.flatten() {
        if fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm == name) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// Nanoseconds of CPU time that a thread has used: the first number in its `schedstat`.
fn run_time(statistics: &PathBuf) -> Option<f64> {
    fs::read_to_string(statistics).ok()?.split_whitespace().next()?.parse().ok()
}
