//! Sends a packet to a backend: rewritten and out of a NIC, or left to the kernel if the backend is this host.

use dispatcher_common::{
    backend::{Forward, LOCAL, NO_MAC, PRESENT, RESET, USABLE},
    reason::Reason,
};
use dispatcher_ebpf::{
    barrier::hide,
    frame::Window,
    outcome::Exit,
    rewrite::{mac, too_big::OVERHEAD},
};

use super::{config, loops, maps, verdict};

/// How large a packet is.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// L3 bytes, which are counted.
    bytes: u32,
    /// The least MTU of a NIC by which it may leave.
    needed: u32,
}

impl Size {
    /// Of a packet with plain headers.
    #[inline(always)]
    pub(crate) const fn plain(bytes: u32) -> Self {
        Self { bytes, needed: bytes }
    }

    /// Of a packet in a frame of this length, of which tags take a part.
    #[inline(always)]
    pub(crate) fn of_frame(bytes: u32, length: u32) -> Self {
        Self { bytes, needed: bytes.max(length.saturating_sub(OVERHEAD)) }
    }

    /// Whether it is too large for a NIC whose MTU is this; 0: not known.
    #[inline(always)]
    const fn exceeds(self, mtu: u32) -> bool {
        mtu != 0 && self.needed > mtu
    }
}

/// Sends a packet to a slot's backend, if that can be.
#[inline(always)]
pub(crate) fn deliver(head: Window<14>, slot: u32, size: Size) -> Result<u32, Exit> {
    let forward = maps::forward(slot);
    let flags = forward.flags();
    if flags & USABLE == 0 {
        return Err(refuse(slot, unusable(flags)).resetting(flags & RESET != 0));
    }
    if flags & LOCAL != 0 {
        return Ok(verdict::deliver(Reason::Local, slot, size.bytes));
    }
    if loops::is_back(loops::source(head), forward) {
        return Ok(verdict::deliver(Reason::Local, loops::stand_in(slot)?, size.bytes));
    }
    send(head, forward, maps::own_address(config::interface()), slot, size)
}

/// Sends a packet out of the NIC on which a backend lives; `own` is the address of the NIC it came by.
#[inline(always)]
pub(crate) fn send(
    head: Window<14>,
    forward: Forward,
    own: Forward,
    slot: u32,
    size: Size,
) -> Result<u32, Exit> {
    let interface = forward.interface();
    if interface == config::interface() {
        mac::rewrite(head, forward.0, own.0);
        return Ok(verdict::deliver(Reason::Forwarded, slot, size.bytes));
    }
    let own = maps::own_address(interface);
    if own.flags() == 0 {
        return Err(refuse(slot, Reason::NoInterface));
    }
    if size.exceeds(maps::mtu(interface)) {
        return Err(refuse(slot, Reason::TooBig));
    }
    if !maps::redirect(interface) {
        return Err(refuse(slot, Reason::NoInterface));
    }
    mac::rewrite(head, forward.0, own.0);
    Ok(verdict::deliver(Reason::Redirected, slot, size.bytes))
}

/// Why a backend that is not usable is given no packets.
#[inline(always)]
const fn unusable(flags: u8) -> Reason {
    if flags & PRESENT == 0 {
        Reason::BackendGone
    } else if flags & NO_MAC != 0 {
        Reason::BackendNoMac
    } else {
        Reason::BackendDown
    }
}

#[inline(always)]
fn refuse(slot: u32, reason: Reason) -> Exit {
    // Hidden from LLVM, which would keep the address of the backend for this.
    Exit::of(maps::service_of(hide(u64::from(slot)) as u32), reason)
}
