//! Unusual events in the life of a TCP connection, seen from the client's side alone. Each case says what happens, and
//! why.

use dispatcher_common::{
    backend::{NEW, PRESENT, UP, USABLE},
    connection::State::{Aborted, Closing, Established, HalfOpen},
    reason::Reason,
};
use dispatcher_tests::{case::Case, datapath::World, packet_builder::{ACK, At, FIN, PSH, PacketBuilder, RST, SYN}};

use crate::{
    counts::says,
    flows::{Family, without},
    tcp_established::{age_all, ages},
};

pub(crate) fn cases() -> Vec<Case> {
    Family::both(|f| {
        [opening(f), live_entries(f), ports_reused(f), resets(f), retransmissions(f), closing(f)]
            .into_iter()
            .flatten()
            .collect()
    })
}

/// A TCP segment with this sequence number.
fn at(f: Family, sequence: u32, flags: u8) -> PacketBuilder {
    f.tcp(1001, flags).patch(At::L4, 4, &sequence.to_be_bytes())
}

/// A case whose connection on the first backend is established.
fn established(f: Family, name: &str) -> Case {
    f.case(name)
        .opens(at(f, 1000, SYN), f.web_slot(1))
        .follows(at(f, 1001, ACK), f.web_slot(1))
        .then(move |d| says(d, f.web_slot(1), 1, 0))
}

fn opening(f: Family) -> Vec<Case> {
    let one = f.web_slot(1);
    vec![
        // RFC 9293 §3.5, figure 7: both ends open. The client answers the server's SYN with a SYN-ACK, which is neither
        // a new connection nor an orphan, but the end of the handshake.
        f.case("a simultaneous open is one connection")
            .opens(at(f, 1000, SYN), one)
            .follows(at(f, 1000, SYN | ACK), one)
            .table(&[(Established, one)])
            .then(move |d| says(d, one, 1, 0)),
        // The server does not answer: the client's next SYN has the same sequence number, or, after it has given up,
        // another one from the same port. It makes no difference while the entry is half-open.
        f.case("a handshake tried anew from the same port is no second choice")
            .opens(at(f, 1000, SYN), one)
            .repeats(at(f, 1000, SYN), one)
            .repeats(at(f, 77_000, SYN), one)
            .table(&[(HalfOpen, one)])
            .then(move |d| says(d, one, 1, 1)),
        // A FIN or an RST instead of the handshake's last ACK: the client did not want the server's answer.
        f.case("a handshake that the client breaks off ends, and its port is free")
            .opens(at(f, 1000, SYN), one)
            .follows(at(f, 1001, RST), one)
            .table(&[(Aborted, one)])
            .then(|d| age_all(d, 2))
            .opens(at(f, 5000, SYN), f.web_slot(2)),
    ]
}

/// A SYN on a connection that appears to be alive.
fn live_entries(f: Family) -> Vec<Case> {
    let (one, two) = (f.web_slot(1), f.web_slot(2));
    vec![
        // The client crashed and came back, or the SYN is forged. In both cases the server decides: it answers with a
        // challenge ACK (RFC 5961 §4.2), which a client without the connection answers with an RST. Another backend
        // would have accepted the forged SYN, while the connection's own packets would have gone to the first.
        established(f, "a syn on an established connection goes to its server, which challenges it")
            .follows(at(f, 900_000, SYN), one)
            .table(&[(Established, one)])
            .then(move |d| says(d, one, 1, 0))
            .follows(at(f, 1001, ACK | PSH).payload(b"still here"), one)
            .follows(at(f, 1001, RST), one)
            // At once: the RST has told its server, which accepts it.
            .opens(at(f, 900_000, SYN), one)
            .follows(at(f, 1001, RST), one)
            .then(|d| age_all(d, 2))
            .opens(at(f, 900_000, SYN), two),
        // Its server is down, so nobody can challenge it.
        established(f, "a syn on an established connection whose backend is down goes elsewhere")
            .then(move |d| without(d, one, USABLE | UP | NEW))
            .opens(at(f, 900_000, SYN), two)
            .table(&[(HalfOpen, two)])
            .then(move |d| says(d, one, 0, 0))
            .then(move |d| says(d, two, 1, 1)),
        established(f, "a syn on an established connection whose backend is gone goes elsewhere")
            .then(move |d| without(d, one, PRESENT | USABLE | UP | NEW))
            .leaves(at(f, 1001, ACK), Reason::BackendGone)
            .of_service(f.web())
            .opens(at(f, 900_000, SYN), two)
            .follows(at(f, 900_001, ACK), two)
            .then(move |d| says(d, one, 0, 0)),
        f.case("a syn of a half-open connection whose backend is gone goes elsewhere")
            .opens(at(f, 1000, SYN), one)
            .then(move |d| without(d, one, PRESENT | USABLE | UP | NEW))
            .opens(at(f, 1000, SYN), two)
            .repeats(at(f, 1000, SYN), two)
            .then(move |d| says(d, one, 0, 0))
            .then(move |d| says(d, two, 1, 1)),
        f.case_in(World::standard().ring(f.web(), &[f.web_slot(1)]), "where there is no elsewhere it is dropped")
            .opens(at(f, 1000, SYN), one)
            .follows(at(f, 1001, ACK), one)
            .then(move |d| without(d, one, USABLE | UP | NEW))
            .leaves(at(f, 900_000, SYN), Reason::NoBackend)
            .of_service(f.web())
            .table(&[(Established, one)]),
    ]
}

