//! Events, as `GET /v1/events`, user exits and the log have them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;
use utoipa::ToSchema;

use super::Timestamp;
use crate::model::{Mac, XdpMode};

mod text;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// A number that is larger than that of each earlier event, also of an earlier daemon.
    pub id: u64,
    /// When, in seconds since the epoch.
    pub time: Timestamp,
    /// What happened; `event` has its word.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, IntoStaticStr, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum EventKind {
    /// The weight of a backend changed.
    WeightChanged {
        /// The service.
        service: String,
        /// The backend.
        backend: String,
        /// The weight before.
        from: u32,
        /// The weight now.
        to: u32,
        /// Who changed it.
        by: ChangedBy,
        /// What the manager calculated it from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        numbers: Option<WeightNumbers>,
    },
    /// Packets may go to a backend again.
    ServerUp {
        /// The service.
        service: String,
        /// The backend.
        backend: String,
        /// Its own address.
        address: IpAddr,
        /// Why it was not up.
        reason: String,
    },
    /// Packets may no longer go to a backend, except those that `on_down` allows.
    ServerDown {
        /// The service.
        service: String,
        /// The backend.
        backend: String,
        /// Its own address.
        address: IpAddr,
        /// Why it is not up: `down by hand`, `down: http status 503, …`, `no mac: …`.
        reason: String,
    },
    /// A backend was quiesced: it gets no new connections.
    Quiesced {
        /// The service.
        service: String,
        /// The backend.
        backend: String,
        /// Whether clients with affinity to it get another backend, too.
        now: bool,
    },
    /// A backend that was quiesced gets new connections again.
    Unquiesced {
        /// The service.
        service: String,
        /// The backend.
        backend: String,
    },
    /// The number of connections that a quiesced backend has left changed.
    QuiesceProgress {
        /// The service.
        service: String,
        /// The backend.
        backend: String,
        /// Connections that are left, without silent ones.
        connections: u64,
        /// Silent connections: no payload was seen, and no packet for two ticks of 4.3 s. A daemon of an earlier release does not
        /// report them.
        #[serde(default)]
        silent: u64,
    },
    /// The deadline of a quiesced backend passed: the connections that it has left are broken.
    QuiesceDeadline {
        /// The service.
        service: String,
        /// The backend.
        backend: String,
        /// Connections that were left.
        connections: u64,
    },
    /// No backend of a service is up.
    ManagerAlert {
        /// The service.
        service: String,
    },
    /// A backend of a service is up again, after none was.
    ManagerClear {
        /// The service.
        service: String,
    },
    /// There are more half-open connections than `syn_guard`.
    HalfOpenAlert {
        /// Half-open connections.
        half_open_connections: u64,
        /// The limit `syn_guard`.
        syn_guard: u64,
    },
    /// There are no longer more half-open connections than `syn_guard`.
    HalfOpenClear {
        /// Half-open connections.
        half_open_connections: u64,
        /// The limit `syn_guard`.
        syn_guard: u64,
        /// How long there were more, in seconds.
        seconds: f64,
    },
    /// The address of a backend answers at another MAC or interface, no longer, or again.
    NeighbourChanged {
        /// Its own address.
        address: IpAddr,
        /// Its MAC; left out if it does not answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mac: Option<Mac>,
        /// The interface by which it is reached.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interface: Option<String>,
        /// The MAC it had.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        former_mac: Option<Mac>,
        /// Why it has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A VIP that another program removed was added again.
    VipRestored {
        /// The interface.
        interface: String,
        /// The VIP.
        vip: IpAddr,
        /// How often it was lost recently.
        losses: u64,
        /// The program that removed it, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        taken_by: Option<String>,
    },
    /// A VIP is removed again and again, cannot be added, or is missing and not the dispatcher's.
    VipAlert {
        /// The interface.
        interface: String,
        /// The VIP.
        vip: IpAddr,
        /// How often it was lost recently.
        losses: u64,
        /// What is wrong.
        reason: String,
    },
    /// A VIP with an alert has been present for a while.
    VipClear {
        /// The interface.
        interface: String,
        /// The VIP.
        vip: IpAddr,
        /// How long the alert lasted, in seconds.
        seconds: f64,
    },
    /// The program was attached to an interface.
    Attached {
        /// The interface.
        interface: String,
        /// Where in the kernel it runs.
        mode: XdpMode,
    },
    /// The program was detached from an interface.
    Detached {
        /// The interface.
        interface: String,
    },
    /// The configuration file was read again and is in force.
    Reloaded {
        /// Number of changes in its plan.
        changes: usize,
    },
    /// A service was created.
    ServiceAdded {
        /// The service.
        service: String,
    },
    /// A service was removed.
    ServiceRemoved {
        /// The service.
        service: String,
    },
    /// A backend was created.
    BackendAdded {
        /// The service.
        service: String,
        /// The backend.
        backend: String,
    },
    /// A backend was removed.
    BackendRemoved {
        /// The service.
        service: String,
        /// The backend.
        backend: String,
    },
    /// Not an event: a reader that is too slow missed some.
    Missed {
        /// How many.
        events: u64,
    },
}

/// Who changed a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ChangedBy {
    /// An operator, by command or API.
    Hand,
    /// The configuration file.
    File,
    /// The manager.
    Manager,
    /// The manager, as a backend that came back ramps up.
    SlowStart,
}

/// What the manager calculated a weight from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WeightNumbers {
    /// Active connections, on average since counters were last read; null: unknown.
    pub active: Option<f64>,
    /// New connections in that time; null: unknown.
    pub new: Option<f64>,
    /// The advisor's load, in seconds; null: unknown.
    pub advisor: Option<f64>,
    /// The system load; null: unknown.
    pub system: Option<f64>,
    /// The weight that each of these alone gives: active, new, advisor, system.
    pub components: [u32; 4],
    /// The weight that they give together.
    pub target: f64,
}

impl EventKind {
    /// Its word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.into()
    }

    /// The service to which it happened, if it concerns one.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.place().0
    }

    /// The backend to which it happened, if it concerns one.
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

    /// Whether an operator should look at it.
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
