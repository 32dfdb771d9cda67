//! NICs, VIPs and next hops.

pub(super) mod answers;
pub(super) mod names;
pub(super) mod neighbours;
pub(super) mod nics;
pub(super) mod probe_path;
pub(super) mod refused;
pub(super) mod vips;
