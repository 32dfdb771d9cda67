//! Every map of the datapath, declared once. Contents and owners: `dispatcher_common::maps`.
//!
//! They are BTF maps, so that aya, libbpf and bpftool load the object alike. Arrays marked `MMAPABLE` are also read and
//! written by the controller as memory; each of their fields that changes while packets flow is one word, stored whole.
//!
//! The accessors below are all that the rest of the program sees of a map: they hand out words, not pointers.

use core::ptr;

use aya_ebpf::{
    bindings::{
        BPF_ANY, BPF_F_INNER_MAP, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST,
        xdp_action::XDP_DROP,
    },
    btf_maps::{Array, DevMap, HashMap, LruHashMap, PerCpuArray, of_maps::ArrayOfMaps},
    macros::btf_map,
};
use dispatcher_common::{
    backend::{BackendValue, Forward, InterfaceValue, Share},
    connection::{Bucket, EXPIRY_CLASSES, FlowBucket, WAYS, Way},
    counts::{BackendCounts, PacketCounts, ServiceCounts, TableCounts},
    flow::Flow,
    fragment::{Followed, FragmentKey},
    limits,
    measure::{Exchange, MeasureWindow, RESPONSE_BUCKETS, ResponseCounts},
    net::Address,
    reason::{REASONS, Reason},
    rule::{Condition, Rule, RuleId},
    service::{
        AffinityKey, AffinityRecord, PeerKey, Policy, SCHEDULE_PACK, Schedule, ServiceId,
        ServiceKey, ServiceState,
    },
    settings::Settings,
};

use dispatcher_ebpf::barrier::hide;

use super::{pipeline::Packet, word::Word};

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

/// The destination-address filter: a bit for each [`dispatcher_common::flow::filter_bit`].
type FilterWords = [u64; FILTER_WORDS];

/// What the datapath was made with, and what changes at runtime.
#[btf_map]
static SETTINGS: Array<Settings, 1, MMAPABLE> = Array::new();
/// Destination-address filter: one value.
#[btf_map]
static ADDRESS_FILTER: Array<FilterWords, 1, MMAPABLE> = Array::new();
/// VIPs that have services: number of services. While services on any address are there, also the host's own addresses.
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
#[btf_map]
static BACKENDS: Array<BackendValue, SLOTS, MMAPABLE> = Array::new();
/// NICs by interface index.
#[btf_map]
static INTERFACES: Array<InterfaceValue, NICS, MMAPABLE> = Array::new();
/// Redirection targets by interface index.
#[btf_map]
static DEVICES: DevMap<NICS> = DevMap::new();
/// The connection table.
#[btf_map]
static CONNECTIONS: Array<Bucket, DEFAULT_BUCKETS, MMAPABLE> = Array::new();
/// Flow records of the connection table's ways.
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

/// Connections that backends have, by slot ([`dispatcher_common::counts::ActiveCount`]).
#[btf_map]
static ACTIVE_COUNTS: Array<u64, SLOTS, MMAPABLE> = Array::new();
/// Half-open connections of all backends.
#[btf_map]
static TABLE_COUNTS: Array<TableCounts, 1, MMAPABLE> = Array::new();
/// Which backend a client's last new connection went to. Memory is taken as records are made.
#[btf_map]
static AFFINITY: HashMap<AffinityKey, u64, { limits::AFFINITY_RECORDS as usize }, NO_PREALLOC> =
    HashMap::new();
/// Which slots of the services of an affinity group are one backend's.
#[btf_map]
static PEERS: HashMap<PeerKey, u32, { limits::PEERS as usize }, NO_PREALLOC> = HashMap::new();
/// What is known of each way's connection. The array in it has as many elements as there are ways.
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
/// The packet that a CPU is at work on: the stack is small, and all stages stand on it. Nothing of it is kept.
#[btf_map]
static PACKET: PerCpuArray<Packet, 1> = PerCpuArray::new();

/// When the next RST is due that a CPU sends, in nanoseconds of the monotonic clock.
#[btf_map]
static RESET_DUE: PerCpuArray<u64, 1> = PerCpuArray::new();

/// A field of a map value as a [`Word`].
macro_rules! word {
    ($value:expr, $($place:tt)+) => {{
        let value = $value;
        // SAFETY: `value` comes from a lookup, and the field is an aligned u64 of it.
        unsafe { Word::new(&raw mut (*value) $($place)+) }
    }};
}

/// This CPU's place for the packet it is at work on.
#[inline(always)]
pub(super) fn packet() -> Option<*mut Packet> {
    PACKET.get_ptr_mut(0)
}

