//! Queries of requests.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

/// Query of every change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Save {
    /// Also write what runs, with this change, to the configuration file.
    #[serde(default)]
    pub save: bool,
}

/// Query of `GET /v1/connections`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ConnectionQuery {
    /// Only connections of this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Only connections of this client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// Only connections to this backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// List at most this number of connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(default = 1000)]
    pub limit: Option<usize>,
    /// Where the daemon continues a long answer.
    #[serde(skip)]
    #[param(ignore)]
    pub from: usize,
}

/// Query of `POST /v1/plan`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct PlanQuery {
    /// The name of the configuration, for errors.
    #[serde(default = "unnamed")]
    #[param(default = "configuration")]
    pub file: String,
}

fn unnamed() -> String {
    "configuration".to_owned()
}

/// Query of `GET /v1/events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    /// Only events of this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

impl ConnectionQuery {
    /// Connections that are listed without a limit in the query.
    pub const DEFAULT_LIMIT: usize = 1000;

    /// The limit in force.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(Self::DEFAULT_LIMIT)
    }
}
