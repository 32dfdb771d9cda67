//! `wrr`: interleaved weighted round robin.
//!
//! The classic rule: index i and current weight cw start at −1 and 0; i moves on by one, and when it comes round to 0, cw
//! falls by one, from 0 to the greatest weight; the backend at i is picked if its weight is at least cw. Weights are
//! divided by their greatest common divisor first. One cycle of it is the ring: cw from the greatest weight down to 1,
//! and for each, all backends in order whose weight reaches it.

/// One cycle: each backend (weight ÷ gcd) times.
pub(super) fn ring(backends: &[(u16, u32)]) -> Vec<u16> {
    let divisor = backends.iter().fold(0, |d, (_, weight)| gcd(d, *weight)).max(1);
    let greatest = backends.iter().map(|(_, weight)| weight / divisor).max().unwrap_or(0);
    (1..=greatest)
        .rev()
        .flat_map(|current| {
            let reaches = move |(_, weight): &&(u16, u32)| weight / divisor >= current;
            backends.iter().filter(reaches).map(|(slot, _)| *slot)
        })
        .collect()
}

/// Its length.
pub(super) fn length(weights: &[u32]) -> usize {
    let divisor = weights.iter().fold(0, |d, weight| gcd(d, *weight)).max(1);
    weights.iter().map(|weight| (weight / divisor) as usize).sum()
}

const fn gcd(a: u32, b: u32) -> u32 {
    let (mut a, mut b) = (a, b);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rule as it is written, over raw weights: an endless sequence of picks, if there is any.
    struct Literal {
        weights: Vec<i64>,
        i: i64,
        cw: i64,
    }

    impl Iterator for Literal {
        type Item = usize;

        fn next(&mut self) -> Option<usize> {
            let n = self.weights.len() as i64;
            let step = self.weights.iter().fold(0, |d, w| gcd(d, *w as u32)) as i64;
            let max = self.weights.iter().copied().max().filter(|max| *max > 0)?;
            loop {
                self.i = (self.i + 1) % n;
                if self.i == 0 {
                    self.cw -= step;
                    if self.cw <= 0 {
                        self.cw = max;
                    }
                }
                if self.weights[self.i as usize] >= self.cw {
                    return Some(self.i as usize);
                }
            }
        }
    }

    fn numbered(weights: &[u32]) -> Vec<(u16, u32)> {
        (0u16..).zip(weights.iter().copied()).collect()
    }

    proptest! {
        #[test]
        fn it_is_the_rule_as_written(weights in prop::collection::vec(0u32..=100, 0..20)) {
            let ring: Vec<_> = ring(&numbered(&weights)).into_iter().map(usize::from).collect();
            let literal =
                Literal { weights: weights.iter().map(|w| i64::from(*w)).collect(), i: -1, cw: 0 };
            // Two cycles: that the second is like the first is what makes a ring of it.
            let want: Vec<_> = literal.take(2 * ring.len().max(1)).collect();
            prop_assert_eq!([ring.clone(), ring].concat(), want);
        }

        #[test]
        fn every_share_is_exact(weights in prop::collection::vec(0u32..=100, 1..50)) {
            let ring = ring(&numbered(&weights));
            let divisor = weights.iter().fold(0, |d, w| gcd(d, *w)).max(1);
            for (slot, weight) in numbered(&weights) {
                let picks = ring.iter().filter(|picked| **picked == slot).count();
                prop_assert_eq!(picks as u32, weight / divisor);
            }
            prop_assert_eq!(ring.len(), length(&weights));
        }
    }

    #[test]
    fn ten_to_five_is_a_a_b() {
        assert_eq!(ring(&[(1, 10), (2, 5)]), [1, 1, 2]);
    }

    #[test]
    fn three_two_one_interleaves() {
        assert_eq!(ring(&[(1, 3), (2, 2), (3, 1)]), [1, 1, 2, 1, 2, 3]);
    }

    #[test]
    fn weight_zero_is_never_picked() {
        assert_eq!(ring(&[(1, 0), (2, 4), (3, 1)]), [2, 2, 2, 2, 3]);
        assert!(ring(&[(1, 0), (2, 0)]).is_empty());
        assert!(ring(&[]).is_empty());
    }
}
