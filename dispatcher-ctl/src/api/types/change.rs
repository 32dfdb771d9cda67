//! Requests: the queries, and what attaching a NIC may say. What changes settings is declared in [`crate::settings`].

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::XdpMode;
pub use crate::settings::{
    PatchAffinity, PatchBackend, PatchManager, PatchService, PutBackend, PutService,
};

/// Query of every change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Save {
    /// Also write the change to the configuration file.
    #[serde(default)]
    pub save: bool,
}

/// `POST /v1/interfaces/{name}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachInterface {
    /// Where the program runs; default: as configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<XdpMode>,
}

/// Query of `GET /v1/connections`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// How many are listed at most; default: [`ConnectionQuery::DEFAULT_LIMIT`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Where the daemon continues a long answer.
    #[serde(skip)]
    pub from: usize,
}

impl ConnectionQuery {
    /// How many connections are listed by default.
    pub const DEFAULT_LIMIT: usize = 1000;

    /// The limit in force.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(Self::DEFAULT_LIMIT)
    }
}