/// Eight ways of the connection table.
#[derive(Clone, Copy)]
pub(super) struct Ways(*mut Bucket);

impl Ways {
    /// The word of a way.
    #[inline(always)]
    pub(super) fn word(self, number: usize) -> Word {
        // SAFETY: the bucket comes from a lookup, and the number is cut to its ways.
        unsafe { Word::new(self.0.cast::<u64>().add(number & (WAYS - 1))) }
    }

    /// What a way says.
    #[inline(always)]
    pub(super) fn way(self, number: usize) -> Way {
        Way(self.word(number).load())
    }

    /// Has the processor fetch the bucket's line, without waiting for it.
    #[inline(always)]
    pub(super) fn touch(self) {
        let _ = self.word(0).load();
    }

    /// Whether both are one bucket.
    #[inline(always)]
    pub(super) fn is(self, other: Self) -> bool {
        self.0 == other.0
    }
}

/// A bucket of the connection table.
#[inline(always)]
pub(super) fn ways(bucket: u32) -> Option<Ways> {
    CONNECTIONS.get_ptr_mut(bucket).map(Ways)
}

/// The flow record of a way.
#[derive(Clone, Copy)]
pub(super) struct Record(*mut [u64; FLOW_WORDS]);

const FLOW_WORDS: usize = size_of::<Flow>() / 8;

impl Record {
    /// Writes the record. Not atomic: readers check it against the way.
    #[inline(always)]
    pub(super) fn store(self, flow: Flow) {
        // SAFETY: a `Flow` is integers without padding, and so as many words as `FLOW_WORDS`.
        let words = unsafe { core::mem::transmute::<Flow, [u64; FLOW_WORDS]>(flow) };
        // SAFETY: see `record`: the record lies whole and aligned in the map value.
        unsafe { self.0.write(words) }
    }

    /// Reads the record.
    #[inline(always)]
    pub(super) fn load(self) -> Flow {
        // SAFETY: as for `store`; any bytes are a `Flow`.
        unsafe { core::mem::transmute::<[u64; FLOW_WORDS], Flow>(self.0.read()) }
    }
}

/// The flow record of a way.
#[inline(always)]
pub(super) fn record(bucket: u32, number: usize) -> Option<Record> {
    let bucket = FLOWS.get_ptr_mut(bucket)?;
    // SAFETY: the value has WAYS records of FLOW_WORDS words, aligned as array elements are to eight bytes, and the number
    // is cut to them.
    Some(Record(unsafe { bucket.cast::<[u64; FLOW_WORDS]>().add(number & (WAYS - 1)) }))
}

/// Where and whether to forward to a slot's backend; nothing set for a slot that does not exist.
#[inline(always)]
pub(super) fn forward(slot: u32) -> Forward {
    Forward(BACKENDS.get_ptr_mut(slot).map_or(0, |value| word!(value, .forward).load()))
}

/// The service of a slot.
#[inline(always)]
pub(super) fn service_of(slot: u32) -> Option<ServiceId> {
    let value = BACKENDS.get_ptr(slot)?;
    // SAFETY: the pointer comes from a lookup; the controller writes the field by one store.
    Some(unsafe { ptr::read_volatile(&raw const (*value).service) })
}

/// Weight and bound of a slot's backend.
#[inline(always)]
pub(super) fn share(slot: u32) -> Share {
    // SAFETY: the pointer comes from a lookup; the controller writes the field by one store.
    let share =
        BACKENDS.get_ptr(slot).map(|b| unsafe { ptr::read_volatile(&raw const (*b).share) });
    Share(share.unwrap_or(0))
}

/// How many connections a slot's backend has.
#[inline(always)]
pub(super) fn active_count(slot: u32) -> Option<Word> {
    // SAFETY: the value is one aligned u64.
    ACTIVE_COUNTS.get_ptr_mut(slot).map(|count| unsafe { Word::new(count) })
}

/// How many half-open connections there are.
#[inline(always)]
pub(super) fn half_open() -> Option<Word> {
    TABLE_COUNTS.get_ptr_mut(0).map(|counts| word!(counts, .half_open))
}

/// Half-open connections above which SYNs are placed by hash.
#[inline(always)]
pub(super) fn syn_guard() -> u64 {
    SETTINGS.get_ptr_mut(0).map_or(u64::MAX, |settings| word!(settings, .syn_guard).load())
}

/// A NIC's own address as a [`Forward`] word, whose flags say whether the record is in use.
#[inline(always)]
pub(super) fn own_address(interface: u32) -> Forward {
    Forward(INTERFACES.get_ptr_mut(interface).map_or(0, |value| word!(value, .mac).load()))
}

