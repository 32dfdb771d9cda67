//! The figures for programs.

use serde_json::{Value, json};

use super::{Row, aims::Reached, machine::Machine};
use crate::bench::Measured;

/// Machine, cases with every round's figure (nanoseconds a packet), and aims.
#[must_use]
pub fn document(machine: &Machine, cases: &[Measured], rows: &[Row], aims: &[Reached]) -> Value {
    let figures = |name: &str| {
        let measured = cases.iter().find(|measured| measured.case.name == name);
        measured.map(|measured| measured.figures.clone())
    };
    let row = |row: &Row| {
        json!({
            "case": row.name,
            "flows": row.flows,
            "median": row.median,
            "min": row.min,
            "max": row.max,
            "net": row.net,
            "best": row.best,
            "floor": row.ratio.as_ref().map(|ratio| &ratio.floor),
            "ratio": row.ratio.as_ref().map(|ratio| ratio.net),
            "best_ratio": row.ratio.as_ref().map(|ratio| ratio.best),
            "rounds": figures(&row.name),
        })
    };
    let aim = |aim: &Reached| {
        json!({ "what": aim.what, "case": aim.case, "by": aim.than, "at_most": aim.most, "is": aim.is,
            "best": aim.best, })
    };
    json!({
        "machine": {
            "processor": machine.processor,
            "cpus": machine.cpus,
            "kernel": machine.kernel,
        },
        "commit": machine.commit,
        "unit": "ns/packet",
        "cases": rows.iter().map(row).collect::<Vec<_>>(),
        "aims": aims.iter().map(aim).collect::<Vec<_>>(),
    })
}
