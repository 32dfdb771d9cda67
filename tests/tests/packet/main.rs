//! Packet tests: one file per behaviour of the loaded datapath, as data-driven cases.
//!
//! They need root and BPF; otherwise they are skipped with a message, unless `DISPATCHER_REQUIRE_BPF=1`. The binary
//! needs nothing else at run time, so it can run on another kernel.

use std::collections::BTreeSet;

use dispatcher_common::reason::Reason;
use dispatcher_tests::case::{self, Case};

mod flows;
mod guard;
mod model;
mod object;
mod probes;
mod record;

/// Declares the behaviours: a module, a test that runs its cases, and its part of the list of all cases.
macro_rules! behaviours {
    ($($name:ident),+ $(,)?) => {
        $(mod $name;)+

        fn all_cases() -> Vec<Case> {
            [$($name::cases()),+].into_iter().flatten().collect()
        }

        mod behaviour {
            $(#[test] fn $name() { crate::case::run(&crate::$name::cases()); })+
        }
    };
}

behaviours!(
    affinity,
    backends,
    counters,
    counts,
    fragments,
    icmp,
    ipv4_options,
    ipv6_extensions,
    loops,
    malformed,
    measure,
    not_ours,
    orphan,
    reset,
    rules,
    schedule,
    schedulers,
    services,
    syn_guard,
    table,
    tcp_again,
    tcp_close,
    tcp_established,
    tcp_life,
    tcp_new,
    too_big,
    udp,
    vlan,
    wildcards,
);

#[test]
fn every_reason_has_a_case() {
    let met: BTreeSet<Reason> = all_cases().iter().flat_map(Case::reasons).collect();
    let missing: Vec<_> = Reason::ALL.iter().filter(|reason| !met.contains(reason)).collect();
    assert!(missing.is_empty(), "no case meets {missing:?}");
}
