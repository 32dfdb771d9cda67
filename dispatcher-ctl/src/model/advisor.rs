//! How a service's backends are probed.

use std::{fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Choice as _, Hex, Method, Passive, Protocol, QueryType, Rcode, Statuses, duration};

/// Port of the metric agent, unless another is said.
pub const AGENT_PORT: u16 = 10_004;

/// How a service's backends are probed. Which settings matter, the kind says: see [`AdvisorKind::keys`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Advisor {
    /// What is exchanged.
    pub kind: AdvisorKind,
    /// With whom.
    pub target: Target,
    /// Port; none: the service's, or the agent's own.
    pub port: Option<u16>,
    /// Method of the request.
    #[serde(default)]
    pub method: Method,
    /// Path that is asked for.
    pub path: String,
    /// Host that is asked, also by a name in TLS; none: the VIP.
    pub host: Option<String>,
    /// Statuses that are good.
    pub expect_status: Statuses,
    /// Text that the answer's body must contain.
    pub expect_body: Option<String>,
    /// Whether TLS is spoken from the first byte on.
    #[serde(default)]
    pub tls: bool,
    /// Whether the certificate must be valid for the host.
    #[serde(default)]
    pub tls_verify: bool,
    /// File with the certificates of those who may sign; none: the system's.
    #[serde(default)]
    pub tls_ca_file: Option<PathBuf>,
    /// Name that is asked for.
    #[serde(default)]
    pub query: String,
    /// What is asked of it.
    #[serde(default)]
    pub query_type: QueryType,
    /// Code of the answer that is good.
    #[serde(default)]
    pub expect_rcode: Rcode,
    /// Bytes that are sent.
    #[serde(default)]
    pub request: Hex,
    /// Bytes with which the answer must begin.
    #[serde(default)]
    pub response: Hex,
    /// Program and its arguments.
    #[serde(default)]
    pub command: Vec<String>,
    /// File with the key that is shared with the metric agent.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Time from one probe to the next, give or take a tenth.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// Longest time from one probe to the next of a backend that has been down for long.
    #[serde(default = "down_interval", with = "duration")]
    pub down_interval: Duration,
    /// How long a connection may take.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// How long the exchange on it may take.
    #[serde(with = "duration")]
    pub receive_timeout: Duration,
    /// Good probes in a row after which a backend that is down is up.
    pub rise: u32,
    /// Bad probes in a row after which a backend that is up is down.
    pub fall: u32,
    /// What counts as a bad probe without being one.
    #[serde(default)]
    pub passive: Passive,
}

/// What `down_interval` is unless another is said.
const fn down_interval() -> Duration {
    Duration::from_secs(10)
}

/// What a probe exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdvisorKind {
    /// A TCP connection, made and closed.
    Connect,
    /// An HTTP request.
    Http,
    /// An HTTP request over TLS.
    Https,
    /// A TLS handshake.
    Tls,
    /// A DNS query.
    Dns,
    /// Greeting and EHLO of a mail server.
    Smtp,
    /// Greeting and NOOP of an IMAP server.
    Imap,
    /// Greeting of a POP3 server.
    Pop3,
    /// Greeting of an FTP server.
    Ftp,
    /// An anonymous bind.
    Ldap,
    /// Greeting of a news server.
    Nntp,
    /// An OPTIONS request.
    Sip,
    /// An ICMP echo.
    Ping,
    /// A datagram and its answer.
    Udp,
    /// A command.
    Exec,
    /// A question to the metric agent.
    Agent,
}

/// How a probe reaches its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A TCP connection.
    Tcp,
    /// UDP datagrams.
    Udp,
    /// Whatever the service's clients use.
    Service,
    /// Neither: there is no port.
    None,
}

impl AdvisorKind {
    /// How it reaches its target.
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

    /// Whether it asks of a backend what has nothing to do with the VIP.
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

    /// The settings that it has beside those that every kind has.
    #[must_use]
    pub const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Connect | Self::Ftp => &["port"],
            Self::Http => &["port", "method", "path", "host", "expect_status", "expect_body"],
            Self::Https => &[
                "port",
                "method",
                "path",
                "host",
                "expect_status",
                "expect_body",
                "tls_verify",
                "tls_ca_file",
            ],
            Self::Tls => &["port", "host", "tls_verify", "tls_ca_file"],
            Self::Dns => &["port", "query", "query_type", "expect_rcode"],
            Self::Smtp | Self::Imap | Self::Pop3 | Self::Ldap | Self::Nntp => {
                &["port", "host", "tls", "tls_verify", "tls_ca_file"]
            }
            Self::Sip => &["port", "host", "expect_status"],
            Self::Ping => &[],
            Self::Udp => &["port", "request", "response"],
            Self::Exec => &["port", "command"],
            Self::Agent => &["port", "key_file"],
        }
    }
}

