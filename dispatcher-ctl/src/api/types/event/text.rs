//! Events as text: one line, with the object and what became of it.

use std::fmt;

use super::{EventKind, WeightNumbers};

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place() {
            (Some(service), Some(backend)) => write!(f, "backend {service}/{backend}: ")?,
            (Some(service), None) => write!(f, "service {service}: ")?,
            (None, _) => {}
        }
        match self {
            Self::WeightChanged { from, to, by, numbers, .. } => {
                write!(f, "weight {from} → {to} by {}", <&str>::from(by))?;
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
            Self::Reloaded { changes: 1 } => f.write_str("reloaded, 1 change"),
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

impl fmt::Display for WeightNumbers {
    /// Each load with the weight that it gives, and the target.
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

/// A number of connections.
fn some(connections: u64) -> String {
    if connections == 1 { "1 connection".to_owned() } else { format!("{connections} connections") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{ChangedBy, Event};

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
