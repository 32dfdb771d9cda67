//! The settings of a service.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use dispatcher_common::limits::MAX_WEIGHT_BOUND;

use super::{
    Advisor, Affinity, Proportions,
    bounds::Bounds,
    help::Typical,
    row::{read_required, read_rest},
    section::Section,
    settings,
    spec::Spec,
};
use crate::values::{ForwardMode, OnDown, Protocol, Scheduler, duration};

/// Port of FTP's control connection (RFC 959), which idles while data flows on another.
const FTP_CONTROL: u16 = 21;

/// Stamps in the connection table wrap after 4.9 h.
const TIMEOUT: Bounds = Bounds::Timeouts(Duration::from_secs(4 * 3600));
/// Longest time in which a backend ramps up.
const LONGEST_SLOW_START: Duration = Duration::from_secs(3600);

settings! {
    /// The settings of a service: VIP, port, protocol and policy.
    ServiceSettings at "in [[service]]", also ["backend", "rule"], later [];
    put {
        /// `PUT /v1/services/{service}` (create or replace) and `POST` (create). A setting that is left out takes its default.
        PutService
    }
    patch {
        /// `PATCH /v1/services/{service}`: settings that can change while a service runs.
        PatchService
    }
    view {
        /// The settings of a service in force.
        ServiceView
    }
    given {
        /// Its name: 1 to 63 of `A-Z a-z 0-9 _ . -`, unique.
        name: String => Spec::NEW.expected("a name");
    }
    fixed {
        /// Address that clients use: IPv4 or IPv6, unicast.
        ///
        /// `"0.0.0.0"` or `"::"`: every address of the family.
        vip: IpAddr => Spec::NEW.expected("an IPv4 or IPv6 address")
            .more("See [any address](operations.md#any-address-firewalls-and-transparent-proxies)");
        /// Port; 0: every port of the VIP that has no service of its own.
        port: u16 => Spec::NEW.numbers(0, 65_535).required("0..=65535 (0: every port)");
        /// Protocol.
        protocol: Protocol => Spec::NEW;
    }
    required {}
    optional {
        /// Scheduler for new connections.
        ///
        /// May be changed at any time: connections stay where they are.
        scheduler: Scheduler = Scheduler::Wrr => Spec::NEW.more("See [schedulers](#schedulers)");
        /// How packets reach a backend: by rewriting MAC addresses; replies go straight to the client.
        forward: ForwardMode = ForwardMode::Mac => Spec::NEW.later(&["tunnel", "nat"]);
        /// Idle time after which a connection is removed.
        #[serde(with = "duration")]
        stale_timeout: Duration = stale_timeout(protocol, port) => Spec::NEW
            .within(TIMEOUT)
            .default_is("`\"300s\"`; TCP port 21: `\"900s\"`; UDP: `\"30s\"`");
        /// Idle time after which a half-open connection is removed.
        #[serde(with = "duration")]
        syn_timeout: Duration = Duration::from_secs(30) => Spec::NEW.within(TIMEOUT);
        /// Idle time after which a closing connection is removed, once there are more than `fin_count`.
        #[serde(with = "duration")]
        fin_timeout: Duration = Duration::from_secs(30) => Spec::NEW.within(TIMEOUT);
        /// Closing connections that are kept until `stale_timeout`.
        ///
        /// Beyond it, connections that were established for longer than `fin_timeout` are kept, too, while the table holds
        /// fewer than `capacity`. Aborted handshakes do not count; they are removed after `fin_timeout`.
        fin_count: u64 = 4000 => Spec::NEW.numbers(0, i64::MAX);
        /// What happens to established connections of a backend that goes down.
        ///
        /// `"keep"`: forwarded as long as they live. `"drop"`: dropped. `"reset"`: a packet of the client is answered with an
        /// RST, so that it connects again at once; limited as for `orphan`. The same holds for a backend that is removed:
        /// with `"reset"` its connections are reset when they send something, until `stale_timeout` after their last
        /// packet; else they are dropped at once. A backend that was taken down by hand drops them with `"keep"`.
        on_down: OnDown = OnDown::Keep;
        /// Whether response times and delivered bytes are measured; TCP only.
        ///
        /// They are inferred from the clients' packets. The schedulers `"rtt"` and `"xmitbyte"` always measure.
        #[serde(default)]
        measure: bool = false => Spec::NEW.more("See [measurement](packet-path.md#measurement)");
        /// Largest weight that a backend may have.
        weight_bound: u32 = 20 => Spec::NEW.numbers(1, MAX_WEIGHT_BOUND as i64);
        /// How much each input of the manager counts for this service: active, new, advisor, system, together 100.
        ///
        /// `manager` on the command line, `null` on the API: as for all services.
        #[serde(default)]
        proportions: Option<Proportions> = None => Spec::NEW.default_is("the manager's");
        /// How long a backend that was down takes to get its whole weight, with or without the manager.
        ///
        /// Its weight grows from 1 in steps of 2 s.
        #[serde(default, with = "duration")]
        slow_start: Duration = Duration::ZERO => Spec::NEW.within(Bounds::UpTo(LONGEST_SLOW_START));
    }
    tables {
        /// How clients stay with their backends. A part that is left out takes its default; with `PATCH`, it stays as it is.
        #[serde(default)]
        affinity: Affinity = Affinity::new() => Spec::NEW.default_is("`{}`")
            .more("See [affinity](#affinity)");
    }
    runtime {}
    file {
        /// How its backends are probed; none: they are not.
        #[serde(default)]
        advisor: Option<Advisor> = None => Spec::NEW.more("See [advisor](#serviceadvisor)");
        /// How the metric agents of its backends are asked, in addition; none: they are not.
        #[serde(default)]
        agent: Option<Advisor> = None => Spec::NEW.agent().more("See [agent](#serviceagent)");
    }
}

