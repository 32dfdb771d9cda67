//! `dispatcher check`: checks a configuration.

use super::{Outcome, args::Check, block_on};
use crate::config;

pub(super) fn check(args: &Check) -> Outcome {
    let file = args.config.display();
    let text = block_on(config::read(&args.config))??;
    let config = config::parse(&text, &file.to_string())?;
    let services = config.services.len();
    let backends: usize = config.services.iter().map(|service| service.backends.len()).sum();
    Ok(format!("{file}: ok ({}, {})\n", some(services, "service"), some(backends, "backend")))
}

fn some(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
