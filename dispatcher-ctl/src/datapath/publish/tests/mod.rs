//! The order of writes, tested without a kernel: every prefix of the writes of random publications is looked at as if
//! the controller had died there.

use proptest::prelude::*;

use super::{Array, Changes, Contents, KeyBytes, Publisher, TableStore, Write, key_bytes, word_of};
use crate::{
    datapath::tables::{BackendTable, InterfaceTable, RuleTable, ServiceTable, Tables},
    schedule::ScheduleTable,
};

mod built;
mod cases;
mod done;
mod recorder;
mod safe;
mod some;

use built::{SERVICES, SLOTS, mac, roomy, small, tables};
use done::check_done;
use recorder::{Event, GONE, Recorder, publisher};
use safe::{check_safe, replay};

/// Publishes, checks every step, and returns every state on the way.
fn publish(publisher: &mut Publisher<Recorder>, wanted: &Tables) -> Vec<Contents> {
    let start = publisher.store.contents.clone();
    let before = publisher.store.log.len();
    publisher.publish(wanted).unwrap();
    let mut states = Vec::new();
    replay(&start, wanted, &publisher.store.log[before..], |state| {
        states.push(state.clone());
    });
    check_done(&publisher.store.contents, wanted);
    assert_eq!(publisher.contents, publisher.store.contents);
    assert_eq!(publisher.publish(wanted).unwrap(), Changes::default(), "nothing left to do");
    states
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn each_step_is_safe_and_a_successor_finishes_from_any(
        (a, b, c) in (tables(), tables(), tables())
    ) {
        let mut first = publisher(roomy(), None);
        publish(&mut first, &a);
        for state in publish(&mut first, &b) {
            // Killed here: the next controller has the same file, or another one.
            publish(&mut publisher(state.clone(), None), &b);
            publish(&mut publisher(state, None), &c);
        }
    }

    #[test]
    fn one_publisher_goes_on_and_on(all in prop::collection::vec(tables(), 1..12)) {
        let mut publisher = publisher(roomy(), None);
        for tables in &all {
            publish(&mut publisher, tables);
        }
    }

    #[test]
    fn a_write_that_fails_is_made_good_by_the_next_publication(
        (a, b, at) in (tables(), tables(), 0..60_usize)
    ) {
        let mut publisher = publisher(roomy(), None);
        publish(&mut publisher, &a);
        publisher.store.fail_at = Some(publisher.store.log.len() + at);
        // A device that cannot be written is not an error.
        let _ = publisher.publish(&b);
        publisher.store.fail_at = None;
        check_safe(&publisher.store.contents);
        publish(&mut publisher, &b);
    }
}
