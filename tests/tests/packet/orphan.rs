//! TCP packets that are no SYN and have no connection.

use dispatcher_common::{
    connection::State::{Established, HalfOpen},
    reason::Reason,
    service::orphan,
};
use dispatcher_tests::{case::Case, datapath::World, packet_builder::{ACK, FIN, PSH, RST, SYN}};

use crate::flows::Family;

const KINDS: [(&str, u8, Reason); 8] = [
    ("ack", ACK, Reason::OrphanAck),
    ("data", ACK | PSH, Reason::OrphanAck),
    ("fin", FIN, Reason::OrphanFin),
    ("fin-ack", FIN | ACK, Reason::OrphanFin),
    ("rst", RST, Reason::OrphanRst),
    ("rst-ack", RST | ACK, Reason::OrphanRst),
    ("packet without flags", 0, Reason::OrphanOther),
    ("syn-ack", SYN | ACK, Reason::OrphanOther),
];

pub(crate) fn cases() -> Vec<Case> {
    Family::both(|f| {
        let mut cases = Vec::new();
        for (kind, flags, reason) in KINDS {
            let dropped = f.case(&format!("an orphaned {kind} is dropped"));
            cases.push(dropped.leaves(f.tcp(1001, flags), reason).of_service(f.web()).table(&[]));
            let world = World::standard().orphans(orphan::PASS);
            let passed = f.case_in(world, &format!("an orphaned {kind} is passed"));
            cases.push(
                passed
                    .leaves(f.tcp(1001, flags), Reason::OrphanPassed)
                    .of_service(f.web())
                    .table(&[]),
            );
        }
        let world = World::standard().orphans(orphan::SCHEDULE);
        cases.push(
            f.case_in(world, "an orphaned ack is scheduled")
                .opens(f.tcp(1001, ACK), f.web_slot(1))
                .opens(f.tcp(1002, ACK), f.web_slot(2))
                .table(&[(HalfOpen, f.web_slot(1)), (HalfOpen, f.web_slot(2))])
                .follows(f.tcp(1001, ACK), f.web_slot(1))
                .table(&[(HalfOpen, f.web_slot(2)), (Established, f.web_slot(1))]),
        );
        cases
    })
}
