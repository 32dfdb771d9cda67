//! Events, one line each.

use jiff::{Timestamp, tz::TimeZone};

use super::line;
use crate::api::types::Event;

/// The time on this host's clock, the event's word, and what happened.
#[must_use]
pub fn event(event: &Event) -> String {
    let zone = TimeZone::system();
    let at = Timestamp::from_microsecond((event.time * 1e6) as i64);
    let at = at.map_or_else(
        |_| event.time.to_string(),
        |at| at.to_zoned(zone).strftime("%F %T").to_string(),
    );
    line(format!("{at}  {:<17} {}", event.kind.word(), event.kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::EventKind;

    #[test]
    fn an_event_is_a_line() {
        let kind = EventKind::ManagerAlert { service: "we\u{1b}b".to_owned() };
        let said = event(&Event { id: 1, time: 1_700_000_000.25, kind });
        assert!(said.starts_with("2023-11-1"), "{said}");
        assert!(
            said.ends_with("  manager_alert     service we\\u{1b}b: no backend is up\n"),
            "{said}"
        );
    }
}
