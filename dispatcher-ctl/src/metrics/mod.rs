//! Prometheus metrics: what `GET /metrics` tells of a [`Status`]. [`families`] declares them, [`text`] writes them down,
//! [`server`] serves them.

use crate::api::types::Status;

pub mod families;
pub mod server;
mod text;

pub use text::CONTENT_TYPE;

/// The metrics in Prometheus' text format; families without a value are left out.
#[must_use]
pub fn render(status: &Status) -> String {
    let mut out = String::new();
    let mut readings = Vec::new();
    for family in families::ALL {
        (family.read)(status, &mut readings);
        if !readings.is_empty() {
            text::head(&mut out, family);
        }
        for reading in readings.drain(..) {
            text::reading(&mut out, family, &reading);
        }
    }
    out
}
