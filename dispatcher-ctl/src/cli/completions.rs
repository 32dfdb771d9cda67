//! `dispatcher completions`: prints a shell's completion script.

use clap::CommandFactory as _;

use super::args::{Cli, Completions};

pub(super) fn completions(args: &Completions) -> String {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "dispatcher", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
