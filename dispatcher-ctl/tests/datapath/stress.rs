//! Sweeping during traffic: connections in use are never removed and always counted; idle ones are removed.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use aya::{Ebpf, EbpfLoader, TestRun as _, TestRunOptions, programs::Xdp};
use dispatcher_common::{maps, settings::Config};
use dispatcher_ctl::datapath::{
    Datapath, OBJECT,
    clock::{Jiffies, now},
    connections::{ServiceTimeouts, Sweeper, Timeouts},
};

use super::{in_namespace, namespace_dir, settings, tables, veth};

/// Flows that each of two threads keeps in use, and idle flows.
const BUSY: u16 = 200;
const IDLE: u16 = 100;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// `XDP_TX`.
const SENT: u32 = 3;

/// A TCP packet from a client's port to the service of [`tables`].
fn frame(port: u16, flags: u8) -> Vec<u8> {
    let ethernet = [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 0xcc, 8, 0];
    let ip = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 198, 51, 100, 1, 192, 0, 2, 80];
    let [high, low] = port.to_be_bytes();
    let tcp = [high, low, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
    [&ethernet[..], &ip, &tcp].concat()
}

fn send(program: &Xdp, port: u16, flags: u8) -> u32 {
    let frame = frame(port, flags);
    let mut out = vec![0; 256];
    let options =
        TestRunOptions { data_in: Some(&frame), data_out: Some(&mut out), ..TestRunOptions::new() };
    program.test_run(options).unwrap().return_value
}

/// Loads the datapath on the pinned maps, for packets that tests hand to it. Loading empties the maps that are
/// sections: nothing has been published yet.
fn load(dir: &Path) -> Ebpf {
    let made = settings(dir).get(&0, 0).unwrap();
    let jiffies = Jiffies::of_kernel().unwrap();
    let config = Config {
        hash_keys: made.hash_keys,
        schedule_keys: made.schedule_keys,
        bucket_mask: made.buckets as u32 - 1,
        interface: 3,
        jiffy_ns: jiffies.length_ns,
        jiffies_epoch: jiffies.epoch_ns,
    };
    let mut loader = EbpfLoader::new();
    for name in maps::ALL {
        loader.map_pin_path(name, namespace_dir(dir).join(name));
    }
    for section in maps::SECTIONS {
        loader.map_pin_path(section.section, namespace_dir(dir).join(section.name));
    }
    let mut ebpf = loader.override_global("CONFIG", &config, true).load(OBJECT).unwrap();
    let program: &mut Xdp = ebpf.program_mut("dispatcher").unwrap().try_into().unwrap();
    program.load().unwrap();
    ebpf
}

#[test]
fn connections_in_use_outlive_any_number_of_sweeps() {
    in_namespace("stress", |dir| {
        let ifindex = veth();
        // So large that the clock ticks while a slice is swept.
        let (mut datapath, _) = Datapath::open(dir, 1_000_000).unwrap();
        let ebpf = load(dir);
        datapath.publish(&tables(ifindex)).unwrap();
        let program: &Xdp = ebpf.program("dispatcher").unwrap().try_into().unwrap();
        let ports = 1000..1000 + 2 * BUSY + IDLE;
        for port in ports {
            assert_eq!((send(program, port, SYN), send(program, port, ACK)), (SENT, SENT));
        }
        // The shortest possible timeout: two ticks of the clock without a packet.
        let mut timeouts = Timeouts::default();
        let short = Duration::from_millis(1);
        let service = ServiceTimeouts { stale: short, syn: short, fin: short, fin_count: 0 };
        timeouts.service(service, [1, 2]);
        let sweeper = Sweeper::start(datapath.table().unwrap(), timeouts).unwrap();
        let (stop, begin) = (AtomicBool::new(false), now());
        thread::scope(|scope| {
            for first in [1000, 1000 + BUSY] {
                let stop = &stop;
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        for port in first..first + BUSY {
                            assert_eq!(send(program, port, ACK), SENT, "port {port}");
                        }
                    }
                });
            }
            let (start, mut passes) = (Instant::now(), 0);
            let mut counted = (0, 0);
            // Run for several ticks, until the idle connections are gone.
            while now() < begin + 4 {
                let swept = sweeper.count_now();
                let established = swept.slot(1).established + swept.slot(2).established;
                counted = (established, swept.expired.stale);
                if u64::from(established) + counted.1 != u64::from(2 * BUSY + IDLE) {
                    break;
                }
                passes += 1;
            }
            stop.store(true, Ordering::Relaxed);
            eprintln!("{passes} passes in {:?}", start.elapsed());
            assert_eq!(counted, (u32::from(2 * BUSY), u64::from(IDLE)));
        });
        // The datapath agrees: a packet of an idle connection is an orphan now.
        assert_eq!(send(program, 1000, ACK), SENT);
        assert_ne!(send(program, 1000 + 2 * BUSY, ACK), SENT);
    });
}
