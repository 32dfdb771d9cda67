//! What goes over the API, version 1: one set of types for server, command line and metrics.
//!
//! Field names are the metric names without prefix and `_total`, and the configuration's keys. Times are seconds, points
//! in time seconds since the epoch, sizes bytes (of layer 3), rates per second. Answers may gain fields; requests refuse
//! fields they do not know.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::IpAddr,
    ops::{Deref, DerefMut},
};

use serde::{Deserialize, Serialize};

use crate::model::{Mac, Protocol, RuleConfig, XdpMode};

mod advisor;
mod change;
mod error;
mod event;
mod manager;
mod seconds;

pub use crate::settings::{AffinityView as Affinity, ManagerSettings, ServiceView};
pub use advisor::{AdvisorReport, BackendAdvisor, ProbeLateness, Probes};
pub use change::{
    AttachInterface, ConnectionQuery, PatchAffinity, PatchBackend, PatchManager, PatchService,
    PutBackend, PutService, Save,
};
pub use error::{ApiError, ErrorKind};
pub use event::{ChangedBy, Event, EventKind, WeightNumbers};
pub use manager::{Components, ManagedBackend, ManagedService, ManagerReport};
pub use seconds::Seconds;

/// A label such as a reason: static in the daemon, owned in a client.
pub type Label = Cow<'static, str>;

/// Seconds since the epoch.
pub type Timestamp = f64;

/// `GET /v1/status`: everything on one screen, and everything that metrics tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the running daemon.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started: Timestamp,
    /// How long ago that is.
    pub uptime_seconds: f64,
    /// The NICs, attached or wanted.
    pub interfaces: Vec<Interface>,
    /// The services, in the configuration's order.
    pub services: Vec<Service>,
    /// The connection table.
    pub connections: ConnectionTable,
    /// The configuration in force.
    pub config: ConfigStatus,
    /// Weights changed at runtime since the daemon started.
    pub weight_updates: u64,
    /// How late probes began lately.
    #[serde(default)]
    pub probe_lateness: ProbeLateness,
    /// How commands that were run at events have ended.
    #[serde(default)]
    pub exits: Vec<ExitCount>,
    /// What an operator should look after, as it is now: a line each, with a hint where the mend is known.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What went wrong lately, oldest first.
    pub last_errors: Vec<LoggedError>,
}

/// How the commands for an event have ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitCount {
    /// The event's word.
    pub event: Label,
    /// With status 0.
    pub success: u64,
    /// In another way, or they could not be started.
    pub failure: u64,
    /// Killed, because they took too long.
    pub timeout: u64,
    /// Not run, because too many events waited.
    pub dropped: u64,
}

/// A NIC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number in the datapath, while it has one.
    pub index: Option<u8>,
    /// The kernel's number, while the NIC exists.
    pub ifindex: Option<u32>,
    /// Its own MAC, while the NIC exists.
    pub mac: Option<Mac>,
    /// Where the program runs.
    pub mode: XdpMode,
    /// Whether the program is attached.
    pub attached: bool,
    /// Since when it is attached or not.
    pub since: Timestamp,
    /// Packets seen.
    pub packets: u64,
    /// L3 bytes seen.
    pub bytes: u64,
    /// The same by verdict and reason; those that are 0 may be left out.
    pub reasons: Vec<ReasonCount>,
    /// Packets that were redirected to it, and that it refused, since the daemon started; those are among `reasons` of the NIC
    /// by which they came, as forwarded.
    #[serde(default)]
    pub refused: Vec<RefusedCount>,
    /// What an operator should know, such as why it is not attached.
    pub note: Option<String>,
}

/// Packets that a NIC refused, although they were redirected to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedCount {
    /// The NIC by which they came.
    pub from: String,
    /// `full`, `unsupported`, `no_receiver`, `down`, `too_big` or `other`.
    pub cause: Label,
    /// Packets.
    pub packets: u64,
}

/// Packets that left the path at a NIC for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonCount {
    /// `tx`, `redirect`, `pass` or `drop`.
    pub verdict: Label,
    /// The reason's label.
    pub reason: Label,
    /// Packets.
    pub packets: u64,
    /// L3 bytes.
    pub bytes: u64,
}

