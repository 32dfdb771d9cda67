//! Counters: summed over CPUs, and 0 again for a new backend in an old slot.

use std::path::Path;

use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use dispatcher_common::{
    counts::{BackendCounts, PacketCounts, ServiceCounts},
    maps,
    reason::REASONS,
};

use dispatcher_ctl::{datapath::tables::Tables, schedule::ScheduleTable};

use super::{in_namespace, namespace_dir, open, tables, veth};

/// Writes `value` on the first CPU and `value` again on the last one.
fn count<T: aya::Pod>(dir: &Path, name: &str, index: u32, value: T, zero: T) -> u64 {
    let map = MapData::from_pin(namespace_dir(dir).join(name)).unwrap();
    let mut array: PerCpuArray<_, T> = Map::PerCpuArray(map).try_into().unwrap();
    let cpus = aya::util::nr_cpus().unwrap();
    let mut values = vec![zero; cpus];
    values[0] = value;
    values[cpus - 1] = value;
    array.set(index, PerCpuValues::try_from(values).unwrap(), 0).unwrap();
    if cpus == 1 { 1 } else { 2 }
}

#[test]
fn counters_are_summed_and_start_at_zero_with_a_new_backend() {
    in_namespace("counters", |dir| {
        let ifindex = veth();
        let (mut datapath, _) = open(dir);
        let wanted = tables(ifindex);
        datapath.publish(&wanted).unwrap();
        let reader = datapath.counters();
        let counters = reader.read(&[]).unwrap();
        assert!(counters.interfaces.is_empty());
        assert_eq!(counters.backends, [(1, BackendCounts::ZERO), (2, BackendCounts::ZERO)].into());
        assert_eq!(counters.services, [(7, ServiceCounts::ZERO)].into());

        let packets = PacketCounts { packets: 5, bytes: 500 };
        // The last entry of the last interface, and one in the middle of a batch.
        for entry in [2 * REASONS as u32 + 4, 64 * REASONS as u32 - 1] {
            count(dir, maps::PACKET_COUNTS, entry, packets, PacketCounts::ZERO);
        }
        let backend = BackendCounts { packets: 1, bytes: 20, connections: 300, retransmissions: 4 };
        let mut service = ServiceCounts::ZERO;
        service.packets[9] = 11;
        count(dir, maps::SERVICE_COUNTS, 7, service, ServiceCounts::ZERO);
        // Slot 5 belongs to no backend.
        count(dir, maps::BACKEND_COUNTS, 5, backend, BackendCounts::ZERO);
        let n = count(dir, maps::BACKEND_COUNTS, 2, backend, BackendCounts::ZERO);
        let counters = reader.read(&[]).unwrap();
        let counted: Vec<_> = counters.interfaces.keys().copied().collect();
        assert_eq!(counted, [2, 63]);
        let sum = PacketCounts { packets: 5 * n, bytes: 500 * n };
        assert_eq!((counters.interfaces[&2][4], counters.interfaces[&63][31]), (sum, sum));
        assert_eq!(counters.interfaces[&2][3], PacketCounts::ZERO);
        assert_eq!(counters.services[&7].packets[9], 11 * n);
        assert_eq!(counters.backends.keys().copied().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(counters.backends[&2].connections, 300 * n);
        assert_eq!((counters.backends[&2].bytes, counters.backends[&1].bytes), (20 * n, 0));

        let mut without = wanted.clone();
        without.backends.remove(&2);
        without.services.get_mut(&7).unwrap().schedule =
            ScheduleTable { ring: vec![1], members: vec![1] };
        datapath.publish(&without).unwrap();
        assert!(!reader.read(&[]).unwrap().backends.contains_key(&2));
        datapath.publish(&wanted).unwrap();
        let counters = reader.read(&[]).unwrap();
        assert_eq!(counters.backends[&2], BackendCounts::ZERO);
        assert_eq!(counters.services[&7].packets[9], 11 * n, "the service has not changed");

        // Its id goes to another service.
        datapath.publish(&Tables::default()).unwrap();
        datapath.publish(&wanted).unwrap();
        assert_eq!(reader.read(&[]).unwrap().services[&7], ServiceCounts::ZERO);
    });
}
