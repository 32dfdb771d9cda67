//! Hysteresis: how many outcomes in a row turn a backend up or down (`rise`, `fall`).

/// Whether probes find a backend up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    is_up: bool,
    /// Outcomes in a row that contradict `is_up`.
    against: u32,
}

impl Health {
    /// A backend that counts as up or down until probes show otherwise.
    #[must_use]
    pub const fn new(is_up: bool) -> Self {
        Self { is_up, against: 0 }
    }

    /// Whether it is up.
    #[must_use]
    pub const fn is_up(self) -> bool {
        self.is_up
    }

    /// Adds an outcome; returns true if the backend changed between up and down.
    pub fn record(&mut self, is_good: bool, rise: u32, fall: u32) -> bool {
        if is_good == self.is_up {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let needed = if is_good { rise } else { fall };
        if self.against < needed {
            return false;
        }
        *self = Self::new(is_good);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(mut health: Health, outcomes: &[u8], rise: u32, fall: u32) -> Vec<bool> {
        outcomes
            .iter()
            .map(|outcome| {
                let was = health.is_up();
                let changed = health.record(*outcome == 1, rise, fall);
                assert_eq!(changed, was != health.is_up());
                health.is_up()
            })
            .collect()
    }

    #[test]
    fn it_takes_as_many_in_a_row_as_were_asked_for() {
        let (up, down) = (Health::new(true), Health::new(false));
        assert_eq!(after(up, &[0, 1, 0], 1, 1), [false, true, false]);
        assert_eq!(after(up, &[0, 0, 1, 0, 0, 0], 1, 3), [true, true, true, true, true, false]);
        assert_eq!(after(down, &[1, 0, 1, 1, 0], 2, 2), [false, false, false, true, true]);
    }
}
