//! Warnings of `status` about probes that cannot be made, or not in time.

use std::collections::BTreeMap;

use super::{line, units::span};
use crate::api::types::Status;

/// Backends listed by name; if there are more, only their number is shown.
const NAMED: usize = 3;
/// Causes that are shown.
const CAUSES: usize = 10;
/// Lateness in seconds from which probes of backends that are up are reported.
const LATE: f64 = 1.0;
/// The same for probes of other backends: they wait for each other.
const LATE_OTHER: f64 = 15.0;

/// The warnings, one line each.
pub(super) fn warnings(status: &Status) -> String {
    let mut text = not_probed(status);
    let lateness = &status.probe_lateness;
    for (whose, late, bound) in
        [("that are up", lateness.up, LATE), ("that are down or new", lateness.other, LATE_OTHER)]
    {
        if late >= bound {
            text += &line(format!(
                "warning: probes of backends {whose} begin up to {} late: this host cannot make all of them in time",
                span(late),
            ));
        }
    }
    text
}

/// The backends that could not be probed, by cause.
fn not_probed(status: &Status) -> String {
    let mut causes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for service in &status.services {
        for backend in &service.backends {
            let why = [&backend.advisor, &backend.agent].map(|a| a.as_ref()?.not_probed.as_deref());
            for why in why.into_iter().flatten() {
                causes.entry(why).or_default().push(format!("{}/{}", service.name, backend.name));
            }
        }
    }
    let told = causes.iter().take(CAUSES).map(|(why, backends)| {
        line(format!("warning: could not probe {}, left as it was: {why}", names(backends)))
    });
    let more = causes.len().saturating_sub(CAUSES);
    let more = (more > 0).then(|| format!("and {more} more causes: dispatcher advisor report\n"));
    told.chain(more).collect()
}

fn names(backends: &[String]) -> String {
    match backends.len().checked_sub(NAMED) {
        Some(more) if more > 1 => format!("{} and {more} more", backends[..NAMED].join(", ")),
        _ => backends.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_named_of_many() {
        let backends: Vec<_> = (1..=9).map(|n| format!("web/web-{n}")).collect();
        assert_eq!(names(&backends[..2]), "web/web-1, web/web-2");
        assert_eq!(names(&backends[..4]), "web/web-1, web/web-2, web/web-3, web/web-4");
        assert_eq!(names(&backends), "web/web-1, web/web-2, web/web-3 and 6 more");
    }
}
