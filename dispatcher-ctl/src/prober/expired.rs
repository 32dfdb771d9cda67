//! Detects that a backend forwarded a probe instead of answering it.
//!
//! Probes are sent with a hop limit of 1. A backend with the VIP accepts them; one without it that forwards reports
//! "time exceeded" to the sender. The kernel keeps such reports in a socket's error queue.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
};

use nix::{
    cmsg_space, libc,
    sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt},
};

/// "Time exceeded" of ICMP (RFC 792) and ICMPv6 (RFC 4443).
const TIME_EXCEEDED: (u8, u8) = (11, 3);

/// Makes the kernel keep reports about a socket's packets.
///
/// # Errors
/// See setsockopt(2).
pub(super) fn keep_reports(socket: &impl AsFd, is_v4: bool) -> io::Result<()> {
    if is_v4 {
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)?;
    } else {
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)?;
    }
    Ok(())
}

/// Whether a report says that a packet of the socket was forwarded.
#[must_use]
pub fn was_forwarded(socket: &impl AsFd) -> bool {
    let mut space = cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    // The first report ends an attempt to connect, so there is only one.
    let report = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut [], Some(&mut space), flags);
    let messages = report.ok().and_then(|report| report.cmsgs().ok().map(Iterator::collect));
    let messages: Vec<ControlMessageOwned> = messages.unwrap_or_default();
    messages.iter().any(is_expiry)
}

fn is_expiry(message: &ControlMessageOwned) -> bool {
    let (v4, v6) = TIME_EXCEEDED;
    if let ControlMessageOwned::Ipv4RecvErr(report, _) = message {
        report.ee_origin == libc::SO_EE_ORIGIN_ICMP && report.ee_type == v4
    } else if let ControlMessageOwned::Ipv6RecvErr(report, _) = message {
        report.ee_origin == libc::SO_EE_ORIGIN_ICMP6 && report.ee_type == v6
    } else {
        false
    }
}
