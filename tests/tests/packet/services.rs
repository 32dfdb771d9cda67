//! Which service a packet belongs to: exact VIP and port, then all ports of the VIP.

use dispatcher_common::{
    net::{TCP, UDP},
    reason::Reason,
};
use dispatcher_tests::{case::Case, datapath::World, packet_builder::{ACK, SYN}};

use crate::flows::Family;

pub(crate) fn cases() -> Vec<Case> {
    Family::both(|f| {
        let all_ports = World::standard().service(5, f.vip(), 0, TCP, 2);
        let only_all_ports = World::empty().service(5, f.vip(), 0, UDP, 2);
        let same_port = World::standard().service(5, f.vip(), 80, UDP, 2);
        vec![
            f.case_in(all_ports, "an exact port comes before all ports")
                .opens(f.tcp(1001, SYN), f.web_slot(1))
                .opens(f.ip().tcp(1001, 81, SYN), 51)
                .opens(f.ip().tcp(1001, 0, SYN), 52)
                .opens(f.ip().tcp(1001, 65_535, SYN), 51)
                .opens(f.tcp(1002, SYN), f.web_slot(2))
                .follows(f.ip().tcp(1001, 81, ACK), 51)
                .leaves(f.ip().udp(1001, 81), Reason::NoService),
            f.case_in(only_all_ports, "all ports of one protocol")
                .opens(f.ip().udp(1001, 53), 51)
                .opens(f.ip().udp(1001, 54), 52)
                .follows(f.ip().udp(1001, 53), 51)
                .leaves(f.ip().tcp(1001, 53, SYN), Reason::NoService),
            f.case_in(same_port, "tcp and udp of one port are two services")
                .opens(f.tcp(1001, SYN), f.web_slot(1))
                .opens(f.ip().udp(1001, 80), 51)
                .opens(f.ip().udp(1002, 80), 52)
                .follows(f.ip().udp(1001, 80), 51)
                .follows(f.tcp(1001, ACK), f.web_slot(1)),
            f.case("a port without service")
                .leaves(f.ip().tcp(1001, 81, SYN), Reason::NoService)
                .leaves(f.ip().tcp(1001, 81, ACK), Reason::NoService)
                .leaves(f.ip().tcp(1001, 53, SYN), Reason::NoService)
                .leaves(f.ip().udp(1001, 80), Reason::NoService)
                .leaves(f.ip().udp(1001, 0), Reason::NoService)
                .table(&[]),
        ]
    })
}
