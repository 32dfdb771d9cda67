//! Figures: medians, what they are net of the driver, and how they compare with a floor.

use crate::{
    bench::{Figure, Measured},
    cases::Flows,
};

pub mod aims;
pub mod document;
pub mod json;
pub mod machine;
pub mod paired;
pub mod table;

use aims::Reached;
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

/// The figures that count.
fn counted(measured: &Measured) -> Vec<&Figure> {
    quiet_or_all(measured.figures.iter().collect(), |figure| figure.is_quiet)
}

/// What is of quiet rounds, or all where there is none.
fn quiet_or_all<T>(mut figures: Vec<T>, is_quiet: impl Fn(&T) -> bool) -> Vec<T> {
    if figures.iter().any(&is_quiet) {
        figures.retain(is_quiet);
    }
    figures
}

/// The case of a name.
fn of<'a>(cases: &'a [Measured], name: &str) -> Option<&'a Measured> {
    cases.iter().find(|measured| measured.case.name == name)
}

/// The least that a case took without the least that the driver took in the same rounds.
fn best(measured: &Measured) -> Option<f64> {
    let least = |of: fn(&Figure) -> f64| Some(bounds(measured.figures.iter().map(of))?.0);
    Some(least(|figure| figure.gross)? - least(|figure| figure.empty)?)
}

fn bounds(figures: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    figures.fold(None, |bounds, figure| {
        let (min, max): (f64, f64) = bounds.unwrap_or((figure, figure));
        Some((min.min(figure), max.max(figure)))
    })
}

/// The middle of the figures, or what lies in the middle of two.
pub(crate) fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let upper = figures.len() / 2;
    let lower = figures.len().checked_sub(1)? / 2;
    Some(f64::midpoint(figures[lower], figures[upper]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_counts() {
        assert_eq!(median([9.0, 1.0, 3.0].into_iter()), Some(3.0));
        assert_eq!(median([9.0, 1.0, 3.0, 5.0].into_iter()), Some(4.0));
        assert_eq!(median(std::iter::empty()), None);
    }
}
