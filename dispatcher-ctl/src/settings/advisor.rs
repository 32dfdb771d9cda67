//! The settings of an advisor, in `[service.advisor]` and `[service.agent]`. The kind decides which others there are.

use std::{fmt, path::PathBuf, sync::LazyLock, time::Duration};

use toml_edit::Value as Toml;

use super::{
    Passive,
    bounds::Bounds,
    keys::Keys,
    row::{Row, Table as _, inline, read_table},
    section::Section,
    settings,
    spec::Spec,
    value::{OrNone, Value},
};
use crate::values::{
    AdvisorKind::{
        self, Agent, Connect, Dns, Exec, Ftp, Http, Https, Imap, Ldap, Nntp, Pop3, Sip, Smtp, Tls,
        Udp,
    },
    Choice as _, Hex, Method, QueryType, Rcode, Statuses, Target, duration,
};

/// Port of the metric agent, unless the configuration names another.
pub const AGENT_PORT: u16 = 10_004;
/// What `[service.agent]` does not have.
const NOT_OF_AGENT: [&str; 3] = ["kind", "target", "passive"];
/// Kinds that have a port.
const WITH_PORT: &[AdvisorKind] =
    &[Connect, Http, Https, Tls, Dns, Smtp, Imap, Pop3, Ftp, Ldap, Nntp, Sip, Udp, Exec, Agent];
/// Kinds that ask a host by its name.
const WITH_HOST: &[AdvisorKind] = &[Http, Https, Tls, Smtp, Imap, Pop3, Ldap, Nntp, Sip];
/// Kinds that may begin with TLS.
const MAY_HAVE_TLS: &[AdvisorKind] = &[Smtp, Imap, Pop3, Ldap, Nntp];
/// Kinds that may verify a certificate.
const WITH_TLS: &[AdvisorKind] = &[Https, Tls, Smtp, Imap, Pop3, Ldap, Nntp];
const HTTP: &[AdvisorKind] = &[Http, Https];
/// From the shortest interval: each probe takes a socket, and there may be thousands of backends.
const INTERVALS: Bounds = Bounds::Times(Duration::from_millis(100), Duration::from_secs(3600));
const TIMEOUTS: Bounds = Bounds::MoreThanZero(Duration::from_secs(60));

