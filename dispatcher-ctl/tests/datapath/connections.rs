//! The connection table: counted, listed and swept in the kernel.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use aya::maps::{HashMap, Map, MapData};
use dispatcher_common::{
    connection::{Bucket, FlowBucket, State, Way},
    counts::{ActiveCount, TableCounts},
    flow::Flow,
    maps,
    net::address,
};
use dispatcher_ctl::datapath::{
    Datapath,
    clock::now,
    connections::{ConnectionTable, Filter, ServiceTimeouts, SlotCounts, Sweeper, Timeouts},
};

use super::{array, in_namespace, open, settings};

fn timeouts(fin_count: u64) -> Timeouts {
    let mut timeouts = Timeouts::default();
    let service = ServiceTimeouts {
        stale: Duration::from_secs(300),
        syn: Duration::from_secs(30),
        fin: Duration::from_secs(30),
        fin_count,
    };
    timeouts.service(service, [1, 2]);
    timeouts.gone(3);
    timeouts
}

fn flow(client: &str, vip: &str, protocol: u8, born: u64) -> Flow {
    let (client, vip): (SocketAddr, SocketAddr) = (client.parse().unwrap(), vip.parse().unwrap());
    Flow {
        client: address(client.ip()),
        vip: address(vip.ip()),
        client_port: client.port().to_be_bytes(),
        vip_port: vip.port().to_be_bytes(),
        born_and_protocol: (born as u32) << 8 | u32::from(protocol),
    }
}

/// Writes ways, each with its age in ticks, from the first bucket on, and counts them as the datapath does.
fn fill(dir: &Path, ways: &[(u64, State, u32, u64)]) {
    let mut map = array::<Bucket>(dir, maps::CONNECTIONS);
    let mut counts = array::<u64>(dir, maps::ACTIVE_COUNTS);
    let mut half_open = 0;
    for (number, ways) in ways.chunks(8).enumerate() {
        let mut bucket = Bucket::ZERO;
        for (place, (hash, state, slot, age)) in bucket.ways.iter_mut().zip(ways) {
            let way = Way::new(*hash, now().wrapping_sub(*age), *state, *slot);
            *place = way.0;
            let count = ActiveCount::of(way);
            counts.set(*slot, counts.get(slot, 0).unwrap() + count, 0).unwrap();
            half_open += ActiveCount(count).half_open();
        }
        map.set(number as u32, bucket, 0).unwrap();
    }
    let counts = TableCounts { half_open, ..TableCounts::ZERO };
    array::<TableCounts>(dir, maps::TABLE_COUNTS).set(0, counts, 0).unwrap();
}

/// Active and half-open connections of a slot, as counted.
fn counted(table: &ConnectionTable, slot: u32) -> (u64, u64) {
    let count = table.active().slot(slot);
    (count.active(), count.half_open())
}

const TCP: u64 = 1 << 63;
const UDP: u64 = 1 << 62;

