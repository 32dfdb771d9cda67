//! Affinity in the kernel's maps: void records are removed, and peers are read back.

use std::collections::BTreeSet;

use dispatcher_common::service::AffinityRecord;
use dispatcher_ctl::datapath::clock;

use super::*;

/// A pinned hash map with keys of this many bytes.
fn hash<const K: usize>(
    dir: &Path,
    name: &str,
) -> aya::maps::HashMap<aya::maps::MapData, [u8; K], u64> {
    let map = aya::maps::MapData::from_pin(namespace_dir(dir).join(name)).unwrap();
    aya::maps::Map::HashMap(map).try_into().unwrap()
}

#[test]
fn records_that_have_run_out_and_those_of_given_slots_are_removed() {
    in_namespace("records", |dir| {
        let (datapath, _) = open(dir);
        let mut records = hash::<20>(dir, maps::AFFINITY);
        // For each client: its slot, and its age in ticks.
        let all = [(1, 5, 0), (2, 5, 8), (3, 6, 1), (4, 7, 2), (5, 7, 9)];
        for (client, slot, age) in all {
            let record = AffinityRecord::new(slot, clock::now() - age);
            records.insert([client; 20], record.0, 0).unwrap();
        }
        let cleaner = datapath.affinity_records();
        assert_eq!(cleaner.clean(4, &BTreeSet::from([6])).unwrap(), 3);
        let mut left: Vec<u8> = records.keys().map(|key| key.unwrap()[0]).collect();
        left.sort_unstable();
        assert_eq!(left, [1, 4]);
        assert_eq!(cleaner.clean(4, &BTreeSet::new()).unwrap(), 0);
    });
}

#[test]
fn affinity_words_and_peers_are_found_by_the_next_controller() {
    in_namespace("peers", |dir| {
        let mut wanted = tables(veth());
        wanted.services.get_mut(&7).unwrap().affinity = 0x0000_8020_0007_0047;
        wanted.peers = [((7, 9), 1), ((7, 10), 2)].into();
        let (mut datapath, _) = open(dir);
        datapath.publish(&wanted).unwrap();
        drop(datapath);
        let (mut datapath, _) = open(dir);
        assert_eq!(datapath.contents().peers, wanted.peers);
        assert_eq!(datapath.publish(&wanted).unwrap().writes, 0, "nothing left to do");
        wanted.peers.remove(&(7, 9));
        assert_eq!(datapath.publish(&wanted).unwrap().writes, 1);
    });
}
