//! How a packet leaves the path early.

use dispatcher_common::{reason::Reason, service::ServiceId};

/// [`Exit::service`] if no service is known.
pub const NO_SERVICE: ServiceId = u32::MAX;

/// Why a packet leaves, its service, and the answer to its client.
///
/// One word, so that a BPF function can return it or another value. Bit 63 is set; bits 56–62: [`Answer`]; 32–55: reason;
/// 0–31: service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Exit(pub u64);

/// The answer to a client whose packet leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Answer {
    /// Nothing.
    Nothing = 0,
    /// An RST, if `bpf/reset` may send one.
    Reset = 1,
}

const EXIT: u64 = 1 << 63;
const ANSWER_SHIFT: u32 = 56;
const REASON_SHIFT: u32 = 32;

impl Exit {
    /// An exit that concerns no known service.
    #[inline(always)]
    pub const fn new(reason: Reason) -> Self {
        Self::of(NO_SERVICE, reason)
    }

    /// An exit that also counts for a service.
    #[inline(always)]
    pub const fn of(service: ServiceId, reason: Reason) -> Self {
        Self(EXIT | (reason as u64) << REASON_SHIFT | service as u64)
    }

    /// The same exit with this answer to the client.
    #[inline(always)]
    pub const fn answered(self, answer: Answer) -> Self {
        Self(self.0 | (answer as u64) << ANSWER_SHIFT)
    }

    /// The one reason that is counted.
    #[inline(always)]
    #[must_use]
    pub const fn reason(self) -> Reason {
        Reason::of((self.0 >> REASON_SHIFT) as u32 & 0xff_ffff)
    }

    /// The service in whose counters it counts, or [`NO_SERVICE`].
    #[inline(always)]
    #[must_use]
    pub const fn service(self) -> ServiceId {
        self.0 as u32
    }

    /// The answer to the client.
    #[inline(always)]
    #[must_use]
    pub const fn answer(self) -> Answer {
        if self.0 >> ANSWER_SHIFT & 1 == 0 { Answer::Nothing } else { Answer::Reset }
    }
}

impl From<Reason> for Exit {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

/// Separates a word below 2⁶³ from an exit.
///
/// # Errors
/// The exit.
#[inline(always)]
pub const fn unpack(word: u64) -> Result<u64, Exit> {
    if word & EXIT == 0 { Ok(word) } else { Err(Exit(word)) }
}

/// The word from which [`unpack`] restores the result.
#[inline(always)]
#[must_use]
pub const fn pack(result: Result<u64, Exit>) -> u64 {
    match result {
        Ok(word) => word,
        Err(exit) => exit.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_gives_back_the_result() {
        assert_eq!(unpack(pack(Ok(16_383))), Ok(16_383));
        for &reason in Reason::ALL {
            let of = Exit::of(4095, reason);
            assert_eq!((of.reason(), of.service(), of.answer()), (reason, 4095, Answer::Nothing));
            assert_eq!(of.answered(Answer::Reset).answer(), Answer::Reset);
            for exit in [Exit::new(reason), Exit::of(0, reason), of, of.answered(Answer::Reset)] {
                assert_eq!(exit.reason(), reason);
                assert_eq!(unpack(pack(Err(exit))), Err(exit));
            }
        }
    }
}