#[test]
fn a_sweep_counts_what_is_there_and_removes_what_is_idle() {
    in_namespace("sweep", |dir| {
        let (datapath, _) = open(dir);
        fill(
            dir,
            &[
                (TCP, State::HalfOpen, 1, 1),
                (TCP, State::HalfOpen, 1, 9),
                (TCP, State::Established, 1, 60),
                (TCP, State::Established, 2, 72),
                (TCP, State::Closing, 2, 20),
                (TCP, State::Closing, 2, 20),
                (UDP, State::HalfOpen, 2, 20),
                (UDP, State::Established, 2, 72),
                // The entry of a removed backend goes; one with an unknown backend stays.
                (TCP, State::Established, 3, 0),
                (TCP, State::Established, 9, 1000),
            ],
        );
        let table = datapath.table().unwrap();
        let before = [1, 2, 3, 9].map(|slot| counted(&table, slot));
        assert_eq!((before, table.active().half_open()), ([(3, 2), (3, 0), (1, 0), (1, 0)], 2));
        let mut sweeper = Sweeper::start(Arc::clone(&table), timeouts(2)).unwrap();
        let swept = sweeper.count_now();
        let after = [1, 2, 3, 9].map(|slot| counted(&table, slot));
        assert_eq!((after, table.active().half_open()), ([(2, 1), (1, 0), (0, 0), (1, 0)], 1));
        assert_eq!(
            swept.slot(1),
            SlotCounts { half_open: 1, established: 1, silent: 1, ..SlotCounts::default() }
        );
        assert_eq!(swept.slot(2), SlotCounts { closing: 2, udp: 1, ..SlotCounts::default() });
        assert_eq!((swept.slot(3).total(), swept.slot(9).total(), swept.connections()), (0, 1, 6));
        let expired = swept.expired;
        assert_eq!((expired.syn, expired.stale, expired.udp, expired.gone), (1, 1, 1, 1));
        // If one closing connection is allowed, two are too many.
        sweeper.set_timeouts(timeouts(1));
        let swept = sweeper.count_now();
        assert_eq!((swept.slot(2).closing, swept.expired.fin), (0, 2));
        assert_eq!((swept.slot(2).active(), swept.connections()), (1, 4));
        let pass = swept.pass;
        super::eventually("a pass unasked", || sweeper.latest().pass > pass);
    });
}

#[test]
fn connections_that_were_established_for_long_are_spared_and_those_that_never_were_go_first() {
    in_namespace("spared", |dir| {
        let (datapath, _) = Datapath::open(dir, 12).unwrap();
        let keys = settings(dir).get(&0, 0).unwrap().hash_keys;
        let flow = |n: u64, born: u64| {
            flow(&format!("198.51.100.{n}:1024"), "192.0.2.80:80", 6, now() - born)
        };
        // Idle for 20 ticks: the first was established for 80 ticks before, the second for 5; the third's record
        // belongs to another flow.
        let flows = [flow(1, 100), flow(2, 25), flow(3, 100), flow(4, 100), flow(5, 100)];
        let hash = |i: usize| flows[i].hash(&keys);
        let ways = [
            (hash(0), State::Closing, 1, 20),
            (hash(1), State::Closing, 1, 20),
            (hash(2), State::Closing, 1, 20),
            (hash(3), State::Aborted, 1, 20),
            // Beyond `stale_timeout`.
            (hash(4), State::Closing, 1, 72),
        ];
        let write = |ways: &[_]| {
            fill(dir, ways);
            let mut records = FlowBucket::ZERO;
            records.flows[..5].copy_from_slice(&flows);
            records.flows[2] = flows[3];
            array::<FlowBucket>(dir, maps::FLOWS).set(0, records, 0).unwrap();
        };
        write(&ways);
        let table = datapath.table().unwrap();
        // Aborted connections do not count towards `fin_count`.
        let sweeper = Sweeper::start(Arc::clone(&table), timeouts(3)).unwrap();
        let swept = sweeper.count_now();
        assert_eq!((swept.slot(1).closing, swept.slot(1).aborted), (3, 0));
        assert_eq!((swept.expired.fin, swept.expired.stale), (1, 1));
        drop(sweeper);
        // More closing ones than allowed: the one that was established for long stays.
        let sweeper = Sweeper::start(Arc::clone(&table), timeouts(2)).unwrap();
        let _first = sweeper.count_now();
        let swept = sweeper.count_now();
        assert_eq!((swept.slot(1).closing, swept.expired.fin, swept.expired.stale), (1, 2, 0));
        drop(sweeper);
        // The table is as full as it was sized for, so that connection is removed, too.
        let mut full = ways[..3].to_vec();
        full.extend((0..13).map(|i| (TCP | i << 40, State::Established, 2, 0)));
        write(&full);
        let sweeper = Sweeper::start(table, timeouts(2)).unwrap();
        let _first = sweeper.count_now();
        let swept = sweeper.count_now();
        assert_eq!((swept.slot(1).closing, swept.expired.fin), (0, 3));
        assert_eq!(swept.slot(2).established, 13);
    });
}

