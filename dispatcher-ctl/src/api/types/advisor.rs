//! What advisors say.

use serde::{Deserialize, Serialize};

use super::{Service, Timestamp};
use crate::model::{AdvisorKind, Target};

/// What an advisor says of a backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendAdvisor {
    /// What a probe exchanges.
    pub kind: AdvisorKind,
    /// With whom.
    pub target: Target,
    /// Time of the last exchange; none while the last probe failed, or none has ended.
    pub load_seconds: Option<f64>,
    /// What its metric agent last told, from 0 to 100; none where none is asked, or `load_seconds` would be.
    pub system_load: Option<f64>,
    /// Probes, by how they ended.
    pub probes: Probes,
    /// What was wrong when a probe last failed, or could not be made.
    pub last_error: Option<String>,
    /// Why it could not be probed last, if it could not: the trouble is this host's, and the backend is what it was.
    #[serde(default)]
    pub not_probed: Option<String>,
    /// When the certificate ends that it last presented, seconds since the epoch; none where no TLS is spoken.
    pub certificate_expiry: Option<i64>,
}

/// A line of `GET /v1/advisors`: a backend that is probed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdvisorReport {
    /// Name of the service.
    pub service: String,
    /// Name of the backend.
    pub backend: String,
    /// Whether packets may go to it, by whatever stands in the way or not.
    pub up: bool,
    /// One phrase, as the backend's.
    pub state: String,
    /// Since when `state` holds.
    pub since: Timestamp,
    /// What its advisor says of it.
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

/// Probes, by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probes {
    /// Good ones.
    pub success: u64,
    /// Bad ones.
    pub failure: u64,
    /// Those that could not be made, for trouble of this host.
    #[serde(default)]
    pub not_probed: u64,
}

/// The greatest lateness of the probes that began in the last 10 to 20 s, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbeLateness {
    /// Of backends that are up.
    pub up: f64,
    /// Of others: they wait for each other.
    pub other: f64,
}
