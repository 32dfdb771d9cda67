//! The contents of the maps: the datapath's surroundings as plain values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dispatcher_common::{
    backend::{LOCAL, NEW, PRESENT, STICKY, UP, USABLE},
    connection::EXPIRY_CLASSES,
    flow::HASH_KEYS,
    limits::OVERFLOW_CAPACITY,
    service::{Affinity, orphan, scheduler},
};

use crate::packet_builder::{Mac, NIC_MAC};

/// All contents of the maps before the first packet.
#[derive(Clone, Debug)]
pub struct World {
    /// Buckets of the connection table: a power of two.
    pub buckets: u32,
    /// Size of the overflow map, in connections.
    pub overflow: u32,
    /// Index of the NIC on which packets arrive.
    pub interface: u32,
    /// Keys of the table's hash.
    pub hash_keys: [u64; HASH_KEYS],
    /// Keys for placement by hash.
    pub schedule_keys: [u64; 2],
    /// Idle ticks after which a way may be reused, by expiry class.
    pub expiry_ticks: [u64; EXPIRY_CLASSES],
    /// Half-open connections above which SYNs are placed by hash.
    pub syn_guard: u64,
    /// Nanoseconds between two RSTs of a CPU; 1: no limit.
    pub reset_interval: u64,
    /// NICs.
    pub interfaces: Vec<Interface>,
    /// Services.
    pub services: Vec<Service>,
    /// Backends.
    pub backends: Vec<Backend>,
    /// Addresses of the dispatcher's own host: services on any address never take packets to them.
    pub own_addresses: Vec<IpAddr>,
    /// Slots of one backend in two services of an affinity group: service, slot of another service, its own slot.
    pub peers: Vec<(u32, u16, u16)>,
}

/// A NIC.
#[derive(Clone, Copy, Debug)]
pub struct Interface {
    /// Interface index, the dispatcher's own.
    pub index: u32,
    /// Its MAC.
    pub mac: Mac,
    /// The kernel's ifindex as a redirection target; 0: none.
    pub ifindex: u32,
    /// Its MTU in bytes of L3; 0: not known.
    pub mtu: u32,
}

/// A service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Service id.
    pub id: u32,
    /// VIP; unspecified: every address of its family.
    pub vip: IpAddr,
    /// Port; 0: all.
    pub port: u16,
    /// Protocol number.
    pub protocol: u8,
    /// Orphan policy ([`orphan`]).
    pub orphan: u8,
    /// Scheduler ([`dispatcher_common::service::scheduler`]).
    pub scheduler: u8,
    /// Affinity of its clients.
    pub affinity: Affinity,
    /// Ticks after a placement by hash in which orphans are placed by hash, too.
    pub stale_ticks: u64,
    /// Slot of its local backend; 0: it has none.
    pub local: u16,
    /// Its ring: backend slots. Its members are the ring's slots, each once, in the order of their first occurrence.
    pub ring: Vec<u16>,
    /// Its rules, in ascending priority.
    pub rules: Vec<Rule>,
}

/// A rule of a service: its conditions, and the ring for connections that meet them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its id, unique over all services.
    pub id: u32,
    /// Clients, as the first and the last address of each range; empty: all clients.
    pub clients: Vec<(IpAddr, IpAddr)>,
    /// The first and the last client port.
    pub ports: (u16, u16),
    /// The expected TOS or traffic class under the mask, and the mask.
    pub tos: (u8, u8),
    /// Whether it is active, as far as the controller decides that.
    pub active: bool,
    /// Its ring: backend slots.
    pub ring: Vec<u16>,
}

impl Rule {
    /// A rule that always holds.
    #[must_use]
    pub fn always(id: u32, ring: &[u16]) -> Self {
        let (ports, tos) = ((0, u16::MAX), (0, 0));
        Self { id, clients: Vec::new(), ports, tos, active: true, ring: ring.to_vec() }
    }

    /// With one more range of clients.
    #[must_use]
    pub fn clients(mut self, first: impl Into<IpAddr>, last: impl Into<IpAddr>) -> Self {
        self.clients.push((first.into(), last.into()));
        self
    }
}

/// A backend of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its slot.
    pub slot: u16,
    /// Its service.
    pub service: u32,
    /// Its MAC.
    pub mac: Mac,
    /// Index of the NIC that leads to it.
    pub interface: u8,
    /// Flags of [`dispatcher_common::backend`].
    pub flags: u8,
    /// Its weight, for schedulers that do not use the ring.
    pub weight: u8,
    /// Most active connections; 0: unlimited.
    pub max_connections: u32,
    /// Whether its connections are measured.
    pub measured: bool,
}

/// The client of most cases.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// The client of most IPv6 cases.
pub const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7);
/// The VIP of most cases.
pub const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);
/// The VIP of most IPv6 cases.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x80);

/// A backend that is up and takes new connections, on NIC 0, with a MAC made from its slot.
#[must_use]
pub const fn usable(slot: u16, service: u32) -> Backend {
    let [high, low] = slot.to_be_bytes();
    let mac = [0x02, 0, 0, 0xbe, high, low];
    let flags = PRESENT | USABLE | UP | NEW | STICKY;
    let (interface, weight, max_connections, measured) = (0, 1, 0, false);
    Backend { slot, service, mac, interface, flags, weight, max_connections, measured }
}

