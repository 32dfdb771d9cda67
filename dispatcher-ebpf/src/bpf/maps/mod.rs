//! Every map of the datapath, declared once. Contents and owners: `dispatcher_common::maps`.
//!
//! They are BTF maps, so that aya, libbpf and bpftool load the object alike, or sections of the object, whose elements are found
//! by address. Sections and arrays marked `MMAPABLE` are also read and written by the controller as memory; each of their
//! fields that changes while packets flow is one word, stored whole.
//!
//! The rest of the program sees maps only through the accessors below: they return words, not pointers.

use aya_ebpf::{
    bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, xdp_action::XDP_DROP},
    btf_maps::{Array, DevMap, HashMap, LruHashMap, PerCpuArray, of_maps::ArrayOfMaps},
    macros::btf_map,
};
use dispatcher_common::{
    backend::{BackendValue, Forward, InterfaceValue, Share},
    connection::{Bucket, FlowBucket},
    counts::{BackendCounts, PacketCounts, ServiceCounts, TableCounts},
    fragment::FragmentKey,
    limits,
    measure::{Exchange, MeasureWindow, ResponseCounts},
    net::Address,
    probe::ProbeEnd,
    reason::{REASONS, Reason},
    refused::RefusedKey,
    rule::{Condition, Rule},
    service::{AffinityKey, PeerKey, Policy, SCHEDULE_PACK, ServiceId, ServiceKey, ServiceState},
    settings::Settings,
    shared::cast_ref,
};

use dispatcher_ebpf::{barrier::hide, parse::FlowWords};

use super::{packet::Packet, shared_word::Word};

/// A map value that is a u64, or a field of one that is, as a [`Word`].
macro_rules! word {
    ($value:expr $(, $($place:tt)*)?) => {{
        let value = $value;
        // SAFETY: `value` comes from a lookup or is an element of a section, and the field is an aligned u64 of it.
        unsafe { Word::new(&raw mut (*value) $($($place)*)?) }
    }};
}

/// An integer that is a map value or a field of one, read whole: the controller may write it at the same time, by one store.
macro_rules! read {
    ($value:expr $(, $($place:tt)*)?) => {{
        let value = $value;
        // SAFETY: `value` comes from a lookup or is an element of a section, and what is read is an aligned integer.
        unsafe { core::ptr::read_volatile(&raw const (*value) $($($place)*)?) }
    }};
}

/// A map value, copied: nobody writes it while packets read it.
macro_rules! copy {
    ($value:expr) => {{
        let value = $value;
        // SAFETY: `value` comes from a lookup, and nobody writes what it points to.
        unsafe { core::ptr::read(value) }
    }};
}

mod measured;
mod section;
mod service;
mod table;

pub(crate) use measured::*;
use section::Section;
pub(crate) use service::*;
pub(crate) use table::*;

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;
const OF_ANY_SIZE: usize = BPF_F_INNER_MAP as usize;
const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;
/// The controller sizes `CONNECTIONS` and `FLOWS` before it loads the object; `CONFIG`'s mask must agree.
const DEFAULT_BUCKETS: usize = 1024;
const SLOTS: usize = limits::MAX_SLOTS as usize;
const SERVICE_IDS: usize = limits::MAX_SERVICES as usize;
const NICS: usize = limits::MAX_INTERFACES as usize;
const FILTER_WORDS: usize = limits::ADDRESS_FILTER_BITS as usize / 64;
const RING_PACKS: usize = limits::SCHEDULE_POOL as usize / SCHEDULE_PACK;

