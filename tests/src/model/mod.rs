//! The reference model: what a plain load balancer does with a packet.
//!
//! It follows the specification with hash maps and `if`s, without BPF, tables of words, hashes or atomics. It shares no code
//! with the datapath: it gets the same [`World`] and the same frames, and must have the same results. It has no bound on
//! connections, and knows only the time that it is given: its caller makes sure that neither matters.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use dispatcher_common::{
    backend::{LOCAL, NEW, NO_MAC, PRESENT, RESET, UP, USABLE},
    connection::EXPIRY_CLASSES,
    reason::{Reason, Verdict},
    service::{Affinity, orphan},
};

use crate::{
    datapath::{Backend, Rule, Service, World},
    packet_builder::{ACK, FIN, Mac, RST, SYN, protocol::TCP},
};

mod choice;
pub mod reset;
pub mod wire;

use choice::{Record, Turn};
use wire::{Contents, Datagram, Identity, Quote};

/// The reference load balancer.
pub struct Model {
    interface: u32,
    nics: HashMap<u32, Nic>,
    vips: HashSet<IpAddr>,
    services: HashMap<(IpAddr, u16, u8), u32>,
    own_addresses: HashSet<IpAddr>,
    policies: HashMap<u32, Service>,
    cursors: HashMap<Turn, usize>,
    backends: HashMap<u16, Backend>,
    connections: HashMap<Flow, Connection>,
    /// Slots of one backend in two services: by service, and by its slot in the other service.
    peers: HashMap<(u32, u16), u16>,
    /// Clients' records, by masked address and group.
    records: HashMap<(IpAddr, u32), Record>,
    /// Ticks since a service last placed a packet by hash.
    hashed: HashMap<u32, u64>,
    syn_guard: u64,
    schedule_keys: [u64; 2],
    expiry_ticks: [u64; EXPIRY_CLASSES],
    /// Destinations of datagrams' first fragments; without a backend: the kernel.
    first_parts: HashMap<(IpAddr, IpAddr, Identity), Option<u16>>,
    counts: HashMap<u16, Counts>,
    /// The source MAC of the present frame.
    sender: Mac,
}

struct Nic {
    mac: Mac,
    has_device: bool,
}

/// Protocol, client and destination.
type Flow = (u8, (IpAddr, u16), (IpAddr, u16));

#[derive(Clone, Copy)]
struct Connection {
    phase: Phase,
    slot: u16,
    /// Ticks since its last packet.
    idle: u64,
}

/// The phase of a connection's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// One packet was seen.
    HalfOpen,
    /// More than one packet was seen, all without payload.
    Unproven,
    /// More than one packet was seen, of TCP at least one with payload.
    Proven,
    /// The client has ended it by a FIN.
    Finished,
    /// The client has ended it by an RST, or uses its port again.
    Reset,
    /// The client has ended it by a FIN before it was established.
    Left,
    /// The client has ended it by an RST before it was established.
    Aborted,
}

/// The outcome of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The one reason counted.
    pub reason: Reason,
    /// L3 bytes counted: the IP length; for other frames, all bytes after the Ethernet header.
    pub bytes: u64,
    /// The backend that gets it.
    pub slot: Option<u16>,
    /// The service that counts an early exit.
    pub service: Option<u32>,
}

/// A backend's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets forwarded to it.
    pub packets: u64,
    /// Their L3 bytes.
    pub bytes: u64,
    /// Connections placed on it.
    pub connections: u64,
    /// Repeated SYNs.
    pub retransmissions: u64,
}

/// What a packet does to its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Open,
    Answer,
    Acknowledge,
    Send,
    Finish,
    Reset,
}

impl Wish {
    const fn of(protocol: u8, flags: u8, has_payload: bool) -> Self {
        match flags {
            _ if protocol != TCP => Self::Send,
            flags if flags & RST != 0 => Self::Reset,
            flags if flags & FIN != 0 => Self::Finish,
            flags if flags & (SYN | ACK) == SYN => Self::Open,
            flags if flags & SYN != 0 => Self::Answer,
            _ if has_payload => Self::Send,
            _ => Self::Acknowledge,
        }
    }
}

