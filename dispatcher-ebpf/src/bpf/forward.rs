//! Sends a packet to a backend: rewritten and out of a NIC, or left to the kernel if the backend is this host.

use dispatcher_common::{
    backend::{Forward, LOCAL, NO_MAC, PRESENT, RESET, USABLE},
    reason::Reason,
};
use dispatcher_ebpf::{barrier::hide, exit::Exit, frame::Window, rewrite::mac};

use super::{config, maps, verdict};

/// Sends a packet to a slot's backend, if that can be.
#[inline(always)]
pub(super) fn deliver<const N: usize>(head: Window<N>, slot: u32, bytes: u32) -> Result<u32, Exit> {
    let forward = maps::forward(slot);
    let flags = forward.flags();
    if flags & USABLE == 0 {
        return Err(refuse(slot, unusable(flags)).resetting(flags & RESET != 0));
    }
    if flags & LOCAL != 0 {
        return Ok(verdict::deliver(Reason::Local, slot, bytes));
    }
    send(head, forward, maps::own_address(config::interface()), slot, bytes)
}

/// Sends a packet out of the NIC on which a backend lives; `own` is the address of the NIC it came by.
#[inline(always)]
pub(super) fn send<const N: usize>(
    head: Window<N>,
    forward: Forward,
    own: Forward,
    slot: u32,
    bytes: u32,
) -> Result<u32, Exit> {
    let interface = forward.interface();
    if interface == config::interface() {
        mac::rewrite(head, forward.0, own.0);
        return Ok(verdict::deliver(Reason::Forwarded, slot, bytes));
    }
    let own = maps::own_address(interface);
    if own.flags() == 0 || !maps::redirect(interface) {
        return Err(refuse(slot, Reason::NoInterface));
    }
    mac::rewrite(head, forward.0, own.0);
    Ok(verdict::deliver(Reason::Redirected, slot, bytes))
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
