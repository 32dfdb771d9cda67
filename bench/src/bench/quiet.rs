//! Tells whether something else ran on this core.
//!
//! A thread on the other half of a core makes whatever runs here take about twice as long, an empty program, too; a case that
//! waits for memory less so. So figures of disturbed and quiet rounds cannot be compared.

use std::collections::BTreeMap;

use super::Measured;
use crate::driver::Layout;

/// So many times the least that an empty program took is quiet enough: it takes 1.0 to 1.3 times as long alone, 1.7 to 2.5 in
/// company.
const ENOUGH: f64 = 1.4;

/// The least that a packet took in an empty program, nanoseconds, by driver.
#[derive(Clone, Debug, Default)]
pub struct Quiet(BTreeMap<Layout, f64>);

impl Quiet {
    /// Whether nothing is known yet.
    pub(super) fn is_unknown(&self, layout: Layout) -> bool {
        !self.0.contains_key(&layout)
    }

    /// What the empty program took now.
    pub(super) fn heard(&mut self, layout: Layout, ns: f64) {
        let least = self.0.entry(layout).or_insert(ns);
        *least = least.min(ns);
    }

    /// Whether it takes so long when nobody disturbs, as far as is known.
    #[must_use]
    pub(super) fn is_quiet(&self, layout: Layout, ns: f64) -> bool {
        self.0.get(&layout).is_some_and(|least| ns < least * ENOUGH)
    }

    /// Says of all figures whether they were disturbed: at the end more is known than when they were measured.
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