/// Settings: those with which the datapath was made, and those that change at runtime.
#[btf_map]
static SETTINGS: Array<Settings, 1, MMAPABLE> = Array::new();
/// Destination-address filter.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.filter")]
static ADDRESS_FILTER: Section<u64, FILTER_WORDS> = Section::EMPTY;
/// VIPs that have services: number of services. While there are services on any address, also the host's own addresses.
#[btf_map]
static VIPS: HashMap<Address, u32, { limits::MAX_ADDRESSES as usize }> = HashMap::new();
/// Service id by VIP, port and protocol.
#[btf_map]
static SERVICES: HashMap<ServiceKey, ServiceId, SERVICE_IDS> = HashMap::new();
/// Policy by service id.
#[btf_map]
static POLICIES: Array<Policy, SERVICE_IDS, MMAPABLE> = Array::new();
/// Cursor and last placement by hash, by service id.
#[btf_map]
static SERVICE_STATE: Array<ServiceState, SERVICE_IDS, MMAPABLE> = Array::new();
/// The rings of all services.
#[btf_map]
static SCHEDULES: Array<[u16; SCHEDULE_PACK], RING_PACKS, MMAPABLE> = Array::new();
/// Backends by slot.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.backends")]
static BACKENDS: Section<BackendValue, SLOTS> = Section::EMPTY;
/// NICs by interface index.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.interfaces")]
static INTERFACES: Section<InterfaceValue, NICS> = Section::EMPTY;
/// Redirection targets by interface index.
#[btf_map]
static DEVICES: DevMap<NICS> = DevMap::new();
/// The connection table.
#[btf_map]
static CONNECTIONS: Array<Bucket, DEFAULT_BUCKETS, MMAPABLE> = Array::new();
/// Flow records of the ways of the connection table.
#[btf_map]
static FLOWS: Array<FlowBucket, DEFAULT_BUCKETS, MMAPABLE> = Array::new();
/// Connections whose buckets were both full: way word by table hash.
#[btf_map]
static OVERFLOW: HashMap<u64, u64, { limits::OVERFLOW_CAPACITY as usize }> = HashMap::new();
/// Where first fragments went.
#[btf_map]
static FRAGMENTS: LruHashMap<FragmentKey, u64, { limits::FRAGMENT_CAPACITY as usize }> =
    LruHashMap::new();
/// Packets and bytes by interface and reason.
#[btf_map]
static PACKET_COUNTS: PerCpuArray<PacketCounts, { NICS * REASONS }> = PerCpuArray::new();
/// Packets, bytes and connections by backend slot.
#[btf_map]
static BACKEND_COUNTS: PerCpuArray<BackendCounts, SLOTS> = PerCpuArray::new();
/// Early exits by service id.
#[btf_map]
static SERVICE_COUNTS: PerCpuArray<ServiceCounts, SERVICE_IDS> = PerCpuArray::new();

/// Counts of the backends' connections, by slot ([`dispatcher_common::counts::ActiveCount`]).
#[btf_map]
static ACTIVE_COUNTS: Array<u64, SLOTS, MMAPABLE> = Array::new();
/// Half-open connections of all backends.
#[btf_map]
static TABLE_COUNTS: Array<TableCounts, 1, MMAPABLE> = Array::new();
/// The backend of each client's last new connection. Memory is allocated per record.
#[btf_map]
static AFFINITY: HashMap<AffinityKey, u64, { limits::AFFINITY_RECORDS as usize }, NO_PREALLOC> =
    HashMap::new();
/// The slots that one backend has in the services of an affinity group.
#[btf_map]
static PEERS: HashMap<PeerKey, u32, { limits::PEERS as usize }, NO_PREALLOC> = HashMap::new();
/// The measurements of each way's connection. The array in it has as many elements as there are ways.
#[btf_map]
static EXCHANGES: ArrayOfMaps<Array<Exchange, 1, { MMAPABLE | OF_ANY_SIZE }>, 1> =
    ArrayOfMaps::new();
