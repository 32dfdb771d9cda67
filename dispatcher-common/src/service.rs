//! Services as the datapath sees them.

use crate::net::{self, Address};

/// Index into `POLICIES`, `SERVICE_STATE` and `SERVICE_COUNTS`.
pub type ServiceId = u32;

shared! {
    /// Key of `SERVICES`: exact VIP:port, or port 0 for all ports; or the same on any address of a family.
    pub struct ServiceKey [20] {
        /// VIP; of a service on any address the unspecified one.
        pub vip: Address,
        /// Port, network order; 0: every port.
        pub port: [u8; 2],
        /// Protocol number.
        pub protocol: u8,
        /// [`ANY`] for a service on any address of the family, else 0. So a packet to the unspecified address does not match such a
        /// service as if that address were a VIP.
        pub any: u8,
    }
}

/// [`ServiceKey::any`] of a service on any address.
pub const ANY: u8 = 1;

/// In `VIPS`: an address of this host, which services on any address must not serve.
pub const OWN: u32 = u32::MAX;

impl ServiceKey {
    /// The key of a service; `port` in host order. An unspecified VIP means any address.
    #[must_use]
    pub const fn new(vip: Address, port: u16, protocol: u8) -> Self {
        let any = if net::is_unspecified(&vip) { ANY } else { 0 };
        Self { vip, port: port.to_be_bytes(), protocol, any }
    }
}

shared! {
    /// A record of `POLICIES`. Written by the controller, each field by one store.
    pub struct Policy [64] {
        /// A [`Schedule`] descriptor.
        pub schedule: u64,
        /// A [`Choices`] word.
        pub choices: u64,
        /// `stale_timeout` in ticks, rounded up: how long orphans are placed by hash after the last hash placement.
        pub stale_ticks: u64,
        /// An [`Affinity`] word.
        pub affinity: u64,
        /// A [`crate::rule::RuleSet`] word.
        pub rules: u64,
        /// Slot of the service's first local backend, which gets the packets that other backends send back; 0: there is none.
        pub local: u64,
        /// Zero: room for measurement.
        pub _reserved: [u64; 2],
    }
}

/// How a service handles packets, in one word.
///
/// Bits 0–7: orphan policy ([`orphan`]); 8–15: scheduler ([`scheduler`]); 16–23: protocol number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Choices(pub u64);

impl Choices {
    /// Packs the parts.
    #[must_use]
    pub const fn new(orphan: u8, scheduler: u8, protocol: u8) -> Self {
        Self(orphan as u64 | (scheduler as u64) << 8 | (protocol as u64) << 16)
    }

    /// What happens to TCP packets without SYN and without a connection.
    #[inline(always)]
    #[must_use]
    pub const fn orphan(self) -> u8 {
        self.0 as u8
    }

    /// How new connections are placed.
    #[inline(always)]
    #[must_use]
    pub const fn scheduler(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Protocol number.
    #[must_use]
    pub const fn protocol(self) -> u8 {
        (self.0 >> 16) as u8
    }
}

/// How a service's clients stay with their backends, in one word.
///
/// Bits 0–15: idle ticks after which a record is void, 0: no affinity; 16–31: group, whose services share records; 32–39 and
/// 40–47: leading bits of an IPv4 and an IPv6 address that tell clients apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Affinity(pub u64);

impl Affinity {
    /// Packs the parts; masks are at most 32 and 128 bits.
    #[must_use]
    pub const fn new(ticks: u16, group: u16, mask_v4: u8, mask_v6: u8) -> Self {
        let masks = (mask_v4 as u64) << 32 | (mask_v6 as u64) << 40;
        Self(ticks as u64 | (group as u64) << 16 | masks)
    }

    /// Idle ticks after which a record is void; 0: clients do not stay.
    #[inline(always)]
    #[must_use]
    pub const fn ticks(self) -> u32 {
        self.0 as u32 & 0xffff
    }

    /// The group whose services share records.
    #[inline(always)]
    #[must_use]
    pub const fn group(self) -> u32 {
        (self.0 >> 16) as u32 & 0xffff
    }

    /// Leading bits that count of an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn mask_v4(self) -> u32 {
        (self.0 >> 32) as u32 & 0xff
    }

    /// Leading bits that count of an IPv6 address.
    #[inline(always)]
    #[must_use]
    pub const fn mask_v6(self) -> u32 {
        (self.0 >> 40) as u32 & 0xff
    }
}

shared! {
    /// Key of `AFFINITY`.
    pub struct AffinityKey [20] {
        /// The client's address, cut to the service's mask.
        pub client: Address,
        /// [`Affinity::group`].
        pub group: u32,
    }
}

/// A record of `AFFINITY`, in one word: the slot of the client's last new connection in its lower half, the tick of it in
/// the upper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AffinityRecord(pub u64);

