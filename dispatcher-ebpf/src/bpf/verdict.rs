//! The verdict: the only place that turns a reason into an XDP action, and counts it.
//!
//! Every packet counts exactly one reason.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX};
use dispatcher_common::reason::{Reason, Verdict};
use dispatcher_ebpf::outcome::{Exit, NO_SERVICE};

use super::{config, maps};

/// Counts a packet that leaves early; `bytes` are its L3 bytes.
#[inline(always)]
pub(crate) fn leave(exit: Exit, bytes: u32) -> u32 {
    #[cfg(feature = "log")]
    super::log::left(exit, bytes);
    if exit.service() != NO_SERVICE
        && let Some(packets) = maps::service_count(exit.service(), exit.reason())
    {
        packets.add(1);
    }
    count(exit.reason(), bytes)
}

/// Counts a packet that is forwarded to a slot's backend.
#[inline(always)]
pub(crate) fn forwarded(reason: Reason, slot: u32, bytes: u32) -> u32 {
    if let Some(counts) = maps::backend_counts(slot) {
        counts.packets.add(1);
        counts.bytes.add(u64::from(bytes));
    }
    count(reason, bytes)
}

#[inline(always)]
fn count(reason: Reason, bytes: u32) -> u32 {
    if let Some((packets, sum)) = maps::packet_counts(config::interface(), reason) {
        packets.add(1);
        sum.add(u64::from(bytes));
    }
    action(reason)
}

#[inline(always)]
fn action(reason: Reason) -> u32 {
    let is = |set: u32| set >> reason as u32 & 1 != 0;
    if is(TX) {
        XDP_TX
    } else if is(REDIRECT) {
        XDP_REDIRECT
    } else if is(PASS) {
        XDP_PASS
    } else {
        XDP_DROP
    }
}

const TX: u32 = reasons_with(Verdict::Tx);
const REDIRECT: u32 = reasons_with(Verdict::Redirect);
const PASS: u32 = reasons_with(Verdict::Pass);

/// The reasons with a verdict, one bit per reason. LLVM would turn `Reason::verdict` into a table in another section.
const fn reasons_with(verdict: Verdict) -> u32 {
    let (mut set, mut i) = (0, 0);
    while i < Reason::ALL.len() {
        if Reason::ALL[i].verdict() as u32 == verdict as u32 {
            set |= 1 << i;
        }
        i += 1;
    }
    set
}
