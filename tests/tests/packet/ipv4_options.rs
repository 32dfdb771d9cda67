//! IPv4 options: skipped, whatever they are, and left unchanged.

use dispatcher_tests::{case::Case, packet_builder::{ACK, SYN}};

use crate::flows::Family;

pub(crate) fn cases() -> Vec<Case> {
    let f = Family::V4;
    let router_alert = [148, 4, 0, 0];
    let mut longest = vec![7, 39, 4];
    longest.resize(40, 0);
    [("the shortest options", &router_alert[..]), ("the longest options", &longest)]
        .into_iter()
        .map(|(name, options)| {
            f.case(name)
                .opens(f.ip().options(options).tcp(1001, 80, SYN), 11)
                .follows(f.ip().options(options).tcp(1001, 80, ACK), 11)
                .follows(f.tcp(1001, ACK), 11)
                .opens(f.ip().options(options).udp(1001, 53).payload(b"query"), 31)
        })
        .collect()
}
