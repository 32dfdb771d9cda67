//! Finds moments in which the machine stood still. A busy host takes the CPUs of a virtual machine away, sometimes for tenths
//! of a second; a test's times mean nothing then.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::cpus;

const ATTEMPTS: u32 = 4;
const NAP: Duration = Duration::from_millis(1);

/// Repeats a failed attempt if a CPU stood still meanwhile: `shortest` is the shortest stall that can make it fail. A failure
/// without a stall is final; nothing is repeated for any other reason.
///
/// # Errors
/// As the attempt; also when several attempts failed, each with a stall.
///
/// # Panics
/// As the attempt.
pub fn undisturbed<T>(shortest: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 0..ATTEMPTS {
        let watch = Watch::start()?;
        let outcome = catch_unwind(AssertUnwindSafe(&mut attempt));
        let stall = watch.end();
        match outcome {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) if stall < shortest => return Err(error),
            Err(panic) if stall < shortest => resume_unwind(panic),
            Ok(Err(error)) => eprintln!("failed, and a CPU stood still for {stall:?}: {error:?}"),
            Err(_) => eprintln!("panicked, and a CPU stood still for {stall:?}"),
        }
    }
    bail!("{ATTEMPTS} attempts failed, and in each a CPU stood still for {shortest:?} or longer")
}

/// A thread on each CPU that sleeps briefly in a loop, and at the end reports its longest delay.
struct Watch {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Duration>>,
}

impl Watch {
    fn start() -> Result<Self> {
        let mut watch = Self { stop: Arc::default(), threads: Vec::new() };
        let began = Instant::now();
        for cpu in cpus::available()? {
            let stop = Arc::clone(&watch.stop);
            watch.threads.push(spawn(move || {
                // If the CPU has disappeared meanwhile, this thread sees the stalls of another one.
                let _ = cpus::pin(cpu);
                let (mut last, mut longest) = (began, Duration::ZERO);
                loop {
                    sleep(NAP);
                    // Measure from the end of the previous nap, and once more after the stop, so that no moment is left out.
                    let now = Instant::now();
                    longest = longest.max((now - last).saturating_sub(NAP));
                    if stop.load(Ordering::Relaxed) {
                        return longest;
                    }
                    last = now;
                }
            }));
        }
        Ok(watch)
    }

    /// The longest stall, including one that has only just ended.
    fn end(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let stalls = self.threads.into_iter().map(|thread| thread.join().expect("no panic"));
        stalls.max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::from_secs(3600);

    #[test]
    fn what_fails_undisturbed_fails_at_once() {
        let mut attempts = 0;
        let outcome = undisturbed::<()>(NEVER, || {
            attempts += 1;
            bail!("attempt {attempts}")
        });
        assert_eq!(outcome.unwrap_err().to_string(), "attempt 1");
    }

    #[test]
    fn what_fails_disturbed_is_tried_again_and_not_for_ever() -> Result<()> {
        let mut attempts = 0;
        let mut at = |succeeds: u32| {
            attempts = 0;
            undisturbed(Duration::ZERO, || {
                attempts += 1;
                assert_ne!(attempts, 1, "a panic is a failure as well");
                if attempts < succeeds { bail!("attempt {attempts}") } else { Ok(attempts) }
            })
        };
        assert_eq!(at(3)?, 3);
        assert_eq!(at(ATTEMPTS)?, ATTEMPTS);
        assert!(at(ATTEMPTS + 1).is_err());
        Ok(())
    }

    #[test]
    fn a_stall_is_seen() -> Result<()> {
        let watch = Watch::start()?;
        // Stop this process, as a host may stop its machine.
        let stall = format!("kill -STOP {0}; sleep 0.2; kill -CONT {0}", std::process::id());
        assert!(std::process::Command::new("sh").args(["-c", &stall]).status()?.success());
        let longest = watch.end();
        assert!(longest >= Duration::from_millis(150), "{longest:?}");
        Ok(())
    }
}
