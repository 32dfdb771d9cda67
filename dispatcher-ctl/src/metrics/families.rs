//! The table of all metrics: name, help, kind, labels, and how their values are read from a [`Status`].

use crate::{
    api::types::{Backend, BackendAdvisor, ResponseSeconds, Service, Status},
    model::Choice as _,
};

/// Kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts of values by upper bound.
    Histogram,
}

/// A metric's declaration.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Its help text.
    pub help: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// Reads its values.
    pub read: for<'a> fn(&'a Status, &mut Vec<Reading<'a>>),
}

/// One value with its label values; unused ones at the end are empty.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// Values of labels.
    pub labels: [&'a str; 4],
    /// The value.
    pub value: Value<'a>,
}

/// A value.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// Of a counter or gauge.
    Number(f64),
    /// Of a histogram.
    Histogram(&'a ResponseSeconds),
}

macro_rules! families {
    ($($kind:ident $name:literal [$($label:literal),*] $help:literal, $read:expr;)+) => {
        /// All metrics, in the order in which they are served.
        pub const ALL: &[Family] = &[$(Family {
            name: $name,
            help: $help,
            kind: Kind::$kind,
            labels: &[$($label),*],
            read: $read,
        }),+];
    };
}

families! {
    Counter "dispatcher_packets_total" ["interface", "verdict", "reason"]
        "Packets seen at an interface, by verdict and reason.",
        |s, out| reasons(s, out, |r| r.packets);
    Counter "dispatcher_bytes_total" ["interface", "verdict", "reason"]
        "Layer 3 bytes seen at an interface, by verdict and reason.",
        |s, out| reasons(s, out, |r| r.bytes);
    Counter "dispatcher_redirects_refused_total" ["interface", "to", "cause"]
        "Packets counted as forwarded that the target interface of their redirect then refused.",
        |s, out| for to in &s.interfaces {
            out.extend(to.refused.iter().map(|r| reading([&r.from, &to.name, &r.cause], count(r.packets))));
        };
    Gauge "dispatcher_interface_attached" ["interface"]
        "Whether the datapath is attached to the interface.",
        |s, out| out.extend(s.interfaces.iter().map(|i| reading([&i.name, "", ""], flag(i.attached))));
    Counter "dispatcher_service_packets_total" ["service"]
        "Packets forwarded for a service.",
        |s, out| services(s, out, |s| s.packets);
    Counter "dispatcher_service_bytes_total" ["service"]
        "Layer 3 bytes forwarded for a service.",
        |s, out| services(s, out, |s| s.bytes);
    Counter "dispatcher_service_connections_total" ["service"]
        "Connections of a service placed on a backend.",
        |s, out| services(s, out, |s| s.connections);
    Counter "dispatcher_service_hashed_packets_total" ["service"]
        "Packets of a service placed by hash, without an entry in the table.",
        |s, out| services(s, out, |s| s.hashed_packets);
    Counter "dispatcher_service_drops_total" ["service", "reason"]
        "Packets of a service that were dropped, by reason.",
        drops;
    Counter "dispatcher_backend_packets_total" ["service", "backend"]
        "Packets forwarded to a backend.",
        |s, out| backends(s, out, |b| count(b.packets));
    Counter "dispatcher_backend_bytes_total" ["service", "backend"]
        "Layer 3 bytes forwarded to a backend.",
        |s, out| backends(s, out, |b| count(b.bytes));
    Counter "dispatcher_backend_connections_total" ["service", "backend"]
        "Connections placed on a backend.",
        |s, out| backends(s, out, |b| count(b.connections));
    Counter "dispatcher_backend_retransmissions_total" ["service", "backend"]
        "Repeated SYNs of half-open connections of a backend.",
        |s, out| backends(s, out, |b| count(b.retransmissions));
    Gauge "dispatcher_backend_active_connections" ["service", "backend"]
        "Connections of a backend in the table, except closing ones.",
        |s, out| backends(s, out, |b| count(b.active_connections));
    Gauge "dispatcher_backend_half_open_connections" ["service", "backend"]
        "Connections of a backend whose handshake is not complete.",
        |s, out| backends(s, out, |b| count(b.half_open_connections));
    Gauge "dispatcher_backend_weight" ["service", "backend"]
        "Current weight of a backend.",
        |s, out| backends(s, out, |b| f64::from(b.weight));
    Gauge "dispatcher_backend_up" ["service", "backend"]
        "Whether packets may go to a backend: it is not down, its MAC address is known and its interface exists.",
        |s, out| backends(s, out, |b| flag(b.up));
    Gauge "dispatcher_backend_quiesced" ["service", "backend"]
        "Whether a backend is quiesced by hand: it gets no new connections.",
        |s, out| backends(s, out, |b| flag(b.quiesced));
    Gauge "dispatcher_backend_resolved" ["service", "backend"]
        "Whether the MAC address of a backend is known, or none is needed.",
        |s, out| backends(s, out, |b| flag(b.local || b.mac.is_some()));
    Counter "dispatcher_backend_delivered_bytes_total" ["service", "backend"]
        "Bytes that clients of a backend acknowledged, where its service is measured.",
        |s, out| of_backends(s, out, |b| b.delivered_bytes.map(|bytes| Value::Number(count(bytes))));
    Histogram "dispatcher_backend_response_seconds" ["service", "backend"]
        "Response times of a backend, inferred from its clients' packets, where its service is measured.",
        |s, out| of_backends(s, out, |b| b.response_seconds.as_ref().map(Value::Histogram));
    Gauge "dispatcher_advisor_load_seconds" ["service", "backend", "kind"]
        "Load from the last probe of a backend, if it was good: its duration, or what a command printed.",
        |s, out| advisors(s, out, |a, labels, out| {
            out.extend(a.load_seconds.map(|load| reading(labels, load)));
        });
    Gauge "dispatcher_advisor_system_load_ratio" ["service", "backend", "kind"]
        "System load that the metric agent of a backend last reported, from 0 to 1.",
        |s, out| advisors(s, out, |a, labels, out| {
            out.extend(a.system_load.map(|load| reading(labels, load / 100.0)));
        });
    Gauge "dispatcher_advisor_certificate_expiry_timestamp_seconds" ["service", "backend", "kind"]
        "When the certificate expires that a backend last presented to a probe, in seconds since the epoch.",
        |s, out| advisors(s, out, |a, labels, out| {
            out.extend(a.certificate_expiry.map(|ends| reading(labels, ends as f64)));
        });
    Counter "dispatcher_advisor_probes_total" ["service", "backend", "kind", "result"]
        "Probes of a backend, by result: `success`, `failure`, or `not_probed` for a fault of this host.",
        |s, out| advisors(s, out, |a, [service, backend, kind], out| {
            for (result, n) in [
                ("success", a.probes.success),
                ("failure", a.probes.failure),
                ("not_probed", a.probes.not_probed),
            ] {
                let labels = [service, backend, kind, result];
                out.push(Reading { labels, value: Value::Number(count(n)) });
            }
        });
    Gauge "dispatcher_advisor_lateness_seconds" ["backends"]
        "Greatest lateness of the probes that began in the last 10 to 20 s, for backends that are `up` and for `other` ones.",
        |s, out| for (whose, late) in [("up", s.probe_lateness.up), ("other", s.probe_lateness.other)] {
            out.push(reading([whose, "", ""], late));
        };
    Gauge "dispatcher_connections" []
        "Connections in the table, closing ones included.",
        |s, out| out.push(reading(NONE, count(s.connections.connections)));
    Gauge "dispatcher_half_open_connections" []
        "Connections in the table whose handshake is not complete.",
        |s, out| out.push(reading(NONE, count(s.connections.half_open_connections)));
    Gauge "dispatcher_overflow_connections" []
        "Connections kept outside their buckets, because the buckets were full.",
        |s, out| out.push(reading(NONE, count(s.connections.overflow_connections)));
    Gauge "dispatcher_connections_capacity" []
        "Connections that the table is sized for.",
        |s, out| out.push(reading(NONE, count(s.connections.connections_capacity)));
    Counter "dispatcher_connections_expired_total" ["cause"]
        "Connections removed from the table by the sweep, by cause.",
        |s, out| out.extend(
            s.connections.connections_expired.iter().map(|(c, n)| reading([c, "", ""], count(*n)))
        );
    Counter "dispatcher_weight_updates_total" []
        "Weights changed at runtime.",
        |s, out| out.push(reading(NONE, count(s.weight_updates)));
    Counter "dispatcher_exits_total" ["event", "result"]
        "Commands to run at events, by result.",
        |s, out| for exit in &s.exits {
            for (result, n) in [
                ("success", exit.success),
                ("failure", exit.failure),
                ("timeout", exit.timeout),
                ("dropped", exit.dropped),
            ] {
                out.push(reading([&exit.event, result, ""], count(n)));
            }
        };
    Gauge "dispatcher_config_reload_success" []
        "Whether the last load of the configuration was applied.",
        |s, out| out.push(reading(NONE, flag(s.config.reload_success)));
    Gauge "dispatcher_start_time_seconds" []
        "When the controller started, in seconds since the epoch.",
        |s, out| out.push(reading(NONE, s.started));
    Gauge "dispatcher_build_info" ["version"]
        "1, labelled with the controller's version.",
        |s, out| out.push(reading([&s.version, "", ""], 1.0));
}

