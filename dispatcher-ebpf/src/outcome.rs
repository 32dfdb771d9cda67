//! How a packet leaves the path early.

use dispatcher_common::{reason::Reason, service::ServiceId};

use crate::parse::Contents;

/// [`Exit::service`] where no service is known.
pub const NO_SERVICE: ServiceId = u32::MAX;

/// Why a packet leaves, and from which service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Exit {
    /// The one reason that is counted.
    pub reason: Reason,
    /// Service whose counters show it, or [`NO_SERVICE`].
    pub service: ServiceId,
    /// Whether the client is to be told by an RST, if that can be.
    pub resets: bool,
}

impl Exit {
    /// An exit that concerns no known service.
    #[inline(always)]
    pub const fn new(reason: Reason) -> Self {
        Self { reason, service: NO_SERVICE, resets: false }
    }

    /// An exit that is counted for a service, too.
    #[inline(always)]
    pub const fn of(service: ServiceId, reason: Reason) -> Self {
        Self { reason, service, resets: false }
    }

    /// The same exit, of which the client is to be told by an RST, or not.
    #[inline(always)]
    pub const fn resetting(self, resets: bool) -> Self {
        Self { resets, ..self }
    }
}

impl From<Reason> for Exit {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

/// `Result<slot, Exit>`, or `Result<Contents, Exit>`, in one word: a BPF subprogram returns a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Outcome(pub u64);

const EXIT: u64 = 1 << 63;
const RESETS: u64 = 1 << 62;

impl Outcome {
    /// Packs a result.
    #[inline(always)]
    pub const fn new(result: Result<u32, Exit>) -> Self {
        match result {
            Ok(slot) => Self(slot as u64),
            Err(exit) => Self::left(exit),
        }
    }

    /// Packs contents, or an exit.
    #[inline(always)]
    pub const fn of_contents(result: Result<Contents, Exit>) -> Self {
        match result {
            Ok(contents) => Self(contents.0),
            Err(exit) => Self::left(exit),
        }
    }

    #[inline(always)]
    const fn left(exit: Exit) -> Self {
        let resets = if exit.resets { RESETS } else { 0 };
        Self(EXIT | resets | (exit.reason as u64) << 32 | exit.service as u64)
    }

    /// The result again.
    ///
    /// # Errors
    /// The exit it was made of.
    #[inline(always)]
    pub const fn result(self) -> Result<u32, Exit> {
        if self.0 & EXIT == 0 {
            return Ok(self.0 as u32);
        }
        Err(self.exit())
    }

    /// The contents again.
    ///
    /// # Errors
    /// The exit it was made of.
    #[inline(always)]
    pub const fn contents(self) -> Result<Contents, Exit> {
        if self.0 & EXIT == 0 { Ok(Contents(self.0)) } else { Err(self.exit()) }
    }

    #[inline(always)]
    const fn exit(self) -> Exit {
        Exit {
            reason: reason_of((self.0 >> 32) as u32 & ((1 << 30) - 1)),
            service: self.0 as u32,
            resets: self.0 & RESETS != 0,
        }
    }
}

/// The reason with this number. Only numbers of reasons get here, so the search is for the compiler's sake.
#[inline(always)]
const fn reason_of(number: u32) -> Reason {
    let number = if (number as usize) < Reason::ALL.len() { number } else { 0 };
    // SAFETY: `Reason` is `repr(u32)` and its numbers are 0..ALL.len() (tested in dispatcher-common).
    unsafe { core::mem::transmute::<u32, Reason>(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_gives_back_its_result() {
        assert_eq!(Outcome::new(Ok(16_383)).result(), Ok(16_383));
        for contents in [Contents::WHOLE, Contents::first(u32::MAX), Contents::later(u32::MAX)] {
            assert_eq!(Outcome::of_contents(Ok(contents)).contents(), Ok(contents));
        }
        for &reason in Reason::ALL {
            let of = Exit::of(4095, reason);
            for exit in [Exit::new(reason), Exit::of(0, reason), of, of.resetting(true)] {
                assert_eq!(Outcome::new(Err(exit)).result(), Err(exit));
                assert_eq!(Outcome::of_contents(Err(exit)).contents(), Err(exit));
            }
        }
    }
}