settings! {
    /// How a service's backends are probed. The kind decides which settings there are.
    #[derive(Eq, Hash)]
    Advisor at "in [service.advisor]", also [], later [];
    given {
        /// What is exchanged; see above.
        kind: AdvisorKind => Spec::NEW;
    }
    required {}
    file {
        /// The address that is probed.
        ///
        /// `"vip"`: the VIP, by way of this backend's MAC, so that a backend that lacks the VIP is found before clients find
        /// it; not for services on any address. `"address"`: the backend's own address.
        target: Target = if kind.asks_host() { Target::Address } else { Target::Vip } => Spec::NEW
            .default_is("`\"vip\"`; `\"address\"` for `exec`, `agent`")
            .more("See [probes of the VIP](operations.md#probes-of-the-vip)");
        /// Port that is probed; `exec` gets it in its environment.
        ///
        /// Required where the service has none of that protocol.
        port: Option<u16> = None => Spec::NEW.numbers(1, 65_535).kinds(WITH_PORT)
            .default_is("the service's; `10004` for `agent`");
        /// Method of the request.
        #[serde(default)]
        method: Method = Method::Get => Spec::NEW.kinds(HTTP);
        /// Path of the request.
        path: String = "/".to_owned() => Spec::NEW.expected("a path from /").kinds(HTTP);
        /// Host that is asked for; with TLS also by its name there (SNI).
        host: Option<String> = None => Spec::NEW.expected("a host's name").kinds(WITH_HOST)
            .default_is("the VIP");
        /// Statuses that are good, such as `"200,204"`.
        expect_status: Statuses = Statuses(vec![if kind == Sip { (200, 299) } else { (200, 399) }])
            => Spec::NEW.expected(Statuses::EXPECTED).kinds(&[Http, Https, Sip])
            .default_is("`\"200-399\"`; `\"200-299\"` for `sip`");
        /// Text that the answer's body must contain.
        ///
        /// It is looked for as the body arrives, until it is found, the body ends or `receive_timeout` has passed.
        expect_body: Option<String> = None => Spec::NEW.expected("a text").kinds(HTTP).default_is("any");
        /// Whether TLS is spoken from the first byte on.
        #[serde(default)]
        tls: bool = matches!(kind, Https | Tls) => Spec::NEW.kinds(MAY_HAVE_TLS).default_is("`false`");
        /// Whether the certificate must be valid now, for `host`, and signed by a trusted authority.
        #[serde(default)]
        tls_verify: bool = false => Spec::NEW.kinds(WITH_TLS);
        /// File (PEM) with the certificates of trusted authorities; read again every minute.
        #[serde(default)]
        tls_ca_file: Option<PathBuf> = None => Spec::NEW.kinds(WITH_TLS).default_is("the system's");
        /// Domain name that is asked for; `"."` for the root.
        #[serde(default)]
        query: String = String::new() => Spec::NEW.expected("a domain name")
            .required("a domain name").kinds(&[Dns]);
        /// Type of the records that are asked for.
        #[serde(default)]
        query_type: QueryType = QueryType::A => Spec::NEW.kinds(&[Dns]);
        /// Code of the answer that is good.
        #[serde(default)]
        expect_rcode: Rcode = Rcode::Noerror => Spec::NEW.kinds(&[Dns]);
        /// Bytes that are sent, in hexadecimal digits such as `"0001ff"`.
        #[serde(default)]
        request: Hex = Hex::default() => Spec::NEW.expected(Hex::EXPECTED).kinds(&[Udp])
            .default_is("none");
        /// Bytes with which the answer must begin.
        #[serde(default)]
        response: Hex = Hex::default() => Spec::NEW.expected(Hex::EXPECTED).kinds(&[Udp])
            .default_is("none: any answer is good");
        /// Program, by its whole path, and its arguments.
        #[serde(default)]
        command: Vec<String> = Vec::new() => Spec::NEW.expected("texts: a program and its arguments")
            .required("an array of texts: a program and its arguments").kinds(&[Exec]);
        /// File with the key that is shared with the metric agent.
        #[serde(default)]
        key_file: Option<PathBuf> = None => Spec::NEW.required("a path").kinds(&[Agent]);
        /// Time from one probe to the next, plus or minus a tenth.
        #[serde(with = "duration")]
        interval: Duration = Duration::from_secs(7) => Spec::NEW.always().within(INTERVALS);
        /// Longest time from one probe to the next of a backend that has been down for long.
        ///
        /// The time between probes grows to a tenth of the time that the backend has been down, up to this, if this is
        /// longer than `interval`.
        #[serde(default = "down_interval", with = "duration")]
        down_interval: Duration = down_interval() => Spec::NEW.within(INTERVALS);
        /// How long the connection may take.
        #[serde(with = "duration")]
        connect_timeout: Duration = Duration::from_secs(2) => Spec::NEW.within(TIMEOUTS);
        /// How long the request and its answer may take.
        #[serde(with = "duration")]
        receive_timeout: Duration = Duration::from_secs(2) => Spec::NEW.within(TIMEOUTS);
        /// Good probes in a row after which a backend that is down is up.
        rise: u32 = 1 => Spec::NEW.numbers(1, 100).always();
        /// Bad probes in a row after which a backend that is up is down.
        fall: u32 = 1 => Spec::NEW.numbers(1, 100).always();
        /// Failed handshakes of clients that count as a bad probe, if they are four times those that clients completed; TCP
        /// only.
        #[serde(default)]
        passive: Passive = Passive::new() => Spec::NEW.default_is("off")
            .more("See [passive signals](operations.md#passive-signals)");
    }
}

/// `down_interval`, also in a state that was saved before the setting existed.
const fn down_interval() -> Duration {
    Duration::from_secs(10)
}

/// The keys of `[service.agent]`.
pub(super) static AGENT_KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    at: "in [service.agent]",
    known: rows_of(Agent, true).map(|row| row.key).collect::<Vec<_>>().leak(),
    later: &[],
});

/// The settings of a kind, without the kind itself.
fn rows_of(kind: AdvisorKind, is_agent: bool) -> impl Iterator<Item = &'static Row<Advisor>> {
    let has =
        move |row: &&Row<Advisor>| kind.has(row) && !(is_agent && NOT_OF_AGENT.contains(&row.key));
    Advisor::ROWS[Advisor::PRESET..].iter().filter(has)
}