impl Phase {
    /// The phase of a connection after one of its own packets.
    const fn after(self, wish: Wish) -> Self {
        match self {
            Self::HalfOpen => match wish {
                Wish::Open => Self::HalfOpen,
                Wish::Answer | Wish::Acknowledge => Self::Unproven,
                Wish::Send => Self::Proven,
                Wish::Finish => Self::Left,
                Wish::Reset => Self::Aborted,
            },
            Self::Left | Self::Aborted => match wish {
                Wish::Open => Self::HalfOpen,
                Wish::Acknowledge if matches!(self, Self::Aborted) => Self::Unproven,
                Wish::Send => Self::Proven,
                Wish::Finish => Self::Left,
                Wish::Answer | Wish::Acknowledge | Wish::Reset => self,
            },
            Self::Unproven | Self::Proven => match wish {
                Wish::Send => Self::Proven,
                Wish::Finish => Self::Finished,
                Wish::Reset => Self::Reset,
                Wish::Open | Wish::Answer | Wish::Acknowledge => self,
            },
            Self::Finished => match wish {
                Wish::Send => Self::Proven,
                Wish::Open => Self::Reset,
                Wish::Answer | Wish::Acknowledge | Wish::Finish | Wish::Reset => self,
            },
            Self::Reset => match wish {
                Wish::Send | Wish::Acknowledge => Self::Proven,
                Wish::Finish => Self::Finished,
                Wish::Open | Wish::Answer | Wish::Reset => self,
            },
        }
    }

    /// Index into the expiry times; for TCP, add 4.
    const fn class(self) -> usize {
        match self {
            Self::Left | Self::Aborted => 0,
            Self::HalfOpen => 1,
            Self::Unproven | Self::Proven => 2,
            Self::Finished | Self::Reset => 3,
        }
    }
}

/// Ticks without a packet after which a new connection on its port may replace a connection.
const IDLE: u64 = 2;

impl Model {
    /// A load balancer for this world.
    #[must_use]
    pub fn new(world: &World) -> Self {
        let nic = |mac, ifindex| Nic { mac, has_device: ifindex != 0 };
        Self {
            interface: world.interface,
            nics: world.interfaces.iter().map(|i| (i.index, nic(i.mac, i.ifindex))).collect(),
            vips: world
                .services
                .iter()
                .map(|s| s.vip)
                .filter(|vip| !vip.is_unspecified())
                .collect(),
            own_addresses: world.own_addresses.iter().copied().collect(),
            services: world.services.iter().map(|s| ((s.vip, s.port, s.protocol), s.id)).collect(),
            policies: world.services.iter().map(|s| (s.id, s.clone())).collect(),
            cursors: HashMap::new(),
            backends: world.backends.iter().map(|b| (b.slot, *b)).collect(),
            connections: HashMap::new(),
            peers: world.peers.iter().map(|(s, other, own)| ((*s, *other), *own)).collect(),
            records: HashMap::new(),
            hashed: HashMap::new(),
            syn_guard: world.syn_guard,
            schedule_keys: world.schedule_keys,
            expiry_ticks: world.expiry_ticks,
            first_parts: HashMap::new(),
            counts: HashMap::new(),
            sender: Mac::default(),
        }
    }

    /// Changes a backend.
    pub fn set_backend(&mut self, backend: Backend) {
        self.backends.insert(backend.slot, backend);
    }

    /// Changes a service's ring; its cursor continues.
    pub fn set_ring(&mut self, service: u32, ring: &[u16]) {
        if let Some(policy) = self.policies.get_mut(&service) {
            policy.ring = ring.to_vec();
        }
    }

    /// Changes a rule of a service; its cursor continues.
    pub fn set_rule(&mut self, service: u32, rule: &Rule) {
        let rules = self.policies.get_mut(&service).into_iter().flat_map(|p| &mut p.rules);
        rules.filter(|known| known.id == rule.id).for_each(|known| known.clone_from(rule));
    }

    /// Changes a service's scheduler and affinity.
    pub fn set_choices(&mut self, service: u32, scheduler: u8, affinity: Affinity) {
        if let Some(policy) = self.policies.get_mut(&service) {
            (policy.scheduler, policy.affinity) = (scheduler, affinity);
        }
    }

