//! Checks user exits.

use super::Found;
use crate::model::Exits;

impl Found {
    /// Checks the commands and their timeout.
    pub(super) fn exits(&mut self, exits: &Exits) {
        (self.prefix, self.object) = ("exits.".to_owned(), "exits: ".to_owned());
        for (event, words) in exits.commands() {
            let Some(words) = words else { continue };
            match words.first() {
                None => {
                    self.say(event, &format!("{event} is empty, expected a program"));
                }
                Some(program) if !program.starts_with('/') => {
                    let message =
                        format!("{event} {program:?} is not valid, expected a path from /");
                    self.say(&format!("{event}[0]"), &message);
                }
                Some(_) => {}
            }
            if let Some(i) = words.iter().position(|word| word.contains('\0')) {
                let message = format!("{event} has a NUL, expected text without");
                self.say(&format!("{event}[{i}]"), &message);
            }
        }
        self.bounds("", exits);
        (self.prefix, self.object) = (String::new(), String::new());
    }
}
