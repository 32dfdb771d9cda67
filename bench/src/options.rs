//! What was asked for on the command line.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};

/// Options of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many times everything is loaded anew.
    pub loads: usize,
    /// Rounds of each load, where told.
    pub rounds: Option<usize>,
    /// Patterns of cases' names, in which `*` stands for anything; empty: all but the largest tables.
    pub cases: Vec<String>,
    /// Packets of one measurement, where told; cases of more flows take as many as there are flows.
    pub packets: Option<u32>,
    /// Where to write JSON.
    pub json: Option<PathBuf>,
    /// Where to draw a chart.
    pub svg: Option<PathBuf>,
    /// Whether the results go into the documentation, too.
    pub write_docs: bool,
    /// Only list the cases.
    pub list: bool,
    /// Real frames over a veth instead of a driver.
    pub veth: bool,
    /// Over a veth, also IPVS.
    pub ipvs: bool,
    /// Over a veth, whether this machine's clock counts instructions: `qemu -icount shift=0`.
    pub instructions: bool,
}

impl Options {
    /// Reads the words after the command's name.
    ///
    /// # Errors
    /// An option that there is not, or a value that is none.
    pub fn parse(words: &[String]) -> Result<Self> {
        let mut options = Self {
            loads: 9,
            rounds: None,
            cases: Vec::new(),
            packets: None,
            json: None,
            svg: None,
            write_docs: false,
            list: false,
            veth: false,
            ipvs: false,
            instructions: false,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let flag = match word.as_str() {
                "--list" => Some(&mut options.list),
                "--write-docs" => Some(&mut options.write_docs),
                "--veth" => Some(&mut options.veth),
                "--with-ipvs" => Some(&mut options.ipvs),
                "--instructions" => Some(&mut options.instructions),
                _ => None,
            };
            if let Some(flag) = flag {
                *flag = true;
                continue;
            }
            let mut value = || words.next().with_context(|| format!("{word}: expected a value"));
            match word.as_str() {
                "--loads" => options.loads = number(word, value()?)? as usize,
                "--rounds" => options.rounds = Some(number(word, value()?)? as usize),
                "--packets" => options.packets = Some(number(word, value()?)?),
                "--cases" => options.cases.extend(value()?.split(',').map(str::to_owned)),
                "--json" => options.json = Some(value()?.into()),
                "--svg" => options.svg = Some(value()?.into()),
                _ => bail!(
                    "{word}: expected --loads N, --rounds N, --packets N, --cases GLOB, --json FILE, --svg FILE, --write-docs, --list, --veth, --with-ipvs or --instructions"
                ),
            }
        }
        ensure!(
            options.veth || !(options.ipvs || options.instructions),
            "--with-ipvs and --instructions: expected with --veth\nhint: cargo xtask bench --ipvs"
        );
        ensure!(
            !options.write_docs || options.cases.is_empty() && !options.veth,
            "--write-docs: expected without --cases and --veth, since the documentation shows all cases"
        );
        Ok(options)
    }

    /// Rounds of each load.
    #[must_use]
    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(2)
    }

    /// Rounds over a veth, where everything is loaded once.
    #[must_use]
    pub fn veth_rounds(&self) -> usize {
        self.rounds.unwrap_or(9)
    }

    /// Packets of one measurement under the driver.
    #[must_use]
    pub fn packets(&self) -> u32 {
        self.packets.unwrap_or(1 << 18)
    }

    /// Frames of one measurement over a veth: to set one up takes as long as 100,000 of them.
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

fn number(option: &str, value: &str) -> Result<u32> {
    let number = value.parse().with_context(|| format!("{option} {value}: expected a number"))?;
    ensure!(number > 0, "{option} {value}: expected more than 0");
    Ok(number)
}

/// Whether a name fits a pattern, in which `*` stands for anything.
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
    use super::*;

    fn parse(words: &str) -> Result<Options> {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        Options::parse(&words)
    }

    #[test]
    fn options_are_read() {
        let options =
            parse("--loads 2 --rounds 4 --cases hit/*/1k,new/wrr --json out.json").unwrap();
        assert_eq!((options.loads, options.rounds()), (2, 4));
        assert_eq!(options.json, Some("out.json".into()));
        assert_eq!(options.cases, ["hit/*/1k", "new/wrr"]);
        let options = parse("--veth --packets 1000").unwrap();
        assert_eq!((options.veth, options.ipvs, options.frames()), (true, false, 1000));
    }

    #[test]
    fn what_is_no_option_is_refused() {
        let alone = "--write-docs --cases new/wrr";
        for words in ["--rounds", "--rounds 0", "--loads x", "--fast", "--with-ipvs", alone] {
            assert!(parse(words).is_err(), "{words}");
        }
    }

    #[test]
    fn patterns_select() {
        let options = parse("--cases hit/*/1k,new/*").unwrap();
        let wanted = ["hit/ipv4-tcp/1k", "hit/a/b/1k", "new/", "new/wrr"];
        assert!(wanted.iter().all(|name| options.wants(name)));
        assert!(
            !["hit/ipv4-tcp/64k", "renew/wrr", "hit/1k"].iter().any(|name| options.wants(name))
        );
        assert!(!parse("").unwrap().wants("hit/ipv4-tcp/10M"));
    }
}
