//! The options of the benchmark. `cargo xtask bench` shows them in its help and passes them on.

use std::path::PathBuf;

use clap::{Args, value_parser};

/// Options of a run.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[group(id = "measurement")]
pub struct Options {
    /// Measure only these cases and what they are compared with; `*` matches anything [default: all but the largest tables].
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    pub cases: Vec<String>,
    /// Load program and maps this many times.
    #[arg(long, default_value_t = 9, value_parser = value_parser!(u32).range(1..))]
    pub loads: u32,
    /// Measure each case this many times per load [default: 2, with --veth 9].
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// Packets of one measurement; cases with more flows take one per flow [default: 262144, with --veth 4194304].
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    pub packets: Option<u32>,
    /// Also write machine, kernel, commit and the figures of all rounds as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Also write the results into docs/benchmarks.md.
    #[arg(long, conflicts_with_all = ["cases", "veth"])]
    pub write_docs: bool,
    /// List the cases, and measure nothing.
    #[arg(long)]
    pub list: bool,
    /// Measure real frames over a veth on one CPU.
    #[arg(long)]
    pub veth: bool,
    /// Over a veth, also measure IPVS.
    #[arg(long, requires = "veth", hide = true)]
    pub with_ipvs: bool,
    /// The clock of this machine counts instructions, as with `qemu -icount shift=0`.
    #[arg(long, requires = "veth", hide = true)]
    pub instructions: bool,
}

impl Options {
    /// Rounds of each load.
    #[must_use]
    pub fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(2)
    }

    /// Rounds over a veth, where everything is loaded once.
    #[must_use]
    pub fn veth_rounds(&self) -> u32 {
        self.rounds.unwrap_or(9)
    }

    /// Packets of one measurement under the driver.
    #[must_use]
    pub fn packets(&self) -> u32 {
        self.packets.unwrap_or(1 << 18)
    }

    /// Frames of one measurement over a veth: setting one up takes as long as 100,000 frames.
    #[must_use]
    pub fn frames(&self) -> u32 {
        self.packets.unwrap_or(1 << 22)
    }

    /// Whether a case is asked for by name.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        if self.cases.is_empty() {
            return !name.ends_with("/10M");
        }
        self.cases.iter().any(|pattern| matches(pattern, name))
    }
}

/// Whether a name matches a pattern, in which `*` matches anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name
            .strip_prefix(start)
            .is_some_and(|name| (0..=name.len()).any(|at| matches(rest, &name[at..]))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Arguments {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn patterns_select() {
        let parse = |words: &str| Arguments::parse_from(words.split_whitespace()).options;
        let options = parse("bench --cases hit/*/1k,new/*");
        let wanted = ["hit/ipv4-tcp/1k", "hit/a/b/1k", "new/", "new/wrr"];
        assert!(wanted.iter().all(|name| options.wants(name)));
        assert!(
            !["hit/ipv4-tcp/64k", "renew/wrr", "hit/1k"].iter().any(|name| options.wants(name))
        );
        assert!(!parse("bench").wants("hit/ipv4-tcp/10M"));
    }
}
