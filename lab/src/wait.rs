//! Waits for an expected event, with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(10);

/// Asks repeatedly until there is an answer.
///
/// # Errors
/// When there is no answer in time (`what` names it); and the question's own errors.
pub fn until<T>(
    at_most: Duration,
    what: &str,
    mut question: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = question()? {
            return Ok(answer);
        }
        if start.elapsed() >= at_most {
            bail!("no {what} within {at_most:?}");
        }
        std::thread::sleep(PAUSE);
    }
}

/// Waits until a condition holds. An error means "not yet", and the last error is reported at the deadline.
///
/// # Errors
/// When the condition does not hold in time.
pub fn eventually(
    at_most: Duration,
    what: &str,
    mut holds: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let mut last = None;
    until(at_most, what, || match holds() {
        Ok(true) => Ok(Some(())),
        Ok(false) => {
            last = None;
            Ok(None)
        }
        Err(error) => {
            last = Some(error);
            Ok(None)
        }
    })
    .map_err(|timeout| match last {
        Some(error) => error.context(timeout.to_string()),
        None => timeout,
    })
}
