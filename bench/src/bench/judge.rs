//! Checks that the datapath treated all packets of a measurement as expected.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use dispatcher_common::reason::Reason;

use crate::{
    cases::{Case, Fate},
    driver::Driven,
    subject::{Counted, Subject},
};

/// How many of 1,000 packets of known connections may open a connection: in a floor, whose lines overflow, and in the product.
const STRAYS: (u64, u64) = (150, 1);

/// Packets of one measurement so far, in several runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    packets: u64,
    runs: u64,
    changed: u64,
}

impl Sent {
    /// Adds a run of this many packets.
    pub(super) const fn add(&mut self, packets: u32, driven: Driven) {
        self.packets += packets as u64;
        self.runs += 1;
        self.changed += driven.changed;
    }
}

/// Checks that the packets had the expected outcome.
///
/// # Errors
/// Says which packets had another outcome.
pub(super) fn judge(
    case: &Case,
    subject: &Subject,
    sent: Sent,
    (before, after): (&Counted, &Counted),
) -> Result<()> {
    let Sent { packets, runs, changed } = sent;
    let (is_forwarded, reason) = match case.fate {
        Fate::Passed(reason) => (false, reason),
        Fate::Known | Fate::Opened | Fate::Stateless => (true, Reason::Forwarded),
    };
    // The driver does not see the outcome of a run's last packet.
    let rewritten = if is_forwarded { packets - runs } else { 0 };
    ensure!(changed == rewritten, "{changed} of {packets} packets were rewritten");
    if let Some(reasons) = after.reasons_since(before) {
        let all = BTreeMap::from([(reason, packets)]);
        ensure!(reasons == all, "counted {reasons:?}, expected {all:?}");
    }
    let opened = after.connections_since(before);
    let strays = if matches!(subject, Subject::Floor(_)) { STRAYS.0 } else { STRAYS.1 };
    let strays = packets * strays / 1000;
    let is_right = match case.fate {
        Fate::Opened => opened + strays >= packets,
        Fate::Known | Fate::Stateless | Fate::Passed(_) => opened <= strays,
    };
    ensure!(is_right, "{packets} packets opened {opened} connections");
    Ok(())
}
