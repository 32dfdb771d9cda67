//! The figures as JSON.

use serde_json::{Value, json};

use super::{Report, Row, aims::Reached, figures::of};
use crate::bench::Figure;

/// Machine, cases with the figures of all rounds (nanoseconds per packet), and aims.
#[must_use]
pub fn document(report: &Report<'_>) -> Value {
    let figure = |figure: &Figure| {
        let Figure { load, gross, empty, slowest, is_quiet } = figure;
        json!({
            "load": load,
            "ns": gross,
            "empty": empty,
            "slowest_empty": slowest,
            "quiet": is_quiet,
        })
    };
    let figures = |name: &str| -> Vec<Value> {
        let figures = of(report.cases, name).map(|measured| &measured.figures);
        figures.into_iter().flatten().map(figure).collect()
    };
    let row = |row: &Row| {
        let ratio = row.ratio.as_ref();
        json!({
            "case": row.name,
            "flows": row.flows,
            "median": row.median,
            "min": row.min,
            "max": row.max,
            "net": row.net.median,
            "net_by_load": row.net.by_load,
            "best": row.best,
            "floor": ratio.map(|ratio| &ratio.floor),
            "ratio": ratio.map(|ratio| ratio.net.median),
            "ratio_by_load": ratio.map(|ratio| &ratio.net.by_load),
            "best_ratio": ratio.map(|ratio| ratio.best),
            "rounds": figures(&row.name),
        })
    };
    let aim = |aim: &Reached| {
        json!({
            "what": aim.what,
            "case": aim.case,
            "by": aim.than,
            "at_most": aim.most,
            "is": aim.is.median,
            "by_load": aim.is.by_load,
            "best": aim.best,
        })
    };
    let machine = &report.machine;
    json!({
        "machine": {
            "processor": machine.processor,
            "cpus": machine.cpus,
            "kernel": machine.kernel,
        },
        "commit": machine.commit,
        "unit": "ns/packet",
        "loads": report.loads,
        "rounds_of_a_load": report.rounds,
        "cases": report.rows.iter().map(row).collect::<Vec<_>>(),
        "aims": report.reached.iter().map(aim).collect::<Vec<_>>(),
    })
}
