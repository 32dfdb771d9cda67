//! Sends a packet to its backend: out of a NIC by the backend's forwarding mode, or to the kernel if the backend is this host.

use dispatcher_common::{
    backend::{Forward, Forwarding, LOCAL, NO_MAC, PRESENT, RESET, USABLE},
    reason::Reason,
};
use dispatcher_ebpf::{
    barrier::hide,
    frame::Window,
    outcome::{Answer, Exit},
    rewrite::{mac, too_big::OVERHEAD},
};

use super::{classify, config, context::Context, loops, maps, packet::Packet, too_big, verdict};

/// The size of a packet.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// L3 bytes, which are counted.
    bytes: u32,
    /// The least MTU of a NIC by which it may leave.
    needed: u32,
}

impl Size {
    /// The size of a packet with plain headers.
    #[inline(always)]
    pub(crate) const fn plain(bytes: u32) -> Self {
        Self { bytes, needed: bytes }
    }

    /// The size of a packet in a frame of this length, which may have tags.
    #[inline(always)]
    pub(crate) fn of_frame(bytes: u32, length: u32) -> Self {
        Self { bytes, needed: bytes.max(length.saturating_sub(OVERHEAD)) }
    }

    /// L3 bytes.
    #[inline(always)]
    pub(crate) const fn bytes(self) -> u32 {
        self.bytes
    }

    /// Whether it is too large for a NIC with this MTU; 0: not known.
    #[inline(always)]
    const fn exceeds(self, mtu: u32) -> bool {
        mtu != 0 && self.needed > mtu
    }
}

/// Forwards the packet to the slot that was found for it, or lets it leave; returns its XDP action.
#[inline(always)]
pub(crate) fn finish(ctx: Context, packet: &Packet, slot: Result<u32, Exit>) -> u32 {
    match slot.and_then(|slot| forward(ctx, packet, slot)) {
        Ok(action) => action,
        Err(exit) => verdict::leave(exit, packet.bytes),
    }
}

/// Forwards the packet to a slot's backend, if that is possible.
#[inline(always)]
pub(crate) fn forward(ctx: Context, packet: &Packet, slot: u32) -> Result<u32, Exit> {
    let frame = ctx.frame();
    let head = frame.head::<14>().ok_or(Reason::NotIp)?;
    let size = Size::of_frame(packet.bytes, frame.length());
    send(ctx, head, slot, size).map_err(|exit| still_ours(exit, packet))
}

/// A connection may outlive its service: the packet is dropped only if its destination still is ours.
#[inline(always)]
fn still_ours(exit: Exit, packet: &Packet) -> Exit {
    if classify::is_ours(&packet.flow) { exit } else { Exit::new(Reason::NotOurs) }
}

/// Sends the packet to a slot's backend, if that is possible: the one place that knows all forwarding modes.
///
/// This is the last stage that looks at the frame: a mode may move its head, which voids `head`.
#[inline(always)]
fn send(ctx: Context, head: Window<14>, slot: u32, size: Size) -> Result<u32, Exit> {
    let forward = maps::forward(slot);
    let flags = forward.flags();
    if flags & USABLE == 0 {
        let answer = if flags & RESET != 0 { Answer::Reset } else { Answer::Nothing };
        return Err(refuse(slot, unusable(flags)).answered(answer));
    }
    if flags & LOCAL != 0 {
        return Ok(verdict::forwarded(Reason::Local, slot, size.bytes));
    }
    if loops::is_back(loops::source(head), forward) {
        return Ok(verdict::forwarded(Reason::Local, loops::stand_in(slot)?, size.bytes));
    }
    match forward.forwarding() {
        Forwarding::Mac => {
            by_mac(ctx, head, forward, maps::own_address(config::interface()), slot, size)
        }
        Forwarding::Unknown => Err(refuse(slot, unusable(flags))),
    }
}

/// Sends a packet out of the NIC to which a backend is connected, with new MAC addresses; `own` is the address of the NIC on which
/// it arrived.
#[inline(always)]
pub(crate) fn by_mac(
    ctx: Context,
    head: Window<14>,
    forward: Forward,
    own: Forward,
    slot: u32,
    size: Size,
) -> Result<u32, Exit> {
    let interface = forward.interface();
    if interface == config::interface() {
        mac::rewrite(head, forward.0, own.0);
        return Ok(verdict::forwarded(Reason::Forwarded, slot, size.bytes));
    }
    let own = maps::own_address(interface);
    if own.flags() == 0 {
        return Err(refuse(slot, Reason::NoInterface));
    }
    if size.exceeds(maps::mtu(interface)) {
        return Ok(too_big::answer(ctx, slot));
    }
    if !maps::redirect(interface) {
        return Err(refuse(slot, Reason::NoInterface));
    }
    mac::rewrite(head, forward.0, own.0);
    Ok(verdict::forwarded(Reason::Redirected, slot, size.bytes))
}

/// The reason for which a backend that is not usable gets no packets.
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
    // Optimiser: otherwise LLVM keeps the backend's address for this (stack of `dispatcher`: 40 bytes become 48).
    Exit::of(maps::service_of(hide(u64::from(slot)) as u32), reason)
}