fn ports_reused(f: Family) -> Vec<Case> {
    let (one, two) = (f.web_slot(1), f.web_slot(2));
    vec![
        // The old connection's last packets may arrive after the new SYN: they appear to belong to the new one, and its
        // server drops what is outside its window.
        established(f, "a port is used again soon after its connection's end")
            .follows(at(f, 1001, FIN | ACK), one)
            .follows(at(f, 1002, ACK), one)
            .then(move |d| says(d, one, 0, 0))
            .then(|d| age_all(d, 2))
            .opens(at(f, 900_000, SYN), two)
            .follows(at(f, 1002, ACK), two)
            .table(&[(Established, two)])
            .then(move |d| says(d, one, 0, 0))
            .then(move |d| says(d, two, 1, 0)),
        established(f, "a port is used again soon after its connection was reset")
            .follows(at(f, 1001, RST | ACK), one)
            .then(|d| age_all(d, 2))
            .opens(at(f, 900_000, SYN), two)
            .follows(at(f, 900_001, ACK), two)
            .table(&[(Established, two)]),
        // The client disappeared, and the entry was not swept yet. The server still has the connection or answers as to
        // any SYN: both are right.
        established(f, "a port is used again whose connection was never ended")
            .then(|d| age_all(d, 60))
            .follows(at(f, 900_000, SYN), one)
            .follows(at(f, 900_001, ACK), one)
            .then(move |d| says(d, one, 1, 0)),
        // Three times: the counts do not drift.
        established(f, "a port is used again and again")
            .follows(at(f, 1001, FIN | ACK), one)
            .then(|d| age_all(d, 2))
            .opens(at(f, 2000, SYN), two)
            .follows(at(f, 2001, ACK), two)
            .follows(at(f, 2001, FIN | ACK), two)
            .then(|d| age_all(d, 2))
            .opens(at(f, 3000, SYN), f.web_slot(3))
            .follows(at(f, 3001, RST), f.web_slot(3))
            .then(|d| age_all(d, 2))
            .opens(at(f, 4000, SYN), one)
            .then(move |d| says(d, one, 1, 1))
            .then(move |d| says(d, two, 0, 0))
            .then(move |d| says(d, f.web_slot(3), 0, 0)),
    ]
}

/// Only the server can tell whether an RST is in its window: it is forwarded, and its connection counts as closing.
fn resets(f: Family) -> Vec<Case> {
    let one = f.web_slot(1);
    vec![
        established(f, "an rst in window ends the connection")
            .follows(at(f, 1001, RST), one)
            .table(&[(Closing, one)])
            .then(move |d| says(d, one, 0, 0)),
        // The server ignores it, or challenges it (RFC 5961 §3.2), and the client continues: so the connection is
        // established, and counted, as before.
        established(f, "an rst out of window, which somebody forged, harms nobody")
            .follows(at(f, 3_000_000_000, RST), one)
            .table(&[(Closing, one)])
            .follows(at(f, 1001, ACK | PSH).payload(b"go on"), one)
            .follows(at(f, 1006, ACK | PSH).payload(b"and on"), one)
            .then(|d| age_all(d, 5))
            .follows(at(f, 1012, ACK), one)
            .then(|d| ages(d, 0..=1))
            .table(&[(Established, one)])
            .then(move |d| says(d, one, 1, 0)),
        f.case("an rst of a connection that is not there is an orphan, and is not answered")
            .leaves(at(f, 1001, RST), Reason::OrphanRst)
            .of_service(f.web())
            .table(&[]),
    ]
}

