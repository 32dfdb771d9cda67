//! Settings of services, rules and the datapath that are one of a few words.

use super::{Choice as _, choice};

choice! {
    /// Where in the kernel the program runs.
    pub enum XdpMode {
        /// In the driver.
        Native = "native",
        /// In the network stack, for drivers without XDP.
        Generic = "generic",
    }
}

choice! {
    /// What becomes of a TCP packet that is no SYN and has no connection.
    pub enum Orphan {
        /// Dropped and counted by kind.
        Drop = "drop",
        /// Treated as new.
        Schedule = "schedule",
        /// Answered with an RST.
        Reset = "reset",
        /// Left to the kernel.
        Pass = "pass",
    }
}

choice! {
    /// Protocol of a service.
    pub enum Protocol {
        /// RFC 9293.
        Tcp = "tcp",
        /// RFC 768.
        Udp = "udp",
    }
}

choice! {
    /// How new connections are placed.
    pub enum Scheduler {
        /// Next backend in turn.
        Rr = "rr",
        /// Interleaved weighted round robin.
        Wrr = "wrr",
        /// Fewest active connections.
        Lc = "lc",
        /// Fewest active connections for the weight.
        Wlc = "wlc",
        /// Shortest mean response time in the last second.
        Rtt = "rtt",
        /// Fewest bytes delivered in the last second.
        Xmitbyte = "xmitbyte",
        /// By a hash of the flow, which stays with its backend when others come and go.
        Maglev = "maglev",
        /// By a hash of the client's address.
        Sh = "sh",
    }
}

choice! {
    /// How packets reach a backend.
    pub enum ForwardMode {
        /// By rewriting MAC addresses (direct routing).
        Mac = "mac",
    }
}

choice! {
    /// What happens to established TCP connections of a backend that goes down.
    pub enum OnDown {
        /// Forwarded as long as they live.
        Keep = "keep",
        /// Dropped.
        Drop = "drop",
        /// Answered with an RST, after which the client may connect again.
        Reset = "reset",
    }
}

choice! {
    /// The backends over which a rule's rates and counts are taken.
    #[derive(Default)]
    pub enum Evaluate {
        /// All of the service.
        #[default]
        Service = "service",
        /// Those of the rule.
        Rule = "rule",
    }
}

choice! {
    /// Which services share a bandwidth.
    #[derive(Default)]
    pub enum Share {
        /// All that are measured.
        #[default]
        All = "all",
        /// Those of the same VIP.
        Vip = "vip",
    }
}

impl Protocol {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => dispatcher_common::net::TCP,
            Self::Udp => dispatcher_common::net::UDP,
        }
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.word()
    }
}

impl Scheduler {
    /// Whether it uses measurements.
    #[must_use]
    pub const fn measures(self) -> bool {
        matches!(self, Self::Rtt | Self::Xmitbyte)
    }

    /// Whether it compares all backends for every new connection.
    #[must_use]
    pub const fn compares(self) -> bool {
        matches!(self, Self::Lc | Self::Wlc | Self::Rtt | Self::Xmitbyte)
    }
}