#[test]
fn a_slot_that_is_given_out_again_is_safe_from_the_pass_under_way() {
    in_namespace("reuse", |dir| {
        // Large enough for a pass in several slices, with pauses.
        let (datapath, _) = Datapath::open(dir, 1_000_000).unwrap();
        let table = datapath.table().unwrap();
        let last = table.buckets() as u32 - 1;
        let mut sweeper = Sweeper::start(table, timeouts(0)).unwrap();
        let pass = sweeper.count_now().pass;
        // A pass that considers slot 3 removed is running.
        let mut other = timeouts(0);
        let service = ServiceTimeouts {
            stale: Duration::from_secs(300),
            syn: Duration::from_secs(30),
            fin: Duration::from_secs(30),
            fin_count: 0,
        };
        other.service(service, [3]);
        sweeper.set_timeouts(other);
        let mut bucket = Bucket::ZERO;
        bucket.ways[5] = Way::new(TCP, now(), State::Established, 3).0;
        array::<Bucket>(dir, maps::CONNECTIONS).set(last, bucket, 0).unwrap();
        super::eventually("two passes", || sweeper.latest().pass > pass + 1);
        assert_eq!((sweeper.latest().slot(3).established, sweeper.latest().expired.gone), (1, 0));
    });
}

#[test]
fn the_overflow_map_is_swept_and_its_count_set_right() {
    in_namespace("overflow", |dir| {
        let (datapath, _) = open(dir);
        let pin = super::namespace_dir(dir).join(maps::OVERFLOW);
        let map = Map::HashMap(MapData::from_pin(pin).unwrap());
        let mut overflow: HashMap<_, u64, u64> = map.try_into().unwrap();
        for i in 0..50 {
            // Ten are too old, every second one is half-open.
            let age = if i % 5 == 0 { 100 } else { 0 };
            let state = if i % 2 == 0 { State::HalfOpen } else { State::Established };
            let way = Way::new(TCP | i, now() - age, state, 2);
            overflow.insert(TCP | i, way.0, 0).unwrap();
        }
        let mut map = settings(dir);
        let mut value = map.get(&0, 0).unwrap();
        // As if a controller had died after it removed seven and before it lowered the count.
        value.overflow_entries = 57;
        map.set(0, value, 0).unwrap();
        let counts = 25 * ActiveCount::HALF_OPEN + 25 * ActiveCount::ACTIVE;
        array::<u64>(dir, maps::ACTIVE_COUNTS).set(2, counts, 0).unwrap();
        let half_open = TableCounts { half_open: 25, ..TableCounts::ZERO };
        array::<TableCounts>(dir, maps::TABLE_COUNTS).set(0, half_open, 0).unwrap();
        let table = datapath.table().unwrap();
        let sweeper = Sweeper::start(Arc::clone(&table), timeouts(2)).unwrap();
        let swept = sweeper.count_now();
        assert_eq!((swept.overflow, swept.slot(2).established, swept.expired.stale), (40, 20, 5));
        assert_eq!((swept.slot(2).half_open, swept.expired.syn), (20, 5));
        assert_eq!((counted(&table, 2), table.active().half_open()), ((40, 20), 20));
        assert_eq!(map.get(&0, 0).unwrap().overflow_entries, 40);
        assert_eq!(overflow.keys().count(), 40);
    });
}

