//! Runs threads on CPUs of their own, so that packets are handled at the same time.

use std::{io, thread};

use anyhow::{Context as _, Result};

/// The CPUs this process may use.
///
/// # Errors
///
/// Errors of `sched_getaffinity(2)`.
pub fn available() -> Result<Vec<usize>> {
    // SAFETY: all-zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is valid, and has the size that is passed.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } != 0 {
        return Err(io::Error::last_os_error()).context("cannot read this process's CPUs");
    }
    // SAFETY: the set was filled above, and the numbers are below its size.
    Ok((0..libc::CPU_SETSIZE as usize)
        .filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) })
        .collect())
}

/// Runs the work on two CPUs at once and returns both results; the work gets 0 on the first and 1 on the second. If there is
/// only one CPU, prints that and returns `None`.
///
/// # Errors
///
/// Errors of the work; also when a thread panics.
pub fn on_two<T: Send>(work: impl Fn(usize) -> Result<T> + Sync) -> Result<Option<[T; 2]>> {
    let cpus = available()?;
    let [first, second, ..] = cpus[..] else {
        eprintln!("skipped: one CPU");
        return Ok(None);
    };
    let work = &work;
    let run = move |which: usize, cpu: usize| pin(cpu).and_then(|()| work(which));
    thread::scope(|scope| {
        let other = scope.spawn(move || run(1, second));
        let one = scope.spawn(move || run(0, first));
        let join = |thread: thread::ScopedJoinHandle<'_, Result<T>>| {
            thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked")))
        };
        Ok(Some([join(one)?, join(other)?]))
    })
}

/// Keeps the calling thread on one CPU.
///
/// # Errors
///
/// When this process may not use the CPU.
pub fn pin(cpu: usize) -> Result<()> {
    // SAFETY: all-zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number comes from a set of this type.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is valid, and has the size that is passed.
    if unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) } != 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("cannot use CPU {cpu}"));
    }
    Ok(())
}
