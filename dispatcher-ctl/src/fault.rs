//! Decides whose fault a failed probe is: the backend's or this host's.
//!
//! Only a fault of the backend counts against it. A fault of this host says nothing about the backend: it could not be
//! probed, and stays up or down. This table classifies every error of a probe:
//!
//! | the backend's | this host's |
//! |---|---|
//! | connection refused, reset, closed, timed out | no descriptors (`EMFILE`, `ENFILE`), no memory (`ENOMEM`, `ENOBUFS`: also no room for a neighbour entry) |
//! | an ICMP error from it or from a router before it; no answer to ARP (`EHOSTUNREACH`) | no route to it by this host's routes (`ENETUNREACH`, `EHOSTUNREACH`, a route that prohibits or drops) |
//! | no answer within the time that this process ran | no answer because this process stood still ([`crate::standstill`]) |
//! | an answer that is not what is expected | no free port or no such address (`EADDRINUSE`, `EADDRNOTAVAIL`), not permitted (`EPERM`, `EACCES`), and every other error number |
//! | a command's exit status, the signal that killed it, its output, or that it does not end | a command that cannot be started; exit status 126 or 127 (a shell's code for that) |
//! | an agent with another key, or one that falls silent after its greeting | a key or CA file that was never readable; an agent that hangs up before its greeting: it is full |
//!
//! A failure during or shortly after a change of this host's own addresses or NICs says nothing
//! ([`crate::advisor`]). Probes of VIPs use paths of their own ([`crate::prober`]): a failure while such a path
//! is incomplete says nothing, either.

use std::{
    fmt,
    io::{self, ErrorKind},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use crate::model::text;

/// Why a probe has failed, as a phrase, by whose fault it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The backend's fault.
    Backend(String),
    /// This host's fault: nothing is known about the backend.
    Here(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Backend(text) | Self::Here(text)) = self;
        f.write_str(text)
    }
}

/// A text without further classification is about the backend's answer, or that none came.
impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self::Backend(text)
    }
}

impl Fault {
    /// Classifies an error of a socket.
    pub(crate) fn of(error: &io::Error) -> Self {
        let text = reason(error);
        if is_backends(error) { Self::Backend(text) } else { Self::Here(text) }
    }

    /// Classifies an error of reaching an address; missing routes of this host are this host's fault.
    pub(crate) fn reaching(address: SocketAddr, error: &io::Error) -> Self {
        let fault = Self::of(error).with_address(address);
        match fault {
            Self::Backend(text) if is_unreachable(error) && !has_route(address) => Self::Here(text),
            fault @ (Self::Backend(_) | Self::Here(_)) => fault,
        }
    }

    /// Shortens the text and escapes control characters: it may come from a server or a command.
    pub(crate) fn shortened(self) -> Self {
        match self {
            Self::Backend(said) => Self::Backend(text::shortened(&said)),
            Self::Here(said) => Self::Here(text::shortened(&said)),
        }
    }

    /// Puts the address before a fault of the backend. This host's faults concern all addresses.
    pub(crate) fn with_address(self, address: SocketAddr) -> Self {
        match self {
            Self::Backend(text) => Self::Backend(format!("{address}: {text}")),
            Self::Here(text) => Self::Here(text),
        }
    }
}

/// Whether an error is about the other side. Errors without a number are about what was read (early end, malformed
/// data), unless this program made them ([`ErrorKind::Other`]).
fn is_backends(error: &io::Error) -> bool {
    let Some(number) = error.raw_os_error() else { return error.kind() != ErrorKind::Other };
    matches!(
        number,
        libc::ECONNREFUSED
            | libc::ECONNRESET
            | libc::ECONNABORTED
            | libc::EPIPE
            | libc::ETIMEDOUT
            // What ICMP errors become.
            | libc::EPROTO
            | libc::EMSGSIZE
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
            | libc::EHOSTDOWN
            | libc::ENONET
    ) || is_unreachable(error)
}

fn is_unreachable(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EHOSTUNREACH | libc::ENETUNREACH))
}

/// Whether this host has a route. No packet is sent.
fn has_route(address: SocketAddr) -> bool {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // Any port will do.
    UdpSocket::bind(any).and_then(|socket| socket.connect((address.ip(), 9))).is_ok()
}

/// What an error says, without the operating system's number.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_lowercase(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(number: i32) -> Fault {
        Fault::of(&io::Error::from_raw_os_error(number))
    }

    #[test]
    fn what_this_host_lacks_is_no_backends_fault() {
        for number in [
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOMEM,
            libc::ENOBUFS,
            libc::EADDRNOTAVAIL,
            libc::EADDRINUSE,
            libc::EPERM,
            libc::EACCES,
            libc::ENETDOWN,
            libc::EINVAL,
            libc::EAFNOSUPPORT,
        ] {
            assert!(matches!(of(number), Fault::Here(_)), "{number}: {:?}", of(number));
        }
        let ended = io::Error::other("the prober's thread has ended");
        assert_eq!(Fault::of(&ended), Fault::Here("the prober's thread has ended".to_owned()));
    }

    #[test]
    fn what_came_from_the_other_side_is() {
        for number in [
            libc::ECONNREFUSED,
            libc::ECONNRESET,
            libc::EPIPE,
            libc::ETIMEDOUT,
            libc::EHOSTUNREACH,
            libc::ENETUNREACH,
        ] {
            assert!(matches!(of(number), Fault::Backend(_)), "{number}: {:?}", of(number));
        }
        let early = io::Error::from(ErrorKind::UnexpectedEof);
        assert!(matches!(Fault::of(&early), Fault::Backend(_)));
    }

    #[test]
    fn an_unreachable_host_is_the_backends_fault_where_there_is_a_route() {
        let unreachable = io::Error::from_raw_os_error(libc::EHOSTUNREACH);
        let near = "127.0.0.9:80".parse().unwrap();
        let want = Fault::Backend("127.0.0.9:80: no route to host".to_owned());
        assert_eq!(Fault::reaching(near, &unreachable), want);
        // Class E: no host has a route to it.
        let nowhere = "240.0.0.1:80".parse().unwrap();
        if !has_route(nowhere) {
            assert!(matches!(Fault::reaching(nowhere, &unreachable), Fault::Here(_)));
        }
    }
}
