//! What happens, as `GET /v1/events`, user exits and the log tell it.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Timestamp;
use crate::model::{Mac, XdpMode};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Larger than that of any event before, also of an earlier daemon's.
    pub id: u64,
    /// When.
    pub time: Timestamp,
    /// What; its word is in `event`.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A backend's weight is another.
    WeightChanged {
        /// Of which service.
        service: String,
        /// Which backend.
        backend: String,
        /// As it was.
        from: u32,
        /// As it is.
        to: u32,
        /// By whom.
        by: ChangedBy,
        /// From what the manager made it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        numbers: Option<WeightNumbers>,
    },
    /// Packets may go to a backend again.
    ServerUp {
        /// Of which service.
        service: String,
        /// Which backend.
        backend: String,
        /// Its own address.
        address: IpAddr,
        /// What had stood in the way.
        reason: String,
    },
    /// No packets may go to a backend any more, but those `on_down` lets.
    ServerDown {
        /// Of which service.
        service: String,
        /// Which backend.
        backend: String,
        /// Its own address.
        address: IpAddr,
        /// What stands in the way: `down by hand`, `down: http status 503, …`, `no mac: …`.
        reason: String,
    },
    /// A backend gets no new connections, by hand.
    Quiesced {
        /// Of which service.
        service: String,
        /// Which backend.
        backend: String,
        /// Whether clients that stay with it go elsewhere, too.
        now: bool,
    },
    /// A backend that was quiesced gets new connections.
    Unquiesced {
        /// Of which service.
        service: String,
        /// Which backend.
        backend: String,
    },
    /// A quiesced backend has another number of connections left.
    QuiesceProgress {
        /// Of which service.
        service: String,
        /// Which backend.
        backend: String,
        /// Connections that are left, silent ones aside.
        connections: u64,
        /// Connections besides of which there is nothing but a handshake, or less. A daemon of an earlier release has none.
        #[serde(default)]
        silent: u64,
    },
    /// The time of a quiesced backend is up: what it has left is broken.
    QuiesceDeadline {
        /// Of which service.
        service: String,
        /// Which backend.
        backend: String,
        /// Connections that were left.
        connections: u64,
    },
    /// Of a service's backends none is up.
    ManagerAlert {
        /// Which service.
        service: String,
    },
    /// A backend of a service without any is up again.
    ManagerClear {
        /// Which service.
        service: String,
    },
    /// More connections are half-open than `syn_guard`.
    HalfOpenAlert {
        /// Half-open connections.
        half_open_connections: u64,
        /// The bound.
        syn_guard: u64,
    },
    /// Half-open connections are no longer more than `syn_guard`.
    HalfOpenClear {
        /// Half-open connections.
        half_open_connections: u64,
        /// The bound.
        syn_guard: u64,
        /// How long there were more.
        seconds: f64,
    },
    /// A backend's address answers at another MAC or NIC, no longer, or again.
    NeighbourChanged {
        /// The address.
        address: IpAddr,
        /// Its MAC; none: it does not answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mac: Option<Mac>,
        /// The NIC it is behind.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interface: Option<String>,
        /// The MAC it had.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        former_mac: Option<Mac>,
        /// Why it has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A VIP that somebody took away is back.
    VipRestored {
        /// On which NIC.
        interface: String,
        /// Which.
        vip: IpAddr,
        /// How often it was lost lately.
        losses: u64,
        /// Who took it away, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        taken_by: Option<String>,
    },
    /// A VIP is taken away again and again, cannot be put back, or is missing and not ours.
    VipAlert {
        /// On which NIC.
        interface: String,
        /// Which.
        vip: IpAddr,
        /// How often it was lost lately.
        losses: u64,
        /// What is the matter.
        reason: String,
    },
    /// A VIP of which there was an alert has been there for a while.
    VipClear {
        /// On which NIC.
        interface: String,
        /// Which.
        vip: IpAddr,
        /// How long there was an alert.
        seconds: f64,
    },
    /// The program runs on a NIC.
    Attached {
        /// Which.
        interface: String,
        /// Where it runs.
        mode: XdpMode,
    },
    /// The program no longer runs on a NIC.
    Detached {
        /// Which.
        interface: String,
    },
    /// The configuration file was read anew and is in force.
    Reloaded {
        /// Lines of its plan.
        changes: usize,
    },
    /// A service is new.
    ServiceAdded {
        /// Which.
        service: String,
    },
    /// A service is gone.
    ServiceRemoved {
        /// Which.
        service: String,
    },
    /// A backend is new.
    BackendAdded {
        /// Of which service.
        service: String,
        /// Which backend.
        backend: String,
    },
    /// A backend is gone.
    BackendRemoved {
        /// Of which service.
        service: String,
        /// Which backend.
        backend: String,
    },
    /// Not an event: so many were missed by a reader that was too slow.
    Missed {
        /// How many.
        events: u64,
    },
}

/// Who changed a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangedBy {
    /// Somebody, by command or API.
    Hand,
    /// The configuration file.
    File,
    /// The manager.
    Manager,
    /// The manager, as a backend that came back gets more and more.
    SlowStart,
}

