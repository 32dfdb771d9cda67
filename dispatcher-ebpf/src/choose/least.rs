//! Compares backends by connections for their weight, without a division.

use crate::barrier::hide;

/// A candidate in one word. Bits 0–15: slot; 16–31: weight; 32–63: active connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Least(pub u64);

impl Least {
    /// No candidate yet: worse than any backend.
    pub const NOBODY: Self = Self(0xffff_ffff_0000_ffff | 1 << 16);

    /// A backend with its connections and its weight.
    #[inline(always)]
    #[must_use]
    pub const fn new(slot: u32, active: u64, weight: u32) -> Self {
        Self(active << 32 | (weight as u64) << 16 | slot as u64)
    }

    /// The same, as if its weight were 1.
    #[inline(always)]
    #[must_use]
    pub const fn unweighted(self) -> Self {
        Self(self.0 & !0xffff_0000 | 1 << 16)
    }

    /// The better of both: the smaller active / weight, compared by cross multiplication; this one if they are equal.
    ///
    /// Without branches: the verifier would follow both for every candidate.
    #[inline(always)]
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let difference =
            (other.active() * self.weight()).wrapping_sub(self.active() * other.weight());
        // Verifier: LLVM would make a branch of the sign (figure: see `Frame::window`).
        let take = (hide(difference) >> 63).wrapping_neg();
        Self(self.0 ^ (self.0 ^ other.0) & take)
    }

    /// The slot.
    #[inline(always)]
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.0 as u32 & 0xffff
    }

    #[inline(always)]
    const fn weight(self) -> u64 {
        self.0 >> 16 & 0xffff
    }

    #[inline(always)]
    const fn active(self) -> u64 {
        self.0 >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(backends: &[(u64, u32)]) -> u32 {
        let all = backends.iter().zip(0..);
        all.fold(Least::NOBODY, |l, ((active, weight), n)| l.or(Least::new(n, *active, *weight)))
            .slot()
    }

    #[test]
    fn the_fewest_for_the_weight_is_taken_and_the_first_of_equals() {
        assert_eq!(best(&[]), Least::NOBODY.slot());
        assert_eq!(best(&[(7, 1)]), 0);
        assert_eq!(best(&[(3, 1), (2, 1), (2, 1)]), 1);
        assert_eq!(best(&[(3, 10), (2, 5), (3, 11)]), 2);
        assert_eq!(best(&[(4, 2), (2, 1), (6, 3)]), 0);
        assert_eq!(best(&[(0, 1), (0, 100)]), 0);
        assert_eq!(best(&[(u64::from(u32::MAX) - 1, 1), (u64::from(u32::MAX) - 1, 100)]), 1);
    }

    #[test]
    fn without_weights_only_connections_count() {
        let heavy = Least::new(5, 3, 100).unweighted();
        assert_eq!(heavy, Least::new(5, 3, 1));
        assert_eq!(heavy.or(Least::new(6, 2, 1)).slot(), 6);
    }
}
