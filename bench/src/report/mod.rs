//! Figures: medians, what they are net of the driver, and how they compare with a floor.

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

/// A measurement's outcome.
pub struct Report<'a> {
    /// Where it was made.
    pub machine: Machine,
    /// How many times everything was loaded.
    pub loads: u32,
    /// Rounds of each load.
    pub rounds: u32,
    /// All figures.
    pub cases: &'a [Measured],
    /// The table's lines.
    pub rows: Vec<Row>,
    /// The aims whose cases were measured.
    pub reached: Vec<Reached>,
}

/// A line of the table: nanoseconds a packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The case.
    pub name: String,
    /// How many flows, none where each packet is a new one.
    pub flows: Option<u32>,
    /// Median over rounds, driver and all; of quiet rounds, if there is one.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// Without what the driver took in the same round.
    pub net: Paired,
    /// The least without the least of the driver: what is left when nobody disturbs.
    pub best: f64,
    /// Both by those of a floor.
    pub ratio: Option<Ratio>,
}

/// A case by a floor.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    /// The floor's case.
    pub floor: String,
    /// Net, round by round.
    pub net: Paired,
    /// The least, net.
    pub best: f64,
}

impl<'a> Report<'a> {
    /// Of these figures. Cases without figures have no lines.
    #[must_use]
    pub fn new(machine: Machine, (loads, rounds): (u32, u32), cases: &'a [Measured]) -> Self {
        let rows = cases.iter().filter_map(|measured| row(cases, measured)).collect();
        Self { machine, loads, rounds, cases, rows, reached: aims::reached(cases) }
    }

    /// The least and the most that a packet took in an empty program, and of all measurements the share that was disturbed.
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
