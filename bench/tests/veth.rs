//! Sends real frames over a veth without timing: all of them must come back, whatever takes them at the far end.

use dispatcher_bench::veth::{trial, wire::Wire};
use dispatcher_tests::datapath;

#[test]
fn frames_come_back_over_the_veth() {
    if !datapath::available() {
        return;
    }
    let mut wire = Wire::new().unwrap();
    for mut trial in trial::all(false) {
        let name = trial.name.clone();
        // Fails by itself when more than a few frames are missing.
        trial.load(&mut wire).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        let ns = trial.measure(&mut wire, 1 << 13).unwrap_or_else(|e| panic!("{name}: {e:#}"));
        assert!(ns > 0.0, "{name}: {ns} ns a frame");
    }
}

#[test]
fn frames_that_nobody_sends_back_are_missed() {
    if !datapath::available() {
        return;
    }
    let mut wire = Wire::new().unwrap();
    let mut bounce = trial::all(false).into_iter().find(trial::Trial::is_base).unwrap();
    bounce.load(&mut wire).unwrap();
    wire.leave().unwrap();
    let (frame, plan) = bounce.frame(0x10).unwrap();
    assert_eq!(wire.send(&frame, plan, 1 << 10).unwrap().sunk, 0);
}
