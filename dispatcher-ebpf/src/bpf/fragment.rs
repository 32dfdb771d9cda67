//! Fragments: the first has ports and is handled like a whole packet; the others follow it to its backend.

use dispatcher_common::{
    fragment::{Followed, FragmentKey},
    reason::Reason,
};
use dispatcher_ebpf::{
    outcome::Exit,
    parse::{Contents, FlowWords},
};

use super::{
    classify, clock::now, context::Context, forward, full_path, global::global, maps,
    packet::Packet,
};

/// Sentinel slot: the datagram is left to the kernel.
const KERNEL: u32 = 0;

global! {
    /// Forwards a fragment, or lets it leave.
    pub(crate) fn forward(ctx: Context, packet: &Packet, contents: Contents) -> u32
    as dispatcher_fragment {
        let id = contents.id();
        let slot = if contents.is_later() { follow(packet, id) } else { lead(packet, id) };
        forward::finish(ctx, packet, slot)
    }

    /// Stores the slot of a first fragment. If that fails, the others are dropped.
    fn remember(packet: &Packet, id: u32, slot: u32) -> () as dispatcher_remember {
        maps::remember_fragment(&key(&packet.flow, id), Followed::new(now(), slot));
    }

    /// The slot that was stored for a datagram, unless that is too long ago.
    fn recall(packet: &Packet, id: u32) -> Option<u32> as dispatcher_recall {
        let followed = maps::followed(&key(&packet.flow, id))?;
        (!followed.is_stale(now())).then_some(followed.slot())
    }
}

/// The first fragment's slot, which the others will follow.
#[inline(always)]
fn lead(packet: &Packet, id: u32) -> Result<u32, Exit> {
    let slot = full_path::slot(packet);
    match slot {
        Ok(slot) => remember(packet, id, slot),
        Err(exit) if exit.reason() == Reason::OrphanPassed => remember(packet, id, KERNEL),
        Err(_) => {}
    }
    slot
}

/// The slot to which the first fragment went.
#[inline(always)]
fn follow(packet: &Packet, id: u32) -> Result<u32, Exit> {
    match recall(packet, id) {
        None => Err(classify::if_vip(Reason::Fragment, &packet.flow)),
        Some(KERNEL) => Err(classify::if_vip(Reason::OrphanPassed, &packet.flow)),
        Some(slot) => Ok(slot),
    }
}

/// The fields that are equal in all fragments of a datagram.
#[inline(always)]
fn key(flow: &FlowWords, id: u32) -> FragmentKey {
    let protocol = if flow.has_mapped_vip() { flow.protocol } else { 0 };
    FragmentKey { client: flow.client(), vip: flow.vip(), id, protocol }
}