impl Typical for ServiceSettings {
    fn typical() -> Self {
        Self::new(String::new(), Ipv4Addr::UNSPECIFIED.into(), 80, Protocol::Tcp)
    }
}

/// `stale_timeout`: 300 s; FTP control 900 s; UDP 30 s.
const fn stale_timeout(protocol: Protocol, port: u16) -> Duration {
    Duration::from_secs(match (protocol, port) {
        (Protocol::Udp, _) => 30,
        (Protocol::Tcp, FTP_CONTROL) => 900,
        (Protocol::Tcp, _) => 300,
    })
}

impl ServiceSettings {
    /// Reads the settings of the service of this name.
    pub(crate) fn read(s: &mut Section<'_, '_>, name: String) -> Self {
        let vip = read_required::<Self, _>(s, "vip");
        let port = read_required::<Self, _>(s, "port");
        let protocol = read_required::<Self, _>(s, "protocol");
        let mut settings = Self::new(name, vip, port, protocol);
        read_rest(s, &mut settings, &[]);
        settings
    }

    /// VIP, port and protocol: what no two services may share.
    #[must_use]
    pub const fn key(&self) -> (IpAddr, u16, Protocol) {
        (self.vip, self.port, self.protocol)
    }

    /// The key as people write it: `192.0.2.80:80/tcp`, `[2001:db8::80]:80/tcp`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}/{}", SocketAddr::new(self.vip, self.port), self.protocol)
    }

    /// All advisors of its backends, each with its key in the configuration.
    pub fn advisors(&self) -> impl Iterator<Item = (&'static str, &Advisor)> {
        let both = [("advisor", &self.advisor), ("agent", &self.agent)];
        both.into_iter().filter_map(|(key, advisor)| Some((key, advisor.as_ref()?)))
    }

    /// Whether its connections are measured.
    #[must_use]
    pub const fn is_measured(&self) -> bool {
        self.measure || self.scheduler.measures()
    }
}
