//! `metrics.md`: every metric, from the declarations in `dispatcher-ctl/src/metrics/families.rs`.

use std::fmt::Write as _;

use anyhow::{Result, bail};

use super::{MARK, read};

/// A metric as it is declared: `Counter "name" ["label", …] "help", …`.
#[derive(Debug, PartialEq, Eq)]
struct Metric<'a> {
    kind: &'a str,
    name: &'a str,
    labels: Vec<&'a str>,
    help: &'a str,
}

/// The page.
///
/// # Errors
/// When the declarations are not found.
pub(super) fn page() -> Result<String> {
    let source = read("dispatcher-ctl/src/metrics/families.rs")?;
    let metrics = metrics(&source);
    if metrics.is_empty() {
        bail!("families.rs declares no metrics");
    }
    let mut page = format!(
        "# Metrics\n\n{MARK}`GET /metrics` at `metrics_listen` (default `127.0.0.1:9464`) serves them in Prometheus' text \
         format. Bytes are those of\nlayer 3, times seconds. Counters of the datapath live with its maps: they go on over a \
         restart of the controller. The\nvalues of `reason` stand in [reasons.md](reasons.md).\n\n\
         | metric | kind | labels | |\n|---|---|---|---|\n"
    );
    for metric in metrics {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = metric.kind.to_lowercase();
        writeln!(page, "| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.help)?;
    }
    Ok(page)
}

fn metrics(source: &str) -> Vec<Metric<'_>> {
    let declared = source.split("#[cfg(test)]").next().unwrap_or(source);
    // A declaration begins a line, indented once; what belongs to it is indented more.
    let starts = declared.match_indices("\n    ").map(|(at, indent)| at + indent.len());
    starts.filter_map(|start| metric(&declared[start..])).collect()
}

/// Reads one declaration: a kind, then texts in quotes, of which the first is the name and those in brackets labels.
fn metric(text: &str) -> Option<Metric<'_>> {
    let (kind, rest) = text.split_once(" \"")?;
    if !kind.chars().all(char::is_alphanumeric) || kind.is_empty() {
        return None;
    }
    let (name, rest) = rest.split_once('"')?;
    let (labels, rest) = rest.trim_start().strip_prefix('[')?.split_once(']')?;
    let labels = labels.split('"').skip(1).step_by(2).collect();
    let help = rest.split('"').nth(1)?;
    Some(Metric { kind, name, labels, help })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_is_read() {
        let text = "Counter \"a_total\" [\"x\", \"y\"]\n        \"What.\",\n        |s| s;";
        let want =
            Metric { kind: "Counter", name: "a_total", labels: vec!["x", "y"], help: "What." };
        assert_eq!(metric(text), Some(want));
        assert_eq!(metric("Gauge \"b\" [] \"Now.\", |s| s;").unwrap().labels, Vec::<&str>::new());
        assert_eq!(metric("pub const ALL: &[Family] = &[$(Family {"), None);
    }
}
