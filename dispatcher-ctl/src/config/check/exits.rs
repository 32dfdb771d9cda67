//! Checks user exits.

use std::time::Duration;

use super::Found;
use crate::model::{Exits, duration};

/// Longest timeout: a command that hangs delays the next ones by this time.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(300);

impl Found {
    /// Checks the commands and their timeout.
    pub(super) fn exits(&mut self, exits: &Exits) {
        (self.prefix, self.object) = ("exits.".to_owned(), "exits: ".to_owned());
        for event in Exits::EVENTS {
            let Some(words) = exits.command(event) else { continue };
            match words.first() {
                None => {
                    self.say(event, &format!("{event} is empty, expected a program"));
                }
                Some(program) if !program.starts_with('/') => {
                    let message = format!("{event} {program:?} is none, expected a path from /");
                    self.say(&format!("{event}[0]"), &message);
                }
                Some(_) => {}
            }
            if let Some(i) = words.iter().position(|word| word.contains('\0')) {
                let message = format!("{event} has a NUL, expected text without");
                self.say(&format!("{event}[{i}]"), &message);
            }
        }
        if exits.timeout.is_zero() || exits.timeout > LONGEST_TIMEOUT {
            let written = duration::text(exits.timeout);
            let message =
                format!("timeout {written} is out of range, expected more than 0s and at most 5m");
            self.say("timeout", &message);
        }
        (self.prefix, self.object) = (String::new(), String::new());
    }
}
