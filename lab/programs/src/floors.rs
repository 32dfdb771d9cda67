//! Floors: programs that do the least work of any forwarder with a connection table. IPv4 and TCP, without options.
//!
//! `line` parses the packet, reads one cache line of a table by a hash of the flow, writes the backend's addresses and sends
//! the packet. `service` does the same, but looks up the service before and counts the packet after. `lru` uses one of the
//! kernel's LRU hash maps as its table. `pass` does nothing.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod bpf {
    use aya_ebpf::{
        bindings::{
            BPF_F_MMAPABLE,
            xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
        },
        btf_maps::{Array, HashMap, LruHashMap, PerCpuArray},
        macros::{btf_map, xdp},
        programs::XdpContext,
    };
    use dispatcher_lab_ebpf::{
        FLOOR_BACKENDS, FLOOR_WAYS, FloorLine, FloorMacs, FloorService, FloorWay,
    };

    // BTF maps, so that libbpf can load them, too.

    /// A mapped array starts at a page boundary, so an element is exactly one cache line. The harness sets its size: a power
    /// of two.
    #[btf_map]
    static TABLE: Array<FloorLine, 1, { BPF_F_MMAPABLE as usize }> = Array::new();
    /// The harness sets its size.
    #[btf_map]
    static LRU: LruHashMap<Key, FloorWay, 1> = LruHashMap::new();
    #[btf_map]
    static BACKENDS: Array<FloorMacs, { FLOOR_BACKENDS as usize }> = Array::new();
    #[btf_map]
    static SERVICES: HashMap<FloorService, u32, 512> = HashMap::new();
    #[btf_map]
    static COUNTS: PerCpuArray<[u64; 2], { FLOOR_BACKENDS as usize }> = PerCpuArray::new();
    /// The number of `TABLE`'s lines minus 1, and the packets that opened a connection.
    #[btf_map]
    static STATE: Array<[u64; 2], 1> = Array::new();

    type Key = [u32; 4];

    const TCP: u32 = 6;
    /// Total length of the three headers.
    const HEADERS: usize = 54;

    #[xdp]
    fn pass(_ctx: XdpContext) -> u32 {
        XDP_PASS
    }

    #[xdp]
    fn line(ctx: XdpContext) -> u32 {
        let Some(packet) = Packet::of(&ctx) else { return XDP_PASS };
        match by_line(&packet) {
            Some(backend) => packet.send(backend),
            None => XDP_DROP,
        }
    }

    #[xdp]
    fn service(ctx: XdpContext) -> u32 {
        let Some(packet) = Packet::of(&ctx) else { return XDP_PASS };
        let key = [packet.vip, packet.ports >> 16 | TCP << 16];
        if SERVICES.get_ptr(key).is_none() {
            return XDP_PASS;
        }
        let Some(backend) = by_line(&packet) else { return XDP_DROP };
        let action = packet.send(backend);
        if let Some(counts) = COUNTS.get_ptr_mut(backend) {
            // SAFETY: the pointer comes from a lookup, and the element is this CPU's.
            unsafe {
                (*counts)[0] += 1;
                (*counts)[1] += packet.length as u64;
            }
        }
        action
    }

    #[xdp]
    fn lru(ctx: XdpContext) -> u32 {
        let Some(packet) = Packet::of(&ctx) else { return XDP_PASS };
        let key = [packet.client, packet.vip, packet.ports, TCP];
        if let Some(way) = LRU.get_ptr(key) {
            // SAFETY: the pointer comes from a lookup.
            return packet.send(unsafe { (*way).backend });
        }
        let backend = packet.hash() >> 20 & (FLOOR_BACKENDS - 1);
        // Sixteen bytes: as large as a backend and a time.
        let way = FloorWay { backend, ..FloorWay::default() };
        if LRU.insert(key, way, 0).is_err() {
            return XDP_DROP;
        }
        opened();
        packet.send(backend)
    }

    /// The needed fields of a packet, in the frame's byte order.
    struct Packet {
        start: usize,
        length: usize,
        client: u32,
        vip: u32,
        ports: u32,
    }

    impl Packet {
        /// Reads a TCP segment over IPv4 that is complete and without options.
        #[inline(always)]
        fn of(ctx: &XdpContext) -> Option<Self> {
            let (start, end) = (ctx.data(), ctx.data_end());
            if start + HEADERS > end {
                return None;
            }
            // SAFETY: the check above ensures that the bytes are in the frame; BPF machines load unaligned words.
            unsafe {
                let ethertype = *((start + 12) as *const u16);
                let version = *((start + 14) as *const u8);
                let fragment = *((start + 20) as *const u16) & 0x3fff_u16.to_be();
                let protocol = *((start + 23) as *const u8);
                if ethertype != 0x0800_u16.to_be() || version != 0x45 {
                    return None;
                }
                if fragment != 0 || u32::from(protocol) != TCP {
                    return None;
                }
                Some(Self {
                    start,
                    length: end - start,
                    client: *((start + 26) as *const u32),
                    vip: *((start + 30) as *const u32),
                    ports: *((start + 34) as *const u32),
                })
            }
        }

        #[inline(always)]
        fn hash(&self) -> u32 {
            let mut hash = (u64::from(self.client) << 32 | u64::from(self.ports))
                .wrapping_mul(0x9FB2_1C65_1E98_DF25);
            hash ^= hash >> 32;
            hash = (hash ^ u64::from(self.vip)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
            (hash ^ hash >> 32) as u32
        }

        /// Writes a backend's addresses into the frame.
        #[inline(always)]
        fn send(&self, backend: u32) -> u32 {
            let Some(macs) = BACKENDS.get_ptr(backend) else { return XDP_DROP };
            // SAFETY: the pointer comes from a lookup, and the check in `of` ensures that the frame has these bytes.
            unsafe {
                *(self.start as *mut u32) = (*macs)[0];
                *((self.start + 4) as *mut u32) = (*macs)[1];
                *((self.start + 8) as *mut u32) = (*macs)[2];
            }
            XDP_TX
        }
    }

    /// The backend of a packet from its line of the table; inserts the packet's connection if it is missing.
    #[inline(always)]
    fn by_line(packet: &Packet) -> Option<u32> {
        let state = STATE.get_ptr(0)?;
        let hash = packet.hash();
        // SAFETY: the pointer comes from a lookup.
        let line = TABLE.get_ptr_mut(hash & unsafe { (*state)[0] } as u32)?;
        for number in 0..FLOOR_WAYS {
            // SAFETY: the pointer comes from a lookup, and the line has a way of this number.
            let way = unsafe { &(*line)[number] };
            let is_it = way.ports == packet.ports && way.client == packet.client;
            if is_it && way.vip == packet.vip {
                return Some(way.backend.wrapping_sub(1));
            }
        }
        let mut free = (hash >> 30) as usize;
        for number in (0..FLOOR_WAYS).rev() {
            // SAFETY: as above.
            if unsafe { (*line)[number].backend } == 0 {
                free = number;
            }
        }
        let backend = hash >> 20 & (FLOOR_BACKENDS - 1);
        let Packet { client, vip, ports, .. } = *packet;
        // SAFETY: as above; a hash's two highest bits are below four.
        unsafe {
            (*line)[free & (FLOOR_WAYS - 1)] = FloorWay { client, vip, ports, backend: backend + 1 }
        };
        opened();
        Some(backend)
    }

    /// Counts a connection. Only one CPU runs at a time.
    #[inline(always)]
    fn opened() {
        if let Some(state) = STATE.get_ptr_mut(0) {
            // SAFETY: the pointer comes from a lookup.
            unsafe { (*state)[1] += 1 };
        }
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
