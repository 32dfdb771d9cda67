//! Selects a case's figures: those of quiet rounds, and the least.

use crate::bench::{Figure, Measured};

/// The figures that count for the report.
pub(super) fn counted(measured: &Measured) -> Vec<&Figure> {
    quiet_or_all(measured.figures.iter().collect(), |figure| figure.is_quiet)
}

/// The figures of quiet rounds, or all figures if no round was quiet.
pub(super) fn quiet_or_all<T>(mut figures: Vec<T>, is_quiet: impl Fn(&T) -> bool) -> Vec<T> {
    if figures.iter().any(&is_quiet) {
        figures.retain(is_quiet);
    }
    figures
}

/// The case with this name.
pub(super) fn of<'a>(cases: &'a [Measured], name: &str) -> Option<&'a Measured> {
    cases.iter().find(|measured| measured.case.name == name)
}

/// The least time of a case, minus the least time of the driver in the same rounds.
pub(super) fn best(measured: &Measured) -> Option<f64> {
    let least = |of: fn(&Figure) -> f64| Some(bounds(measured.figures.iter().map(of))?.0);
    Some(least(|figure| figure.gross)? - least(|figure| figure.empty)?)
}

pub(super) fn bounds(figures: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    figures.fold(None, |bounds, figure| {
        let (min, max): (f64, f64) = bounds.unwrap_or((figure, figure));
        Some((min.min(figure), max.max(figure)))
    })
}