/// A service in force. Its settings can be read as its own fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Connections in the table, closing ones excepted.
    pub active_connections: u64,
    /// Of these, half-open ones.
    pub half_open_connections: u64,
    /// Packets placed by hash, without an entry in the table.
    pub hashed_packets: u64,
    /// Packets of the service that were dropped, by reason; those that are 0 may be left out.
    pub drops: BTreeMap<Label, u64>,
    /// What it does per second.
    pub rates: Rates,
    /// Its backends, in the configuration's order.
    pub backends: Vec<Backend>,
    /// Its rules, in the configuration's order.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// A rule of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its settings, by the configuration's keys; those that say nothing are left out.
    #[serde(flatten)]
    pub config: RuleConfig,
    /// Whether it holds now, as far as that does not depend on the packet.
    pub active: bool,
    /// Connections whose backend it chose.
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Its own address.
    pub address: IpAddr,
    /// The MAC its packets go to, once known.
    pub mac: Option<Mac>,
    /// The NIC behind which it lives, once known.
    pub interface: Option<String>,
    /// Its weight in force.
    pub weight: u32,
    /// Whether the manager leaves its weight alone.
    #[serde(default)]
    pub fixed_weight: bool,
    /// Whether it takes connections only where no other backend does.
    #[serde(default)]
    pub sorry: bool,
    /// Whether packets may go to it: not down, its MAC known, its NIC there.
    pub up: bool,
    /// No new connections by hand; existing ones go on.
    pub quiesced: bool,
    /// When it is taken down, if it is still quiesced and has connections left.
    #[serde(default)]
    pub quiesce_deadline: Option<Timestamp>,
    /// Taken down by hand.
    pub down_by_hand: bool,
    /// Whether it is on the dispatcher's host.
    pub local: bool,
    /// Active connections it takes at most; 0: any number.
    pub max_connections: u32,
    /// Whether clients stay with it, where the service keeps them.
    pub sticky: bool,
    /// One phrase: `up`, `down by hand`, `no mac: no answer to neighbour discovery`, ….
    pub state: String,
    /// Since when `state` holds.
    pub since: Timestamp,
    /// Packets forwarded.
    pub packets: u64,
    /// L3 bytes forwarded.
    pub bytes: u64,
    /// Connections placed.
    pub connections: u64,
    /// Connections in the table, closing ones excepted.
    pub active_connections: u64,
    /// Of these, half-open ones.
    pub half_open_connections: u64,
    /// SYNs of half-open connections seen again.
    pub retransmissions: u64,
    /// Bytes its clients acknowledged; none where its service is not measured.
    pub delivered_bytes: Option<u64>,
    /// Its response times; none where its service is not measured.
    pub response_seconds: Option<ResponseSeconds>,
    /// What its advisor says of it; none where its service has no advisor.
    pub advisor: Option<BackendAdvisor>,
    /// What its metric agent says; none where its service asks for none beside the advisor.
    #[serde(default)]
    pub agent: Option<BackendAdvisor>,
    /// What it does per second.
    pub rates: Rates,
}

/// Response times as a histogram.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResponseSeconds {
    /// Responses.
    pub count: u64,
    /// Sum of their times.
    pub sum: f64,
    /// Responses that took at most so long; the last bucket, which has all, is left out.
    pub buckets: Vec<ResponseBucket>,
}

/// A bucket of a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResponseBucket {
    /// Its upper bound in seconds.
    pub le: f64,
    /// Responses that took at most so long.
    pub count: u64,
}

impl ResponseSeconds {
    /// Their mean; none without a response.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count != 0).then(|| self.sum / self.count as f64)
    }
}

/// What happened per second, over the last seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Connections placed.
    pub connections: f64,
    /// Packets forwarded.
    pub packets: f64,
    /// L3 bytes forwarded.
    pub bytes: f64,
}

/// The connection table as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectionTable {
    /// Connections it holds, closing ones included.
    pub connections: u64,
    /// Connections it was made for.
    pub connections_capacity: u64,
    /// Half-open connections it holds.
    pub half_open_connections: u64,
    /// Half-open connections above which SYNs are placed by hash.
    pub syn_guard: u64,
    /// Since when there have been more, if there are now.
    pub syn_guard_since: Option<Timestamp>,
    /// Connections kept outside their buckets, because these were full.
    pub overflow_connections: u64,
    /// `connections` as a share of `connections_capacity`.
    pub fill: f64,
    /// Connections removed by the sweep, by cause (`stale`, `syn`, `fin`, `backend_gone`, …).
    pub connections_expired: BTreeMap<Label, u64>,
}

/// The configuration in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// The file.
    pub file: String,
    /// Whether the last (re)load was applied.
    pub reload_success: bool,
    /// When it was tried.
    pub last_reload: Timestamp,
    /// What an operator should know, such as a setting that waits for the next fresh start.
    pub note: Option<String>,
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoggedError {
    /// When.
    pub time: Timestamp,
    /// One line.
    pub message: String,
}

/// `GET /v1/connections`: connections that match the query. Half-open ones are counted, not listed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    /// Those found, at most as many as asked for.
    pub connections: Vec<Connection>,
    /// Whether there are more.
    pub truncated: bool,
    /// Where the daemon goes on with a long answer, which it gives page by page.
    #[serde(skip)]
    pub next: Option<usize>,
}

/// A connection of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Protocol.
    pub protocol: Protocol,
    /// Client address.
    pub client: IpAddr,
    /// Client port.
    pub client_port: u16,
    /// Address the client sent to.
    pub vip: IpAddr,
    /// Port the client sent to.
    pub vip_port: u16,
    /// Name of the service.
    pub service: String,
    /// Name of the backend.
    pub backend: String,
    /// `half_open`, `established` or `closing`.
    pub state: Label,
    /// Time since the flow was recorded.
    pub age_seconds: f64,
    /// Time since the last packet.
    pub idle_seconds: f64,
    /// Bytes the client acknowledged, where the connection was measured from its beginning.
    pub delivered_bytes: Option<u64>,
    /// The last response time, where one was measured.
    pub response_seconds: Option<f64>,
}

/// `GET /v1/plan`, and what a reload answers: the difference, line by line. Empty: nothing to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The changes, in the order in which they are made.
    pub changes: Vec<Change>,
    /// What a reload cannot do, such as a `capacity` that waits for the next fresh start.
    pub notes: Vec<String>,
}

/// One line of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What is done.
    pub action: Action,
    /// To what: `service web`, `backend web/web-1`, `interface eth0`.
    pub object: String,
    /// How: `weight 3 -> 4`; empty where the object says it all.
    pub detail: String,
}

/// What a line of a plan does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The object is added.
    Add,
    /// The object stays and changes.
    Change,
    /// The object is removed.
    Remove,
}