/// Whom a probe talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The VIP, by way of this backend: as clients reach it.
    Vip,
    /// The backend's own address.
    Address,
}

impl Advisor {
    /// One of this kind, with every other setting at its default.
    #[must_use]
    pub fn new(kind: AdvisorKind) -> Self {
        let good = if kind == AdvisorKind::Sip { (200, 299) } else { (200, 399) };
        Self {
            kind,
            target: if kind.asks_host() { Target::Address } else { Target::Vip },
            port: None,
            method: Method::Get,
            path: "/".to_owned(),
            host: None,
            expect_status: Statuses(vec![good]),
            expect_body: None,
            tls: matches!(kind, AdvisorKind::Https | AdvisorKind::Tls),
            tls_verify: false,
            tls_ca_file: None,
            query: String::new(),
            query_type: QueryType::A,
            expect_rcode: Rcode::Noerror,
            request: Hex::default(),
            response: Hex::default(),
            command: Vec::new(),
            key_file: None,
            interval: Duration::from_secs(7),
            down_interval: down_interval(),
            connect_timeout: Duration::from_secs(2),
            receive_timeout: Duration::from_secs(2),
            rise: 1,
            fall: 1,
            passive: Passive::default(),
        }
    }

    /// The port of a service that is probed on a backend.
    #[must_use]
    pub fn port_of(&self, service: u16) -> u16 {
        let own = if self.kind == AdvisorKind::Agent { AGENT_PORT } else { service };
        self.port.unwrap_or(own)
    }

    /// A setting that not every kind has, as text; none where it is not set or has no such name.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<String> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        match key {
            "port" => self.port.map(|port| port.to_string()),
            "method" => Some(self.method.word().to_owned()),
            "path" => Some(self.path.clone()),
            "host" => self.host.clone(),
            "expect_status" => Some(self.expect_status.to_string()),
            "expect_body" => self.expect_body.clone(),
            "tls" => Some(self.tls.to_string()),
            "tls_verify" => Some(self.tls_verify.to_string()),
            "tls_ca_file" => path(&self.tls_ca_file),
            "query" => Some(self.query.clone()),
            "query_type" => Some(self.query_type.word().to_owned()),
            "expect_rcode" => Some(self.expect_rcode.word().to_owned()),
            "request" => Some(self.request.to_string()),
            "response" => Some(self.response.to_string()),
            "command" => Some(self.command.join(" ")),
            "key_file" => path(&self.key_file),
            _ => None,
        }
    }
}

impl fmt::Display for Advisor {
    /// What differs from the default, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::new(self.kind);
        write!(f, "{} of the {}", self.kind, self.target)?;
        for key in self.kind.keys() {
            match self.setting(key).filter(|value| default.setting(key).as_ref() != Some(value)) {
                Some(value) if value.contains([' ', ',']) => write!(f, ", {key} {value:?}")?,
                Some(value) => write!(f, ", {key} {value}")?,
                None => {}
            }
        }
        write!(f, ", interval {}", duration::text(self.interval))?;
        for (key, value, default) in [
            ("down_interval", self.down_interval, default.down_interval),
            ("connect_timeout", self.connect_timeout, default.connect_timeout),
            ("receive_timeout", self.receive_timeout, default.receive_timeout),
        ] {
            if value != default {
                write!(f, ", {key} {}", duration::text(value))?;
            }
        }
        write!(f, ", rise {}, fall {}", self.rise, self.fall)?;
        if self.passive != default.passive {
            write!(f, ", passive {}", self.passive)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_what_was_set() {
        let advisor = Advisor {
            port: Some(81),
            path: "/health".to_owned(),
            expect_body: Some("all is well".to_owned()),
            tls_verify: true,
            ..Advisor::new(AdvisorKind::Https)
        };
        let text = "https of the vip, port 81, path /health, expect_body \"all is well\", \
                    tls_verify true, interval 7s, rise 1, fall 1";
        assert_eq!(advisor.to_string(), text);
        let passive = Passive { retried: 9, ..Passive::default() };
        let doubted = format!("{text}, passive {{ window = \"5s\", retried = 9, unanswered = 0 }}");
        assert_eq!(Advisor { passive, ..advisor }.to_string(), doubted);
    }

    #[test]
    fn a_setting_that_a_kind_has_is_known() {
        // What is none by default is set here, so that each key must yield something.
        for kind in AdvisorKind::ALL {
            let advisor = Advisor {
                port: Some(1),
                host: Some("h".to_owned()),
                expect_body: Some("b".to_owned()),
                tls_ca_file: Some("/ca".into()),
                key_file: Some("/key".into()),
                ..Advisor::new(*kind)
            };
            for key in kind.keys() {
                assert!(advisor.setting(key).is_some(), "{kind}: {key}");
            }
        }
    }
}
