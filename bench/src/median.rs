//! The median of figures.

/// The middle one of the figures, or the mean of the middle two.
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
