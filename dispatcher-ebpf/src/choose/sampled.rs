//! Finds the backend with the smallest sample: the fastest, or the one that delivered the fewest bytes. A backend without a
//! sample counts as the mean of the others. If none has a sample, the one with the fewest connections wins.
//!
//! The smallest sample is below the mean unless all are equal. So one pass over the members suffices. It finds the best of those
//! with a sample, the best of those without, and whether the samples differ.

use crate::barrier::hide;

/// No member.
const NOBODY: u64 = u64::MAX;

/// The best so far. It has only words, since a global function takes its address.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Pick {
    /// Smallest sample.
    sample: u64,
    /// Active connections of the member with it.
    active: u64,
    /// That member's number; [`NOBODY`] if there is none.
    number: u64,
    /// Largest sample.
    largest: u64,
    /// Fewest active connections of members without a sample.
    idle_active: u64,
    /// The number of that member.
    idle_number: u64,
}

impl Pick {
    /// Before the first member.
    pub const EMPTY: Self = Self {
        sample: u64::MAX,
        active: u64::MAX,
        number: NOBODY,
        largest: 0,
        idle_active: u64::MAX,
        idle_number: NOBODY,
    };

    /// Considers the next member, with its active connections and its sample. Without branches, as
    /// [`crate::choose::least::Least::or`].
    #[inline(always)]
    pub fn see(&mut self, number: u64, active: u64, sample: Option<u64>) {
        let (is_sampled, sample) = match sample {
            Some(sample) => (u64::MAX, sample),
            None => (0, 0),
        };
        // Verifier: otherwise LLVM branches on it below (four more instructions in `dispatcher_measured_member`).
        let is_sampled = hide(is_sampled);
        let is_better =
            less(sample, self.sample) | !less(self.sample, sample) & less(active, self.active);
        let take = is_better & is_sampled;
        self.sample = select(take, sample, self.sample);
        self.active = select(take, active, self.active);
        self.number = select(take, number, self.number);
        let is_larger = less(self.largest, sample) & is_sampled;
        self.largest = select(is_larger, sample, self.largest);
        let take = less(active, self.idle_active) & !is_sampled;
        self.idle_active = select(take, active, self.idle_active);
        self.idle_number = select(take, number, self.idle_number);
    }

    /// The number of the best member; none if there was no member.
    #[inline(always)]
    #[must_use]
    pub const fn best(&self) -> Option<u32> {
        let is_tie = self.sample == self.largest
            && (self.idle_active < self.active
                || self.idle_active == self.active && self.idle_number < self.number);
        let best = if self.number == NOBODY || self.idle_number != NOBODY && is_tie {
            self.idle_number
        } else {
            self.number
        };
        if best == NOBODY { None } else { Some(best as u32) }
    }
}

/// All bits if `a` < `b`, else none. Both are below 2⁶³, or `b` is the maximum.
#[inline(always)]
fn less(a: u64, b: u64) -> u64 {
    let b = if b == u64::MAX { 1 << 63 } else { b };
    // Verifier: LLVM would make branches of the masks. Without this barrier and that of `select`, the stack of
    // `dispatcher_measured_member` grows from 32 to 56 bytes.
    hide(a.wrapping_sub(b) >> 63).wrapping_neg()
}

#[inline(always)]
fn select(mask: u64, yes: u64, no: u64) -> u64 {
    // Verifier: as for `less`.
    hide(no ^ (no ^ yes) & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(members: &[(u64, Option<u64>)]) -> Option<u32> {
        let mut pick = Pick::EMPTY;
        for (number, (active, sample)) in (0..).zip(members) {
            pick.see(number, *active, *sample);
        }
        pick.best()
    }

    /// The rule, in plain code.
    fn plain(members: &[(u64, Option<u64>)]) -> Option<u32> {
        let samples: Vec<_> = members.iter().filter_map(|(_, sample)| *sample).collect();
        // Times the number of samples, so that the mean is exact.
        let count = samples.len() as u64;
        let mean: u64 = samples.iter().sum();
        let value = |sample: Option<u64>| sample.map_or(mean, |sample| sample * count);
        (0..).zip(members).min_by_key(|(n, (a, s))| (value(*s), *a, *n)).map(|(n, _)| n)
    }

    #[test]
    fn the_rule_holds_for_all_small_cases() {
        let samples = [None, Some(0), Some(10), Some(11), Some(1 << 40)];
        let kinds: Vec<_> = (0..3).flat_map(|a| samples.map(|s| (a, s))).collect();
        assert_eq!(best(&[]), None);
        for a in &kinds {
            for b in &kinds {
                for c in &kinds {
                    for d in &kinds {
                        let members = [*a, *b, *c, *d];
                        assert_eq!(best(&members), plain(&members), "{members:?}");
                    }
                }
            }
        }
    }
}
