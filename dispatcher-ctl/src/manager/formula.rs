//! The formula that computes weights from four inputs.
//!
//! ```text
//! component = clamp(1, bound, bound / 2 · mean(x) / x), rounded half up; x = 0 while others are not: bound; no data: bound / 2
//! target    = Σ proportion · component / 100
//! w         ← w + (target − w) / max(1, smoothing)
//! ```
//!
//! x is a backend's connections per weight, or its load; the mean is over the backends for which x is known. Network
//! Dispatcher's formula was never published; this one is our own.

use crate::model::Proportions;

/// Rounds half up, at least 1.
pub(super) fn rounded(weight: f64) -> u32 {
    // Weights are 1..=100: nothing is cut off.
    (weight + 0.5).floor().max(1.0) as u32
}

/// The component of one input for each backend; `None`: unknown for that backend.
pub(super) fn components(values: &[Option<f64>], bound: u32) -> Vec<u32> {
    let known = values.iter().flatten();
    let (sum, count) = known.fold((0.0, 0_u32), |(sum, count), x| (sum + x, count + 1));
    let mean = sum / f64::from(count.max(1));
    let (most, middle) = (f64::from(bound), f64::from(bound) / 2.0);
    let component = |x: &Option<f64>| match x {
        Some(x) if *x > 0.0 => rounded((middle * mean / x).clamp(1.0, most.max(1.0))),
        Some(_) if mean > 0.0 => bound.max(1),
        Some(_) | None => rounded(middle),
    };
    values.iter().map(component).collect()
}

/// The weight that a backend approaches.
pub(super) fn target(components: [u32; 4], proportions: Proportions) -> f64 {
    let parts = components.into_iter().zip(proportions.all());
    parts.map(|(component, percent)| f64::from(component * percent)).sum::<f64>() / 100.0
}

/// One step towards the target.
pub(super) fn step(weight: f64, target: f64, smoothing: f64) -> f64 {
    weight + (target - weight) / smoothing.max(1.0)
}

/// Whether weights differ enough to be published: by more than this percentage of their total.
pub(super) fn is_enough(weights: impl Iterator<Item = (u32, u32)>, sensitivity: f64) -> bool {
    let (change, total) = weights.fold((0_u64, 0_u64), |(change, total), (before, after)| {
        (change + u64::from(before.abs_diff(after)), total + u64::from(before))
    });
    change > 0 && change as f64 * 100.0 > sensitivity * total as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_component_is_by_how_much_a_backend_bears_less_than_the_mean() {
        let of =
            |values: &[f64]| components(&values.iter().copied().map(Some).collect::<Vec<_>>(), 20);
        assert_eq!(of(&[1.0, 1.0, 1.0]), [10, 10, 10]);
        assert_eq!(of(&[1.0, 1.0, 3.0]), [17, 17, 6], "means 5/3 and 5/9 of 10");
        assert_eq!(of(&[0.0, 4.0]), [20, 5], "nothing beside something is as light as can be");
        assert_eq!(of(&[0.0, 0.0]), [10, 10], "nothing anywhere says nothing");
        assert_eq!(of(&[1.0, 1000.0]), [20, 5]);
        assert_eq!(components(&[Some(1.0), None, Some(3.0)], 20), [20, 10, 7]);
        assert_eq!(components(&[None, None], 5), [3, 3], "2.5, rounded half up");
        assert_eq!(components(&[Some(1.0), Some(2.0)], 1), [1, 1]);
        assert!(components(&[], 20).is_empty());
    }

    #[test]
    fn the_target_goes_by_proportions() {
        let components = [17, 6, 20, 1];
        for (proportions, want) in
            [([100, 0, 0, 0], 17.0), ([0, 0, 100, 0], 20.0), ([50, 50, 0, 0], 11.5)]
        {
            assert_eq!(target(components, Proportions::of(proportions)), want);
        }
        assert_eq!((rounded(11.5), rounded(11.49), rounded(0.0)), (12, 11, 1));
    }

    #[test]
    fn sensitivity_is_of_the_total() {
        let publishes = |before: &[u32], after: &[u32]| {
            is_enough(before.iter().copied().zip(after.iter().copied()), 5.0)
        };
        assert!(!publishes(&[50, 50], &[50, 55]), "100 to 105");
        assert!(publishes(&[50, 50], &[50, 56]), "100 to 106");
        assert!(publishes(&[10, 5], &[5, 10]), "a swap keeps the total");
        assert!(!publishes(&[10, 10], &[10, 10]) && !publishes(&[], &[]));
        assert!(!is_enough([(7, 7)].into_iter(), 0.0), "nothing changed is nothing");
        assert!(is_enough([(100, 101)].into_iter(), 0.0));
    }

    fn known() -> impl Strategy<Value = Option<f64>> {
        prop_oneof![1 => Just(None), 1 => Just(Some(0.0)), 6 => (0.001..1e6).prop_map(Some)]
    }

    proptest! {
        #[test]
        fn components_are_bounded_and_the_slower_is_never_heavier(
            values in prop::collection::vec(known(), 0..40),
            bound in 1_u32..=100,
        ) {
            let made = components(&values, bound);
            prop_assert!(made.iter().all(|component| (1..=bound).contains(component)));
            for (a, x) in made.iter().zip(&values) {
                for (b, y) in made.iter().zip(&values) {
                    if let (Some(x), Some(y)) = (x, y) {
                        prop_assert!(x <= y && a >= b || x > y, "{x}: {a}, {y}: {b}");
                    }
                }
            }
        }

        #[test]
        fn a_step_never_passes_its_target(
            weight in 1.0..100.0_f64, target in 1.0..100.0_f64, smoothing in 0.0..50.0_f64,
        ) {
            let next = step(weight, target, smoothing);
            let (low, high) = (weight.min(target), weight.max(target));
            prop_assert!((low - 1e-9..=high + 1e-9).contains(&next));
        }
    }
}
