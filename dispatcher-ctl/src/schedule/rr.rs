//! `rr`: the next backend in turn.

/// Every backend with a weight above 0, once, in order.
pub(super) fn ring(backends: &[(u16, u32)]) -> Vec<u16> {
    backends.iter().filter(|(_, weight)| *weight > 0).map(|(slot, _)| *slot).collect()
}

/// Its length.
pub(super) fn length(weights: &[u32]) -> usize {
    weights.iter().filter(|weight| **weight > 0).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn n_connections_in_a_row_meet_n_backends(
            weights in prop::collection::vec(0u32..=100, 0..40),
            start in 0usize..1000,
        ) {
            let backends: Vec<_> = (1u16..).zip(weights.iter().copied()).collect();
            let ring = ring(&backends);
            prop_assert_eq!(ring.len(), length(&weights));
            let mut met: Vec<_> =
                (start..start + ring.len()).map(|turn| ring[turn % ring.len()]).collect();
            met.sort_unstable();
            let want: Vec<_> = backends.iter().filter(|b| b.1 > 0).map(|b| b.0).collect();
            prop_assert_eq!(met, want);
        }
    }

    #[test]
    fn backends_come_in_their_order() {
        assert_eq!(ring(&[(7, 3), (2, 0), (5, 1)]), [7, 5]);
        assert!(ring(&[(7, 0)]).is_empty());
    }
}
