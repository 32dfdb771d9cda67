//! What a debug build of the datapath says of its decisions: new connections and early exits, a line each.
//!
//! Packets of known connections say nothing. What is not ours is said at level trace only, since that may be all of a
//! host's traffic. Without the feature `log` there is nothing of this in the program.

use aya_log_ebpf::{debug, log, macro_support::Level};
use dispatcher_common::{
    reason::{REASONS, Reason},
    service::ServiceId,
};
use dispatcher_ebpf::outcome::{Exit, NO_SERVICE};

use super::{maps, packet::Packet};

/// Says that a flow was given a slot.
#[inline(always)]
pub(crate) fn placed(packet: &Packet, slot: u32) {
    dispatcher_log_placed(packet, u64::from(slot));
}

/// Says why a packet leaves early; `bytes` are its L3 bytes.
#[inline(always)]
pub(crate) fn left(exit: Exit, bytes: u32) {
    dispatcher_log_left(exit.reason as u64, u64::from(exit.service), u64::from(bytes));
}

/// A global function, as all that follow: the stack holds it with few others, and the verifier checks it once.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_log_placed(packet: *const Packet, slot: u64) -> u64 {
    // SAFETY: `placed` passes a packet; the verifier insists on the check for null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let service = maps::service_of(slot as u32);
    let port = u16::from_be(packet.flow.ports as u16);
    // SAFETY: four words are sixteen bytes, and any bytes are an address.
    let client = unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(packet.flow.client) };
    debug!((), target: TARGET, "new: service {}, slot {}, client {:i} port {}", service, slot as u32, client, port);
    0
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_log_left(reason: u64, service: u64, bytes: u64) -> u64 {
    let Some(label) = LABELS.get(reason as usize) else { return 0 };
    // SAFETY: labels are ASCII.
    let label = unsafe { core::str::from_utf8_unchecked(label) };
    let (service, bytes) = (service as ServiceId, bytes as u32);
    let is_foreign = reason == Reason::NotOurs as u64 || reason == Reason::NotIp as u64;
    let level = if is_foreign { Level::Trace } else { Level::Debug };
    if service == NO_SERVICE {
        log!((), target: TARGET, level, "left: {} bytes, {}", bytes, label);
    } else {
        log!((), target: TARGET, level, "left: service {}, {} bytes, {}", service, bytes, label);
    }
    0
}

/// Under which the lines appear.
const TARGET: &str = "datapath";

/// Longest "VERDICT REASON".
const WIDTH: usize = 32;

/// What each reason is called, with its verdict, padded: text of one length needs no loop, and no pointers, which a BPF
/// object cannot have in its data.
static LABELS: [[u8; WIDTH]; REASONS] = {
    let mut labels = [[b' '; WIDTH]; REASONS];
    let mut i = 0;
    while i < Reason::ALL.len() {
        let reason = Reason::ALL[i];
        let (verdict, label) = (reason.verdict().as_str().as_bytes(), reason.as_str().as_bytes());
        let mut at = 0;
        while at < verdict.len() {
            labels[i][at] = verdict[at];
            at += 1;
        }
        at = 0;
        while at < label.len() {
            labels[i][verdict.len() + 1 + at] = label[at];
            at += 1;
        }
        i += 1;
    }
    labels
};
