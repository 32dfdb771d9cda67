//! Lets a test run start without a wait.
//!
//! The kernel jumps into XDP programs through a table of the programs in use. A test run of many packets adds its program
//! before and removes it after. Both times it waits until no CPU can be inside the old table. This takes some 20 ms, in which
//! other tasks use the CPU and its caches. A program that is attached somewhere stays in the table, and needs no wait.

use std::{fs::File, io, thread};

use anyhow::{Context as _, Result};
use aya::programs::{Xdp, xdp::XdpMode};
use nix::sched::{CloneFlags, unshare};

/// Interface index of the loopback in every namespace.
const LOOPBACK: u32 = 1;

/// Attaches a program to the loopback of its own network namespace, which never gets a packet. The namespace has no name, and
/// ends when the file is closed.
///
/// # Errors
/// When no namespace can be made, or the kernel refuses the program.
pub(super) fn hold(program: &mut Xdp) -> Result<File> {
    let attach = || -> Result<File> {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        program.attach_to_if_index(LOOPBACK, XdpMode::Skb)?;
        Ok(File::open("/proc/thread-self/ns/net")?)
    };
    // A thread of its own enters the namespace, so that this thread stays in the present one.
    let held = thread::scope(|scope| scope.spawn(attach).join());
    held.map_err(|_| io::Error::other("the thread that attaches a program panicked"))?
}
