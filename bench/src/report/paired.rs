//! Compares two cases round by round: a disturbance hits both cases of a round.

use super::figures::quiet_or_all;
use crate::{
    bench::{Figure, Measured},
    median::median,
};

/// Net figures of one case, or their ratios to another case's.
#[derive(Clone, Debug, PartialEq)]
pub struct Paired {
    /// Median over all rounds.
    pub median: f64,
    /// Medians of the loads with figures that count.
    pub by_load: Vec<f64>,
}

impl Paired {
    /// The net figures of a case by round, or their ratios to `than`'s in the same round of the same load. Only quiet rounds
    /// count, if there are any. `None` if either case has no figures.
    #[must_use]
    pub fn of(case: &Measured, than: Option<&Measured>) -> Option<Self> {
        let by = |number: usize| match than {
            None => Some((1.0, true)),
            Some(than) => than.figures.get(number).map(|figure| (figure.net(), figure.is_quiet)),
        };
        let pair = |(number, figure): (usize, &Figure)| {
            let (net, is_quiet) = by(number)?;
            Some((figure.is_quiet && is_quiet, figure.load, figure.net() / net))
        };
        let pairs = case.figures.iter().enumerate().filter_map(pair).collect();
        let counted = quiet_or_all(pairs, |(is_quiet, ..)| *is_quiet);
        let of = |wanted: usize| counted.iter().filter(move |(_, load, _)| *load == wanted);
        let loads = counted.last()?.1 + 1;
        Some(Self {
            median: median(counted.iter().map(|(.., net)| *net))?,
            by_load: (0..loads).filter_map(|load| median(of(load).map(|(.., net)| *net))).collect(),
        })
    }

    /// The least of the loads' medians.
    #[must_use]
    pub fn least(&self) -> f64 {
        self.by_load.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The greatest of the loads' medians.
    #[must_use]
    pub fn most(&self) -> f64 {
        self.by_load.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bench::Figure,
        cases::{Scale, all},
    };

    /// Two rounds in each of two loads; the driver takes 10 ns in all of them.
    fn measured(gross: [f64; 4], quiet: [bool; 4]) -> Measured {
        let mut measured = Measured::new(all(Scale::SMALL).remove(0));
        let figure = |number: usize| Figure {
            load: number / 2,
            gross: gross[number],
            empty: 10.0,
            slowest: 10.0,
            is_quiet: quiet[number],
        };
        measured.figures = (0..4).map(figure).collect();
        measured
    }

    #[test]
    fn figures_of_one_round_are_compared() {
        // In the second round both took twice as long; in the second load only the case did.
        let case = measured([30.0, 50.0, 50.0, 50.0], [true; 4]);
        let paired = Paired::of(&case, Some(&measured([20.0, 30.0, 20.0, 20.0], [true; 4])));
        let expected = Paired { median: 3.0, by_load: vec![2.0, 4.0] };
        assert_eq!((expected.least(), expected.most()), (2.0, 4.0));
        assert_eq!(paired, Some(expected));
        let without = Measured::new(case.case.clone());
        assert_eq!(Paired::of(&case, Some(&without)), None);
        assert_eq!(Paired::of(&without, None), None);
    }

    #[test]
    fn quiet_rounds_count_where_there_are_any() {
        let case = |quiet| measured([90.0, 30.0, 50.0, 70.0], quiet);
        let median = |quiet| Paired::of(&case(quiet), None).unwrap();
        assert_eq!(median([false; 4]), Paired { median: 50.0, by_load: vec![50.0, 50.0] });
        let by_load = vec![20.0, 40.0];
        assert_eq!(median([false, true, true, false]), Paired { median: 30.0, by_load });
        assert_eq!(
            median([false, true, false, false]),
            Paired { median: 20.0, by_load: vec![20.0] }
        );
        // A round is quiet only if it was quiet for both cases.
        let than = measured([11.0; 4], [false, false, true, true]);
        let paired = Paired::of(&case([true, true, true, false]), Some(&than));
        assert_eq!(paired, Some(Paired { median: 40.0, by_load: vec![40.0] }));
    }
}
