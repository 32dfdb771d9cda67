//! The settings of user exits: commands that are run when something happens.

use std::time::Duration;

use super::{bounds::Bounds, row::tables, settings, spec::Spec};
use crate::values::duration;

/// A program, a path from `/`, and its arguments.
const COMMAND: Spec = Spec::NEW.expected("program and arguments");

/// A command that hangs delays the next ones by this time.
const TIMEOUT: Bounds = Bounds::MoreThanZero(Duration::from_secs(300));

settings! {
    /// Which commands are run, and how.
    #[derive(Eq)]
    Exits at "in [exits]", also [], later [];
    given {}
    required {}
    file {
        /// A backend can get packets again: by hand, by its advisor, or because its MAC is known.
        #[serde(default)]
        server_up: Option<Vec<String>> = None => COMMAND;
        /// A backend can get no more packets: by hand, by its advisor, or because its MAC is unknown.
        #[serde(default)]
        server_down: Option<Vec<String>> = None => COMMAND;
        /// None of a service's backends is up. Also with the manager off.
        #[serde(default)]
        manager_alert: Option<Vec<String>> = None => COMMAND;
        /// One of a service's backends is up again. Also with the manager off.
        #[serde(default)]
        manager_clear: Option<Vec<String>> = None => COMMAND;
        /// More connections are half-open than `syn_guard`.
        #[serde(default)]
        half_open_alert: Option<Vec<String>> = None => COMMAND;
        /// No longer more connections are half-open than `syn_guard`.
        #[serde(default)]
        half_open_clear: Option<Vec<String>> = None => COMMAND;
        /// How long a command may run; then it is killed with its process group.
        #[serde(with = "duration")]
        timeout: Duration = Duration::from_secs(10) => Spec::NEW.within(TIMEOUT);
        /// Events that wait while a command runs; beyond that the oldest are dropped.
        queue: usize = 100 => Spec::NEW.numbers(1, 10_000);
    }
}

impl Exits {
    /// Every event at which a command can be run, with its command.
    #[must_use]
    pub fn commands(&self) -> [(&'static str, Option<&Vec<String>>); 6] {
        [
            ("server_up", self.server_up.as_ref()),
            ("server_down", self.server_down.as_ref()),
            ("manager_alert", self.manager_alert.as_ref()),
            ("manager_clear", self.manager_clear.as_ref()),
            ("half_open_alert", self.half_open_alert.as_ref()),
            ("half_open_clear", self.half_open_clear.as_ref()),
        ]
    }

    /// The program and arguments for an event, if it has a command.
    #[must_use]
    pub fn command(&self, event: &str) -> Option<&Vec<String>> {
        self.commands().into_iter().find_map(|(word, command)| command.filter(|_| word == event))
    }
}

tables!(Exits);
