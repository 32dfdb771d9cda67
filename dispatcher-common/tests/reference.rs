//! The reference pages of what this crate declares: reasons, maps and limits.

use std::fmt::Write as _;

use dispatcher_common::{
    limits, maps,
    reason::{Reason, Verdict},
};
use dispatcher_golden::{MADE_FROM_CODE, cell, check};

#[test]
fn reference_page_of_reasons() -> std::fmt::Result {
    let mut page = format!(
        "# Reasons\n\n{MADE_FROM_CODE}Every packet that a NIC with the dispatcher on it receives is counted once, in \
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
    assert_eq!(page.matches("\n| `").count(), Reason::ALL.len());
    check("docs/reasons.md", &page);
    Ok(())
}

#[test]
fn reference_page_of_maps_and_limits() -> std::fmt::Result {
    let mut page = format!(
        "# Maps and limits\n\n{MADE_FROM_CODE}Maps are pinned under these names in `pin_dir/netns-COOKIE/`, in layout \
         version {}.\n`bpftool map dump pinned FILE` shows one. A section is an \
         array whose only\nelement holds all values: the program finds them by address, without a search.\n\n\
         | map | what it holds |\n|---|---|\n",
        maps::LAYOUT_VERSION
    );
    for name in maps::ALL.into_iter().chain(maps::ON_DEMAND) {
        let documented = maps::DOCUMENTED.iter().find(|constant| constant.name == name);
        let text = documented.map_or("", |constant| constant.text);
        assert!(!text.is_empty(), "map {name} is not documented");
        writeln!(page, "| `{name}` | {} |", cell(text))?;
    }
    writeln!(page, "\n## Limits\n\n| limit | value | |\n|---|---|---|")?;
    for limit in limits::DOCUMENTED {
        writeln!(page, "| `{}` | {} | {} |", limit.name, limit.value, cell(limit.text))?;
    }
    check("docs/maps.md", &page);
    Ok(())
}
