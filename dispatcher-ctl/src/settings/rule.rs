//! The settings of a rule.

use std::collections::HashSet;

use super::{
    row::{read_required, read_rest},
    section::Section,
    settings,
    spec::Spec,
};
use crate::values::{ClientRange, Day, Evaluate, PortRange, Share, TimeRange, Tos};

/// What a message expects of `clients`.
const CLIENTS: &str = "an address, a network such as \"198.51.100.0/24\" without bits beyond its length, or a range such as \"198.51.100.10-198.51.100.20\"";
/// Rates, counts and bandwidths.
const AMOUNT: Spec = Spec::NEW.numbers(0, i64::MAX);

settings! {
    /// The settings of a rule, by the keys of a configuration. Those that are not set are left out of answers.
    #[derive(Default, Eq, utoipa::ToSchema)]
    RuleConfig at "in [[service.rule]]", also [], later [];
    given {
        /// Its name, unique in its service.
        name: String => Spec::NEW.expected("a name");
    }
    required {
        /// Its place: rules with a lower priority are looked at first; unique in its service.
        priority: u32 => Spec::NEW.numbers(0, u32::MAX as i64)
            .required("a whole number, lower ones first");
        /// Names of the service's backends that it chooses from, at least one.
        backends: Vec<String> => Spec::NEW.expected("names of the service's backends")
            .required("an array of the service's backends");
    }
    file {
        /// Holds for clients in one of these; none: for all.
        ///
        /// Addresses, networks (`"198.51.100.0/24"`) and ranges (`"198.51.100.10-198.51.100.20"`) of the VIP's family.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        clients: Vec<ClientRange> = Vec::new() => Spec::NEW.expected(CLIENTS).left_out();
        /// Holds for client ports from the first to the last: `"1024-2047"`, `"53"`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_ports: Option<PortRange> = None
            => Spec::NEW.expected("ports such as \"53\" or \"1024-2047\"");
        /// Holds at this time of day, the end excepted: `"08:00-18:00"`, `"22:00-06:00"` over midnight.
        ///
        /// On the clock of the dispatcher's host, in the zone of the daemon's `TZ`, else of `/etc/localtime`, else UTC. Seconds
        /// may be given: `"08:00:30-24:00"`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        time: Option<TimeRange> = None
            => Spec::NEW.expected("a time of day such as \"08:00-18:00\"");
        /// Holds on these days of the week; none: on all. With a `time` over midnight, the day on which it begins.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        days: Vec<Day> = Vec::new() => Spec::NEW.left_out();
        /// Holds for packets whose TOS or traffic class is this value under this mask.
        ///
        /// `"0xb8/0xfc"` is DSCP 46; without a mask all eight bits count. The packet that opens the connection decides.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tos: Option<Tos> = None => Spec::NEW.expected("value and mask such as \"0xb8/0xfc\"");
        /// Holds from this many new connections per second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min_new_connections: Option<u64> = None => AMOUNT;
        /// Holds up to this many new connections per second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_new_connections: Option<u64> = None => AMOUNT;
        /// Holds from this many active connections.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min_active_connections: Option<u64> = None => AMOUNT;
        /// Holds up to this many active connections.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_active_connections: Option<u64> = None => AMOUNT;
        /// Holds from this many delivered bytes per second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min_bandwidth: Option<u64> = None => AMOUNT;
        /// Holds up to this many delivered bytes per second (reserved bandwidth).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_bandwidth: Option<u64> = None => AMOUNT;
        /// Holds while the services that share this bandwidth together deliver fewer bytes per second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shared_bandwidth: Option<u64> = None => AMOUNT;
        /// Which services share `shared_bandwidth`: all that are measured, or those of the same VIP.
        #[serde(default, skip_serializing_if = "is_default")]
        share: Share = Share::All => Spec::NEW.left_out();
        /// Holds for everything; then no other condition may be given.
        #[serde(default, skip_serializing_if = "is_default")]
        always: bool = false => Spec::NEW.left_out();
        /// Over whose backends rates and counts are taken: all of the service, or those of the rule.
        #[serde(default, skip_serializing_if = "is_default")]
        evaluate: Evaluate = Evaluate::Service => Spec::NEW.left_out();
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl RuleConfig {
    /// Reads the settings of the rule of this name.
    pub(crate) fn read(s: &mut Section<'_, '_>, name: String) -> Self {
        let priority = read_required::<Self, _>(s, "priority");
        let backends = read_required::<Self, _>(s, "backends");
        let mut rule = Self::new(name, priority, backends);
        read_rest(s, &mut rule, &[]);
        rule
    }

    /// Its settings by key, as a configuration writes them, without empty ones.
    #[must_use]
    pub fn settings(&self) -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(settings)) => settings,
            // A struct of texts and numbers is an object.
            Ok(_) | Err(_) => serde_json::Map::new(),
        }
    }

    /// The names of its backends, as a set: there may be a thousand, and a thousand lookups.
    #[must_use]
    pub fn names(&self) -> HashSet<&str> {
        self.backends.iter().map(String::as_str).collect()
    }

    /// Whether it depends on rates, which are measured every second.
    #[must_use]
    pub const fn has_rates(&self) -> bool {
        self.min_new_connections.is_some()
            || self.max_new_connections.is_some()
            || self.has_bandwidth()
    }

    /// Whether it depends on delivered bytes.
    #[must_use]
    pub const fn has_bandwidth(&self) -> bool {
        self.min_bandwidth.is_some()
            || self.max_bandwidth.is_some()
            || self.shared_bandwidth.is_some()
    }

    /// Whether `evaluate` makes a difference.
    #[must_use]
    pub const fn is_evaluated(&self) -> bool {
        self.min_new_connections.is_some()
            || self.max_new_connections.is_some()
            || self.min_active_connections.is_some()
            || self.max_active_connections.is_some()
            || self.min_bandwidth.is_some()
            || self.max_bandwidth.is_some()
    }

    /// Whether it depends on rates or counts.
    #[must_use]
    pub const fn is_measured(&self) -> bool {
        self.is_evaluated() || self.shared_bandwidth.is_some()
    }

    /// Whether it has conditions that cannot be read from a packet.
    #[must_use]
    pub const fn is_switched(&self) -> bool {
        self.time.is_some() || !self.days.is_empty() || self.is_measured()
    }

    /// Whether it has any condition other than `always`.
    #[must_use]
    pub const fn has_condition(&self) -> bool {
        self.is_switched()
            || !self.clients.is_empty()
            || self.client_ports.is_some()
            || self.tos.is_some()
    }

    /// Number of records that its conditions take in the datapath.
    #[must_use]
    pub fn conditions(&self) -> usize {
        self.clients.len().max(1)
    }
}
