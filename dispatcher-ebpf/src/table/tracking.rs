//! The effect of a packet on its connection.

use dispatcher_common::{
    connection::{State, Way},
    net,
    reason::Reason,
};

use crate::parse::{ACK, FIN, RST, SYN};

/// The effect of a packet on its connection: a nibble for each [`Way::stage`], which holds the next stage.
///
/// A table in one number: LLVM would put an array into a section of its own, and the verifier would walk a `match` once for
/// each of its arms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event(u32);

impl Event {
    /// A SYN without ACK, RST or FIN: the client opens a connection.
    pub const OPEN: Self = Self::new(Kind::Open);
    /// A SYN with ACK: the client accepts a connection that its server asked for.
    pub const ANSWER: Self = Self::new(Kind::Answer);
    /// A segment without SYN, FIN, RST or payload.
    pub const PLAIN: Self = Self::new(Kind::Plain);
    /// A segment with payload and without SYN, FIN or RST, and every UDP packet.
    pub const PAYLOAD: Self = Self::new(Kind::Payload);
    /// A FIN.
    pub const FIN: Self = Self::new(Kind::Fin);
    /// An RST.
    pub const RESET: Self = Self::new(Kind::Reset);

    const fn new(kind: Kind) -> Self {
        let (mut row, mut stage) = (0, 0);
        while stage < 8 {
            let (state, is_marked) = after(State::of(stage), stage & 4 != 0, kind);
            row |= (state as u32 | (is_marked as u32) << 2) << (stage * 4);
            stage += 1;
        }
        Self(row)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Open,
    Answer,
    Plain,
    Payload,
    Fin,
    Reset,
}

/// State and mark after a packet. A SYN for which a backend is chosen again does not get here.
const fn after(state: State, is_marked: bool, kind: Kind) -> (State, bool) {
    use State::{Aborted, Closing, Established, HalfOpen};
    match (state, kind) {
        (Aborted | HalfOpen, Kind::Open) => (HalfOpen, false),
        // As far as we saw, it was never established. After a FIN its client still acknowledges the server's FIN.
        (Aborted | HalfOpen, Kind::Fin) => (Aborted, false),
        (HalfOpen, Kind::Reset) => (Aborted, true),
        (HalfOpen, Kind::Answer | Kind::Plain) => (Established, false),
        (Aborted, Kind::Plain) if is_marked => (Established, false),
        (Aborted, Kind::Answer | Kind::Plain | Kind::Reset) => (Aborted, is_marked),
        (_, Kind::Payload) => (Established, true),
        (Established, Kind::Open | Kind::Answer | Kind::Plain) => (Established, is_marked),
        // A FIN after an RST shows that the client had not gone. An RST after a FIN shows nothing new.
        (Established | Closing, Kind::Fin) => (Closing, false),
        (Established, Kind::Reset) => (Closing, true),
        // The port is used again. If the server accepts, the handshake's ACK establishes the connection, as after a forged RST.
        (Closing, Kind::Open) => (Closing, true),
        // A client that continues after an RST has not sent it. After a FIN, a client still acknowledges.
        (Closing, Kind::Plain) if is_marked => (Established, true),
        (Closing, Kind::Plain | Kind::Answer | Kind::Reset) => (Closing, is_marked),
    }
}

/// The event of a packet. TCP flags and the bytes of the payload have no meaning for UDP.
#[inline(always)]
#[must_use]
pub const fn event(protocol: u8, flags: u8, payload: u32) -> Event {
    if protocol != net::TCP {
        Event::PAYLOAD
    } else if flags & RST != 0 {
        Event::RESET
    } else if flags & FIN != 0 {
        Event::FIN
    } else if flags & SYN != 0 {
        if flags & ACK == 0 { Event::OPEN } else { Event::ANSWER }
    } else if payload != 0 {
        Event::PAYLOAD
    } else {
        Event::PLAIN
    }
}

/// Whether a TCP packet answers a SYN: the client accepts a connection that its server asked for.
#[inline(always)]
#[must_use]
pub const fn is_answer(flags: u8) -> bool {
    flags & (SYN | ACK | RST | FIN) == SYN | ACK
}

/// The way of a connection after an event, with the stamp it had.
#[inline(always)]
#[must_use]
pub const fn next(way: Way, event: Event) -> Way {
    way.staged(event.0 as u64 >> (way.stage() * 4))
}

/// Ticks by which a stamp may be ahead of a packet's tick: the packet may have read the clock before the tick in which another
/// CPU touched the way. Such a way has age 0, not 4,095 ticks.
pub const AHEAD: u64 = 16;
/// Ticks after which a way counts as idle. Of two ticks, at least one has passed whole; a single one may have ended between two
/// packets.
pub const IDLE_TICKS: u64 = 2;

/// Whether the connection's last packet came [`IDLE_TICKS`] ago or earlier.
#[inline(always)]
#[must_use]
pub const fn is_idle(way: Way, now: u64) -> bool {
    way.age(now.wrapping_add(AHEAD)) >= IDLE_TICKS + AHEAD
}

/// The reason for which a TCP packet is dropped that has no connection and opens none.
#[inline(always)]
#[must_use]
pub const fn orphan(flags: u8) -> Reason {
    if flags & RST != 0 {
        Reason::OrphanRst
    } else if flags & FIN != 0 {
        Reason::OrphanFin
    } else if flags & (SYN | ACK) == ACK {
        Reason::OrphanAck
    } else {
        Reason::OrphanOther
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_payload_tell_the_event() {
        for (flags, payload, want) in [
            (SYN, 0, Event::OPEN),
            (SYN | 0xc8, 9, Event::OPEN),
            (SYN | ACK, 0, Event::ANSWER),
            (ACK, 0, Event::PLAIN),
            (ACK, 1, Event::PAYLOAD),
            (0, 0, Event::PLAIN),
            (FIN | ACK, 9, Event::FIN),
            (RST, 9, Event::RESET),
            (RST | FIN, 0, Event::RESET),
            (SYN | RST, 0, Event::RESET),
            (SYN | FIN, 0, Event::FIN),
        ] {
            assert_eq!(event(net::TCP, flags, payload), want, "{flags:#x} {payload}");
            assert_eq!(event(net::UDP, flags, payload), Event::PAYLOAD);
            assert_eq!(is_answer(flags), flags == SYN | ACK, "{flags:#x}");
        }
        let all =
            [Event::OPEN, Event::ANSWER, Event::PLAIN, Event::PAYLOAD, Event::FIN, Event::RESET];
        assert!(all.iter().enumerate().all(|(i, event)| !all[..i].contains(event)));
    }

    #[test]
    fn a_connection_opens_lives_ends_and_goes_on() {
        const TCP: u64 = 0x8000_1234_5000_0000;
        let way = |state| Way::new(TCP, 77, state, 5);
        let [aborted, half_open, unproven, by_fin] =
            [State::Aborted, State::HalfOpen, State::Established, State::Closing].map(way);
        let (proven, by_rst) = (unproven.marked(), by_fin.marked());
        let by_rst_before = aborted.marked();
        // After a SYN, a SYN-ACK, a plain segment, payload, a FIN, an RST.
        for (before, after) in [
            (aborted, [half_open, aborted, aborted, proven, aborted, aborted]),
            (by_rst_before, [half_open, by_rst_before, unproven, proven, aborted, by_rst_before]),
            (half_open, [half_open, unproven, unproven, proven, aborted, by_rst_before]),
            (unproven, [unproven, unproven, unproven, proven, by_fin, by_rst]),
            (proven, [proven, proven, proven, proven, by_fin, by_rst]),
            (by_fin, [by_rst, by_fin, by_fin, proven, by_fin, by_fin]),
            (by_rst, [by_rst, by_rst, proven, proven, by_fin, by_rst]),
        ] {
            let events = [
                Event::OPEN,
                Event::ANSWER,
                Event::PLAIN,
                Event::PAYLOAD,
                Event::FIN,
                Event::RESET,
            ];
            assert_eq!(events.map(|event| next(before, event)), after, "{before:?}");
            if before.state() == State::HalfOpen {
                assert_eq!(events.map(|event| next(before.marked(), event)), after, "{before:?}");
            }
        }
    }

    #[test]
    fn a_udp_flow_keeps_its_fingerprint() {
        let half_open = Way::new(1 << 62 | 7 << 28, 77, State::HalfOpen, 5);
        let established = Way::new(1 << 62 | 7 << 28, 77, State::Established, 5);
        let after = |way| next(way, event(net::UDP, 0xff, 0));
        assert_eq!([half_open, established].map(after), [established; 2]);
    }

    #[test]
    fn a_connection_is_idle_after_a_whole_tick() {
        let way = Way::new(1 << 63, 4095, State::Established, 1);
        for (later, want) in [(0, false), (1, false), (2, true), (3, true), (4000, true)] {
            assert_eq!(is_idle(way, 4095 + later), want, "{later}");
        }
        assert!(!is_idle(way, 4095 - AHEAD), "touched meanwhile");
    }

    #[test]
    fn orphans_are_told_apart() {
        for (flags, want) in [
            (RST | FIN | ACK, Reason::OrphanRst),
            (FIN | ACK, Reason::OrphanFin),
            (ACK, Reason::OrphanAck),
            (SYN | ACK, Reason::OrphanOther),
            (0, Reason::OrphanOther),
            (0x08, Reason::OrphanOther),
        ] {
            assert_eq!(orphan(flags), want, "{flags:#x}");
        }
    }
}
