//! The whole way of a packet, stage after stage. Each yields what the next one needs, or the packet's exit.

use aya_ebpf::{
    bindings::{xdp_action::XDP_DROP, xdp_md},
    programs::XdpContext,
};
use dispatcher_common::reason::Reason;
use dispatcher_ebpf::{
    frame::Frame,
    outcome::{Exit, Outcome},
    parse::{self, Contents},
};

use super::{
    choose::new_connection,
    classify, filter,
    forward::{self, Size},
    fragment, icmp, loops, maps, measure,
    packet::{Packet, frame},
    reset,
    table::tracking::{self, Found},
    too_big, verdict,
};

/// Takes a packet through all stages and yields its XDP action.
#[inline(always)]
pub(crate) fn walk(ctx: &XdpContext) -> u32 {
    dispatcher_walk(ctx.ctx)
}

/// As [`walk`]. A global function: the verifier checks it once, for any frame, and apart from the short way. So are the
/// functions below and those of [`tracking`], [`new_connection`], [`fragment`], [`icmp`] and [`reset`], each of which the stack
/// would else hold with all others.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_walk(ctx: *mut xdp_md) -> u32 {
    let Some(packet) = maps::packet() else { return XDP_DROP };
    match Outcome(dispatcher_headers(ctx, packet)).contents() {
        Ok(Contents::WHOLE) => dispatcher_dispatch(ctx, packet),
        Ok(contents) if contents.is_icmp() => icmp::dispatcher_icmp(ctx, packet, contents.0),
        Ok(contents) => fragment::dispatcher_fragment(ctx, packet, contents.0),
        // SAFETY: the pointer comes from a lookup; what is not set yet are integers of an earlier packet.
        Err(exit) => verdict::leave(exit, unsafe { (*packet).bytes }),
    }
}

/// As [`dispatch`]. A global function for the same reason as [`dispatcher_walk`].
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn dispatcher_dispatch(ctx: *mut xdp_md, packet: *mut Packet) -> u32 {
    // SAFETY: the callers pass their own packet; the verifier insists on the check for null.
    let Some(packet) = (unsafe { packet.as_mut() }) else { return 0 };
    match stages(&XdpContext::new(ctx), packet) {
        Ok(action) => action,
        Err(exit) if exit.resets => reset::dispatcher_reset(ctx, packet, Outcome::new(Err(exit)).0),
        Err(exit) => verdict::leave(exit, packet.bytes),
    }
}

#[inline(always)]
fn stages(ctx: &XdpContext, packet: &Packet) -> Result<u32, Exit> {
    let slot = slot(packet)?;
    measure::observe(packet, slot);
    deliver(ctx, packet, slot)
}

/// The slot of the packet's connection, which may be a new one.
#[inline(always)]
pub(crate) fn slot(packet: &Packet) -> Result<u32, Exit> {
    match tracking::resume(packet)? {
        Found::Slot(slot) => Ok(slot),
        Found::Nothing => new_connection::place(packet),
        Found::Ended => new_connection::renew(packet),
    }
}

/// Sends the packet to the backend of the slot that was found for it, or lets it leave; yields its XDP action.
#[inline(always)]
pub(crate) fn end(ctx: &XdpContext, packet: &Packet, slot: Result<u32, Exit>) -> u32 {
    match slot.and_then(|slot| deliver(ctx, packet, slot)) {
        Ok(action) => action,
        Err(exit) => verdict::leave(exit, packet.bytes),
    }
}

/// Sends the packet to a slot's backend.
#[inline(always)]
fn deliver(ctx: &XdpContext, packet: &Packet, slot: u32) -> Result<u32, Exit> {
    let frame = frame(ctx);
    let head = frame.head::<14>().ok_or(Reason::NotIp)?;
    let size = Size::of_frame(packet.bytes, frame.length());
    match forward::deliver(head, slot, size) {
        Err(Exit { reason: Reason::TooBig, .. }) => {
            Ok(too_big::dispatcher_too_big(ctx.ctx, u64::from(slot)))
        }
        result => result.map_err(|exit| still_ours(exit, packet)),
    }
}

/// Fills in the packet from its headers, if it is for us; yields what it holds, packed as an [`Outcome`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_headers(ctx: *mut xdp_md, packet: *mut Packet) -> u64 {
    // SAFETY: `dispatcher_walk` passes its own packet; the verifier insists on the check for null.
    let Some(packet) = (unsafe { packet.as_mut() }) else { return 0 };
    Outcome::of_contents(headers(frame(&XdpContext::new(ctx)), packet)).0
}

#[inline(always)]
fn headers(frame: Frame, packet: &mut Packet) -> Result<Contents, Exit> {
    packet.bytes = frame.length().saturating_sub(parse::ETHERNET);
    let head = frame.head::<14>().ok_or(Reason::NotIp)?;
    packet.source = loops::source(head);
    let network = parse::network(frame, &mut packet.flow)?;
    packet.bytes = network.bytes;
    filter::admit(head, network.is_v4, &packet.flow)?;
    let (contents, tcp) = parse::transport(frame, network, &mut packet.flow)
        .map_err(|reason| classify::if_vip(reason, &packet.flow))?;
    if contents.has_ports() {
        packet.complete(network.is_v4, tcp, network.tos);
    }
    Ok(contents)
}

/// A connection may outlive its service: the packet is dropped only while services may take what is sent there.
#[inline(always)]
fn still_ours(exit: Exit, packet: &Packet) -> Exit {
    if classify::is_ours(&packet.flow) { exit } else { Exit::new(Reason::NotOurs) }
}