/// What the manager made a weight of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WeightNumbers {
    /// Active connections, on average since counters were last reread; none: unknown.
    pub active: Option<f64>,
    /// New connections in that time; none: unknown.
    pub new: Option<f64>,
    /// The advisor's load in seconds; none: unknown.
    pub advisor: Option<f64>,
    /// The system load; none: unknown.
    pub system: Option<f64>,
    /// What each of these would have the weight be: active, new, advisor, system.
    pub components: [u32; 4],
    /// What they would have it be together.
    pub target: f64,
}

impl fmt::Display for WeightNumbers {
    /// Each load with what it comes to, and the target.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { active, new, advisor, system, components, target } = self;
        let milliseconds = advisor.map(|seconds| seconds * 1e3);
        let loads = [active, new, &milliseconds, system].into_iter().zip(components);
        for (name, (load, component)) in
            ["active", "new", "advisor ms", "system"].into_iter().zip(loads)
        {
            match load {
                Some(load) => write!(f, "{name} {load:.1} → {component}, ")?,
                None => write!(f, "{name} unknown → {component}, ")?,
            }
        }
        write!(f, "target {target:.1}")
    }
}

impl ChangedBy {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hand => "hand",
            Self::File => "file",
            Self::Manager => "manager",
            Self::SlowStart => "slow_start",
        }
    }
}

impl EventKind {
    /// Its word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::WeightChanged { .. } => "weight_changed",
            Self::ServerUp { .. } => "server_up",
            Self::ServerDown { .. } => "server_down",
            Self::Quiesced { .. } => "quiesced",
            Self::Unquiesced { .. } => "unquiesced",
            Self::QuiesceProgress { .. } => "quiesce_progress",
            Self::QuiesceDeadline { .. } => "quiesce_deadline",
            Self::ManagerAlert { .. } => "manager_alert",
            Self::ManagerClear { .. } => "manager_clear",
            Self::HalfOpenAlert { .. } => "half_open_alert",
            Self::HalfOpenClear { .. } => "half_open_clear",
            Self::NeighbourChanged { .. } => "neighbour_changed",
            Self::VipRestored { .. } => "vip_restored",
            Self::VipAlert { .. } => "vip_alert",
            Self::VipClear { .. } => "vip_clear",
            Self::Attached { .. } => "attached",
            Self::Detached { .. } => "detached",
            Self::Reloaded { .. } => "reloaded",
            Self::ServiceAdded { .. } => "service_added",
            Self::ServiceRemoved { .. } => "service_removed",
            Self::BackendAdded { .. } => "backend_added",
            Self::BackendRemoved { .. } => "backend_removed",
            Self::Missed { .. } => "missed",
        }
    }

    /// The service it happened to, if it is one's.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.place().0
    }

    /// The backend it happened to, if it is one's.
    #[must_use]
    pub fn backend(&self) -> Option<&str> {
        self.place().1
    }

    /// Service and backend.
    fn place(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::WeightChanged { service, backend, .. }
            | Self::ServerUp { service, backend, .. }
            | Self::ServerDown { service, backend, .. }
            | Self::Quiesced { service, backend, .. }
            | Self::Unquiesced { service, backend, .. }
            | Self::QuiesceProgress { service, backend, .. }
            | Self::QuiesceDeadline { service, backend, .. }
            | Self::BackendAdded { service, backend, .. }
            | Self::BackendRemoved { service, backend, .. } => (Some(service), Some(backend)),
            Self::ManagerAlert { service }
            | Self::ManagerClear { service }
            | Self::ServiceAdded { service }
            | Self::ServiceRemoved { service } => (Some(service), None),
            Self::HalfOpenAlert { .. }
            | Self::HalfOpenClear { .. }
            | Self::NeighbourChanged { .. }
            | Self::VipRestored { .. }
            | Self::VipAlert { .. }
            | Self::VipClear { .. }
            | Self::Attached { .. }
            | Self::Detached { .. }
            | Self::Reloaded { .. }
            | Self::Missed { .. } => (None, None),
        }
    }

    /// Whether somebody should look after it.
    #[must_use]
    pub const fn is_bad(&self) -> bool {
        matches!(
            self,
            Self::ServerDown { .. }
                | Self::ManagerAlert { .. }
                | Self::HalfOpenAlert { .. }
                | Self::VipRestored { .. }
                | Self::VipAlert { .. }
                | Self::Missed { .. }
        )
    }
}

