//! Lets a test run start at once.
//!
//! The kernel jumps into XDP programs by a table of those that are in use. A test run of many packets puts its program there
//! before and takes it out after, and waits both times until no CPU can be inside the old table: some 20 ms, in which
//! others have the CPU and its caches. A program that is attached somewhere stays in the table, and there is no wait.

use std::{fs::File, io, thread};

use anyhow::{Context as _, Result};
use aya::programs::{Xdp, xdp::XdpMode};
use nix::sched::{CloneFlags, unshare};

/// Every namespace's loopback.
const LOOPBACK: u32 = 1;

/// Attaches a program to the loopback of a namespace of its own, by which nothing ever comes. The namespace has no name, and
/// ends with the file.
///
/// # Errors
/// When there can be no namespace, or as the kernel's.
pub(super) fn hold(program: &mut Xdp) -> Result<File> {
    let attach = || -> Result<File> {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        program.attach_to_if_index(LOOPBACK, XdpMode::Skb)?;
        Ok(File::open("/proc/thread-self/ns/net")?)
    };
    // A thread of its own goes there: this one stays where it is.
    let held = thread::scope(|scope| scope.spawn(attach).join());
    held.map_err(|_| io::Error::other("the thread that attaches a program panicked"))?
}