const NONE: [&str; 3] = ["", "", ""];

fn reading(labels: [&str; 3], value: f64) -> Reading<'_> {
    let [a, b, c] = labels;
    Reading { labels: [a, b, c, ""], value: Value::Number(value) }
}

/// Exact up to 2⁵³.
fn count(n: u64) -> f64 {
    n as f64
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn reasons<'a>(
    status: &'a Status,
    out: &mut Vec<Reading<'a>>,
    value: fn(&crate::api::types::ReasonCount) -> u64,
) {
    for interface in &status.interfaces {
        out.extend(interface.reasons.iter().map(|reason| {
            reading([&interface.name, &reason.verdict, &reason.reason], count(value(reason)))
        }));
    }
}

/// Adds a value for each backend that has one.
fn of_backends<'a>(
    status: &'a Status,
    out: &mut Vec<Reading<'a>>,
    value: impl Fn(&'a Backend) -> Option<Value<'a>>,
) {
    for service in &status.services {
        for backend in &service.backends {
            let labels = [&*service.name, &*backend.name, "", ""];
            out.extend(value(backend).map(|value| Reading { labels, value }));
        }
    }
}

fn advisors<'a>(
    status: &'a Status,
    out: &mut Vec<Reading<'a>>,
    each: impl Fn(&'a BackendAdvisor, [&'a str; 3], &mut Vec<Reading<'a>>),
) {
    for service in &status.services {
        for backend in &service.backends {
            for advisor in backend.advisor.iter().chain(&backend.agent) {
                each(advisor, [&service.name, &backend.name, advisor.kind.word()], out);
            }
        }
    }
}

fn services<'a>(status: &'a Status, out: &mut Vec<Reading<'a>>, value: fn(&Service) -> u64) {
    out.extend(status.services.iter().map(|s| reading([&s.name, "", ""], count(value(s)))));
}

fn drops<'a>(status: &'a Status, out: &mut Vec<Reading<'a>>) {
    for service in &status.services {
        out.extend(service.drops.iter().map(|(r, n)| reading([&service.name, r, ""], count(*n))));
    }
}

fn backends<'a>(status: &'a Status, out: &mut Vec<Reading<'a>>, value: fn(&Backend) -> f64) {
    for service in &status.services {
        out.extend(
            service.backends.iter().map(|b| reading([&service.name, &b.name, ""], value(b))),
        );
    }
}
