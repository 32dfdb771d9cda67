//! The harness at work, without a clock: every case's packets meet the fate they should.

use dispatcher_bench::{
    bench::{Loaded, Measured, Quiet},
    cases::{Scale, all},
    driver::Driver,
};
use dispatcher_tests::datapath;
use rand::{SeedableRng as _, rngs::SmallRng};

/// Packets of a case: more than it has flows.
const PACKETS: u32 = 4096;
/// Cases by the first part of their name: those of a group run in one test, groups side by side.
const GROUPS: [&str; 5] = ["base", "floor", "other", "hit", "new"];

fn drive(groups: &[&str]) {
    if !datapath::available() {
        return;
    }
    let mut cases = all(Scale::SMALL);
    cases.retain(|case| groups.contains(&group(&case.name)));
    assert!(!cases.is_empty());
    let (mut driver, mut quiet) = (Driver::load().unwrap(), Quiet::default());
    // One for all, so that who comes next finds a program that was loaded with its keys.
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
