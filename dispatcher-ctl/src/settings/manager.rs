//! The settings of the manager.

use std::time::Duration;

use super::{Proportions, bounds::Bounds, row::tables, settings, spec::Spec};
use crate::values::{duration, report_timeout};

/// From the shortest interval: weights should not change faster than what they follow.
const INTERVAL: Bounds = Bounds::Times(Duration::from_millis(100), Duration::from_secs(3600));

settings! {
    /// How the manager computes weights.
    #[derive(Copy)]
    Manager at "in [manager]", also [], later [];
    put {}
    patch {
        /// `PATCH /v1/manager`.
        PatchManager
    }
    view {
        /// The settings of the manager.
        ManagerSettings
    }
    given {}
    fixed {}
    required {}
    optional {
        /// Whether weights follow what is measured; otherwise they are as configured or set by hand.
        enabled: bool = false => Spec::NEW.typed("true or false");
        /// Time from one look at the weights to the next.
        #[serde(with = "duration")]
        interval: Duration = Duration::from_secs(2) => Spec::NEW.typed("a duration such as 2s")
            .within(INTERVAL);
        /// Number of intervals after which connections are counted again.
        refresh: u32 = 2 => Spec::NEW.numbers(1, 1000).typed("a whole number");
        /// Percent of a service's total weight that must change for its weights to be published.
        ///
        /// With 5, a total of 100 that would change by 5 is left as it is, by 6 it is not.
        sensitivity: f64 = 5.0 => Spec::NEW.numbers(0, 100).typed("a number of percent");
        /// How slowly weights follow their targets; 1: at once.
        smoothing: f64 = 1.5 => Spec::NEW.numbers(1, 100).typed("a number");
        /// Age from which reports of advisors and agents no longer count; `null` on the API: they always count.
        ///
        /// That a backend is down counts, however old the report is.
        #[serde(default, with = "report_timeout")]
        report_timeout: Option<Duration> = None => Spec::NEW.typed(report_timeout::EXPECTED)
            .may_be("more than `\"0s\"`, or `\"unlimited\"`");
        /// How much each input counts: active, new, advisor, system, together 100.
        proportions: Proportions = Proportions::new() => Spec::NEW;
    }
    tables {}
    runtime {}
    file {}
}

tables!(Manager);
