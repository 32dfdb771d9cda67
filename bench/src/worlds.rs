//! Fills the datapath under test: services and rings as the controller would make them.

use std::net::{IpAddr, Ipv4Addr};

use dispatcher_common::{
    connection::WAYS,
    flow::HASH_KEYS,
    net::{TCP, UDP},
    service::{Affinity, orphan},
};
use dispatcher_ctl::{
    model::Scheduler,
    schedule::{Taker, number, schedule},
};
use dispatcher_tests::datapath::{Service, VIP, VIP6, World, usable};
use rand::{Rng as _, rngs::SmallRng};

/// Port of all services.
pub const PORT: u16 = 80;
/// Number of backends per service, where it does not matter.
pub const BACKENDS: u16 = 8;
/// The first one of many VIPs.
pub const FIRST_VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 4, 0);

/// Idle ticks (of 4.3 s) after which established connections may be swept: longer than a run, in which nothing sweeps.
const LONG: u64 = 1000;

/// The keys of the hashes: they decide which flows share lines and pages.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    hash: [u64; HASH_KEYS],
    schedule: [u64; 2],
}

impl Keys {
    /// Draws random keys as the controller does: none is zero.
    pub fn draw(random: &mut SmallRng) -> Self {
        let mut keys = || random.random_range(1..=u64::MAX);
        Self { hash: std::array::from_fn(|_| keys()), schedule: std::array::from_fn(|_| keys()) }
    }

    /// The world with these keys.
    #[must_use]
    pub fn put_into(&self, mut world: World) -> World {
        (world.hash_keys, world.schedule_keys) = (self.hash, self.schedule);
        world
    }
}

/// TCP and UDP services on a VIP of either family, with this scheduler, this many backends each, and a table of this many
/// ways.
#[must_use]
pub fn world(ways: u32, scheduler: Scheduler, backends: u16) -> World {
    [(VIP.into(), TCP), (VIP6.into(), TCP), (VIP.into(), UDP), (VIP6.into(), UDP)]
        .into_iter()
        .fold(empty(ways), |world, (vip, protocol)| with(world, vip, protocol, scheduler, backends))
}

/// TCP services on this many VIPs, with ten backends each.
#[must_use]
pub fn many(ways: u32, services: u32) -> World {
    (0..services).fold(empty(ways), |world, number| {
        let vip = Ipv4Addr::from(u32::from(FIRST_VIP) + number);
        with(world, vip.into(), TCP, Scheduler::Wrr, 10)
    })
}

/// With affinity for every service.
#[must_use]
pub fn with_affinity(mut world: World) -> World {
    let affinity = Affinity::new(70, 0, 32, 128);
    world.services.iter_mut().for_each(|service| service.affinity = affinity);
    world
}

/// Places SYNs by hash as soon as one connection is half-open.
#[must_use]
pub fn guarded(mut world: World) -> World {
    world.syn_guard = 0;
    world
}

fn empty(ways: u32) -> World {
    let mut world = World::empty();
    world.buckets = ways / WAYS as u32;
    // Established connections: UDP's, and TCP's.
    (world.expiry_ticks[2], world.expiry_ticks[6]) = (LONG, LONG);
    world
}

/// Adds one service.
fn with(mut world: World, vip: IpAddr, protocol: u8, scheduler: Scheduler, backends: u16) -> World {
    let id = world.services.len() as u32 + 1;
    let first = world.backends.len() as u16 + 1;
    let taker = |slot: u16| {
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + u32::from(slot));
        Taker { slot, weight: 1, address: address.into() }
    };
    let slots = first..first + backends;
    let takers: Vec<Taker> = slots.clone().map(taker).collect();
    world.backends.extend(slots.map(|slot| usable(slot, id)));
    world.services.push(Service {
        id,
        vip,
        port: PORT,
        protocol,
        orphan: orphan::DROP,
        scheduler: number(scheduler),
        affinity: Affinity::default(),
        stale_ticks: 71,
        local: 0,
        ring: schedule(scheduler, &takers, backends.into()).ring,
        rules: Vec::new(),
    });
    world
}
