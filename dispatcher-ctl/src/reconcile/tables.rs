//! Turns a state into the contents of maps.

use std::net::IpAddr;

use dispatcher_common::{
    backend::{Forward, Forwarding, LOCAL, NEW, NO_MAC, PRESENT, RESET, STICKY, Share, UP, USABLE},
    connection::{EXPIRY_CLASSES, State as WayState},
    net,
    service::{Choices, ServiceKey, orphan},
};

use super::{
    affinity::{affinity, affinity_ticks},
    change::Dirty,
    next_hop::{NextHop, Nic, next_hop},
    rules::rules,
};
use crate::{
    datapath::{
        clock::ticks,
        tables::{BackendTable, InterfaceTable, ServiceTable, Tables},
    },
    model::{
        Backend, BackendConfig, Connections, ForwardMode, OnDown, Orphan, Protocol, RetiredSlot,
        Scheduler, Service, ServiceSettings, State,
    },
    network::Resolution,
    schedule::{self, ScheduleTable, Schedules, Taker},
};

/// The wanted contents of maps for what is dirty. Without removed backends: their slots are free or retired.
#[must_use]
pub fn tables(
    state: &State,
    dirty: &Dirty,
    connections: &Connections,
    nics: &[Nic],
    resolve: &dyn Fn(IpAddr) -> Resolution,
    schedules: &mut Schedules,
) -> Tables {
    let mut tables = Tables { is_partial: *dirty != Dirty::All, ..Tables::default() };
    for service in dirty.services(state) {
        add(service, connections, nics, resolve, schedules, &mut tables);
    }
    if !tables.is_partial {
        (tables.expiry_ticks, tables.syn_guard) = (longest_ticks(state), connections.syn_guard);
        for nic in nics {
            let interface = InterfaceTable { mac: nic.mac.0, ifindex: nic.ifindex, mtu: nic.mtu };
            tables.interfaces.insert(nic.index, interface);
        }
        affinity(state, &mut tables);
        schedules.forget_unused();
    }
    tables
}

/// Adds a service, its backends and its rules.
fn add(
    service: &Service,
    connections: &Connections,
    nics: &[Nic],
    resolve: &dyn Fn(IpAddr) -> Resolution,
    schedules: &mut Schedules,
    tables: &mut Tables,
) {
    let mut takers = Vec::new();
    let need = Need::of(service, nics, resolve);
    for backend in &service.backends {
        let forward = forward(backend, &service.config, need, nics, resolve);
        if let (Ok(slot), true) = (u16::try_from(backend.slot), forward.flags() & NEW != 0) {
            let (weight, address) = (backend.weight(), backend.config.address);
            takers.push(Taker { slot, weight, address });
        }
        let (service, share) = (service.id, share(backend));
        tables.backends.insert(backend.slot, BackendTable { service, forward, share });
    }
    // If all backends are down, new connections go to all in turn.
    let scheduler = if need == Need::Dire { Scheduler::Rr } else { service.config.scheduler };
    let schedule = schedules.get(scheduler, &takers, service.backends.len());
    let mut table = service_table(service, scheduler, connections.orphan, schedule);
    rules(service, &takers, schedules, &mut table, &mut tables.rules);
    tables.services.insert(service.id, table);
}

/// Which backends take new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Those that are up, without the sorry backend.
    Normal,
    /// None of these is up: the sorry backend.
    StandIn,
    /// It is down, too: all that advisors have down, in turn, in case one has recovered.
    Dire,
}

impl Need {
    fn of(service: &Service, nics: &[Nic], resolve: &dyn Fn(IpAddr) -> Resolution) -> Self {
        let could = |b: &&Backend| {
            !b.down
                && !b.is_quiesced()
                && (b.config.local || next_hop(&b.config, nics, resolve).is_ok())
        };
        let candidates = service.backends.iter().filter(could);
        let is_up = |is_sorry: bool| {
            let fits = |b: &Backend| b.config.sorry == is_sorry && b.advised_down.is_none();
            candidates.clone().any(fits)
        };
        if is_up(false) || candidates.clone().next().is_none() {
            Self::Normal
        } else if is_up(true) {
            Self::StandIn
        } else {
            Self::Dire
        }
    }

