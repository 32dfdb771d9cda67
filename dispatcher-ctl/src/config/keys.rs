//! Which keys a configuration may have, and what is said of one it may not.

use crate::model::Exits;

/// The keys of one kind of table.
#[derive(Debug)]
pub(super) struct Keys {
    /// Where they stand, as a hint says it.
    pub(super) at: &'static str,
    /// Keys that are read.
    pub(super) known: &'static [&'static str],
    /// Keys that a later version reads.
    pub(super) later: &'static [&'static str],
}

/// Before the first table.
pub(super) const TOP: Keys = Keys {
    at: "at the top of the file, before the first [table]",
    known: &[
        "interfaces",
        "xdp_mode",
        "api_socket",
        "metrics_listen",
        "pin_dir",
        "manage_vips",
        "manage_arp",
        "connections",
        "manager",
        "exits",
        "service",
    ],
    later: &["api_listen"],
};

/// `[connections]`.
pub(super) const CONNECTIONS: Keys =
    Keys { at: "in [connections]", known: &["capacity", "syn_guard", "orphan"], later: &[] };

/// `[manager]`.
pub(super) const MANAGER: Keys = Keys {
    at: "in [manager]",
    known: &[
        "enabled",
        "interval",
        "refresh",
        "sensitivity",
        "smoothing",
        "report_timeout",
        "proportions",
    ],
    later: &[],
};

/// `proportions` of `[manager]` or of a service.
pub(super) const PROPORTIONS: Keys =
    Keys { at: "in proportions", known: &["active", "new", "advisor", "system"], later: &[] };

/// `[exits]`.
pub(super) const EXITS: Keys = Keys {
    at: "in [exits]",
    known: &{
        let [a, b, c, d, e, f] = Exits::EVENTS;
        [a, b, c, d, e, f, "timeout", "queue"]
    },
    later: &[],
};

/// `[[service]]`.
pub(super) const SERVICE: Keys = Keys {
    at: "in [[service]]",
    known: &[
        "name",
        "vip",
        "port",
        "protocol",
        "scheduler",
        "forward",
        "stale_timeout",
        "syn_timeout",
        "fin_timeout",
        "fin_count",
        "on_down",
        "measure",
        "weight_bound",
        "proportions",
        "slow_start",
        "affinity",
        "advisor",
        "agent",
        "backend",
        "rule",
    ],
    later: &[],
};

/// `[[service.backend]]`.
pub(super) const BACKEND: Keys = Keys {
    at: "in [[service.backend]]",
    known: &[
        "name",
        "address",
        "mac",
        "weight",
        "fixed_weight",
        "sorry",
        "local",
        "sticky",
        "max_connections",
    ],
    later: &[],
};

/// `[[service.rule]]`.
pub(super) const RULE: Keys = Keys {
    at: "in [[service.rule]]",
    known: &[
        "name",
        "priority",
        "backends",
        "clients",
        "client_ports",
        "time",
        "days",
        "tos",
        "min_new_connections",
        "max_new_connections",
        "min_active_connections",
        "max_active_connections",
        "min_bandwidth",
        "max_bandwidth",
        "shared_bandwidth",
        "share",
        "always",
        "evaluate",
    ],
    later: &[],
};

/// `[service.advisor]`.
pub(super) const ADVISOR: Keys = Keys {
    at: "in [service.advisor]",
    known: &[
        "kind",
        "target",
        "port",
        "method",
        "path",
        "host",
        "expect_status",
        "expect_body",
        "tls",
        "tls_verify",
        "tls_ca_file",
        "query",
        "query_type",
        "expect_rcode",
        "request",
        "response",
        "command",
        "key_file",
        "interval",
        "down_interval",
        "connect_timeout",
        "receive_timeout",
        "rise",
        "fall",
        "passive",
    ],
    later: &[],
};

/// `[service.agent]`.
pub(super) const AGENT: Keys = Keys {
    at: "in [service.agent]",
    known: &[
        "port",
        "key_file",
        "interval",
        "down_interval",
        "connect_timeout",
        "receive_timeout",
        "rise",
        "fall",
    ],
    later: &[],
};

/// `passive` of an advisor.
pub(super) const PASSIVE: Keys = Keys {
    at: "in passive of [service.advisor]",
    known: &["window", "retried", "unanswered"],
    later: &[],
};

/// `affinity` of a service.
pub(super) const AFFINITY: Keys = Keys {
    at: "in affinity of [[service]]",
    known: &["timeout", "mask_v4", "mask_v6", "cross_port"],
    later: &[],
};

const ALL: [&Keys; 12] = [
    &TOP,
    &CONNECTIONS,
    &MANAGER,
    &PROPORTIONS,
    &EXITS,
    &SERVICE,
    &AFFINITY,
    &ADVISOR,
    &AGENT,
    &PASSIVE,
    &BACKEND,
    &RULE,
];
/// Similarity (Jaro-Winkler, 0 to 1) from which a key is taken for a mistyped one.
const SIMILAR: f64 = 0.8;
/// The same for one that another table has: `backends` of a service is `backend`, although a rule has `backends`.
const ALIKE: f64 = 0.95;

impl Keys {
    /// How to mend a key that is not known here: a misspelling, or a key that stands elsewhere.
    pub(super) fn hint(&self, unknown: &str) -> Option<String> {
        let has = |keys: &Keys| keys.known.contains(&unknown) || keys.later.contains(&unknown);
        let elsewhere = ALL.iter().find(|keys| has(keys));
        let similar = if elsewhere.is_some() { ALIKE } else { SIMILAR };
        self.known
            .iter()
            .map(|key| (strsim::jaro_winkler(unknown, key), key))
            .filter(|(similarity, _)| *similarity >= similar)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, key)| format!("did you mean {key}?"))
            .or_else(|| elsewhere.map(|keys| format!("{unknown} belongs {}", keys.at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_key_is_recognised() {
        for (typed, meant) in [
            ("sheduler", "scheduler"),
            ("shceduler", "scheduler"),
            ("stale-timeout", "stale_timeout"),
            ("protocl", "protocol"),
            ("backends", "backend"),
            ("weightbound", "weight_bound"),
        ] {
            assert_eq!(SERVICE.hint(typed), Some(format!("did you mean {meant}?")), "{typed}");
        }
        assert_eq!(SERVICE.hint("colour"), None);
    }

    #[test]
    fn a_key_in_the_wrong_table_is_sent_to_the_right_one() {
        assert_eq!(SERVICE.hint("capacity").unwrap(), "capacity belongs in [connections]");
        assert_eq!(
            CONNECTIONS.hint("pin_dir").unwrap(),
            "pin_dir belongs at the top of the file, before the first [table]"
        );
    }
}
