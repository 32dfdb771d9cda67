//! UDP flows: the first packet opens, the second establishes.

use dispatcher_common::{
    connection::State::{Established, HalfOpen},
    reason::Reason,
};
use dispatcher_tests::{case::Case, datapath::World};

use crate::flows::Family;

pub(crate) fn cases() -> Vec<Case> {
    Family::both(|f| {
        vec![
            f.case("flows in a row meet different backends and keep them")
                .opens(f.udp(1001), f.dns_slot(1))
                .opens(f.udp(1002), f.dns_slot(2))
                .opens(f.udp(1003), f.dns_slot(3))
                .table(&[
                    (HalfOpen, f.dns_slot(1)),
                    (HalfOpen, f.dns_slot(2)),
                    (HalfOpen, f.dns_slot(3)),
                ])
                .follows(f.udp(1001), f.dns_slot(1))
                .follows(f.udp(1001), f.dns_slot(1))
                .table(&[
                    (HalfOpen, f.dns_slot(2)),
                    (HalfOpen, f.dns_slot(3)),
                    (Established, f.dns_slot(1)),
                ]),
            f.case("an empty datagram counts").opens(f.udp(1001).payload(b""), f.dns_slot(1)),
            f.case_in(World::standard().ring(f.dns(), &[]), "a ring without backends")
                .leaves(f.udp(1001), Reason::NoBackend)
                .of_service(f.dns())
                .table(&[]),
        ]
    })
}