    /// Whether a backend that is up, or treated as up, is among them.
    const fn takes(self, backend: &Backend) -> bool {
        match self {
            Self::Normal => !backend.config.sorry,
            Self::StandIn => backend.config.sorry,
            Self::Dire => true,
        }
    }
}

/// Adds slots of removed backends whose clients must get an RST.
pub fn lingering(retired: &[RetiredSlot], tables: &mut Tables) {
    for RetiredSlot { slot, service, .. } in retired.iter().filter(|r| !r.lingers.is_zero()) {
        let forward = Forward::new([0; 6], 0, RESET);
        let backend = BackendTable { service: *service, forward, share: Share::default() };
        tables.backends.insert(*slot, backend);
    }
}

/// Idle ticks after which a connection of a service expires, by [`dispatcher_common::connection::Way::expiry_class`]; 0 for
/// classes that the service does not have.
///
/// One more than the timeout rounded up: a connection whose stamp is n ticks old has been idle for more than n − 1.
#[must_use]
pub fn service_ticks(config: &ServiceSettings) -> [u64; EXPIRY_CLASSES] {
    let (stale, syn) = (ticks(config.stale_timeout) + 1, ticks(config.syn_timeout) + 1);
    let mut classes = [0; EXPIRY_CLASSES];
    let (first, half_open) = match config.protocol {
        // UDP has no handshake: its flows are never half-open.
        Protocol::Udp => (0, stale),
        Protocol::Tcp => (EXPIRY_CLASSES / 2, syn),
    };
    classes[first + WayState::HalfOpen as usize] = half_open;
    classes[first + WayState::Established as usize] = stale;
    // Up to `fin_count` of them stay as long as established ones.
    classes[first + WayState::Closing as usize] = stale;
    if config.protocol == Protocol::Tcp {
        classes[first + WayState::Aborted as usize] = half_open;
    }
    classes
}

fn longest_ticks(state: &State) -> [u64; EXPIRY_CLASSES] {
    let mut longest = [0; EXPIRY_CLASSES];
    for service in &state.services {
        for (longest, ticks) in longest.iter_mut().zip(service_ticks(&service.config)) {
            *longest = ticks.max(*longest);
        }
    }
    longest
}

fn service_table(
    service: &Service,
    scheduler: Scheduler,
    orphan: Orphan,
    schedule: ScheduleTable,
) -> ServiceTable {
    let config = &service.config;
    let protocol = config.protocol.number();
    ServiceTable {
        key: ServiceKey::new(net::address(config.vip), config.port, protocol),
        choices: Choices::new(orphan_number(orphan), schedule::number(scheduler), protocol).0,
        stale_ticks: ticks(config.stale_timeout),
        affinity: 0,
        local: local_slot(service),
        conditions: Vec::new(),
        schedule,
    }
}

/// The slot of the first backend on this host; 0: there is none.
fn local_slot(service: &Service) -> u64 {
    let local = service.backends.iter().find(|backend| backend.config.local);
    local.map_or(0, |backend| backend.slot.into())
}

const fn orphan_number(orphan: Orphan) -> u8 {
    match orphan {
        Orphan::Drop => orphan::DROP,
        Orphan::Schedule => orphan::SCHEDULE,
        Orphan::Reset => orphan::RESET,
        Orphan::Pass => orphan::PASS,
    }
}

/// A backend's share: its weight, at most 100, and its bound on connections.
fn share(backend: &Backend) -> Share {
    let BackendConfig { max_connections, .. } = backend.config;
    Share::new(u8::try_from(backend.weight()).unwrap_or(u8::MAX), max_connections)
}

