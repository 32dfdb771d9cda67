//! Runs the harness without timing: every case's packets must have the expected outcome.

use dispatcher_bench::{
    bench::{Loaded, Measured, Quiet},
    cases::{Scale, all},
    driver::Driver,
};
use dispatcher_tests::datapath;
use rand::{SeedableRng as _, rngs::SmallRng};

/// Packets per case: more than it has flows.
const PACKETS: u32 = 4096;
/// Groups of cases, by the first part of their name: each group runs in one test, and the groups run in parallel.
const GROUPS: [&str; 5] = ["base", "floor", "other", "hit", "new"];

fn drive(groups: &[&str]) {
    if !datapath::available() {
        return;
    }
    let mut cases = all(Scale::SMALL);
    cases.retain(|case| groups.contains(&group(&case.name)));
    assert!(!cases.is_empty());
    let (mut driver, mut quiet) = (Driver::load().unwrap(), Quiet::default());
    // One seed for all groups, so that a later group can reuse a program that was loaded with the same keys.
    let seed = rand::random();
    while let Some(first) = cases.first() {
        let subject = first.subject.clone();
        let together = cases.extract_if(.., |case| case.subject == subject);
        let mut together: Vec<Measured> = together.map(Measured::new).collect();
        let mut random = SmallRng::seed_from_u64(seed);
        let mut loaded = Loaded::new(&mut driver, &mut together, &mut quiet, &mut random).unwrap();
        for _ in 0..2 {
            loaded.try_out(PACKETS).unwrap();
        }
        loaded.give_up();
    }
}

fn group(name: &str) -> &str {
    name.split('/').next().unwrap_or_default()
}

#[test]
fn packets_of_floors_and_others_meet_their_fate() {
    drive(&GROUPS[..3]);
}

#[test]
fn packets_of_known_connections_meet_their_fate() {
    drive(&GROUPS[3..4]);
}

#[test]
fn packets_of_new_connections_meet_their_fate() {
    drive(&GROUPS[4..]);
}

#[test]
fn every_case_is_of_a_group() {
    for case in all(Scale::SMALL) {
        assert!(GROUPS.contains(&group(&case.name)), "{}", case.name);
    }
}
