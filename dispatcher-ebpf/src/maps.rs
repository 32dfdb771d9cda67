//! Every map of the datapath, declared once. Contents and owners: `dispatcher_common::maps`.
//!
//! They are BTF maps, so that aya, libbpf and bpftool load the object alike. Arrays marked `MMAPABLE` are also read and
//! written by the controller as memory; each of their fields that changes while packets flow is one word, stored whole.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    btf_maps::{Array, DevMap, HashMap, PerCpuArray},
    macros::btf_map,
};
use dispatcher_common::{
    backend::{BackendValue, InterfaceValue},
    connection::{Bucket, FlowBucket},
    counts::{BackendCounts, PacketCounts, ServiceCounts},
    limits,
    net::Address,
    reason::REASONS,
    service::{Policy, SCHEDULE_PACK, ServiceKey, ServiceState},
    settings::Settings,
};

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;
/// The controller sizes `CONNECTIONS` and `FLOWS` before it loads the object; `CONFIG`'s mask must agree.
const DEFAULT_BUCKETS: usize = 1024;
const SLOTS: usize = limits::MAX_SLOTS as usize;
const SERVICE_IDS: usize = limits::MAX_SERVICES as usize;
const NICS: usize = limits::MAX_INTERFACES as usize;
const RING_PACKS: usize = limits::SCHEDULE_POOL as usize / SCHEDULE_PACK;

/// The destination-address filter: a bit for each [`dispatcher_common::flow::filter_bit`].
pub(crate) type FilterWords = [u64; limits::ADDRESS_FILTER_BITS as usize / 64];

/// What the datapath was made with, and what changes at runtime.
#[btf_map]
pub(crate) static SETTINGS: Array<Settings, 1, MMAPABLE> = Array::new();
/// Destination-address filter: one value.
#[btf_map]
pub(crate) static ADDRESS_FILTER: Array<FilterWords, 1, MMAPABLE> = Array::new();
/// VIPs that have services: number of services.
#[btf_map]
pub(crate) static VIPS: HashMap<Address, u32, SERVICE_IDS> = HashMap::new();
/// Service id by VIP, port and protocol.
#[btf_map]
pub(crate) static SERVICES: HashMap<ServiceKey, u32, SERVICE_IDS> = HashMap::new();
/// Policy by service id.
#[btf_map]
pub(crate) static POLICIES: Array<Policy, SERVICE_IDS, MMAPABLE> = Array::new();
/// Cursor and last placement by hash, by service id.
#[btf_map]
pub(crate) static SERVICE_STATE: Array<ServiceState, SERVICE_IDS, MMAPABLE> = Array::new();
/// The rings of all services.
#[btf_map]
pub(crate) static SCHEDULES: Array<[u16; SCHEDULE_PACK], RING_PACKS, MMAPABLE> = Array::new();
/// Backends by slot.
#[btf_map]
pub(crate) static BACKENDS: Array<BackendValue, SLOTS, MMAPABLE> = Array::new();
/// NICs by interface index.
#[btf_map]
pub(crate) static INTERFACES: Array<InterfaceValue, NICS, MMAPABLE> = Array::new();
/// Redirection targets by interface index.
#[btf_map]
pub(crate) static DEVICES: DevMap<NICS> = DevMap::new();
/// The connection table.
#[btf_map]
pub(crate) static CONNECTIONS: Array<Bucket, DEFAULT_BUCKETS, MMAPABLE> = Array::new();
/// Flow records of the connection table's ways.
#[btf_map]
pub(crate) static FLOWS: Array<FlowBucket, DEFAULT_BUCKETS, MMAPABLE> = Array::new();
/// Connections whose buckets were both full: way word by table hash.
#[btf_map]
pub(crate) static OVERFLOW: HashMap<u64, u64, { limits::OVERFLOW_CAPACITY as usize }> =
    HashMap::new();
/// Packets and bytes by interface and reason.
#[btf_map]
pub(crate) static PACKET_COUNTS: PerCpuArray<PacketCounts, { NICS * REASONS }> = PerCpuArray::new();
/// Packets, bytes and connections by backend slot.
#[btf_map]
pub(crate) static BACKEND_COUNTS: PerCpuArray<BackendCounts, SLOTS> = PerCpuArray::new();
/// Early exits by service id.
#[btf_map]
pub(crate) static SERVICE_COUNTS: PerCpuArray<ServiceCounts, SERVICE_IDS> = PerCpuArray::new();