impl AffinityRecord {
    /// Packs the parts; the tick is cut to 32 bits.
    #[inline(always)]
    #[must_use]
    pub const fn new(slot: u32, tick: u64) -> Self {
        Self(tick << 32 | slot as u64)
    }

    /// The slot.
    #[inline(always)]
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.0 as u32
    }

    /// Ticks since the last new connection; 0 if another CPU wrote the record in the next tick.
    #[inline(always)]
    #[must_use]
    pub const fn age(self, now: u64) -> u32 {
        let age = (now as u32).wrapping_sub((self.0 >> 32) as u32);
        if age > i32::MAX as u32 { 0 } else { age }
    }
}

shared! {
    /// Key of `PEERS`.
    pub struct PeerKey [8] {
        /// The service that looks for the slot.
        pub service: ServiceId,
        /// A slot of another service of its affinity group.
        pub slot: u32,
    }
}

shared! {
    /// A record of `SERVICE_STATE`, written by the datapath: a cache line of its own for every service.
    pub struct ServiceState [64] {
        /// Next position of the schedule, modulo the ring's length. It only rises, by atomic adds.
        pub cursor: u64,
        /// Tick + 1 of the last placement by hash; 0: never.
        pub hashed_at: u64,
        /// Zero.
        pub _reserved: [u64; 6],
    }
}

/// Ring slots in one element of `SCHEDULES`: array elements are multiples of eight bytes, so four fill one. Mapped, the
/// pool is one array of u16 without gaps, [`crate::limits::SCHEDULE_POOL`] long.
pub const SCHEDULE_PACK: usize = 4;

/// Position of a service's schedule in `SCHEDULES`: offset and length of its ring in one word, so that a swap is one store.
///
/// A schedule is a ring, followed by the number of its members and the members: each backend that takes new connections once, in
/// the service's order. So ring and members are swapped together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Schedule(pub u64);

impl Schedule {
    /// Packs offset and length, both in ring slots.
    #[must_use]
    pub const fn new(offset: u32, length: u32) -> Self {
        Self((offset as u64) << 32 | length as u64)
    }

    /// First slot in the pool.
    #[inline(always)]
    #[must_use]
    pub const fn offset(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Ring slots that a schedule with this many members takes.
    #[must_use]
    pub const fn space(length: usize, members: usize) -> usize {
        if length == 0 { 0 } else { length + 1 + members }
    }

    /// Slots of the ring; 0: no backend takes new connections, and there are no members.
    #[inline(always)]
    #[must_use]
    pub const fn length(self) -> u32 {
        self.0 as u32
    }
}

/// What happens to a TCP packet that is not a SYN and has no connection.
pub mod orphan {
    /// Dropped and counted by kind.
    pub const DROP: u8 = 0;
    /// Treated as the first packet of a connection.
    pub const SCHEDULE: u8 = 1;
    /// Left to the kernel.
    pub const PASS: u8 = 2;
    /// Answered with an RST. An RST itself, and a packet above the rate of answers, is dropped and counted by kind.
    pub const RESET: u8 = 3;
}

/// How new connections are placed.
pub mod scheduler {
    /// From the service's ring, by the cursor (`rr`, `wrr`).
    pub const RING: u8 = 0;
    /// To the member with the fewest active connections (`lc`).
    pub const LEAST: u8 = 1;
    /// To the member with the fewest active connections for its weight (`wlc`).
    pub const WEIGHTED_LEAST: u8 = 2;
    /// From the ring, by a hash of the flow (`maglev`).
    pub const FLOW_HASH: u8 = 3;
    /// From the ring, by a hash of the client's address (`sh`).
    pub const CLIENT_HASH: u8 = 4;
    /// To the member with the shortest mean response time (`rtt`).
    pub const RESPONSE: u8 = 5;
    /// To the member that delivered the fewest bytes (`xmitbyte`).
    pub const BYTES: u8 = 6;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_give_back_their_parts() {
        let choices = Choices::new(3, 6, 17);
        assert_eq!((choices.orphan(), choices.scheduler(), choices.protocol()), (3, 6, 17));
        assert_eq!(choices.0, 0x0011_0603);
    }

    #[test]
    fn an_affinity_gives_back_its_parts() {
        let a = Affinity::new(70, 4095, 24, 64);
        assert_eq!((a.ticks(), a.group(), a.mask_v4(), a.mask_v6()), (70, 4095, 24, 64));
        let record = AffinityRecord::new(16_383, 0xffff_ffff);
        assert_eq!(
            (record.slot(), record.age(0x1_0000_0004), record.age(0xffff_fffe)),
            (16_383, 5, 0)
        );
    }

    #[test]
    fn a_schedule_gives_back_its_parts() {
        let s = Schedule::new(0xffff_0000, 25_600);
        assert_eq!((s.offset(), s.length()), (0xffff_0000, 25_600));
    }
}