/// Packets that were lost between dispatcher and server, or duplicated, are forwarded again, to the same server, and
/// counted once.
fn retransmissions(f: Family) -> Vec<Case> {
    let one = f.web_slot(1);
    let data = move || at(f, 1001, ACK | PSH).payload(b"GET / HTTP/1.1");
    vec![
        established(f, "data, acks and keep-alives again")
            .follows(data(), one)
            .follows(data(), one)
            .follows(at(f, 1015, ACK), one)
            .follows(at(f, 1015, ACK), one)
            // A keep-alive probe: the byte before the next, which the server has (RFC 9293 §3.8.4).
            .follows(at(f, 1014, ACK).payload(b"x"), one)
            .table(&[(Established, one)])
            .then(move |d| says(d, one, 1, 0)),
        // The handshake's last ACK was lost, and the server repeats its SYN-ACK: the client answers with an ordinary
        // ACK.
        established(f, "the handshake's last ack again")
            .follows(at(f, 1001, ACK), one)
            .then(move |d| says(d, one, 1, 0)),
        // The SYN was answered, and its copy arrives late.
        established(f, "a late copy of the syn")
            .follows(at(f, 1000, SYN), one)
            .table(&[(Established, one)])
            .then(move |d| says(d, one, 1, 0)),
        established(f, "a fin again")
            .follows(at(f, 1001, FIN | ACK), one)
            .follows(at(f, 1001, FIN | ACK), one)
            .follows(at(f, 1001, FIN | ACK), one)
            .table(&[(Closing, one)])
            .then(move |d| says(d, one, 0, 0)),
    ]
}

fn closing(f: Family) -> Vec<Case> {
    let one = f.web_slot(1);
    // Idle for an hour (838 ticks of 4.3 s) between two ACKs, five times: more than a stamp can count.
    let mut hours = established(f, "half-closed for hours: what the server still sends is acknowledged there")
        .follows(at(f, 1001, FIN | ACK), one);
    for _ in 0..5 {
        hours = hours
            .then(|d| age_all(d, 838))
            .follows(at(f, 1002, ACK), one)
            .then(|d| ages(d, 0..=1))
            .table(&[(Closing, one)]);
    }
    vec![
        // The FINs of both ends cross (RFC 9293 §3.6, figure 13): the client sees the server's before its own is
        // acknowledged, so its ACK of that does not yet have its own FIN's sequence number. All of it belongs to one
        // connection, and ends once.
        established(f, "both ends close at once")
            .follows(at(f, 1001, FIN | ACK), one)
            .follows(at(f, 1002, ACK), one)
            .follows(at(f, 1001, FIN | ACK), one)
            .table(&[(Closing, one)])
            .then(move |d| says(d, one, 0, 0)),
        // The server closed first: the client has acknowledged that, and continues to send for a while. Its own FIN is
        // the end.
        established(f, "the server closes first")
            .follows(at(f, 1001, ACK), one)
            .follows(at(f, 1001, ACK | PSH).payload(b"the rest"), one)
            .table(&[(Established, one)])
            .follows(at(f, 1009, FIN | ACK), one)
            .table(&[(Closing, one)]),
        hours.then(move |d| says(d, one, 0, 0)),
        // Nothing for longer than `stale_timeout`: the sweep removes it (here: it is gone), and later packets are
        // orphans.
        established(f, "half-closed and silent for too long")
            .follows(at(f, 1001, FIN | ACK), one)
            .then(|d| {
                let places = d.ways()?;
                places.iter().try_for_each(|(place, _)| d.clear_bucket(place.bucket))
            })
            .leaves(at(f, 1002, ACK), Reason::OrphanAck)
            .of_service(f.web()),
    ]
}
