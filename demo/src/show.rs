//! The demo's output: coloured on a terminal, readable in a log.

use std::{io::IsTerminal as _, time::Duration};

const BAR: u32 = 40;

/// Prints what the demo does.
#[derive(Debug)]
pub(crate) struct Show {
    colour: bool,
    steps: u32,
}

impl Show {
    /// Coloured where standard output is a terminal and `NO_COLOR` is not set.
    pub(crate) fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { colour, steps: 0 }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Begins a step.
    pub(crate) fn step(&mut self, title: &str) {
        self.steps += 1;
        println!("\n{}", self.paint("1;36", &format!("{}. {title}", self.steps)));
    }

    /// Tells what happens next, or what can be seen.
    pub(crate) fn say(&self, text: &str) {
        for line in text.lines() {
            println!("   {line}");
        }
    }

    /// Shows a command that is run.
    pub(crate) fn command(&self, line: &str) {
        println!("   {}", self.paint("2", &format!("$ {line}")));
    }

    /// Reports a check that succeeded.
    pub(crate) fn good(&self, text: &str) {
        println!("   {} {text}", self.paint("32", "ok"));
    }

    /// Reports a check that failed.
    pub(crate) fn bad(&self, text: &str) {
        println!("   {} {text}", self.paint("1;31", "FAILED"));
    }

    /// Shows one row of a chart.
    pub(crate) fn bar(&self, name: &str, number: u32, total: u32) {
        let filled = (number * BAR).checked_div(total).unwrap_or(0);
        let bar: String = (0..BAR).map(|i| if i < filled { '#' } else { '.' }).collect();
        println!("   {name:8} {number:5}  {}", self.paint("34", &bar));
    }

    /// Shows the summary.
    pub(crate) fn end(&self, took: Duration) {
        let text = format!(
            "demo: {} steps, each did what it says, in {:.0} s",
            self.steps,
            took.as_secs_f32()
        );
        println!("\n{}", self.paint("1;32", &text));
    }
}
