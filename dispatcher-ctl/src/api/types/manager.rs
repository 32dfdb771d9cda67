//! What the manager is set to, and what it made of what it knows.

use serde::{Deserialize, Serialize};

use super::ManagerSettings;
use crate::model::Proportions;

/// `GET /v1/manager`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManagerReport {
    /// What it is set to.
    #[serde(flatten)]
    pub settings: ManagerSettings,
    /// The services, in the configuration's order.
    pub services: Vec<ManagedService>,
}

/// A service whose backends are weighed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManagedService {
    /// Its name.
    pub service: String,
    /// How much each input counts for it.
    pub proportions: Proportions,
    /// Largest weight a backend may have.
    pub weight_bound: u32,
    /// Its backends, in the configuration's order.
    pub backends: Vec<ManagedBackend>,
}

/// A backend that is weighed. What is not known is none, never 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManagedBackend {
    /// Its name.
    pub backend: String,
    /// One phrase: `up`, or why it gets no new connections.
    pub state: String,
    /// Whether its weight is left alone.
    pub fixed_weight: bool,
    /// Active connections, on average since counters were last reread.
    pub active_connections: Option<f64>,
    /// New connections in that time.
    pub new_connections: Option<f64>,
    /// What its advisor's last exchange took.
    pub load_seconds: Option<f64>,
    /// What its metric agent last said.
    pub system_load: Option<f64>,
    /// What each input comes to.
    pub components: Option<Components>,
    /// Where its weight goes.
    pub target: Option<f64>,
    /// Its weight in force.
    pub weight: u32,
}

/// What each input comes to: weights from 1 to the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Components {
    /// By active connections.
    pub active: u32,
    /// By new connections.
    pub new: u32,
    /// By what its advisor says.
    pub advisor: u32,
    /// By what its metric agent says.
    pub system: u32,
}

impl Components {
    /// In the order of the inputs.
    #[must_use]
    pub const fn of([active, new, advisor, system]: [u32; 4]) -> Self {
        Self { active, new, advisor, system }
    }
}
