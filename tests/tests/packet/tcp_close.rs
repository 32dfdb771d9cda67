//! FIN and RST: the connection is closing, and its packets still go to its backend.

use dispatcher_common::connection::State::{Aborted, Closing, HalfOpen};
use dispatcher_tests::{case::Case, packet_builder::{ACK, FIN, RST, SYN}};

use crate::{flows::Family, tcp_established::age_all};

pub(crate) fn cases() -> Vec<Case> {
    Family::both(|f| {
        let closes = |name: &str, flags: u8| {
            f.case(name)
                .opens(f.tcp(1001, SYN), f.web_slot(1))
                .follows(f.tcp(1001, ACK), f.web_slot(1))
                .follows(f.tcp(1001, flags), f.web_slot(1))
                .table(&[(Closing, f.web_slot(1))])
                .follows(f.tcp(1001, flags), f.web_slot(1))
                .table(&[(Closing, f.web_slot(1))])
        };
        vec![
            closes("a fin closes and is forwarded", FIN | ACK),
            closes("a bare fin closes", FIN),
            closes("an rst closes and is forwarded, so that a forged one harms nobody", RST),
            closes("an rst with an ack closes", RST | ACK),
            f.case("a half-open connection closes")
                .opens(f.tcp(1001, SYN), f.web_slot(1))
                .follows(f.tcp(1001, RST), f.web_slot(1))
                .table(&[(Aborted, f.web_slot(1))]),
            f.case("a syn on a closing connection that is idle is a new choice")
                .opens(f.tcp(1001, SYN), f.web_slot(1))
                .follows(f.tcp(1001, ACK), f.web_slot(1))
                .follows(f.tcp(1001, FIN | ACK), f.web_slot(1))
                .then(|d| age_all(d, 2))
                .opens(f.tcp(1001, SYN), f.web_slot(2))
                .table(&[(HalfOpen, f.web_slot(2))])
                .repeats(f.tcp(1001, SYN), f.web_slot(2))
                .follows(f.tcp(1001, ACK), f.web_slot(2)),
        ]
    })
}
