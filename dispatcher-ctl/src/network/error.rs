//! Errors between the controller and the kernel's network.

use std::io;

use super::extack;

/// A failed request to the kernel's network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// No netlink socket is available.
    #[error("netlink: {0}")]
    Socket(#[source] io::Error),
    /// The kernel refused a request.
    #[error("{what}: {source}")]
    Refused {
        /// What was requested, such as `add vip 192.0.2.80 on ifindex 3`.
        what: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The netlink connection is closed.
    #[error("{what}: the netlink connection is closed")]
    Closed {
        /// What was requested.
        what: String,
    },
}

impl NetworkError {
    /// The kernel's error number, if the kernel answered.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Socket(source) | Self::Refused { source, .. } => extack::errno(source),
            Self::Closed { .. } => None,
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "all others mean a malformed answer")]
    pub(crate) fn from_netlink(what: impl FnOnce() -> String, error: rtnetlink::Error) -> Self {
        match error {
            rtnetlink::Error::NetlinkError(message) => {
                Self::Refused { what: what(), source: extack::error(&message) }
            }
            rtnetlink::Error::RequestFailed => Self::Closed { what: what() },
            other => Self::Refused { what: what(), source: io::Error::other(other.to_string()) },
        }
    }
}
