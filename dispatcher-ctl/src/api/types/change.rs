//! Requests that change something: what may be said, and how it changes a configuration. Values are checked by whoever
//! applies them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Seconds;
use crate::model::{
    Affinity, BackendConfig, ForwardMode, Mac, Manager, OnDown, Proportions, Protocol, Scheduler,
    ServiceSettings, XdpMode,
};

/// Query of every change: `?save=true` writes it to the configuration file, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Save {
    /// Whether the file shall say it.
    #[serde(default)]
    pub save: bool,
}

/// `POST /v1/interfaces/{name}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachInterface {
    /// Where the program shall run; as configured where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<XdpMode>,
}

/// `PATCH /v1/services/{service}`: settings that can change while a service runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PatchService {
    /// Scheduler for new connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// Forwarding mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<ForwardMode>,
    /// Idle time after which a connection is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_timeout: Option<Seconds>,
    /// Idle time after which a half-open connection is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syn_timeout: Option<Seconds>,
    /// Idle time after which a closing connection is removed, once there are more than `fin_count`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fin_timeout: Option<Seconds>,
    /// Closing connections that are kept until `stale_timeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fin_count: Option<u64>,
    /// What becomes of established connections of a backend that goes down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_down: Option<OnDown>,
    /// Whether response times and delivered bytes are measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measure: Option<bool>,
    /// Largest weight a backend may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_bound: Option<u32>,
    /// How much each input of the manager counts; `null` in a request: as for all services.
    #[serde(skip_serializing_if = "Option::is_none", with = "or_null")]
    pub proportions: Option<Option<Proportions>>,
    /// How long a backend that comes back takes to get its whole weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Seconds>,
    /// How clients stay with their backends; of its parts, too, what is not said stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<PatchAffinity>,
}

/// How a service's clients stay with their backends, as far as it is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PatchAffinity {
    /// Time since a client's last new connection after which it is placed anew; 0: clients do not stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
    /// Leading bits that tell IPv4 clients apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask_v4: Option<u8>,
    /// Leading bits that tell IPv6 clients apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask_v6: Option<u8>,
    /// Ports of other services of the VIP, whose clients find the same backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cross_port: Option<Vec<u16>>,
}

/// `PUT /v1/services/{service}` (create or replace) and `POST` (create). What is not said takes its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutService {
    /// Address clients use.
    pub vip: IpAddr,
    /// Port; 0: every port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Scheduler for new connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// Forwarding mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<ForwardMode>,
    /// Idle time after which a connection is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_timeout: Option<Seconds>,
    /// Idle time after which a half-open connection is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syn_timeout: Option<Seconds>,
    /// Idle time after which a closing connection is removed, once there are more than `fin_count`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fin_timeout: Option<Seconds>,
    /// Closing connections that are kept until `stale_timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fin_count: Option<u64>,
    /// What becomes of established connections of a backend that goes down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_down: Option<OnDown>,
    /// Whether response times and delivered bytes are measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<bool>,
    /// Largest weight a backend may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_bound: Option<u32>,
    /// How much each input of the manager counts; as for all services where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proportions: Option<Proportions>,
    /// How long a backend that comes back takes to get its whole weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Seconds>,
    /// How clients stay with their backends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<PatchAffinity>,
}

/// `PATCH /v1/services/{service}/backends/{backend}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PatchBackend {
    /// Its weight, by hand: the manager leaves it alone from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Whether the manager leaves its weight alone; false with a weight: it goes on from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_weight: Option<bool>,
    /// Whether it takes connections only where no other backend does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sorry: Option<bool>,
    /// No new connections; existing ones go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiesced: Option<bool>,
    /// With `quiesced`: clients with an affinity record go elsewhere at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<bool>,
    /// With `quiesced`: after so long it is taken down, if it has connections left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Seconds>,
    /// Up or down by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up: Option<bool>,
    /// Its own address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Its MAC; `null` or `"auto"` in a request: to be looked up.
    #[serde(skip_serializing_if = "Option::is_none", with = "patch_mac", default)]
    pub mac: Option<Option<Mac>>,
    /// Whether it is on the dispatcher's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<bool>,
    /// Active connections it takes at most; 0: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Whether clients stay with it, where the service keeps them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<bool>,
}

/// `PUT /v1/services/{service}/backends/{backend}` (create or replace) and `POST` (create).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutBackend {
    /// Its own address.
    pub address: IpAddr,
    /// Share of new connections; 0: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Its MAC, if it is not to be looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Whether it is on the dispatcher's host.
    #[serde(default)]
    pub local: bool,
    /// Active connections it takes at most; 0: any number.
    #[serde(default)]
    pub max_connections: u32,
    /// Whether clients stay with it, where the service keeps them.
    #[serde(default = "yes")]
    pub sticky: bool,
    /// Whether the manager leaves its weight alone.
    #[serde(default)]
    pub fixed_weight: bool,
    /// Whether it takes connections only where no other backend does.
    #[serde(default)]
    pub sorry: bool,
}

/// `PATCH /v1/manager`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PatchManager {
    /// Whether it rewrites weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Time from one look at the weights to the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Seconds>,
    /// Every how many intervals connections are counted anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh: Option<u32>,
    /// Percent of a service's total weight that must change for its weights to be published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensitivity: Option<f64>,
    /// How slowly weights follow their targets; 1: at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<f64>,
    /// Age from which what advisors and agents said no longer counts; `null` in a request: it always does.
    #[serde(skip_serializing_if = "Option::is_none", with = "or_null")]
    pub report_timeout: Option<Option<Seconds>>,
    /// How much each input counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proportions: Option<Proportions>,
}

const fn yes() -> bool {
    true
}

