//! What else is asked of the kernel: its CPUs, this network namespace, and when packets under way have passed.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// CPUs the kernel could have: per-CPU maps have a value for each.
///
/// # Errors
/// Where the kernel's list cannot be read.
pub(super) fn possible_cpus() -> io::Result<usize> {
    aya::util::nr_cpus().map_err(|(_, error)| error)
}

/// The cookie of the network namespace a socket is in: unique until reboot (`SO_NETNS_COOKIE`, Linux 5.14).
///
/// # Errors
/// As getsockopt(2).
pub(in crate::datapath) fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the option's value is written to `cookie`, whose size `length` says.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// Waits until every CPU has left what it was in: no packet still uses what it read from a map before
/// (`MEMBARRIER_CMD_GLOBAL` waits for an RCU grace period, and XDP programs run within RCU's read side).
///
/// # Errors
/// As membarrier(2): `EINVAL` where the kernel runs CPUs without ticks (`nohz_full`).
pub(in crate::datapath) fn wait_for_readers() -> io::Result<()> {
    // SAFETY: membarrier(2) touches no memory of ours.
    let result =
        unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0_u32, 0_i32) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
