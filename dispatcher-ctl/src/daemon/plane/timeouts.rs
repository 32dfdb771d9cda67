//! How long connections may be idle, as the sweeper needs it.

use std::time::Duration;

use crate::{
    datapath::connections::{ServiceTimeouts, Timeouts},
    model::{RetiredSlot, SavedState},
};

/// How long connections may be idle, by slot.
pub(super) fn timeouts(saved: &SavedState) -> Timeouts {
    let mut timeouts = Timeouts::default();
    for service in &saved.state.services {
        let config = &service.config;
        let of_service = ServiceTimeouts {
            stale: config.stale_timeout,
            syn: config.syn_timeout,
            fin: config.fin_timeout,
            fin_count: config.fin_count,
        };
        timeouts.service(of_service, service.backends.iter().map(|b| b.slot));
    }
    for RetiredSlot { slot, lingers, .. } in &saved.retired_slots {
        if lingers.is_zero() {
            timeouts.gone(*slot);
        } else {
            timeouts.service(lingering(*lingers), [*slot]);
        }
    }
    timeouts
}

/// For connections of a removed backend whose clients get an RST. Those that got one are closing, and are kept until the RST
/// has certainly arrived.
fn lingering(stale: Duration) -> ServiceTimeouts {
    const TOLD: Duration = Duration::from_secs(30);
    ServiceTimeouts { stale, syn: stale.min(TOLD), fin: stale.min(TOLD), fin_count: 0 }
}
