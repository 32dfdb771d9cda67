//! Tells whether something else ran on this core.
//!
//! A thread on the other half of the core makes code here take about twice as long, also an empty program. A case that waits
//! for memory slows down less. So figures of disturbed and quiet rounds cannot be compared.

use std::collections::BTreeMap;

use super::Measured;
use crate::driver::Layout;

/// A round is quiet if the empty program took at most this many times its least time: 1.0 to 1.3 times alone, 1.7 to 2.5 times
/// with another thread on the core.
const ENOUGH: f64 = 1.4;

/// The least time of a packet in an empty program, in nanoseconds, by driver.
#[derive(Clone, Debug, Default)]
pub struct Quiet(BTreeMap<Layout, f64>);

impl Quiet {
    /// Whether nothing is known yet.
    pub(super) fn is_unknown(&self, layout: Layout) -> bool {
        !self.0.contains_key(&layout)
    }

    /// Records a time of the empty program.
    pub(super) fn heard(&mut self, layout: Layout, ns: f64) {
        let least = self.0.entry(layout).or_insert(ns);
        *least = least.min(ns);
    }

    /// Whether the empty program takes this long when nothing disturbs, as far as is known.
    #[must_use]
    pub(super) fn is_quiet(&self, layout: Layout, ns: f64) -> bool {
        self.0.get(&layout).is_some_and(|least| ns < least * ENOUGH)
    }

    /// Marks every figure as disturbed or not. This happens at the end, when more is known than during the measurements.
    pub fn judge(&self, cases: &mut [Measured]) {
        for Measured { case, figures, .. } in cases {
            for figure in figures {
                figure.is_quiet = self.is_quiet(case.layout, figure.slowest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_quiet_is_known_at_the_end() {
        let mut quiet = Quiet::default();
        assert!(quiet.is_unknown(Layout::Ipv4));
        quiet.heard(Layout::Ipv4, 24.0);
        assert!(quiet.is_quiet(Layout::Ipv4, 25.0));
        quiet.heard(Layout::Ipv4, 12.0);
        quiet.heard(Layout::Ipv4, 13.0);
        assert!(quiet.is_quiet(Layout::Ipv4, 13.5) && !quiet.is_quiet(Layout::Ipv4, 25.0));
    }
}
