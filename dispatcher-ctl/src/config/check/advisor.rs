//! Whether an advisor makes sense for its service.

use std::time::Duration;

use super::Found;
use crate::model::{Protocol, ServiceConfig, duration};

/// Shortest interval: probes are sockets, and thousands of backends have them.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// Longest interval.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);
/// Longest timeout.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

impl Found {
    /// What may be wrong with a service's.
    pub(super) fn advisor(&mut self, service: &ServiceConfig) {
        let Some(advisor) = &service.advisor else { return };
        let interval = advisor.interval;
        if !(SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&interval) {
            let written = duration::text(interval);
            let message = format!("interval {written} is out of range, expected 100ms to 1h");
            self.say("advisor.interval", &message);
        }
        for (key, timeout) in [
            ("connect_timeout", advisor.connect_timeout),
            ("receive_timeout", advisor.receive_timeout),
        ] {
            if timeout.is_zero() || timeout > LONGEST_TIMEOUT {
                let written = duration::text(timeout);
                let message = format!(
                    "{key} {written} is out of range, expected more than 0s and at most 1m"
                );
                self.say(&format!("advisor.{key}"), &message);
            }
        }
        if !advisor.path.starts_with('/') || advisor.path.contains(char::is_whitespace) {
            let message = format!("path {:?} is none, expected a path from /", advisor.path);
            self.say("advisor.path", &message);
        }
        let is_told = service.port != 0 && service.protocol == Protocol::Tcp;
        if advisor.port.is_none() && !is_told {
            let message =
                "port is missing: the service has no TCP port to probe, expected 1..=65535";
            self.say("advisor.port", message);
        }
    }
}
