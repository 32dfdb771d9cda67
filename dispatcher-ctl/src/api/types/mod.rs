//! The types of the API, version 1: one set for server, client, command line and metrics. Their comments are the description that
//! users read at `/v1/openapi.json`.
//!
//! Field names are the metric names without prefix and `_total`, and the configuration's keys. Times are in seconds, points in
//! time in seconds since the epoch, sizes in bytes of layer 3, rates per second. Answers may gain fields; requests refuse
//! fields that they do not know. Fields that a daemon of an earlier release does not send have a default.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::IpAddr,
    ops::{Deref, DerefMut},
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{Mac, Protocol, RuleConfig, XdpMode};
pub use crate::{
    settings::{AffinityView as Affinity, ManagerSettings, ServiceView},
    values::Seconds,
};

mod advisor;
mod change;
mod error;
mod event;
mod manager;
mod query;
mod words;

pub use advisor::{AdvisorReport, BackendAdvisor, ProbeLateness, Probes};
pub use change::{
    AttachInterface, PatchAffinity, PatchBackend, PatchManager, PatchService, PutBackend,
    PutService,
};
pub use error::{ApiError, ErrorKind};
pub use event::{ChangedBy, Event, EventKind, WeightNumbers};
pub use manager::{Components, ManagedBackend, ManagedService, ManagerReport};
pub use query::{ConnectionQuery, EventQuery, PlanQuery, Save};

/// A word such as a reason: static in the daemon, owned in a client.
pub type Label = Cow<'static, str>;

/// Seconds since the epoch.
pub type Timestamp = f64;

/// Everything: what `dispatcher status` and the metrics show.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Version of the running daemon.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started, in seconds since the epoch.
    pub started: Timestamp,
    /// Time since it started, in seconds.
    pub uptime_seconds: f64,
    /// The interfaces that are attached or should be.
    pub interfaces: Vec<Interface>,
    /// The services, in the configuration's order.
    pub services: Vec<Service>,
    /// The connection table.
    pub connections: ConnectionTable,
    /// The configuration in force.
    pub config: ConfigStatus,
    /// Weights changed at runtime since the daemon started.
    pub weight_updates: u64,
    /// How late probes have begun recently.
    #[serde(default)]
    pub probe_lateness: ProbeLateness,
    /// How the commands that were run at events have ended.
    #[serde(default)]
    pub exits: Vec<ExitCount>,
    /// What needs an operator's attention now: one line each, with a hint if a remedy is known.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Recent warnings and errors, oldest first.
    pub last_errors: Vec<LoggedError>,
}

/// How the commands for an event have ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExitCount {
    /// The event's word.
    pub event: Label,
    /// With status 0.
    pub success: u64,
    /// With another status or by a signal, or they could not be started.
    pub failure: u64,
    /// Killed because they took too long.
    pub timeout: u64,
    /// Not run because too many events were waiting.
    pub dropped: u64,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number in the datapath, while it has one.
    pub index: Option<u8>,
    /// The kernel's number of it, while it exists.
    pub ifindex: Option<u32>,
    /// Its own MAC, while it exists.
    pub mac: Option<Mac>,
    /// Where in the kernel the program runs.
    pub mode: XdpMode,
    /// Whether the program is attached.
    pub attached: bool,
    /// When it was attached or detached, in seconds since the epoch.
    pub since: Timestamp,
    /// Packets seen.
    pub packets: u64,
    /// L3 bytes seen.
    pub bytes: u64,
    /// Packets and bytes by verdict and reason; counters that are 0 may be left out.
    pub reasons: Vec<ReasonCount>,
    /// Packets that were redirected to it and that it refused, since the daemon started. `reasons` of the interface by which they
    /// came count them as forwarded.
    #[serde(default)]
    pub refused: Vec<RefusedCount>,
    /// What an operator should know, for example why it is not attached.
    pub note: Option<String>,
}

/// Packets that were redirected to an interface and that it refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedCount {
    /// The interface by which they came.
    pub from: String,
    /// Why it refused them.
    #[schema(schema_with = words::cause)]
    pub cause: Label,
    /// Packets.
    pub packets: u64,
}