/// Redirects the packet to another NIC; false if there is none with this index.
#[inline(always)]
pub(super) fn redirect(interface: u32) -> bool {
    DEVICES.redirect(interface, u64::from(XDP_DROP)).is_ok()
}

/// A word of the destination-address filter.
#[inline(always)]
pub(super) fn filter_word(number: u32) -> u64 {
    let Some(words) = ADDRESS_FILTER.get_ptr_mut(0) else { return 0 };
    word!(words, [number as usize & (FILTER_WORDS - 1)]).load()
}

/// How many services an address has as a VIP; [`dispatcher_common::service::OWN`] of one that is the host's.
#[inline(always)]
pub(super) fn vip(address: &Address) -> Option<u32> {
    // A copy on the function's own stack: kernel 6.1 takes no key from the memory that a global function was given.
    let key = *address;
    // SAFETY: the pointer comes from a lookup. Of an element that is removed and reused meanwhile, the number is another
    // address's: the packet is then treated as one that came a moment earlier or later.
    VIPS.get_ptr(&key).map(|services| unsafe { ptr::read_volatile(services) })
}

/// Families with services on any address ([`Settings::wildcards`]).
#[inline(always)]
pub(super) fn wildcards() -> u64 {
    SETTINGS.get_ptr_mut(0).map_or(0, |settings| word!(settings, .wildcards).load())
}

/// The service with exactly this key.
#[inline(always)]
pub(super) fn service(key: &ServiceKey) -> Option<ServiceId> {
    // SAFETY: the pointer comes from a lookup. An element that the controller removes meanwhile is reused at the earliest
    // after the next insertion: the id read is then that of another service, whose ring names no backend of this one.
    SERVICES.get_ptr(key).map(|id| unsafe { ptr::read_volatile(id) })
}

/// Ring, orphan policy and stale time of a service.
#[derive(Clone, Copy)]
pub(super) struct PolicyWords {
    /// Its ring.
    pub(super) schedule: Word,
    /// Its choices.
    pub(super) choices: Word,
    /// Its `stale_timeout` in ticks.
    pub(super) stale_ticks: Word,
    /// How its clients stay with their backends.
    pub(super) affinity: Word,
    /// Its rules.
    pub(super) rules: Word,
}

/// The policy of a service.
#[inline(always)]
pub(super) fn policy(service: ServiceId) -> Option<PolicyWords> {
    let value = POLICIES.get_ptr_mut(service)?;
    Some(PolicyWords {
        schedule: word!(value, .schedule),
        choices: word!(value, .choices),
        stale_ticks: word!(value, .stale_ticks),
        affinity: word!(value, .affinity),
        rules: word!(value, .rules),
    })
}

/// What there is of a rule.
#[derive(Clone, Copy)]
pub(super) struct RuleWords {
    /// Its ring.
    pub(super) schedule: Word,
    /// Whether it holds, as far as a packet does not tell.
    pub(super) active: Word,
    /// Next position of its ring.
    pub(super) cursor: Word,
    /// Connections whose backend it chose.
    pub(super) connections: Word,
}

/// A rule.
#[inline(always)]
pub(super) fn rule(rule: RuleId) -> Option<RuleWords> {
    let value = RULES.get_ptr_mut(rule)?;
    Some(RuleWords {
        schedule: word!(value, .schedule),
        active: word!(value, .active),
        cursor: word!(value, .cursor),
        connections: word!(value, .connections),
    })
}

/// A condition of a rule.
#[inline(always)]
pub(super) fn condition(number: u32) -> Option<Condition> {
    // SAFETY: the pointer comes from a lookup. The controller writes where no set of rules leads to, and takes space again
    // when the packets are through that were at work when it was left.
    CONDITIONS.get_ptr(number).map(|condition| unsafe { ptr::read(condition) })
}

/// The affinity record of a client.
#[inline(always)]
pub(super) fn affinity(key: &AffinityKey) -> Option<u64> {
    // SAFETY: the value is one aligned u64, stored whole. Of an element that is removed and reused meanwhile, its record is
    // another client's: the backend then is not the client's own, but one of the service, or none.
    AFFINITY.get_ptr(key).map(|record| unsafe { ptr::read_volatile(record) })
}

/// Keeps the affinity record of a client; without room for it nothing is kept.
#[inline(always)]
pub(super) fn remember(key: &AffinityKey, record: AffinityRecord) {
    let _ = AFFINITY.insert(key, &record.0, 0);
}