#[test]
fn connections_are_listed_by_their_records() {
    in_namespace("list", |dir| {
        let (datapath, _) = open(dir);
        let keys = settings(dir).get(&0, 0).unwrap().hash_keys;
        let flows = [
            flow("198.51.100.1:1024", "192.0.2.80:80", 6, now() - 5),
            flow("[2001:db8::1]:65535", "[2001:db8::80]:443", 6, now()),
            flow("198.51.100.2:53", "192.0.2.80:53", 17, now()),
            flow("198.51.100.3:99", "192.0.2.80:80", 6, now()),
        ];
        let hash = |i: usize| flows[i].hash(&keys);
        fill(
            dir,
            &[
                (hash(0), State::Established, 1, 3),
                (hash(1), State::Closing, 2, 0),
                (hash(2), State::Established, 2, 0),
                // No record yet, and the record of an earlier connection.
                (hash(3), State::HalfOpen, 1, 0),
                (!hash(0), State::HalfOpen, 1, 0),
            ],
        );
        let mut records = FlowBucket::ZERO;
        records.flows[..3].copy_from_slice(&flows[..3]);
        records.flows[4] = flows[0];
        array::<FlowBucket>(dir, maps::FLOWS).set(0, records, 0).unwrap();
        let table = datapath.table().unwrap();
        let all = table.list(&Filter::default(), 0, 100).unwrap();
        let clients: Vec<_> = all.connections.iter().map(|c| c.client.to_string()).collect();
        assert_eq!(clients, ["198.51.100.1:1024", "[2001:db8::1]:65535", "198.51.100.2:53"]);
        assert_eq!((all.unnamed, all.next), (2, None));
        let first = all.connections[0];
        assert_eq!((first.vip.to_string().as_str(), first.protocol), ("192.0.2.80:80", 6));
        assert_eq!((first.slot, first.state), (1, State::Established));
        assert!(
            (3..5).contains(&first.idle_ticks) && (5..7).contains(&first.age_ticks),
            "{first:?}"
        );
        let of = |slots: &[u32], client: Option<&str>, limit| {
            let client = client.map(|client| client.parse().unwrap());
            let slots = Some(slots.iter().copied().collect());
            let listing = table.list(&Filter { slots, client }, 0, limit).unwrap();
            (listing.connections.len(), listing.next.is_some())
        };
        assert_eq!(of(&[2], None, 100), (2, false));
        assert_eq!(of(&[1, 2], Some("2001:db8::1"), 100), (1, false));
        assert_eq!(of(&[1, 2], None, 2), (2, true));
        assert_eq!(of(&[1, 2], None, 3), (3, false));
        let page = table.list(&Filter::default(), 0, 2).unwrap();
        let rest = table.list(&Filter::default(), page.next.unwrap(), 2).unwrap();
        assert_eq!([&page.connections[..], &rest.connections].concat(), all.connections);
        assert_eq!(rest.next, None);
    });
}

#[test]
fn a_falsified_count_is_set_right_and_a_true_one_is_left_alone() {
    in_namespace("recount", |dir| {
        let (datapath, _) = open(dir);
        fill(
            dir,
            &[
                (TCP, State::HalfOpen, 1, 0),
                (TCP, State::Established, 1, 0),
                (UDP, State::Established, 2, 0),
            ],
        );
        let table = datapath.table().unwrap();
        let counted = || ([1, 2, 4].map(|slot| counted(&table, slot)), table.active().half_open());
        let truth = ([(2, 1), (1, 0), (0, 0)], 1);
        assert_eq!(counted(), truth);
        let sweeper = Sweeper::start(datapath.table().unwrap(), timeouts(2)).unwrap();
        // As if controllers had died after they removed some entries and before they counted that.
        let mut counts = array::<u64>(dir, maps::ACTIVE_COUNTS);
        counts.set(1, 5 * ActiveCount::ACTIVE + 2, 0).unwrap();
        counts.set(4, 3 * ActiveCount::HALF_OPEN, 0).unwrap();
        let half_open = TableCounts { half_open: 9, ..TableCounts::ZERO };
        array::<TableCounts>(dir, maps::TABLE_COUNTS).set(0, half_open, 0).unwrap();
        let falsified = counted();
        // Passes in quick succession prove nothing.
        for _ in 0..5 {
            let _ = sweeper.count_now();
        }
        assert_eq!(counted(), falsified);
        super::eventually("the counts are true again", || counted() == truth);
        let pass = sweeper.latest().pass;
        super::eventually("three more passes", || sweeper.latest().pass > pass + 2);
        assert_eq!(counted(), truth);
    });
}