/// Packets that left the packet path at an interface for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReasonCount {
    /// What became of them.
    #[schema(schema_with = words::verdict)]
    pub verdict: Label,
    /// The reason (`docs/reasons.md`).
    pub reason: Label,
    /// Packets.
    pub packets: u64,
    /// L3 bytes.
    pub bytes: u64,
}

/// A service in force. Its settings can be read as its own fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Service {
    /// Its settings.
    #[serde(flatten)]
    pub settings: ServiceView,
    /// Packets forwarded.
    pub packets: u64,
    /// L3 bytes forwarded.
    pub bytes: u64,
    /// Connections placed.
    pub connections: u64,
    /// Connections in the table, without closing ones.
    pub active_connections: u64,
    /// Of these, half-open ones.
    pub half_open_connections: u64,
    /// Packets placed by hash, without an entry in the table.
    pub hashed_packets: u64,
    /// Packets of the service that were dropped, by reason; counters that are 0 may be left out.
    pub drops: BTreeMap<Label, u64>,
    /// Its traffic per second.
    pub rates: Rates,
    /// Its backends, in the configuration's order.
    pub backends: Vec<Backend>,
    /// Its rules, in the configuration's order.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// A rule of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rule {
    /// Its settings, by the configuration's keys; settings at their default are left out.
    #[serde(flatten)]
    pub config: RuleConfig,
    /// Whether its conditions hold now, as far as they do not depend on the packet.
    pub active: bool,
    /// Connections for which it chose the backend.
    pub connections: u64,
}

impl Deref for Service {
    type Target = ServiceView;

    fn deref(&self) -> &ServiceView {
        &self.settings
    }
}

impl DerefMut for Service {
    fn deref_mut(&mut self) -> &mut ServiceView {
        &mut self.settings
    }
}

/// A backend of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Its own address.
    pub address: IpAddr,
    /// The MAC to which its packets go, once it is known.
    pub mac: Option<Mac>,
    /// The interface by which it is reached, once it is known.
    pub interface: Option<String>,
    /// Its weight in force, its share of new connections; 0: none.
    #[schema(maximum = 100)]
    pub weight: u32,
    /// Whether the manager leaves its weight alone.
    #[serde(default)]
    pub fixed_weight: bool,
    /// Whether it gets connections only while no other backend does.
    #[serde(default)]
    pub sorry: bool,
    /// Whether packets may go to it: it is not down, its MAC is known, its interface exists.
    pub up: bool,
    /// Whether it was quiesced by hand: it gets no new connections, existing ones go on.
    pub quiesced: bool,
    /// When it is taken down if it is still quiesced and has connections left, in seconds since the epoch.
    #[serde(default)]
    pub quiesce_deadline: Option<Timestamp>,
    /// Whether it was taken down by hand.
    pub down_by_hand: bool,
    /// Whether it is on the dispatcher's host.
    pub local: bool,
    /// The most active connections that it gets; 0: any number.
    #[schema(maximum = 16777215)]
    pub max_connections: u32,
    /// Whether clients stay with it, where the service has affinity.
    pub sticky: bool,
    /// Its state in one phrase: `up`, `down by hand`, `no mac: no answer to neighbour discovery`, ….
    pub state: String,
    /// When `state` began, in seconds since the epoch.
    pub since: Timestamp,
    /// Packets forwarded.
    pub packets: u64,
    /// L3 bytes forwarded.
    pub bytes: u64,
    /// Connections placed.
    pub connections: u64,
    /// Connections in the table, without closing ones.
    pub active_connections: u64,
    /// Of these, half-open ones.
    pub half_open_connections: u64,
    /// SYNs of half-open connections that were repeated.
    pub retransmissions: u64,
    /// Bytes that its clients acknowledged; null where its service is not measured.
    pub delivered_bytes: Option<u64>,
    /// Its response times; null where its service is not measured.
    pub response_seconds: Option<ResponseSeconds>,
    /// What its advisor reports; null where its service has no advisor.
    pub advisor: Option<BackendAdvisor>,
    /// What its metric agent reports; null where its service has no agent in addition to the advisor.
    #[serde(default)]
    pub agent: Option<BackendAdvisor>,
    /// Its traffic per second.
    pub rates: Rates,
}

