//! The clock that the datapath derives from jiffies agrees with the controller's.

use std::{thread::sleep, time::Duration};

use dispatcher_ctl::datapath::clock::Jiffies;

use super::in_namespace;

#[test]
fn the_clock_and_jiffies_advance_alike() {
    in_namespace("clock", |_| {
        let first = Jiffies::of_kernel().unwrap();
        // 100 to 1,000 per second.
        assert!((1_000_000..=10_000_000).contains(&first.length_ns), "{first:?}");
        sleep(Duration::from_millis(500));
        let second = Jiffies::of_kernel().unwrap();
        let apart = second.epoch_ns.wrapping_sub(first.epoch_ns).cast_signed();
        assert_eq!(second.length_ns, first.length_ns);
        assert!(apart.unsigned_abs() <= 2 * first.length_ns, "{first:?} {second:?}");
    });
}
