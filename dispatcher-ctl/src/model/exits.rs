//! User exits: commands that are run when something happens.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::duration;

/// Which commands are run, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exits {
    /// Program and arguments, by the event's word; one of [`Exits::EVENTS`].
    pub commands: BTreeMap<String, Vec<String>>,
    /// How long a command may run; then it is killed.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Events that wait while a command runs; beyond that the oldest are dropped.
    pub queue: usize,
}

impl Exits {
    /// Events that commands can be run at.
    pub const EVENTS: [&str; 6] = [
        "server_up",
        "server_down",
        "manager_alert",
        "manager_clear",
        "half_open_alert",
        "half_open_clear",
    ];

    /// A command as one line; `none` where there is none.
    #[must_use]
    pub fn line(&self, event: &str) -> String {
        self.commands.get(event).map_or_else(|| "none".to_owned(), |words| words.join(" "))
    }
}

impl Default for Exits {
    fn default() -> Self {
        Self { commands: BTreeMap::new(), timeout: Duration::from_secs(10), queue: 100 }
    }
}
