//! Figures: medians, what they are net of the driver, and how they compare with a floor.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    bench::Measured,
    cases::{Case, Flows},
};

pub mod aims;
pub mod chart;
pub mod json;
pub mod machine;

/// A line of the table: nanoseconds a packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The case.
    pub name: String,
    /// How many flows, none where each packet is a new one.
    pub flows: Option<u32>,
    /// Median over rounds, driver and all.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// Median without that of the driver with an empty program.
    pub net: f64,
    /// The same of the least: what is left when nobody disturbs.
    pub best: f64,
    /// Both by those of a floor.
    pub ratio: Option<Ratio>,
}

/// A case by a floor.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    /// The floor's case.
    pub floor: String,
    /// Net medians.
    pub net: f64,
    /// Net minima.
    pub best: f64,
}

/// The table's lines. Cases without figures have none.
#[must_use]
pub fn rows(cases: &[Measured]) -> Vec<Row> {
    let mut rows: Vec<Row> = cases.iter().filter_map(gross).collect();
    let bases: BTreeMap<String, (f64, f64)> =
        rows.iter().map(|row| (row.name.clone(), (row.median, row.min))).collect();
    for (row, case) in rows.iter_mut().zip(with_figures(cases)) {
        let (median, min) = bases.get(&case.base()).copied().unwrap_or_default();
        (row.net, row.best) = (row.median - median, row.min - min);
    }
    let nets: BTreeMap<String, (f64, f64)> =
        rows.iter().map(|row| (row.name.clone(), (row.net, row.best))).collect();
    for (row, case) in rows.iter_mut().zip(with_figures(cases)) {
        let floor = case.floor.as_ref().and_then(|name| Some((name, nets.get(name)?)));
        row.ratio = floor.map(|(name, (net, best))| Ratio {
            floor: name.clone(),
            net: row.net / net,
            best: row.best / best,
        });
    }
    rows
}

fn with_figures(cases: &[Measured]) -> impl Iterator<Item = &Case> {
    cases.iter().filter(|measured| !measured.figures.is_empty()).map(|measured| &measured.case)
}

/// A line before anything is subtracted.
fn gross(measured: &Measured) -> Option<Row> {
    Some(Row {
        name: measured.case.name.clone(),
        flows: match measured.case.flows {
            Flows::Of(flows) => Some(flows),
            Flows::New(_) => None,
        },
        median: median(&measured.figures)?,
        min: measured.figures.iter().copied().min_by(f64::total_cmp)?,
        max: measured.figures.iter().copied().max_by(f64::total_cmp)?,
        net: 0.0,
        best: 0.0,
        ratio: None,
    })
}

/// The middle of the figures, the upper one of two.
fn median(figures: &[f64]) -> Option<f64> {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

/// The table as text.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    let [a, b, c, d, e] = ["case", "flows", "median", "min", "max"];
    let [f, g, h, i, j] = ["net", "best", "ratio", "best", "floor"];
    let _ = writeln!(text, "{a:24} {b:>9} {c:>7} {d:>7} {e:>7} {f:>7} {g:>7} {h:>6} {i:>6}  {j}");
    for row in rows {
        let flows = row.flows.map_or_else(|| "new".to_owned(), |flows| flows.to_string());
        let Row { name, median, min, max, net, best, .. } = row;
        let _ = write!(
            text,
            "{name:24} {flows:>9} {median:7.1} {min:7.1} {max:7.1} {net:7.1} {best:7.1}"
        );
        if let Some(Ratio { floor, net, best }) = &row.ratio {
            let _ = write!(text, " {net:6.2} {best:6.2}  {floor}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_one_counts() {
        assert_eq!(median(&[9.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_line_says_what_it_is_compared_with() {
        let row = Row {
            name: "hit/ipv4-tcp/1k".into(),
            flows: Some(1024),
            median: 50.0,
            min: 48.0,
            max: 60.0,
            net: 40.0,
            best: 39.0,
            ratio: Some(Ratio { floor: "floor/service/1k".into(), net: 0.8, best: 0.75 }),
        };
        let table = table(&[row]);
        let words: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        let expected = [
            "hit/ipv4-tcp/1k",
            "1024",
            "50.0",
            "48.0",
            "60.0",
            "40.0",
            "39.0",
            "0.80",
            "0.75",
            "floor/service/1k",
        ];
        assert_eq!(words, expected);
    }
}
