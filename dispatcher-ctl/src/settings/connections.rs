//! The settings of the connection table.

use super::{row::tables, settings, spec::Spec};
use crate::values::Orphan;

/// Largest capacity: 2²⁵ buckets (2 GiB; the largest that was mapped).
const MOST: i64 = 268_435_456;
/// The note in a plan for a setting that is read when the maps are made.
pub(super) const FRESH: &str = "takes effect at the next fresh start: detach --all, run";

settings! {
    /// The settings of the connection table.
    #[derive(Eq)]
    Connections at "in [connections]", also [], later [];
    given {}
    required {}
    file {
        /// Connections that the table is made for.
        ///
        /// A changed capacity takes effect at the next fresh start (after `dispatcher detach --all`); `status` shows that.
        capacity: u64 = 1_000_000 => Spec::NEW.numbers(16, MOST).note(FRESH);
        /// Half-open connections of all backends above which SYNs are placed by hash, without an entry in the table.
        ///
        /// So a SYN flood leaves established connections alone. A client that continues gets its entry with its next packet.
        syn_guard: u64 = 100_000 => Spec::NEW.numbers(0, MOST);
        /// What happens to a TCP packet that has no connection and is not a SYN.
        ///
        /// `"drop"`: dropped and counted by kind. `"schedule"`: treated as new. `"reset"`: answered with an RST, at most a
        /// thousand a second and CPU; the others are dropped. `"pass"`: left to the kernel.
        orphan: Orphan = Orphan::Drop;
    }
}

tables!(Connections);
