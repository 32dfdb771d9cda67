//! Checks the manager's settings.

use super::Found;
use crate::model::{Manager, Proportions};

impl Found {
    /// Checks the manager's settings.
    pub(super) fn manager(&mut self, manager: &Manager) {
        self.prefix = "manager.".to_owned();
        self.object = "manager: ".to_owned();
        self.bounds("", manager);
        if manager.report_timeout.is_some_and(|timeout| timeout.is_zero()) {
            let message = "report_timeout 0s forgets at once, expected more, or \"unlimited\"";
            self.say("report_timeout", message);
        }
        self.proportions(manager.proportions);
        (self.object, self.prefix) = (String::new(), String::new());
    }

    /// Checks proportions.
    pub(super) fn proportions(&mut self, proportions: Proportions) {
        let all = proportions.all();
        let sum = all.iter().map(|percent| u64::from(*percent)).sum::<u64>();
        if sum != 100 {
            let message = format!("proportions {proportions} sum to {sum}, expected 100");
            let problem = self.say("proportions", &message);
            let at = problem.error.path.clone();
            problem.causes =
                ["active", "new", "advisor", "system"].map(|key| format!("{at}.{key}")).into();
        }
    }
}
