//! What a packet means to its connection.

use dispatcher_common::{connection::State, net, reason::Reason};

/// TCP flag FIN (RFC 9293 §3.1).
pub const FIN: u8 = 0x01;
/// TCP flag SYN.
pub const SYN: u8 = 0x02;
/// TCP flag RST.
pub const RST: u8 = 0x04;
/// TCP flag ACK.
pub const ACK: u8 = 0x10;

/// What a packet means to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A SYN without ACK, RST or FIN: the client opens a connection.
    Open,
    /// An RST or a FIN: the client ends it.
    Close,
    /// Anything else, and every UDP packet.
    Data,
}

/// The event of a packet; `flags` are TCP's, without meaning for UDP.
#[inline(always)]
#[must_use]
pub const fn event(protocol: u8, flags: u8) -> Event {
    if protocol != net::TCP {
        Event::Data
    } else if flags & (RST | FIN) != 0 {
        Event::Close
    } else if flags & (SYN | ACK) == SYN {
        Event::Open
    } else {
        Event::Data
    }
}

/// Whether a TCP packet answers a SYN: the client accepts a connection that its server asked for.
#[inline(always)]
#[must_use]
pub const fn is_answer(flags: u8) -> bool {
    flags & (SYN | ACK | RST | FIN) == SYN | ACK
}

/// The state after an event. A SYN that ends a closing connection is not asked for here: it makes a new choice.
#[inline(always)]
#[must_use]
pub const fn next(state: State, event: Event) -> State {
    match (state, event) {
        (_, Event::Close) | (State::Closing, _) => State::Closing,
        (State::HalfOpen, Event::Data) | (State::Established, _) => State::Established,
        (State::Free, _) | (State::HalfOpen, Event::Open) => State::HalfOpen,
    }
}

/// Why a TCP packet that has no connection and opens none is dropped.
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
    fn flags_tell_the_event() {
        for (flags, want) in [
            (SYN, Event::Open),
            (SYN | 0xc8, Event::Open),
            (SYN | ACK, Event::Data),
            (ACK, Event::Data),
            (0, Event::Data),
            (FIN | ACK, Event::Close),
            (RST, Event::Close),
            (SYN | RST, Event::Close),
            (SYN | FIN, Event::Close),
        ] {
            assert_eq!(event(net::TCP, flags), want, "{flags:#x}");
            assert_eq!(event(net::UDP, flags), Event::Data);
            assert_eq!(is_answer(flags), flags == SYN | ACK, "{flags:#x}");
        }
    }

    #[test]
    fn a_connection_opens_lives_and_ends() {
        use State::{Closing, Established, HalfOpen};
        for (state, event, want) in [
            (HalfOpen, Event::Open, HalfOpen),
            (HalfOpen, Event::Data, Established),
            (HalfOpen, Event::Close, Closing),
            (Established, Event::Open, Established),
            (Established, Event::Data, Established),
            (Established, Event::Close, Closing),
            (Closing, Event::Data, Closing),
            (Closing, Event::Close, Closing),
        ] {
            assert_eq!(next(state, event), want, "{state:?} {event:?}");
        }
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
