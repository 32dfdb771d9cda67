//! `reasons.md`: every reason, by what becomes of the packet.

use std::fmt::Write as _;

use anyhow::Result;
use dispatcher_common::reason::{Reason, Verdict};

use super::{MARK, cell};

/// The page.
///
/// # Errors
/// Never: writing to memory does not fail.
pub(super) fn page() -> Result<String> {
    let mut page = format!(
        "# Reasons\n\n{MARK}Every packet that a NIC with the dispatcher on it receives is counted once, in \
         `dispatcher_packets_total` and\n`dispatcher_bytes_total`, with its verdict and its reason. Where a service is \
         known, the reason is counted there as well.\n"
    );
    let verdicts = [
        (Verdict::Tx, "sent out of the NIC it came by"),
        (Verdict::Redirect, "sent out of another NIC"),
        (Verdict::Pass, "left to the kernel, byte for byte"),
        (Verdict::Drop, "discarded"),
    ];
    for (verdict, gloss) in verdicts {
        writeln!(page, "\n## `{}`: {gloss}\n\n| reason | when |\n|---|---|", verdict.as_str())?;
        for reason in Reason::ALL.iter().filter(|reason| reason.verdict() == verdict) {
            writeln!(page, "| `{}` | {} |", reason.as_str(), cell(reason.describe()))?;
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_on_its_page() {
        let page = page().unwrap();
        assert_eq!(page.matches("\n| `").count(), Reason::ALL.len());
    }
}
