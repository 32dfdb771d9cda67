//! Adds up the results of cargo test over all test programs.

use std::fmt;

use anyhow::{Result, bail};

/// Sums of the "test result:" lines.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// Tests that passed.
    pub(super) passed: u64,
    /// Tests that failed.
    pub(super) failed: u64,
    ignored: u64,
    names: Vec<String>,
}

impl Summary {
    /// Reads a line of cargo test's output.
    pub(super) fn read(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|l| l.strip_suffix(" ... FAILED")) {
            self.names.push(name.to_owned());
        }
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        for count in counts.split([';', '.']) {
            let mut words = count.split_whitespace();
            let (Some(Ok(number)), Some(what)) =
                (words.next().map(str::parse::<u64>), words.next())
            else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    /// Checks the run: something ran, nothing failed, and the programs ended with status 0.
    ///
    /// # Errors
    /// When the run is not good; the message names the tests that failed.
    pub(super) fn judge(&self, all_well: bool) -> Result<()> {
        if self.failed > 0 || !all_well {
            bail!("{}", self.failures());
        }
        if self.passed == 0 {
            bail!("no test ran");
        }
        Ok(())
    }

    /// The tests that failed, in one line.
    fn failures(&self) -> String {
        if self.names.is_empty() {
            "a test program did not build or did not end well".to_owned()
        } else {
            format!("failed: {}", self.names.join(", "))
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.ignored > 0 {
            write!(f, ", {} ignored", self.ignored)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_programs_are_added_up() {
        let mut summary = Summary::default();
        for line in [
            "test a::b ... ok",
            "test result: ok. 25 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.05s",
            "test c ... FAILED",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ] {
            summary.read(line);
        }
        assert_eq!(summary.to_string(), "26 passed, 1 failed, 1 ignored");
        assert_eq!(summary.failures(), "failed: c");
    }

    #[test]
    fn a_run_is_good_only_when_something_ran_and_all_went_well() {
        let mut summary = Summary::default();
        assert_eq!(summary.judge(true).unwrap_err().to_string(), "no test ran");
        assert!(summary.judge(false).unwrap_err().to_string().contains("did not build"));
        summary.read("test result: ok. 2 passed; 0 failed; 0 ignored");
        assert!(summary.judge(true).is_ok() && summary.judge(false).is_err());
    }
}
