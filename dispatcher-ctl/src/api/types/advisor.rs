//! What advisors report.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Service, Timestamp};
use crate::model::{AdvisorKind, Target};

/// What an advisor reports of a backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BackendAdvisor {
    /// What a probe asks.
    pub kind: AdvisorKind,
    /// The address that it asks.
    pub target: Target,
    /// Time that the last probe took, in seconds; null if it failed, or if none has ended.
    pub load_seconds: Option<f64>,
    /// The load that the metric agent last reported; null where none is asked, or it reported none.
    #[schema(minimum = 0, maximum = 100)]
    pub system_load: Option<f64>,
    /// Probes by outcome.
    pub probes: Probes,
    /// The error of the last probe that failed or could not be made.
    pub last_error: Option<String>,
    /// Why the last probe could not be made; null if it was made. The cause is on the dispatcher's own host, and the state of the
    /// backend does not change.
    #[serde(default)]
    pub not_probed: Option<String>,
    /// When the certificate that it last presented expires, in seconds since the epoch; null without TLS.
    pub certificate_expiry: Option<i64>,
}

/// A backend that is probed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AdvisorReport {
    /// Name of the service.
    pub service: String,
    /// Name of the backend.
    pub backend: String,
    /// Whether packets may go to it.
    pub up: bool,
    /// Its state in one phrase, as the backend shows it.
    pub state: String,
    /// When `state` began, in seconds since the epoch.
    pub since: Timestamp,
    /// What its advisor reports.
    pub advisor: BackendAdvisor,
}

impl AdvisorReport {
    /// All backends that are probed.
    #[must_use]
    pub fn all(services: &[Service]) -> Vec<Self> {
        let mut all = Vec::new();
        for service in services {
            for backend in &service.backends {
                let advisors = backend.advisor.iter().chain(&backend.agent).cloned();
                all.extend(advisors.map(|advisor| Self {
                    service: service.name.clone(),
                    backend: backend.name.clone(),
                    up: backend.up,
                    state: backend.state.clone(),
                    since: backend.since,
                    advisor,
                }));
            }
        }
        all
    }
}

/// Probes by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Probes {
    /// Probes that succeeded.
    pub success: u64,
    /// Probes that failed.
    pub failure: u64,
    /// Probes that could not be made, because of the dispatcher's own host.
    #[serde(default)]
    pub not_probed: u64,
}

/// The greatest lateness of the probes that began in the last 10 to 20 s, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProbeLateness {
    /// Of backends that are up.
    pub up: f64,
    /// Of other backends, whose probes wait for each other.
    pub other: f64,
}