    /// Allows another number of half-open connections.
    pub const fn set_guard(&mut self, connections: u64) {
        self.syn_guard = connections;
    }

    /// Receives a frame.
    pub fn receive(&mut self, frame: &[u8]) -> Outcome {
        let Some(datagram) = wire::read(frame) else {
            let bytes = frame.len() as u64 - 14;
            return Outcome { bytes, ..leave(Reason::NotIp, None) };
        };
        self.sender.copy_from_slice(&frame[6..12]);
        let outcome = self.walk(frame, &datagram).unwrap_or_else(|exit| exit);
        if let Some(slot) = outcome.slot {
            let counts = self.counts.entry(slot).or_default();
            counts.packets += 1;
            counts.bytes += datagram.bytes;
        }
        Outcome { bytes: datagram.bytes, ..outcome }
    }

    fn walk(&mut self, frame: &[u8], datagram: &Datagram) -> Result<Outcome, Outcome> {
        let is_to_nic = frame[..6] == self.nics[&self.interface].mac;
        let is_vip = self.vips.contains(&datagram.destination);
        if !is_to_nic || !is_vip && !self.is_for_any(datagram.destination) {
            return Err(leave(Reason::NotOurs, None));
        }
        let outcome = self.serve(datagram).unwrap_or_else(|exit| exit);
        // A packet that no service handles is dropped only if it is for a VIP; for another address, the kernel gets it.
        if outcome.slot.is_none() && outcome.service.is_none() && !is_vip {
            return Err(leave(Reason::NotOurs, None));
        }
        Ok(outcome)
    }

    /// Whether services on any address may take packets to this address, which is no VIP.
    fn is_for_any(&self, address: IpAddr) -> bool {
        let is_local = match address {
            IpAddr::V4(v4) => {
                let [first, ..] = v4.octets();
                [0, 127].contains(&first) || first >= 224 || v4.is_link_local()
            }
            IpAddr::V6(v6) => {
                // An IPv4 address in IPv6 form must not appear on the wire.
                let is_v4 = v6.segments()[..6] == [0; 6] || v6.to_ipv4_mapped().is_some();
                v6.is_multicast() || v6.is_unicast_link_local() || is_v4
            }
        };
        let any = any_of(address);
        !is_local
            && !self.own_addresses.contains(&address)
            && self.services.keys().any(|(vip, ..)| *vip == any)
    }

    fn serve(&mut self, datagram: &Datagram) -> Result<Outcome, Outcome> {
        let addresses = (datagram.source, datagram.destination);
        let (protocol, ports, (flags, has_payload), fragment) = match datagram.contents {
            Contents::Segment { protocol, ports, flags, has_payload, fragment } => {
                (protocol, ports, (flags, has_payload), fragment)
            }
            Contents::Fragment(identity) => return self.follow(addresses, identity),
            Contents::Icmp(quote) => return self.error(datagram.destination, quote),
            Contents::Malformed => return Err(leave(Reason::Malformed, None)),
            Contents::OtherProtocol => return Err(leave(Reason::OtherProtocol, None)),
            Contents::TooManyExtensions => return Err(leave(Reason::ExtensionHeaders, None)),
        };
        let client = (datagram.source, ports.0);
        let flow = (protocol, client, (datagram.destination, ports.1));
        let wish = Wish::of(protocol, flags, has_payload);
        let slot = self.connection(flow, wish, (flags, datagram.tos));
        if let Some(identity) = fragment {
            let way = match slot {
                Ok(slot) => Some(Some(slot)),
                Err(Outcome { reason: Reason::OrphanPassed, .. }) => Some(None),
                Err(_) => None,
            };
            way.map(|way| self.first_parts.insert((addresses.0, addresses.1, identity), way));
        }
        let outcome = slot.map_or_else(|exit| exit, |slot| self.deliver(slot));
        if fragment.is_none() && flags & RST == 0 && self.is_reset(&flow, &outcome) {
            if let Some(connection) = self.connections.get_mut(&flow) {
                connection.phase = connection.phase.after(Wish::Reset);
            }
            return Ok(Outcome { reason: Reason::Reset, ..outcome });
        }
        Ok(outcome)
    }

