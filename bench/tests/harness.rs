//! The harness at work, without a clock: every case's packets meet the fate they should.

use dispatcher_bench::{
    bench::Bench,
    cases::{Scale, all},
};
use dispatcher_tests::datapath;
use rand::{SeedableRng as _, rngs::SmallRng};

/// Packets of a case: more than it has flows.
const PACKETS: u32 = 4096;

#[test]
fn packets_of_every_case_meet_their_fate() {
    if !datapath::available() {
        return;
    }
    let mut bench = Bench::new().unwrap();
    for case in all(Scale::SMALL) {
        bench.add(case).unwrap();
    }
    let mut random = SmallRng::seed_from_u64(1);
    for _ in 0..2 {
        bench.round(&mut random, PACKETS).unwrap();
    }
    assert!(bench.cases().iter().all(|measured| measured.figures.len() == 2));
}
