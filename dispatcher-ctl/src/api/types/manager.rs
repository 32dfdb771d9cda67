//! The settings of the manager, and what it makes of what it knows.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ManagerSettings;
use crate::model::Proportions;

/// The settings of the manager, and what it makes of what it knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ManagerReport {
    /// Its settings.
    #[serde(flatten)]
    pub settings: ManagerSettings,
    /// The services, in the configuration's order.
    pub services: Vec<ManagedService>,
}

/// A service whose backends the manager weighs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ManagedService {
    /// Its name.
    pub service: String,
    /// How much each input counts for this service.
    pub proportions: Proportions,
    /// Largest weight a backend may have.
    pub weight_bound: u32,
    /// Its backends, in the configuration's order.
    pub backends: Vec<ManagedBackend>,
}

/// A backend that the manager weighs. What is not known is null, never 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ManagedBackend {
    /// Its name.
    pub backend: String,
    /// Its state in one phrase: `up`, or why it gets no new connections.
    pub state: String,
    /// Whether the manager leaves its weight alone.
    pub fixed_weight: bool,
    /// Active connections, on average since counters were last read.
    pub active_connections: Option<f64>,
    /// New connections in that time.
    pub new_connections: Option<f64>,
    /// Time that its advisor's last probe took, in seconds.
    pub load_seconds: Option<f64>,
    /// The load that its metric agent last reported.
    pub system_load: Option<f64>,
    /// The weight that each input alone gives.
    pub components: Option<Components>,
    /// The weight towards which it moves.
    pub target: Option<f64>,
    /// Its weight in force.
    pub weight: u32,
}

/// The weight that each input alone gives: from 1 to the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Components {
    /// By active connections.
    pub active: u32,
    /// By new connections.
    pub new: u32,
    /// By its advisor's load.
    pub advisor: u32,
    /// By its metric agent's load.
    pub system: u32,
}

impl Components {
    /// In the order of the inputs.
    #[must_use]
    pub const fn of([active, new, advisor, system]: [u32; 4]) -> Self {
        Self { active, new, advisor, system }
    }
}
