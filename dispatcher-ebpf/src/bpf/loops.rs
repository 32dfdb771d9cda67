//! Frames that come back: their source is the backend that they would go to.
//!
//! Two dispatchers that are each other's backends would send such a packet back and forth for ever. A backend that forwards and
//! does not have the VIP would return it until its TTL ends. So it goes to the service's local backend, or is dropped.

use dispatcher_common::{
    backend::{Forward, LOCAL, UP, USABLE},
    reason::Reason,
};
use dispatcher_ebpf::{barrier::hide, frame::Window, outcome::Exit};

use super::{
    global::global,
    maps::{self, Backend},
};

/// A frame's source address in the lower 48 bits; the EtherType is above it.
#[inline(always)]
pub(crate) fn source(head: Window<14>) -> u64 {
    head.u64::<6>()
}

/// Whether a frame from this source came from the backend with this word.
#[inline(always)]
pub(crate) fn is_back(source: u64, forward: Forward) -> bool {
    // Optimiser: otherwise LLVM loads a mask (seven more instructions).
    hide((source ^ forward.0) << 16) == 0
}

/// The slot for a new connection, given the chosen one: the local backend's if the packet came from the chosen backend.
#[inline(always)]
pub(crate) fn away(source: u64, slot: u32) -> Result<u32, Exit> {
    let forward = maps::forward(slot);
    let has_returned = forward.flags() & LOCAL == 0 && is_back(source, forward);
    if has_returned { stand_in(slot) } else { Ok(slot) }
}

global! {
    /// The slot of the local backend, which takes packets that this slot's backend sent back.
    pub(crate) fn stand_in(slot: u32) -> Result<u32, Exit> as dispatcher_stand_in {
        let service = maps::service_of(slot);
        let local = maps::policy(service).map_or(0, |policy| policy.local.load() as u32);
        let Backend { forward, service: owner, .. } = maps::backend(local);
        // The slot may belong to another service by now. Slot 0 is never used, and has no flags.
        let is_there =
            owner == service && forward.flags() & (LOCAL | USABLE | UP) == LOCAL | USABLE | UP;
        if is_there { Ok(local) } else { Err(Exit::of(service, Reason::Loop)) }
    }
}