/// Response times as a histogram.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResponseSeconds {
    /// Responses.
    pub count: u64,
    /// Sum of their times, in seconds.
    pub sum: f64,
    /// Responses by their time, cumulative; the last bucket, which counts all, is left out.
    pub buckets: Vec<ResponseBucket>,
}

/// A bucket of a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResponseBucket {
    /// Its upper bound, in seconds.
    pub le: f64,
    /// Responses that took at most this time.
    pub count: u64,
}

impl ResponseSeconds {
    /// Their mean; none without a response.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count != 0).then(|| self.sum / self.count as f64)
    }
}

/// Traffic per second, over the last seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rates {
    /// Connections placed.
    pub connections: f64,
    /// Packets forwarded.
    pub packets: f64,
    /// L3 bytes forwarded.
    pub bytes: f64,
}

/// The connection table as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConnectionTable {
    /// Connections in it, with closing ones.
    pub connections: u64,
    /// Connections for which it was sized.
    pub connections_capacity: u64,
    /// Half-open connections in it.
    pub half_open_connections: u64,
    /// Half-open connections above which SYNs are placed by hash.
    pub syn_guard: u64,
    /// Since when there have been more, in seconds since the epoch; null: there are not.
    pub syn_guard_since: Option<Timestamp>,
    /// Connections that are kept outside their buckets, which were full.
    pub overflow_connections: u64,
    /// `connections` as a share of `connections_capacity`.
    pub fill: f64,
    /// Connections removed by the sweep, by cause (`stale`, `syn`, `fin`, `backend_gone`, …).
    pub connections_expired: BTreeMap<Label, u64>,
}

/// The configuration in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConfigStatus {
    /// The file.
    pub file: String,
    /// Whether the last (re)load was applied.
    pub reload_success: bool,
    /// When that was tried, in seconds since the epoch.
    pub last_reload: Timestamp,
    /// What an operator should know, for example a setting that waits for the next fresh start.
    pub note: Option<String>,
}

/// A warning or an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoggedError {
    /// When, in seconds since the epoch.
    pub time: Timestamp,
    /// One line.
    pub message: String,
}

/// Connections that match the query.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Connections {
    /// The connections, at most as many as `limit` allows.
    pub connections: Vec<Connection>,
    /// Whether there are more.
    pub truncated: bool,
    /// Where the daemon continues a long answer, which it sends page by page.
    #[serde(skip)]
    pub next: Option<usize>,
}

/// A connection of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Connection {
    /// Protocol.
    pub protocol: Protocol,
    /// Client address.
    pub client: IpAddr,
    /// Client port.
    pub client_port: u16,
    /// Address to which the client sends.
    pub vip: IpAddr,
    /// Port to which the client sends.
    pub vip_port: u16,
    /// Name of the service.
    pub service: String,
    /// Name of the backend.
    pub backend: String,
    /// Its state.
    #[schema(schema_with = words::connection_state)]
    pub state: Label,
    /// Time since the connection began, in seconds.
    pub age_seconds: f64,
    /// Time since the last packet, in seconds.
    pub idle_seconds: f64,
    /// Bytes that the client acknowledged; null where the connection was not measured from its beginning.
    pub delivered_bytes: Option<u64>,
    /// The last response time, in seconds; null where none was measured.
    pub response_seconds: Option<f64>,
}

/// What a reload changes, line by line; without a line, nothing differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// The changes, in the order in which they are made.
    pub changes: Vec<Change>,
    /// What a reload cannot do, for example a `capacity` that waits for the next fresh start.
    pub notes: Vec<String>,
}

/// One line of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// What is done.
    pub action: Action,
    /// To what it is done.
    #[schema(examples("backend web/web-1", "service web", "interface eth0"))]
    pub object: String,
    /// How it changes; empty if the object is enough.
    #[schema(examples("weight 3 -> 4"))]
    pub detail: String,
}

/// The OpenAPI description of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(value_type = Object)]
pub struct Description(pub serde_json::Value);

/// What a line of a plan does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The object is added.
    Add,
    /// The object stays and changes.
    Change,
    /// The object is removed.
    Remove,
}