/// Bytes delivered and response times by slot.
#[btf_map]
static RESPONSES: ArrayOfMaps<PerCpuArray<ResponseCounts, SLOTS>, 1> = ArrayOfMaps::new();
/// The same in the current averaging window.
#[btf_map]
static WINDOWS: Array<MeasureWindow, SLOTS, MMAPABLE> = Array::new();
/// Rules by id.
#[btf_map]
static RULES: Array<Rule, { limits::MAX_RULES as usize }, MMAPABLE> = Array::new();
/// The conditions of all rules of all services.
#[btf_map]
static CONDITIONS: Array<Condition, { limits::CONDITION_POOL as usize }, MMAPABLE> = Array::new();
/// The packet that a CPU handles. It is not on the stack, which is small and which all stages share. Nothing of it is kept.
#[btf_map]
static PACKET: PerCpuArray<Packet, 1> = PerCpuArray::new();

/// The time at which a CPU's next RST is due, in nanoseconds of the monotonic clock.
#[btf_map]
static RESET_DUE: PerCpuArray<u64, 1> = PerCpuArray::new();

/// The destination of answers to probes of VIPs, by the prober's address.
#[btf_map]
static PROBE_ENDS: HashMap<Address, ProbeEnd, { limits::PROBE_ADDRESSES as usize }> =
    HashMap::new();

/// Redirects that devices refused.
#[btf_map]
static REFUSED: HashMap<RefusedKey, u64, { limits::REFUSED_KEYS as usize }, NO_PREALLOC> =
    HashMap::new();

/// Counts packets that a device refused.
#[inline(always)]
pub(crate) fn refuse(key: &RefusedKey, packets: u64) {
    match REFUSED.get_ptr_mut(key) {
        Some(count) => {
            word!(count).fetch_add(packets);
        }
        // If two CPUs are the first at once, the count of one is lost. A full map takes no more keys.
        None => {
            let _ = REFUSED.insert(key, &packets, 0);
        }
    }
}

/// The packet that this CPU handles. A second call voids the result of the first.
#[inline(always)]
pub(crate) fn packet() -> Option<&'static mut Packet> {
    // SAFETY: the pointer comes from a lookup of this CPU's element, which no other packet uses before this one has left. A
    // packet's path has at most two calls. The second is in the last stage, after the last use of the first one's result.
    PACKET.get_ptr_mut(0).map(|packet| unsafe { &mut *packet })
}

/// Where and whether to forward to a slot's backend; nothing set for a slot that does not exist.
#[inline(always)]
pub(crate) fn forward(slot: u32) -> Forward {
    Forward(word!(BACKENDS.element(slot), .forward).load())
}

/// The service of a slot.
#[inline(always)]
pub(crate) fn service_of(slot: u32) -> ServiceId {
    read!(BACKENDS.element(slot), .service)
}

/// A slot's backend, as read.
pub(crate) struct Backend {
    /// Where and whether to forward.
    pub(crate) forward: Forward,
    /// Its service.
    pub(crate) service: ServiceId,
    /// Its weight and bound.
    pub(crate) share: Share,
}

/// A slot's backend, with one address computed. Fields are read in this order; each is written by one store.
#[inline(always)]
pub(crate) fn backend(slot: u32) -> Backend {
    let value = BACKENDS.element(slot);
    let forward = Forward(word!(value, .forward).load());
    Backend { forward, service: read!(value, .service), share: Share(read!(value, .share)) }
}

/// The count of a slot's connections.
#[inline(always)]
pub(crate) fn active_count(slot: u32) -> Option<Word> {
    ACTIVE_COUNTS.get_ptr_mut(slot).map(|count| word!(count))
}

/// The number of half-open connections.
#[inline(always)]
pub(crate) fn half_open() -> Option<Word> {
    TABLE_COUNTS.get_ptr_mut(0).map(|counts| word!(counts, .half_open))
}

/// Half-open connections above which SYNs are placed by hash.
#[inline(always)]
pub(crate) fn syn_guard() -> u64 {
    SETTINGS.get_ptr_mut(0).map_or(u64::MAX, |settings| word!(settings, .syn_guard).load())
}

/// A NIC's own address as a [`Forward`] word, whose flags say whether the record is in use.
#[inline(always)]
pub(crate) fn own_address(interface: u32) -> Forward {
    Forward(word!(INTERFACES.element(interface), .mac).load())
}

