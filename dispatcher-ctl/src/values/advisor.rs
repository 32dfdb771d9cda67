//! The kinds of advisors.

use super::{Protocol, choice};

choice! {
    /// What a probe exchanges.
    pub enum AdvisorKind {
        /// A TCP connection, made and closed.
        Connect = "connect",
        /// An HTTP request.
        Http = "http",
        /// An HTTP request over TLS.
        Https = "https",
        /// A TLS handshake.
        Tls = "tls",
        /// A DNS query.
        Dns = "dns",
        /// Greeting and EHLO of a mail server.
        Smtp = "smtp",
        /// Greeting and NOOP of an IMAP server.
        Imap = "imap",
        /// Greeting of a POP3 server.
        Pop3 = "pop3",
        /// Greeting of an FTP server.
        Ftp = "ftp",
        /// An anonymous bind.
        Ldap = "ldap",
        /// Greeting of a news server.
        Nntp = "nntp",
        /// An OPTIONS request.
        Sip = "sip",
        /// An ICMP echo.
        Ping = "ping",
        /// A datagram and its answer.
        Udp = "udp",
        /// A command.
        Exec = "exec",
        /// A question to the metric agent.
        Agent = "agent",
    }
}

/// How a probe reaches its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A TCP connection.
    Tcp,
    /// UDP datagrams.
    Udp,
    /// The protocol of the service's clients.
    Service,
    /// Neither TCP nor UDP: there is no port.
    None,
}

impl AdvisorKind {
    /// How the probe reaches its target.
    #[must_use]
    pub const fn transport(self) -> Transport {
        match self {
            Self::Dns | Self::Sip => Transport::Service,
            Self::Udp => Transport::Udp,
            Self::Ping | Self::Exec => Transport::None,
            Self::Connect
            | Self::Http
            | Self::Https
            | Self::Tls
            | Self::Smtp
            | Self::Imap
            | Self::Pop3
            | Self::Ftp
            | Self::Ldap
            | Self::Nntp
            | Self::Agent => Transport::Tcp,
        }
    }

    /// Whether the probe's request has nothing to do with the VIP.
    #[must_use]
    pub const fn asks_host(self) -> bool {
        matches!(self, Self::Exec | Self::Agent)
    }

    /// Whether a service of this protocol has the port that is probed.
    #[must_use]
    pub fn goes_over(self, protocol: Protocol) -> bool {
        match self.transport() {
            Transport::Tcp => protocol == Protocol::Tcp,
            Transport::Udp => protocol == Protocol::Udp,
            Transport::Service | Transport::None => true,
        }
    }
}

choice! {
    /// The address that is probed.
    pub enum Target {
        /// The VIP, through this backend: as clients reach it.
        Vip = "vip",
        /// The backend's own address.
        Address = "address",
    }
}