/// One line: the object, what became of it.
impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place() {
            (Some(service), Some(backend)) => write!(f, "backend {service}/{backend}: ")?,
            (Some(service), None) => write!(f, "service {service}: ")?,
            (None, _) => {}
        }
        match self {
            Self::WeightChanged { from, to, by, numbers, .. } => {
                write!(f, "weight {from} → {to} by {}", by.as_str())?;
                numbers.map_or(Ok(()), |numbers| write!(f, ": {numbers}"))
            }
            Self::ServerUp { reason, .. } => write!(f, "up again, after {reason}"),
            Self::ServerDown { reason, .. } => f.write_str(reason),
            Self::Quiesced { now, .. } if *now => f.write_str("quiesced, clients moved"),
            Self::Quiesced { .. } => f.write_str("quiesced"),
            Self::Unquiesced { .. } => f.write_str("no longer quiesced"),
            Self::QuiesceDeadline { connections: 0, .. } => {
                f.write_str("quiesce deadline passed, no connections left")
            }
            Self::QuiesceDeadline { connections, .. } => {
                write!(f, "quiesce deadline passed, breaking {}", some(*connections))
            }
            Self::QuiesceProgress { connections, silent: 0, .. } => {
                write!(f, "quiesced, {} left", some(*connections))
            }
            Self::QuiesceProgress { connections, silent, .. } => {
                write!(f, "quiesced, {} left, and {silent} silent", some(*connections))
            }
            Self::ManagerAlert { .. } => f.write_str("no backend is up"),
            Self::ManagerClear { .. } => f.write_str("a backend is up again"),
            Self::HalfOpenAlert { half_open_connections: n, syn_guard } => write!(
                f,
                "{n} half-open connections are more than syn_guard {syn_guard}: SYNs are placed by hash"
            ),
            Self::HalfOpenClear { syn_guard, seconds, .. } => write!(
                f,
                "half-open connections are no longer more than syn_guard {syn_guard}, after {seconds:.0} s"
            ),
            Self::NeighbourChanged { .. } => self.neighbour(f),
            Self::VipRestored { interface, vip, taken_by, .. } => {
                let by = taken_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
                write!(f, "{interface}: VIP {vip} was taken away{by}, put back")
            }
            Self::VipAlert { interface, vip, reason, .. } => {
                write!(f, "{interface}: VIP {vip}: {reason}")
            }
            Self::VipClear { interface, vip, seconds } => {
                write!(f, "{interface}: VIP {vip} is there and stays, after {seconds:.0} s")
            }
            Self::Attached { interface, mode } => write!(f, "{interface}: attached, {mode} mode"),
            Self::Detached { interface } => write!(f, "{interface}: detached"),
            Self::Reloaded { changes } => write!(f, "reloaded, {changes} changes"),
            Self::ServiceAdded { .. } | Self::BackendAdded { .. } => f.write_str("added"),
            Self::ServiceRemoved { .. } | Self::BackendRemoved { .. } => f.write_str("removed"),
            Self::Missed { events } => write!(f, "{events} events were missed"),
        }
    }
}

impl EventKind {
    fn neighbour(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::NeighbourChanged { address, mac, interface, former_mac, reason } = self else {
            return Ok(());
        };
        write!(f, "neighbour {address}: ")?;
        match (mac, former_mac) {
            (Some(mac), Some(former)) if former != mac => write!(f, "mac {former} → {mac}")?,
            (Some(mac), _) => write!(f, "mac {mac}")?,
            (None, Some(former)) => write!(f, "no longer at mac {former}")?,
            (None, None) => f.write_str("no mac")?,
        }
        if let Some(interface) = interface {
            write!(f, " on {interface}")?;
        }
        reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

/// A number of connections.
fn some(connections: u64) -> String {
    if connections == 1 { "1 connection".to_owned() } else { format!("{connections} connections") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(kind: &EventKind) -> serde_json::Value {
        serde_json::to_value(kind).unwrap()
    }

    #[test]
    fn an_event_says_its_word_and_is_read_again() {
        let (service, backend) = ("web".to_owned(), "web-1".to_owned());
        let numbers = WeightNumbers {
            active: Some(3.0),
            advisor: Some(0.0031),
            components: [4, 10, 12, 10],
            target: 7.5,
            ..WeightNumbers::default()
        };
        let changed = |numbers| EventKind::WeightChanged {
            service: service.clone(),
            backend: backend.clone(),
            from: 10,
            to: 7,
            by: ChangedBy::SlowStart,
            numbers,
        };
        let neighbour = EventKind::NeighbourChanged {
            address: "10.0.0.1".parse().unwrap(),
            mac: None,
            interface: None,
            former_mac: Some("02:00:00:00:00:01".parse().unwrap()),
            reason: Some("10.0.0.1 does not answer".to_owned()),
        };
        for (kind, line) in [
            (changed(None), "backend web/web-1: weight 10 → 7 by slow_start"),
            (
                changed(Some(numbers)),
                "backend web/web-1: weight 10 → 7 by slow_start: active 3.0 → 4, new unknown → 10, \
                 advisor ms 3.1 → 12, system unknown → 10, target 7.5",
            ),
            (EventKind::ManagerAlert { service: service.clone() }, "service web: no backend is up"),
            (
                neighbour,
                "neighbour 10.0.0.1: no longer at mac 02:00:00:00:00:01: 10.0.0.1 does not answer",
            ),
            (EventKind::Reloaded { changes: 2 }, "reloaded, 2 changes"),
        ] {
            assert_eq!(kind.to_string(), line);
            assert_eq!(json(&kind)["event"], kind.word());
            let event = Event { id: 7, time: 1.5, kind };
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
        }
    }
}