/// Query of `GET /v1/connections`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionQuery {
    /// Only this service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Only this client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// Only this backend's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// At most so many; [`ConnectionQuery::DEFAULT_LIMIT`] where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Where the daemon goes on with a long answer.
    #[serde(skip)]
    pub from: usize,
}

impl ConnectionQuery {
    /// Connections listed where no limit is said.
    pub const DEFAULT_LIMIT: usize = 1000;

    /// The limit in force.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(Self::DEFAULT_LIMIT)
    }
}

/// Takes in what is said.
fn set<T: Clone>(to: &mut T, from: Option<&T>) {
    if let Some(value) = from {
        to.clone_from(value);
    }
}

impl PatchAffinity {
    fn apply(&self, affinity: &mut Affinity) {
        set(&mut affinity.timeout, self.timeout.map(|s| s.0).as_ref());
        set(&mut affinity.mask_v4, self.mask_v4.as_ref());
        set(&mut affinity.mask_v6, self.mask_v6.as_ref());
        set(&mut affinity.cross_port, self.cross_port.as_ref());
    }
}

impl PatchService {
    /// Changes a service's settings; what is not said stays.
    pub fn apply(&self, config: &mut ServiceSettings) {
        set(&mut config.scheduler, self.scheduler.as_ref());
        set(&mut config.forward, self.forward.as_ref());
        set(&mut config.stale_timeout, self.stale_timeout.map(|s| s.0).as_ref());
        set(&mut config.syn_timeout, self.syn_timeout.map(|s| s.0).as_ref());
        set(&mut config.fin_timeout, self.fin_timeout.map(|s| s.0).as_ref());
        set(&mut config.fin_count, self.fin_count.as_ref());
        set(&mut config.on_down, self.on_down.as_ref());
        set(&mut config.measure, self.measure.as_ref());
        set(&mut config.weight_bound, self.weight_bound.as_ref());
        set(&mut config.proportions, self.proportions.as_ref());
        set(&mut config.slow_start, self.slow_start.map(|s| s.0).as_ref());
        if let Some(affinity) = &self.affinity {
            affinity.apply(&mut config.affinity);
        }
    }
}

impl PutService {
    /// What it says beyond VIP, port and protocol.
    #[must_use]
    pub fn settings(&self) -> PatchService {
        PatchService {
            scheduler: self.scheduler,
            forward: self.forward,
            stale_timeout: self.stale_timeout,
            syn_timeout: self.syn_timeout,
            fin_timeout: self.fin_timeout,
            fin_count: self.fin_count,
            on_down: self.on_down,
            measure: self.measure,
            weight_bound: self.weight_bound,
            proportions: self.proportions.map(Some),
            slow_start: self.slow_start,
            affinity: self.affinity.clone(),
        }
    }
}

impl PatchBackend {
    /// Changes a backend's settings (`quiesced` and `up` are no settings); what is not said stays.
    pub fn apply(&self, config: &mut BackendConfig) {
        config.weight = self.weight.unwrap_or(config.weight);
        config.address = self.address.unwrap_or(config.address);
        config.mac = self.mac.unwrap_or(config.mac);
        config.local = self.local.unwrap_or(config.local);
        config.max_connections = self.max_connections.unwrap_or(config.max_connections);
        config.sticky = self.sticky.unwrap_or(config.sticky);
        config.fixed_weight = self.fixed_weight.unwrap_or(config.fixed_weight);
        config.sorry = self.sorry.unwrap_or(config.sorry);
    }
}

impl PatchManager {
    /// Changes the manager's settings; what is not said stays.
    pub fn apply(&self, manager: &mut Manager) {
        set(&mut manager.enabled, self.enabled.as_ref());
        set(&mut manager.interval, self.interval.map(|s| s.0).as_ref());
        set(&mut manager.refresh, self.refresh.as_ref());
        set(&mut manager.sensitivity, self.sensitivity.as_ref());
        set(&mut manager.smoothing, self.smoothing.as_ref());
        set(&mut manager.report_timeout, self.report_timeout.map(|s| s.map(|s| s.0)).as_ref());
        set(&mut manager.proportions, self.proportions.as_ref());
    }
}

/// What may be left alone (absent), taken away (`null`) or set.
mod or_null {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        value: &Option<Option<T>>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().and_then(Option::as_ref).serialize(s)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Option<T>>, D::Error> {
        Option::deserialize(d).map(Some)
    }
}

/// A MAC that may be left alone (absent), looked up (`null`, `"auto"`) or set.
mod patch_mac {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    use crate::model::Mac;

    pub(super) fn serialize<S: Serializer>(
        value: &Option<Option<Mac>>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        value.flatten().serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Option<Mac>>, D::Error> {
        match Option::<String>::deserialize(d)?.as_deref() {
            None | Some("auto") => Ok(Some(None)),
            Some(text) => text.parse().map(|mac| Some(Some(mac))).map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_tells_absent_from_null() {
        let read = |text| serde_json::from_str::<PatchBackend>(text);
        assert_eq!(read("{}").unwrap(), PatchBackend::default());
        assert_eq!(read(r#"{"mac": null}"#).unwrap().mac, Some(None));
        assert_eq!(read(r#"{"mac": "auto"}"#).unwrap().mac, Some(None));
        let mac = "02:00:00:00:00:01".parse().unwrap();
        assert_eq!(read(r#"{"mac": "02:00:00:00:00:01"}"#).unwrap().mac, Some(Some(mac)));
        assert!(read(r#"{"mac": "x"}"#).is_err() && read(r#"{"wieght": 1}"#).is_err());
        let patch = PatchBackend { mac: Some(None), weight: Some(3), ..Default::default() };
        assert_eq!(read(&serde_json::to_string(&patch).unwrap()).unwrap(), patch);
    }
}