impl AdvisorKind {
    /// Whether it has a setting.
    fn has(self, row: &Row<Advisor>) -> bool {
        row.spec.kinds.is_empty() || row.spec.kinds.contains(&self)
    }

    /// Whether it asks a host by its name.
    #[must_use]
    pub fn asks_by_name(self) -> bool {
        WITH_HOST.contains(&self)
    }
}

impl Advisor {
    /// The port of a service that is probed on a backend.
    #[must_use]
    pub fn port_of(&self, service: u16) -> u16 {
        let own = if self.kind == Agent { AGENT_PORT } else { service };
        self.port.unwrap_or(own)
    }

    fn read_agent(s: &mut Section<'_, '_>) -> Self {
        let mut agent = Self::new(Agent);
        rows_of(Agent, true).for_each(|row| row.read_to(s, &mut agent));
        agent
    }

    fn read_any(s: &mut Section<'_, '_>) -> Self {
        s.require("kind", &AdvisorKind::words());
        let kind = s.choice("kind", &[]);
        let mut advisor = Self::new(kind.unwrap_or(Connect));
        // The settings of an unknown kind are not known.
        let has = |row: &&Row<Self>| kind.map_or(row.spec.kinds.is_empty(), |kind| kind.has(row));
        let rows = Self::ROWS[Self::PRESET..].iter().filter(has);
        rows.for_each(|row| row.read_to(s, &mut advisor));
        if let Some(kind) = kind {
            report_foreign(s, kind);
        }
        advisor
    }
}

/// Reports settings that this kind does not have, but another.
fn report_foreign(s: &mut Section<'_, '_>, kind: AdvisorKind) {
    let mut foreign: Vec<_> = Advisor::ROWS.iter().filter(|row| !kind.has(row)).collect();
    foreign.sort_unstable_by_key(|row| row.key);
    for Row { key, spec, .. } in foreign {
        if s.item(key).is_some() {
            let of = AdvisorKind::ALL.iter().filter(|kind| spec.kinds.contains(kind));
            let whose: Vec<_> = of.map(|kind| kind.word()).collect();
            let (kind, whose) = (kind.word(), or(&whose));
            let message = format!("{key} means nothing for kind {kind:?}, expected kind {whose}");
            s.wrong(key, message, None);
        }
    }
}

/// `a`, `a or b`, `a, b or c`.
fn or(words: &[&str]) -> String {
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

impl fmt::Display for Advisor {
    /// What differs from the default, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::new(self.kind);
        write!(f, "{} of the {}", self.kind, self.target)?;
        for row in rows_of(self.kind, false).filter(|row| row.key != "target") {
            let text = (row.text)(self);
            if !row.spec.is_always_written && (row.is_same)(self, &default) {
                continue;
            }
            if !row.spec.kinds.is_empty() && text.contains([' ', ',']) {
                write!(f, ", {} {text:?}", row.key)?;
            } else {
                write!(f, ", {} {text}", row.key)?;
            }
        }
        Ok(())
    }
}

impl OrNone for Advisor {}

impl Value for Advisor {
    fn kind() -> String {
        "table".to_owned()
    }

    fn read(s: &mut Section<'_, '_>, key: &'static str, spec: &Spec) -> Option<Self> {
        if spec.is_agent {
            read_table(s, key, &AGENT_KEYS, Self::read_agent)
        } else {
            read_table(s, key, Self::KEYS, Self::read_any)
        }
    }

    /// Every setting that the kind has.
    fn written(&self, spec: &Spec) -> Option<Toml> {
        let kind = Self::ROWS[..Self::PRESET].iter().filter(|_| !spec.is_agent);
        Some(inline(self, kind.chain(rows_of(self.kind, spec.is_agent))).into())
    }

    fn text(&self) -> String {
        self.to_string()
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
            ..Advisor::new(Https)
        };
        let text = "https of the vip, port 81, path /health, expect_body \"all is well\", \
                    tls_verify true, interval 7s, rise 1, fall 1";
        assert_eq!(advisor.to_string(), text);
        let passive = Passive { retried: 9, ..Passive::default() };
        let doubted = format!("{text}, passive {{ window = \"5s\", retried = 9, unanswered = 0 }}");
        assert_eq!(Advisor { passive, ..advisor }.to_string(), doubted);
    }
}
