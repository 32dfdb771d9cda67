//! How long a CPU has worked for frames, without what else it did meanwhile.
//!
//! The thread that makes frames also takes them in at the other end, in what the kernel does on its way back to the thread;
//! what gets too much for that is left to the CPU's `ksoftirqd`. Both together are the work; other processes' time is not.

use std::{fs, path::PathBuf, time::Instant};

use anyhow::{Context as _, Result};

use crate::driver::thread_time;

/// A beginning.
pub(super) struct Busy {
    wall: Instant,
    thread: f64,
    kernel: Option<(PathBuf, f64)>,
}

impl Busy {
    /// Now, for the calling thread, which stays on one CPU.
    pub(super) fn start() -> Result<Self> {
        let statistics = kernel_thread()?.map(|directory| directory.join("schedstat"));
        let kernel = statistics.and_then(|path| Some((run_time(&path)?, path)));
        let kernel = kernel.map(|(time, path)| (path, time));
        Ok(Self { wall: Instant::now(), thread: thread_time(), kernel })
    }

    /// Nanoseconds of work since; where the kernel does not say what its own thread did, of the clock.
    pub(super) fn elapsed(&self) -> f64 {
        let thread = thread_time() - self.thread;
        let kernel = self.kernel.as_ref().and_then(|(path, start)| Some(run_time(path)? - start));
        kernel.map_or_else(|| self.wall.elapsed().as_secs_f64() * 1e9, |kernel| thread + kernel)
    }
}

/// Where /proc has the `ksoftirqd` of this CPU, if it shows it.
fn kernel_thread() -> Result<Option<PathBuf>> {
    let cpu = nix::sched::sched_getcpu().context("which CPU is this")?;
    let name = format!("ksoftirqd/{cpu}\n");
    for entry in fs::read_dir("/proc").context("/proc")?.flatten() {
        if fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm == name) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// Nanoseconds that a thread has run: the first number in its `schedstat`.
fn run_time(statistics: &PathBuf) -> Option<f64> {
    fs::read_to_string(statistics).ok()?.split_whitespace().next()?.parse().ok()
}
