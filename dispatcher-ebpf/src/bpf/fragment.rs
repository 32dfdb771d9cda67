//! Where does a fragment go? The first like a whole packet, which its ports make it; the others after the first.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use dispatcher_common::{
    fragment::{Followed, FragmentKey},
    reason::Reason,
};
use dispatcher_ebpf::{
    outcome::Exit,
    parse::{Contents, FlowWords},
};

use super::{classify, clock::now, full_path, maps, packet::Packet};

/// The slot of datagrams that are left to the kernel.
const KERNEL: u32 = 0;

/// Sends a fragment on its way; `contents` are [`Contents`]. A global function: see [`super::full_path`].
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn dispatcher_fragment(
    ctx: *mut xdp_md,
    packet: *const Packet,
    contents: u64,
) -> u32 {
    // SAFETY: `dispatcher_walk` passes its own packet; the verifier insists on the check for null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let contents = Contents(contents);
    let slot = if contents.is_later() { follow(packet, contents) } else { lead(packet, contents) };
    full_path::end(&XdpContext::new(ctx), packet, slot)
}

/// The first fragment's slot, which the others will follow.
#[inline(always)]
fn lead(packet: &Packet, contents: Contents) -> Result<u32, Exit> {
    let slot = full_path::slot(packet);
    match slot {
        Ok(slot) => dispatcher_remember(packet, contents.id(), slot),
        Err(Exit { reason: Reason::OrphanPassed, .. }) => {
            dispatcher_remember(packet, contents.id(), KERNEL)
        }
        Err(_) => 0,
    };
    slot
}

/// The slot to which the first fragment went.
#[inline(always)]
fn follow(packet: &Packet, contents: Contents) -> Result<u32, Exit> {
    match dispatcher_recall(packet, contents.id()) {
        UNKNOWN => Err(classify::if_vip(Reason::Fragment, &packet.flow)),
        KERNEL => Err(classify::if_vip(Reason::OrphanPassed, &packet.flow)),
        slot => Ok(slot),
    }
}

/// A slot that is none: the first fragment was not seen, or too long ago.
const UNKNOWN: u32 = u32::MAX;

/// Notes where a first fragment goes. If that fails, the others are dropped. Like [`dispatcher_recall`] a global function:
/// the key is on the stack only here.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_remember(packet: *const Packet, id: u32, slot: u32) -> u32 {
    // SAFETY: the caller passes a packet; the verifier insists on the check for null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    maps::remember_fragment(&key(&packet.flow, id), Followed::new(now(), slot));
    0
}

/// The slot that was noted for a datagram, or [`UNKNOWN`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_recall(packet: *const Packet, id: u32) -> u32 {
    // SAFETY: the caller passes a packet; the verifier insists on the check for null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return UNKNOWN };
    match maps::followed(&key(&packet.flow, id)) {
        Some(followed) if !followed.is_stale(now()) => followed.slot(),
        _ => UNKNOWN,
    }
}

/// What the fragments of a datagram have in common.
#[inline(always)]
fn key(flow: &FlowWords, id: u32) -> FragmentKey {
    let protocol = if flow.has_mapped_vip() { flow.protocol } else { 0 };
    FragmentKey { client: *flow.client(), vip: *flow.vip(), id, protocol }
}
