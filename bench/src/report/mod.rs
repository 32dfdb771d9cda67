//! The report: medians, net figures without the driver's time, and comparisons with floors.

use crate::{bench::Measured, cases::Flows, median::median};

pub mod aims;
pub mod document;
mod figures;
pub mod json;
pub mod machine;
pub mod paired;
pub mod table;

use aims::Reached;
use figures::{best, bounds, counted, of};
use machine::Machine;
use paired::Paired;

/// The result of a measurement.
pub struct Report<'a> {
    /// The machine it ran on.
    pub machine: Machine,
    /// The number of loads.
    pub loads: u32,
    /// Rounds of each load.
    pub rounds: u32,
    /// The cases with all their figures.
    pub cases: &'a [Measured],
    /// The rows of the table.
    pub rows: Vec<Row>,
    /// The aims whose cases were measured.
    pub reached: Vec<Reached>,
}

/// A row of the table, in nanoseconds per packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The case.
    pub name: String,
    /// The number of flows; none where each packet belongs to a new one.
    pub flows: Option<u32>,
    /// Median over the rounds, including the driver's time; over quiet rounds only, if there are any.
    pub median: f64,
    /// The least figure.
    pub min: f64,
    /// The greatest figure.
    pub max: f64,
    /// The figures minus the driver's time in the same round.
    pub net: Paired,
    /// The least figure minus the driver's least: the time when nothing disturbs.
    pub best: f64,
    /// The ratio to the floor's case.
    pub ratio: Option<Ratio>,
}

/// A case's ratio to its floor.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    /// The floor's case.
    pub floor: String,
    /// Ratio of net figures, round by round.
    pub net: Paired,
    /// Ratio of the least net figures.
    pub best: f64,
}

impl<'a> Report<'a> {
    /// The report of these figures. Cases without figures get no row.
    #[must_use]
    pub fn new(machine: Machine, (loads, rounds): (u32, u32), cases: &'a [Measured]) -> Self {
        let rows = cases.iter().filter_map(|measured| row(cases, measured)).collect();
        Self { machine, loads, rounds, cases, rows, reached: aims::reached(cases) }
    }

    /// The least and the greatest time of a packet in an empty program, and the share of all measurements that was disturbed.
    #[must_use]
    pub fn noise(&self) -> (f64, f64, f64) {
        let all = || self.cases.iter().flat_map(|measured| &measured.figures);
        let loud = all().filter(|figure| !figure.is_quiet).count();
        let (least, most) = bounds(all().map(|figure| figure.empty)).unwrap_or_default();
        (least, most, loud as f64 / all().count().max(1) as f64)
    }
}

fn row(cases: &[Measured], measured: &Measured) -> Option<Row> {
    let gross = || measured.figures.iter().map(|figure| figure.gross);
    let (min, max) = bounds(gross())?;
    let case = &measured.case;
    let floor = case.floor.as_ref().and_then(|name| of(cases, name));
    let ratio = floor.and_then(|floor| {
        let net = Paired::of(measured, Some(floor))?;
        let best = best(measured)? / best(floor)?;
        Some(Ratio { floor: floor.case.name.clone(), net, best })
    });
    Some(Row {
        name: case.name.clone(),
        flows: match case.flows {
            Flows::Of(flows) => Some(flows),
            Flows::New(_) => None,
        },
        median: median(counted(measured).iter().map(|figure| figure.gross))?,
        min,
        max,
        net: Paired::of(measured, None)?,
        best: best(measured)?,
        ratio,
    })
}