/// The slot of the same backend in another service of an affinity group.
#[inline(always)]
pub(super) fn peer(key: &PeerKey) -> Option<u32> {
    // SAFETY: the value is one aligned u32, stored whole; the caller checks whose slot it is.
    PEERS.get_ptr(key).map(|slot| unsafe { ptr::read_volatile(slot) })
}

/// What the datapath keeps of a service.
#[derive(Clone, Copy)]
pub(super) struct ServiceWords {
    /// Next position of its ring.
    pub(super) cursor: Word,
    /// When it last placed a packet by hash.
    pub(super) hashed_at: Word,
    /// Packets it placed by hash.
    pub(super) hashed: Word,
}

/// What the datapath keeps of a service.
#[inline(always)]
pub(super) fn service_state(service: ServiceId) -> Option<ServiceWords> {
    let value = SERVICE_STATE.get_ptr_mut(service)?;
    Some(ServiceWords {
        cursor: word!(value, .cursor),
        hashed_at: word!(value, .hashed_at),
        hashed: word!(value, .hashed),
    })
}

/// How many members a schedule has.
#[inline(always)]
pub(super) fn members(schedule: Schedule) -> u32 {
    scheduled(schedule, schedule.length()).unwrap_or(0)
}

/// A member of a schedule.
#[inline(always)]
pub(super) fn member(schedule: Schedule, number: u32) -> Option<u32> {
    scheduled(schedule, schedule.length().wrapping_add(1).wrapping_add(number))
}

/// A slot of a ring, or of what lies behind it.
#[inline(always)]
pub(super) fn scheduled(schedule: Schedule, position: u32) -> Option<u32> {
    let at = schedule.offset().wrapping_add(position);
    let pack = SCHEDULES.get_ptr(at / SCHEDULE_PACK as u32)?;
    // SAFETY: the pointer comes from a lookup, and the index is cut to the element.
    let slot = unsafe { pack.cast::<u16>().add(at as usize & (SCHEDULE_PACK - 1)) };
    // SAFETY: as above; the controller stores ring slots whole.
    Some(u32::from(unsafe { ptr::read_volatile(slot) }))
}

/// Idle ticks after which a way of each class is free.
#[derive(Clone, Copy)]
pub(super) struct Expiry(*mut [u64; EXPIRY_CLASSES]);

impl Expiry {
    /// Those of one class.
    #[inline(always)]
    pub(super) fn ticks(self, class: usize) -> u64 {
        // Hidden, since LLVM knows that no class needs the bound; kernel 6.1 loses it where bits are put together.
        let class = hide(class as u64) as usize & (EXPIRY_CLASSES - 1);
        word!(self.0, [class]).load()
    }
}

/// The table's expiry times.
#[inline(always)]
pub(super) fn expiry() -> Option<Expiry> {
    let settings = SETTINGS.get_ptr_mut(0)?;
    // SAFETY: the pointer comes from a lookup.
    Some(Expiry(unsafe { &raw mut (*settings).expiry_ticks }))
}

/// Nanoseconds between two RSTs of a CPU.
#[inline(always)]
pub(super) fn reset_interval() -> Option<Word> {
    SETTINGS.get_ptr_mut(0).map(|settings| word!(settings, .reset_interval))
}

/// When this CPU's next RST is due.
#[inline(always)]
pub(super) fn reset_due() -> Option<Word> {
    // SAFETY: the value is one aligned u64.
    RESET_DUE.get_ptr_mut(0).map(|word| unsafe { Word::new(word) })
}

/// How many connections are in the overflow map.
#[inline(always)]
pub(super) fn overflow_entries() -> Option<Word> {
    SETTINGS.get_ptr_mut(0).map(|settings| word!(settings, .overflow_entries))
}

/// The word of a connection in the overflow map.
#[inline(always)]
pub(super) fn overflow(hash: u64) -> Option<Word> {
    // SAFETY: the value is one aligned u64.
    OVERFLOW.get_ptr_mut(&hash).map(|word| unsafe { Word::new(word) })
}

/// Puts a connection into the overflow map.
///
/// # Errors
/// The kernel's: `-EEXIST`, or `-E2BIG` when it is full.
#[inline(always)]
pub(super) fn insert_overflow(hash: u64, way: Way) -> Result<(), i32> {
    OVERFLOW.insert(&hash, &way.0, u64::from(BPF_NOEXIST))
}

/// Notes where a first fragment went.
#[inline(always)]
pub(super) fn remember_fragment(key: &FragmentKey, followed: Followed) {
    // Fails if no entry can be had, which happens to an LRU map under a race: the datagram is then lost.
    let _ = FRAGMENTS.insert(key, &followed.0, u64::from(BPF_ANY));
}

