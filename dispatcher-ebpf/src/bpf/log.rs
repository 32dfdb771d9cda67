//! Log of a debug build of the datapath: one line for each new connection and each early exit.
//!
//! Packets of known connections are not logged. Packets that are not ours are logged at level trace only, since they may be
//! all of a host's traffic. Without the feature `log` the program does not contain this module.

use aya_log_ebpf::{debug, log, macro_support::Level};
use dispatcher_common::reason::{REASONS, Reason};
use dispatcher_ebpf::{
    barrier::hide,
    outcome::{Exit, NO_SERVICE},
};

use super::{global::global, maps, packet::Packet};

global! {
    /// Logs the slot of a new connection.
    pub(crate) fn placed(packet: &Packet, slot: u32) -> () as dispatcher_log_placed {
        let service = maps::service_of(slot);
        let (client, port) = (packet.flow.client(), u16::from_be(packet.flow.ports as u16));
        debug!((), target: TARGET, "new: service {}, slot {}, client {:i} port {}", service, slot, client, port);
    }

    /// Logs why a packet leaves early; `bytes` are its L3 bytes.
    pub(crate) fn left(exit: Exit, bytes: u32) -> () as dispatcher_log_left {
        let (reason, service) = (exit.reason(), exit.service());
        // Verifier (kernel 6.18, test `datapath_log`): it does not know the bound of a reason, so the check must stay.
        let Some(label) = LABELS.get(hide(reason as u64) as usize) else { return };
        // SAFETY: labels are ASCII.
        let label = unsafe { core::str::from_utf8_unchecked(label) };
        let is_foreign = matches!(reason, Reason::NotOurs | Reason::NotIp);
        let level = if is_foreign { Level::Trace } else { Level::Debug };
        if service == NO_SERVICE {
            log!((), target: TARGET, level, "left: {} bytes, {}", bytes, label);
        } else {
            log!((), target: TARGET, level, "left: service {}, {} bytes, {}", service, bytes, label);
        }
    }
}

/// Target of the log lines.
const TARGET: &str = "datapath";

/// Longest "VERDICT REASON".
const WIDTH: usize = 32;

/// Verdict and label of each reason, padded: text of one length needs neither a loop nor pointers, which a BPF object cannot have
/// in its data.
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