/// A backend's word: its next hop and its flags. In [`Need::Dire`] a backend that an advisor has down is treated as up.
fn forward(
    backend: &Backend,
    service: &ServiceSettings,
    need: Need,
    nics: &[Nic],
    resolve: &dyn Fn(IpAddr) -> Resolution,
) -> Forward {
    let (mac, interface, hop_flags) = if backend.config.local {
        ([0; 6], 0, LOCAL)
    } else {
        match next_hop(&backend.config, nics, resolve) {
            Ok(NextHop { mac, nic }) => (mac.0, nic.index, 0),
            Err(_) => ([0; 6], 0, NO_MAC),
        }
    };
    let mut flags = PRESENT | hop_flags;
    let is_up = !backend.down && (need == Need::Dire || backend.advised_down.is_none());
    if is_up {
        flags |= UP;
    }
    // Down by hand always drops established connections; down by an advisor keeps them if `on_down` says so.
    let is_kept = is_up || !backend.down && service.on_down == OnDown::Keep;
    if is_kept && hop_flags & NO_MAC == 0 {
        flags |= USABLE;
        if is_up && !backend.is_quiesced() && need.takes(backend) {
            flags |= NEW;
        }
        // Clients must leave the sorry backend as soon as another is up.
        let keeps = affinity_ticks(&service.affinity) != 0
            && backend.config.sticky
            && !backend.config.sorry;
        if is_up && keeps && !backend.quiesced_now {
            flags |= STICKY;
        }
    } else if !is_up && service.on_down == OnDown::Reset {
        // Not if only the MAC is missing: a neighbour that does not answer for a moment is not down.
        flags |= RESET;
    }
    let forwarding = match service.forward {
        ForwardMode::Mac => Forwarding::Mac,
    };
    Forward::new(mac, interface, flags).by(forwarding).measured(service.is_measured())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dispatcher_common::connection::TICK_NS;

    use super::*;
    use crate::{
        model::{Config, Scheduler, SlowStart},
        reconcile::testing::{backend, nic, service},
    };

    fn tables(
        state: &State,
        connections: &Connections,
        nics: &[Nic],
        resolve: &dyn Fn(IpAddr) -> Resolution,
    ) -> Tables {
        super::tables(state, &Dirty::All, connections, nics, resolve, &mut Schedules::default())
    }

    fn answers(address: IpAddr) -> Resolution {
        let IpAddr::V4(v4) = address else { return Resolution::Unresolved("no answer".into()) };
        let [_, _, _, last] = v4.octets();
        if last > 100 {
            return Resolution::Unresolved(format!("{address} does not answer"));
        }
        let mac = crate::model::Mac([2, 0, 0, 0, 1, last]);
        Resolution::Resolved { ifindex: 10 + u32::from(last % 2), mac }
    }

    fn nics() -> [Nic; 2] {
        [nic(3, "eth0", 10), nic(5, "eth1", 11)]
    }

    fn by(orphan: Orphan) -> Connections {
        Connections { orphan, ..Config::new(Vec::new()).connections }
    }

    /// A service whose backends have slots 1, 2, … and these last address bytes and weights.
    fn state(backends: &[(u8, u32)]) -> State {
        let mut web = service("web", "192.0.2.80", 80);
        web.id = 9;
        for (slot, (last, weight)) in (1..).zip(backends) {
            let mut backend = backend(&format!("b{slot}"), &format!("10.0.0.{last}"));
            (backend.slot, backend.config.weight) = (slot, *weight);
            web.backends.push(backend);
        }
        State { services: vec![web.into()], ..State::default() }
    }

    fn flags(tables: &Tables, slot: u32) -> u8 {
        tables.backends[&slot].forward.flags()
    }

    #[test]
    fn a_healthy_service_is_as_configured() {
        let mut state = state(&[(2, 10), (3, 5)]);
        state.services[0].backends[1].config.max_connections = 7;
        let tables = tables(&state, &by(Orphan::Pass), &nics(), &answers);
        let web = &tables.services[&9];
        assert_eq!(web.key, ServiceKey::new(net::address("192.0.2.80".parse().unwrap()), 80, 6));
        assert_eq!(web.choices, 0x0006_0002);
        assert_eq!(web.schedule.ring, [1, 1, 2]);
        assert_eq!(web.stale_ticks, 70);
        let forward = tables.backends[&1].forward;
        assert_eq!((forward.mac(), forward.interface()), ([2, 0, 0, 0, 1, 2], 3));
        assert_eq!(forward.flags(), PRESENT | UP | USABLE | NEW);
        assert_eq!(tables.backends[&2].forward.interface(), 5);
        let second = &tables.backends[&2];
        assert_eq!((second.service, second.share), (9, Share::new(5, 7)));
        assert_eq!((&web.schedule.members[..], tables.syn_guard), (&[1, 2][..], 100_000));
        let nic = tables.interfaces[&5];
        assert_eq!((nic.mac, nic.ifindex, nic.mtu), (nics()[1].mac.0, 11, 1500));
    }

    #[test]
    fn only_those_that_take_new_connections_are_in_the_ring() {
        let mut state = state(&[(2, 6), (3, 6), (4, 6), (5, 0), (102, 6), (7, 3)]);
        let backends = &mut state.services[0].backends;
        backends[1].quiesced = true;
        backends[2].down = true;
        backends[5].config.local = true;
        let tables = tables(&state, &by(Orphan::Drop), &nics(), &answers);
        // 6 : 3 once the others are out.
        assert_eq!(tables.services[&9].schedule.ring, [1, 1, 6]);
        assert_eq!(tables.services[&9].local, 6, "it takes what others send back");
        assert_eq!(flags(&tables, 2), PRESENT | UP | USABLE);
        assert_eq!(flags(&tables, 3), PRESENT);
        assert_eq!(flags(&tables, 4), PRESENT | UP | USABLE);
        assert_eq!(flags(&tables, 5), PRESENT | UP | NO_MAC);
        assert_eq!(tables.backends[&5].forward.mac(), [0; 6]);
        assert_eq!(flags(&tables, 6), PRESENT | UP | USABLE | NEW | LOCAL);
    }

    #[test]
    fn a_backend_that_an_advisor_has_down_keeps_what_it_has() {
        let mut state = state(&[(2, 10), (3, 5), (4, 5)]);
        state.services[0].backends[0].advised_down = Some("connect refused".to_owned());
        let made = tables(&state, &by(Orphan::Drop), &nics(), &answers);
        assert_eq!(made.services[&9].schedule.members, [2, 3]);
        assert_eq!(flags(&made, 1), PRESENT | USABLE);
        state.services[0].config.on_down = OnDown::Drop;
        assert_eq!(flags(&tables(&state, &by(Orphan::Drop), &nics(), &answers), 1), PRESENT);
        state.services[0].config.on_down = OnDown::Reset;
        assert_eq!(
            flags(&tables(&state, &by(Orphan::Drop), &nics(), &answers), 1),
            PRESENT | RESET
        );
    }

    #[test]
    fn with_all_backends_down_those_that_are_merely_down_are_tried_in_turn() {
        let mut state = state(&[(2, 10), (3, 5), (4, 5), (5, 0), (102, 6)]);
        for backend in &mut state.services[0].backends {
            backend.advised_down = Some("connect refused".to_owned());
        }
        state.services[0].backends[1].down = true;
        let made = tables(&state, &by(Orphan::Drop), &nics(), &answers);
        assert_eq!(made.services[&9].schedule.ring, [1, 3]);
        assert_eq!(flags(&made, 1), PRESENT | UP | USABLE | NEW);
        assert_eq!(flags(&made, 2), PRESENT);
        // One that came back takes all.
        state.services[0].backends[2].advised_down = None;
        let made = tables(&state, &by(Orphan::Drop), &nics(), &answers);
        assert_eq!(made.services[&9].schedule.members, [3]);
    }

    #[test]
    fn one_that_stands_by_takes_all_when_no_other_is_up() {
        let mut state = state(&[(2, 10), (3, 5), (4, 5)]);
        state.services[0].backends[2].config.sorry = true;
        state.services[0].config.affinity.timeout = Duration::from_secs(60);
        let make = |state: &State| tables(state, &by(Orphan::Drop), &nics(), &answers);
        let made = make(&state);
        assert_eq!(made.services[&9].schedule.members, [1, 2]);
        assert_eq!(flags(&made, 3), PRESENT | UP | USABLE);
        assert_eq!(flags(&made, 1), PRESENT | UP | USABLE | NEW | STICKY);
        let backends = &mut state.services[0].backends;
        backends[0].quiesced = true;
        backends[1].advised_down = Some("connect refused".to_owned());
        let made = make(&state);
        assert_eq!(made.services[&9].schedule.members, [3]);
        assert_eq!(flags(&made, 3), PRESENT | UP | USABLE | NEW);
        // It is down as well: those that are merely down are tried, itself among them.
        state.services[0].backends[2].advised_down = Some("connect refused".to_owned());
        assert_eq!(make(&state).services[&9].schedule.ring, [2, 3]);
    }

    #[test]
    fn weights_are_the_manager_s_where_there_are_any() {
        let mut state = state(&[(2, 10), (3, 10)]);
        state.services[0].backends[0].managed = Some(20);
        state.services[0].backends[1].slow_start = Some(SlowStart { since_ms: 0, weight: 5 });
        let made = tables(&state, &by(Orphan::Drop), &nics(), &answers);
        assert_eq!(made.services[&9].schedule.ring, [1, 1, 1, 1, 2]);
        assert_eq!(made.backends[&1].share, Share::new(20, 0));
    }

    #[test]
    fn clients_of_a_backend_that_is_down_are_reset_where_the_service_says_so() {
        let mut state = state(&[(2, 10), (3, 10), (102, 10)]);
        state.services[0].config.on_down = OnDown::Reset;
        state.services[0].backends[1].down = true;
        let tables = tables(&state, &by(Orphan::Reset), &nics(), &answers);
        assert_eq!(flags(&tables, 1), PRESENT | UP | USABLE | NEW);
        assert_eq!(flags(&tables, 2), PRESENT | RESET);
        assert_eq!(flags(&tables, 3), PRESENT | UP | NO_MAC);
        assert_eq!(tables.services[&9].choices & 0xff, u64::from(orphan::RESET));
    }

    #[test]
    fn backends_are_measured_where_the_service_or_its_scheduler_asks_for_it() {
        let mut state = state(&[(2, 10)]);
        let is_measured = |state: &State| {
            tables(state, &by(Orphan::Drop), &nics(), &answers).backends[&1].forward.is_measured()
        };
        assert!(!is_measured(&state));
        state.services[0].config.measure = true;
        assert!(is_measured(&state));
        state.services[0].config.measure = false;
        state.services[0].config.scheduler = Scheduler::Xmitbyte;
        assert!(is_measured(&state));
    }

    #[test]
    fn clients_of_a_removed_backend_are_reset_while_its_connections_linger() {
        let state = state(&[(2, 10)]);
        let mut tables = tables(&state, &by(Orphan::Drop), &nics(), &answers);
        let told = RetiredSlot { lingers: Duration::from_secs(300), ..RetiredSlot::new(7, 4) };
        lingering(&[RetiredSlot::new(6, 4), told], &mut tables);
        assert_eq!((tables.backends.get(&6), flags(&tables, 7)), (None, RESET));
        assert_eq!(tables.backends[&7].service, 4);
    }

    #[test]
    fn round_robin_ignores_weights_but_zero() {
        let mut state = state(&[(2, 10), (3, 1), (4, 0)]);
        state.services[0].config.scheduler = Scheduler::Rr;
        let tables = tables(&state, &by(Orphan::Drop), &nics(), &answers);
        assert_eq!(tables.services[&9].schedule.ring, [1, 2]);
    }

    #[test]
    fn expiry_takes_the_longest_timeout_of_each_class_and_is_never_early() {
        let mut state = state(&[]);
        let mut slow = service("ftp", "192.0.2.80", 21);
        slow.config.stale_timeout = Duration::from_secs(900);
        slow.config.syn_timeout = Duration::from_secs(10);
        let mut dns = service("dns", "192.0.2.80", 53);
        dns.config.protocol = Protocol::Udp;
        dns.config.stale_timeout = Duration::from_nanos(2 * TICK_NS + 1);
        state.services.extend([slow, dns].map(Into::into));
        let tables = tables(&state, &by(Orphan::Drop), &nics(), &answers);
        assert_eq!(tables.expiry_ticks, [0, 4, 4, 4, 8, 8, 211, 211]);
        // The longest a configuration allows is well within a stamp's range.
        assert!(ticks(Duration::from_secs(4 * 3600)) + 1 < 1 << 12);
    }
}