    /// Whether a packet with this outcome is answered by an RST, if it is neither an RST nor a fragment.
    fn is_reset(&self, flow: &Flow, outcome: &Outcome) -> bool {
        let orphans = [Reason::OrphanFin, Reason::OrphanAck, Reason::OrphanOther];
        if orphans.contains(&outcome.reason) {
            let policy = outcome.service.and_then(|service| self.policies.get(&service));
            return policy.is_some_and(|policy| policy.orphan == orphan::RESET);
        }
        let refusals = [Reason::BackendDown, Reason::BackendGone, Reason::BackendNoMac];
        let known = self.connections.get(flow).filter(|_| refusals.contains(&outcome.reason));
        flow.0 == TCP && known.is_some_and(|known| self.flags(known.slot) & RESET != 0)
    }

    /// An ICMP error goes to the backend of the connection whose packet it quotes: a packet from the VIP, which that backend
    /// sent.
    fn error(&self, to: IpAddr, quote: Option<Quote>) -> Result<Outcome, Outcome> {
        let known = quote.and_then(|(protocol, vip, client)| {
            self.connections.get(&(protocol, client, vip)).filter(|_| vip.0 == to)
        });
        known.map(|known| self.deliver(known.slot)).ok_or(leave(Reason::Icmp, None))
    }

    /// A later fragment of a datagram goes where the first one went.
    fn follow(&self, (from, to): (IpAddr, IpAddr), identity: Identity) -> Result<Outcome, Outcome> {
        match self.first_parts.get(&(from, to, identity)) {
            Some(Some(slot)) => Ok(self.deliver(*slot)),
            Some(None) => Err(leave(Reason::OrphanPassed, None)),
            None => Err(leave(Reason::Fragment, None)),
        }
    }

    /// The frame as it is sent.
    #[must_use]
    pub fn sent(&self, frame: &[u8], outcome: &Outcome) -> Vec<u8> {
        if outcome.reason == Reason::Reset {
            return reset::answer(frame).unwrap_or_default();
        }
        let mut sent = frame.to_vec();
        if let (Verdict::Tx | Verdict::Redirect, Some(slot)) =
            (outcome.reason.verdict(), outcome.slot)
        {
            let backend = &self.backends[&slot];
            sent[..6].copy_from_slice(&backend.mac);
            sent[6..12].copy_from_slice(&self.nics[&backend.interface.into()].mac);
        }
        sent
    }

    /// A backend's counters.
    #[must_use]
    pub fn counts(&self, slot: u16) -> Counts {
        self.counts.get(&slot).copied().unwrap_or_default()
    }

    /// The phase and backend of every connection.
    pub fn connections(&self) -> impl Iterator<Item = (Phase, u16)> {
        self.connections.values().map(|connection| (connection.phase, connection.slot))
    }

    /// The backend of a packet's connection, which may be a new one.
    fn connection(
        &mut self,
        flow: Flow,
        wish: Wish,
        (flags, tos): (u8, u8),
    ) -> Result<u16, Outcome> {
        let Some(known) = self.connections.get(&flow).copied() else {
            let service = self.service(&flow)?;
            if wish == Wish::Open && self.is_guarded() {
                return self.place(&flow, service, tos);
            }
            let slot = self.choose(&flow, service, (flags, tos))?;
            return Ok(self.open(flow, slot));
        };
        if self.is_to_move(&flow, known, wish) {
            let service = self.service(&flow)?;
            let slot = self.choose(&flow, service, (flags, tos))?;
            return Ok(self.open(flow, slot));
        }
        if wish == Wish::Open {
            // A SYN that the backend sent back is not a repetition by the client.
            let is_back = self.backends[&known.slot].mac == self.sender;
            let counts = self.counts.entry(known.slot).or_default();
            match known.phase {
                Phase::HalfOpen if is_back => {}
                Phase::HalfOpen => counts.retransmissions += 1,
                Phase::Finished | Phase::Reset | Phase::Left | Phase::Aborted => {
                    counts.connections += 1
                }
                Phase::Unproven | Phase::Proven => {}
            }
        }
        let phase = known.phase.after(wish);
        self.connections.insert(flow, Connection { phase, idle: 0, ..known });
        Ok(known.slot)
    }