/// The members of a ring: each slot once, in the order of their first occurrence.
#[must_use]
pub(super) fn members(ring: &[u16]) -> Vec<u16> {
    let mut members = Vec::new();
    for slot in ring {
        if !members.contains(slot) {
            members.push(*slot);
        }
    }
    members
}

impl World {
    /// No services; one NIC; a small table with fixed keys and the default time-outs in ticks.
    #[must_use]
    pub fn empty() -> Self {
        let mut keys = [0; HASH_KEYS + 2];
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        for key in &mut keys {
            state = state.wrapping_mul(0xD120_0000_5851_F42D).wrapping_add(0x1405_7B7E_F767_814F);
            *key = (state ^ state >> 29) | 1;
        }
        let mut hash_keys = [0; HASH_KEYS];
        hash_keys.copy_from_slice(&keys[..HASH_KEYS]);
        Self {
            buckets: 64,
            overflow: OVERFLOW_CAPACITY,
            interface: 0,
            hash_keys,
            schedule_keys: [keys[HASH_KEYS], keys[HASH_KEYS + 1]],
            // Unused, half-open, established, unused of UDP; aborted, half-open, established, closing of TCP.
            expiry_ticks: [0, 8, 8, 8, 8, 8, 71, 8],
            syn_guard: u64::MAX,
            reset_interval: 1,
            interfaces: vec![Interface { index: 0, mac: NIC_MAC, ifindex: 0, mtu: 0 }],
            services: Vec::new(),
            backends: Vec::new(),
            own_addresses: Vec::new(),
            peers: Vec::new(),
        }
    }

    /// TCP port 80 and UDP port 53 of the VIP of either family (services 1 to 4), three backends each.
    ///
    /// The slots of service n are 10·n + 1 to 10·n + 3, and its ring contains each of them once.
    #[must_use]
    pub fn standard() -> Self {
        let tcp = dispatcher_common::net::TCP;
        let udp = dispatcher_common::net::UDP;
        Self::empty()
            .service(1, VIP.into(), 80, tcp, 3)
            .service(2, VIP6.into(), 80, tcp, 3)
            .service(3, VIP.into(), 53, udp, 3)
            .service(4, VIP6.into(), 53, udp, 3)
    }

    /// With one more service of this many backends; slots and ring as in [`Self::standard`].
    #[must_use]
    pub fn service(mut self, id: u32, vip: IpAddr, port: u16, protocol: u8, backends: u16) -> Self {
        let ring: Vec<u16> = (1..=backends).map(|n| id as u16 * 10 + n).collect();
        self.backends.extend(ring.iter().map(|slot| usable(*slot, id)));
        let orphan = orphan::DROP;
        let scheduler = scheduler::RING;
        let (affinity, stale_ticks, rules) = (Affinity::default(), 71, Vec::new());
        let service = Service {
            id,
            vip,
            port,
            protocol,
            orphan,
            scheduler,
            affinity,
            stale_ticks,
            local: 0,
            ring,
            rules,
        };
        self.services.push(service);
        self
    }

    /// With another ring for a service.
    #[must_use]
    pub fn ring(mut self, service: u32, ring: &[u16]) -> Self {
        self.services.iter_mut().filter(|s| s.id == service).for_each(|s| s.ring = ring.to_vec());
        self
    }

    /// With a local backend for a service.
    #[must_use]
    pub fn local(mut self, service: u32, slot: u16) -> Self {
        self.services.iter_mut().filter(|s| s.id == service).for_each(|s| s.local = slot);
        self.backend(slot, |backend| (backend.flags, backend.mac) = (backend.flags | LOCAL, [0; 6]))
    }

    /// With a scheduler for every service.
    #[must_use]
    pub fn scheduled(mut self, scheduler: u8) -> Self {
        self.services.iter_mut().for_each(|service| service.scheduler = scheduler);
        self
    }

    /// With measurement of the connections of every backend.
    #[must_use]
    pub fn measured(mut self) -> Self {
        self.backends.iter_mut().for_each(|backend| backend.measured = true);
        self
    }

    /// With affinity for a service.
    #[must_use]
    pub fn affinity(mut self, service: u32, affinity: Affinity) -> Self {
        let services = self.services.iter_mut().filter(|s| s.id == service);
        services.for_each(|service| service.affinity = affinity);
        self
    }

    /// With one more rule for a service.
    #[must_use]
    pub fn rule(mut self, service: u32, rule: Rule) -> Self {
        self.services
            .iter_mut()
            .filter(|s| s.id == service)
            .for_each(|s| s.rules.push(rule.clone()));
        self
    }

    /// With an orphan policy for every service.
    #[must_use]
    pub fn orphans(mut self, policy: u8) -> Self {
        self.services.iter_mut().for_each(|service| service.orphan = policy);
        self
    }

    /// With a backend changed.
    #[must_use]
    pub fn backend(mut self, slot: u16, change: impl Fn(&mut Backend)) -> Self {
        self.backends.iter_mut().filter(|backend| backend.slot == slot).for_each(change);
        self
    }
}
