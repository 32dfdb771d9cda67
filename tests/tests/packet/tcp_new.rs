//! A SYN without a connection goes to the next backend of the ring.

use std::net::Ipv4Addr;

use dispatcher_common::{connection::State::HalfOpen, reason::Reason};
use dispatcher_tests::{case::Case, datapath::{VIP, World}, packet_builder::{ACK, SYN, eth}};

use crate::flows::Family;

pub(crate) fn cases() -> Vec<Case> {
    Family::both(|f| {
        vec![
            f.case("new connections in a row meet different backends")
                .opens(f.tcp(1001, SYN), f.web_slot(1))
                .opens(f.tcp(1002, SYN), f.web_slot(2))
                .opens(f.tcp(1003, SYN), f.web_slot(3))
                .opens(f.tcp(1004, SYN), f.web_slot(1))
                .table(&[
                    (HalfOpen, f.web_slot(1)),
                    (HalfOpen, f.web_slot(1)),
                    (HalfOpen, f.web_slot(2)),
                    (HalfOpen, f.web_slot(3)),
                ]),
            f.case("a syn seen again is no second choice")
                .opens(f.tcp(1001, SYN), f.web_slot(1))
                .repeats(f.tcp(1001, SYN), f.web_slot(1))
                .repeats(f.tcp(1001, SYN), f.web_slot(1))
                .opens(f.tcp(1002, SYN), f.web_slot(2))
                .table(&[(HalfOpen, f.web_slot(1)), (HalfOpen, f.web_slot(2))]),
            f.case("a syn with ecn bits, options and data is a syn").opens(
                f.tcp(1001, SYN | 0xc0).tcp_options(&[2, 4, 5, 0xb4, 1, 3, 3, 7]).payload(b"tfo"),
                f.web_slot(1),
            ),
            f.case_in(World::standard().ring(f.web(), &[]), "a ring without backends")
                .leaves(f.tcp(1001, SYN), Reason::NoBackend)
                .of_service(f.web())
                .table(&[]),
            f.case("a syn-ack opens nothing")
                .leaves(f.tcp(1001, SYN | ACK), Reason::OrphanOther)
                .of_service(f.web())
                .table(&[]),
        ]
    })
    .into_iter()
    .chain([Case::new("flows differ by client as well as by port", World::standard())
        .opens(eth().ipv4(Ipv4Addr::new(198, 51, 100, 1), VIP).tcp(1001, 80, SYN), 11)
        .opens(eth().ipv4(Ipv4Addr::new(198, 51, 100, 2), VIP).tcp(1001, 80, SYN), 12)
        .repeats(eth().ipv4(Ipv4Addr::new(198, 51, 100, 1), VIP).tcp(1001, 80, SYN), 11)])
    .collect()
}