/// Where the first fragment of a datagram went.
#[inline(always)]
pub(super) fn followed(key: &FragmentKey) -> Option<Followed> {
    // SAFETY: the pointer comes from a lookup. An element that is reused meanwhile holds another datagram's word: this
    // fragment then goes astray, and the datagram is lost.
    FRAGMENTS.get_ptr(key).map(|word| Followed(unsafe { ptr::read_volatile(word) }))
}

/// This CPU's packets and bytes of a NIC and reason.
#[inline(always)]
pub(super) fn packet_counts(interface: u32, reason: Reason) -> Option<(Word, Word)> {
    let counts = PACKET_COUNTS.get_ptr_mut(interface * REASONS as u32 + reason as u32)?;
    Some((word!(counts, .packets), word!(counts, .bytes)))
}

/// This CPU's counters of a backend.
#[derive(Clone, Copy)]
pub(super) struct BackendWords {
    /// Packets forwarded.
    pub(super) packets: Word,
    /// Bytes forwarded.
    pub(super) bytes: Word,
    /// Connections placed.
    pub(super) connections: Word,
    /// SYNs seen again.
    pub(super) retransmissions: Word,
}

/// This CPU's counters of a backend.
#[inline(always)]
pub(super) fn backend_counts(slot: u32) -> Option<BackendWords> {
    let counts = BACKEND_COUNTS.get_ptr_mut(slot)?;
    Some(BackendWords {
        packets: word!(counts, .packets),
        bytes: word!(counts, .bytes),
        connections: word!(counts, .connections),
        retransmissions: word!(counts, .retransmissions),
    })
}

/// This CPU's packets that left a service early for a reason.
#[inline(always)]
pub(super) fn service_count(service: ServiceId, reason: Reason) -> Option<Word> {
    let counts = SERVICE_COUNTS.get_ptr_mut(service)?;
    // Hidden, since LLVM knows that no reason needs the bound, and the verifier does not.
    let number = hide(reason as u64) as usize & (REASONS - 1);
    Some(word!(counts, .packets[number]))
}

/// What is known of a way's connection.
#[derive(Clone, Copy)]
pub(super) struct ExchangeWords {
    /// How far its client has acknowledged.
    pub(super) progress: Word,
    /// What its client waits for.
    pub(super) pending: Word,
    /// Times of handshake and last response.
    pub(super) times: Word,
    /// From where delivered bytes count.
    pub(super) base: Word,
}

/// What is known of a way's connection; none while nothing is measured.
#[inline(always)]
pub(super) fn exchange(bucket: u32, number: usize) -> Option<ExchangeWords> {
    let way = bucket * WAYS as u32 + (number & (WAYS - 1)) as u32;
    let value = EXCHANGES.get_value_ptr_mut(0, &way)?;
    Some(ExchangeWords {
        progress: word!(value, .progress),
        pending: word!(value, .pending),
        times: word!(value, .times),
        base: word!(value, .base),
    })
}

/// This CPU's counts of a backend that is measured.
#[derive(Clone, Copy)]
pub(super) struct ResponseWords {
    /// Bytes delivered.
    pub(super) delivered: Word,
    /// Sum of response times.
    pub(super) micros: Word,
    value: *mut ResponseCounts,
}

impl ResponseWords {
    /// Responses in a bucket of the histogram.
    #[inline(always)]
    pub(super) fn bucket(self, number: usize) -> Word {
        // Hidden, since LLVM knows that no bucket needs the bound, and the verifier does not.
        let number = hide(number as u64) as usize & 15;
        let number = if number < RESPONSE_BUCKETS { number } else { 0 };
        word!(self.value, .buckets[number])
    }
}

/// This CPU's counts of a backend; none while nothing is measured.
#[inline(always)]
pub(super) fn response_counts(slot: u32) -> Option<ResponseWords> {
    let value = RESPONSES.get_value_ptr_mut(0, &slot)?;
    Some(ResponseWords {
        delivered: word!(value, .delivered),
        micros: word!(value, .micros),
        value,
    })
}

/// Response times of a backend in its last window.
#[inline(always)]
pub(super) fn response_window(slot: u32) -> Option<Word> {
    WINDOWS.get_ptr_mut(slot).map(|window| word!(window, .responses))
}

/// Bytes that a backend delivered in its last window.
#[inline(always)]
pub(super) fn byte_window(slot: u32) -> Option<Word> {
    WINDOWS.get_ptr_mut(slot).map(|window| word!(window, .bytes))
}