/// The kernel's index of a NIC.
#[inline(always)]
pub(crate) fn ifindex(interface: u32) -> u32 {
    read!(INTERFACES.element(interface), .ifindex)
}

/// The MTU of a NIC in bytes of L3; 0: not known.
#[inline(always)]
pub(crate) fn mtu(interface: u32) -> u32 {
    read!(INTERFACES.element(interface), .mtu)
}

/// The destination of answers to probes from this address.
#[inline(always)]
pub(crate) fn probe_end(key: Address) -> Option<ProbeEnd> {
    // The controller writes an element once, before a probe leaves from its address, and removes it when no probe waits for an
    // answer any more.
    PROBE_ENDS.get_ptr(&key).map(|end| copy!(end))
}

/// Redirects the packet to another NIC; false if there is none with this index.
#[inline(always)]
pub(crate) fn redirect(interface: u32) -> bool {
    DEVICES.redirect(interface, u64::from(XDP_DROP)).is_ok()
}

/// A word of the destination-address filter.
#[inline(always)]
pub(crate) fn filter_word(number: u32) -> u64 {
    word!(ADDRESS_FILTER.element(number)).load()
}

/// The number of services of a flow's VIP; [`dispatcher_common::service::OWN`] if it is an address of the host.
#[inline(always)]
pub(crate) fn vip(flow: &FlowWords) -> Option<u32> {
    // A copy on the function's own stack: kernel 6.1 takes no key from the memory that a global function was given.
    let key = flow.vip;
    // If the element is removed and reused meanwhile, the number is another address's: the packet is then treated as if it had
    // come a moment earlier or later.
    VIPS.get_ptr(cast_ref::<_, Address>(&key)).map(|services| read!(services))
}

/// Families with services on any address ([`Settings::wildcards`]).
#[inline(always)]
pub(crate) fn wildcards() -> u64 {
    SETTINGS.get_ptr_mut(0).map_or(0, |settings| word!(settings, .wildcards).load())
}

/// This CPU's packets and bytes of a NIC and reason.
#[inline(always)]
pub(crate) fn packet_counts(interface: u32, reason: Reason) -> Option<(Word, Word)> {
    let counts = PACKET_COUNTS.get_ptr_mut(interface * REASONS as u32 + reason as u32)?;
    Some((word!(counts, .packets), word!(counts, .bytes)))
}

/// This CPU's counters of a backend.
#[derive(Clone, Copy)]
pub(crate) struct BackendWords {
    /// Packets forwarded.
    pub(crate) packets: Word,
    /// Bytes forwarded.
    pub(crate) bytes: Word,
    /// Connections placed.
    pub(crate) connections: Word,
    /// SYNs seen again.
    pub(crate) retransmissions: Word,
}

/// This CPU's counters of a backend.
#[inline(always)]
pub(crate) fn backend_counts(slot: u32) -> Option<BackendWords> {
    let counts = BACKEND_COUNTS.get_ptr_mut(slot)?;
    Some(BackendWords {
        packets: word!(counts, .packets),
        bytes: word!(counts, .bytes),
        connections: word!(counts, .connections),
        retransmissions: word!(counts, .retransmissions),
    })
}

/// This CPU's packets of a service that were placed by hash.
#[inline(always)]
pub(crate) fn hashed_count(service: ServiceId) -> Option<Word> {
    SERVICE_COUNTS.get_ptr_mut(service).map(|counts| word!(counts, .hashed))
}

/// This CPU's packets that left a service early for a reason.
#[inline(always)]
pub(crate) fn service_count(service: ServiceId, reason: Reason) -> Option<Word> {
    let counts = SERVICE_COUNTS.get_ptr_mut(service)?;
    // Verifier (6.18 refuses it without, "invalid access to map value"): LLVM knows that no reason needs the bound, the verifier does
    // not.
    let number = hide(reason as u64) as usize & (REASONS - 1);
    Some(word!(counts, .packets[number]))
}