    /// Whether a known flow gets a new backend. If its backend is down, a SYN moves it, or any packet that is not TCP.
    /// Otherwise a SYN moves it if it has been idle, and has ended or its backend takes no new connections.
    fn is_to_move(&self, flow: &Flow, known: Connection, wish: Wish) -> bool {
        let flags = self.flags(known.slot);
        let is_well = flags & USABLE != 0 && flags & UP != 0;
        if flow.0 != TCP || !is_well {
            return !is_well && (wish == Wish::Open || flow.0 != TCP);
        }
        wish == Wish::Open
            && known.idle >= IDLE
            && match known.phase {
                Phase::Finished | Phase::Reset | Phase::Left | Phase::Aborted => true,
                Phase::Unproven | Phase::Proven => !self.takes(known.slot, NEW),
                Phase::HalfOpen => false,
            }
    }

    fn service(&self, (protocol, _, (vip, port)): &Flow) -> Result<u32, Outcome> {
        let any = any_of(*vip);
        let keys = [(*vip, *port), (*vip, 0), (any, *port), (any, 0)];
        let service =
            keys.iter().find_map(|(vip, port)| self.services.get(&(*vip, *port, *protocol)));
        service.copied().ok_or(leave(Reason::NoService, None))
    }

    /// A TCP packet that opens no connection and has none: it continues under only one policy.
    fn orphan(&self, service: u32, flags: u8) -> Result<(), Outcome> {
        let reason = match self.policies[&service].orphan {
            orphan::SCHEDULE => return Ok(()),
            orphan::PASS => Reason::OrphanPassed,
            _ if flags & RST != 0 => Reason::OrphanRst,
            _ if flags & FIN != 0 => Reason::OrphanFin,
            _ if flags & ACK != 0 && flags & SYN == 0 => Reason::OrphanAck,
            _ => Reason::OrphanOther,
        };
        Err(leave(reason, Some(service)))
    }

    /// Enters a connection.
    fn open(&mut self, flow: Flow, slot: u16) -> u16 {
        self.counts.entry(slot).or_default().connections += 1;
        self.connections.insert(flow, Connection { phase: Phase::HalfOpen, slot, idle: 0 });
        slot
    }

    fn deliver(&self, slot: u16) -> Outcome {
        let backend = self.backends[&slot];
        let nic = self.nics.get(&backend.interface.into());
        let reason = match backend.flags {
            flags if flags & PRESENT == 0 => Reason::BackendGone,
            flags if flags & NO_MAC != 0 => Reason::BackendNoMac,
            flags if flags & USABLE == 0 => Reason::BackendDown,
            flags if flags & LOCAL != 0 => Reason::Local,
            _ if backend.mac == self.sender => {
                return self.stand_in(slot).map_or_else(|exit| exit, |local| self.deliver(local));
            }
            _ if u32::from(backend.interface) == self.interface => Reason::Forwarded,
            _ if nic.is_some_and(|nic| nic.has_device) => Reason::Redirected,
            _ => Reason::NoInterface,
        };
        if matches!(reason, Reason::Forwarded | Reason::Redirected | Reason::Local) {
            return Outcome { reason, slot: Some(slot), service: None, bytes: 0 };
        }
        leave(reason, Some(backend.service))
    }

    /// The backend for a new connection; if it sent the packet itself, the local backend instead.
    fn away(&self, slot: u16) -> Result<u16, Outcome> {
        let is_back = self.flags(slot) & LOCAL == 0 && self.backends[&slot].mac == self.sender;
        if is_back { self.stand_in(slot) } else { Ok(slot) }
    }

    /// The local backend, which takes packets that another backend sent back.
    fn stand_in(&self, slot: u16) -> Result<u16, Outcome> {
        let service = self.backends[&slot].service;
        let local = self.policies[&service].local;
        let wanted = LOCAL | USABLE | UP;
        if local != 0 && self.flags(local) & wanted == wanted {
            return Ok(local);
        }
        Err(leave(Reason::Loop, Some(service)))
    }

    fn flags(&self, slot: u16) -> u8 {
        self.backends.get(&slot).map_or(0, |backend| backend.flags)
    }
}

/// The VIP of services on any address of a family.
const fn any_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

const fn leave(reason: Reason, service: Option<u32>) -> Outcome {
    Outcome { reason, slot: None, service, bytes: 0 }
}
