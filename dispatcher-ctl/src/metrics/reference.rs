//! The reference page of the metrics, `docs/metrics.md`.

use std::fmt::Write as _;

use dispatcher_golden::{MADE_FROM_CODE, check};

use super::families;

#[test]
fn reference_page_of_metrics() -> std::fmt::Result {
    let mut page = format!(
        "# Metrics\n\n{MADE_FROM_CODE}`GET /metrics` at `metrics_listen` (default `127.0.0.1:9464`) serves these metrics in Prometheus' \
         text format. Bytes are\nlayer-3 bytes, times are seconds. Counters of the datapath are in its maps and survive a restart of \
         the controller.\n[reasons.md](reasons.md) explains the values of `reason`.\n\n\
         | metric | kind | labels | |\n|---|---|---|---|\n"
    );
    for family in families::ALL {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = format!("{:?}", family.kind).to_lowercase();
        writeln!(page, "| `{}` | {kind} | {} | {} |", family.name, labels.join(", "), family.help)?;
    }
    check("docs/metrics.md", &page);
    Ok(())
}
