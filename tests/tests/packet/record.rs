//! Costs of the programs in the kernel, compared with a record in the repository: no growth goes unnoticed.
//!
//! `record.json` has the stack by function, which depends on the object alone, and for each kernel on which it was
//! written: instructions walked at verification, instructions after it, and bytes of machine code. A value that exceeds
//! the record by more than a margin is reported with both figures. `DISPATCHER_BLESS=1` rewrites the record and its
//! table in `docs/benchmarks.md`.

use std::{collections::BTreeMap, env, fmt::Write as _, fs};

use anyhow::{Context as _, Result};
use dispatcher_tests::datapath::{self, Datapath, World};

use crate::object::{Function, deepest, functions};

/// Figures by place (a kernel, or [`ANYWHERE`]) and by subject.
type Record = BTreeMap<String, Figures>;
type Figures = BTreeMap<String, u64>;

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/packet/record.json");
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks.md");
/// The table's place in the document: between these marks.
const MARKS: [&str; 2] = ["<!-- record -->\n", "<!-- /record -->"];
/// The place of figures that do not depend on the kernel.
const ANYWHERE: &str = "anywhere";
/// Tolerated growth: parts of 1,000, or at least this number. Stack has no margin.
const MARGIN: (u64, u64) = (20, 32);
const PROGRAMS: [&str; 5] =
    ["dispatcher", "probe_in", "probe_out", "redirect_refused", "sending_refused"];
/// Units, at the end of the figures' names.
const STACK: &str = "bytes of stack";
const VERIFIED: &str = "instructions walked at verification";
const INSTRUCTIONS: &str = "instructions";
const COMPILED: &str = "bytes of machine code";

/// The kernel of the figures: release and machine.
fn kernel() -> Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let numbers: Vec<&str> = release.trim().split('.').take(2).collect();
    Ok(format!("Linux {} {}", numbers.join("."), env::consts::ARCH))
}

/// Stack by function, and of each program's deepest chain of calls as kernel 6.1 counts it.
fn stacks() -> Result<Figures> {
    let functions = functions()?;
    let rounded = |function: &Function| function.stack().max(1).next_multiple_of(32);
    let mut figures: Figures = functions
        .iter()
        .map(|(name, function)| (format!("function {name}: {STACK}"), whole_slots(function)))
        .collect();
    for program in PROGRAMS {
        let (stack, _) = deepest(&functions, program, rounded);
        figures.insert(format!("program {program}: {STACK}"), stack.into());
    }
    Ok(figures)
}

/// A function's stack in slots of eight bytes, as the verifier counts it.
fn whole_slots(function: &Function) -> u64 {
    function.stack().next_multiple_of(8).into()
}

/// The costs of the programs on this kernel.
fn costs() -> Result<Figures> {
    let mut figures = Figures::new();
    for (program, costs) in Datapath::load(&World::standard())?.costs()? {
        figures.insert(format!("program {program}: {VERIFIED}"), costs.verified.into());
        let whole = (format!("program {program}"), costs.whole);
        let parts = costs.functions.into_iter();
        for (of, size) in
            parts.map(|(name, size)| (format!("function {name} of {program}"), size)).chain([whole])
        {
            figures.insert(format!("{of}: {INSTRUCTIONS}"), size.instructions.into());
            figures.insert(format!("{of}: {COMPILED}"), size.compiled.into());
        }
    }
    Ok(figures)
}

/// Figures larger than recorded, one line each. A new function counts in its program.
fn grown(before: &Figures, now: &Figures) -> String {
    let mut lines = String::new();
    for (what, is) in now {
        let Some(was) = before.get(what) else { continue };
        let margin = (was * MARGIN.0 / 1000).max(MARGIN.1);
        let most = if what.ends_with(STACK) { *was } else { was + margin };
        if *is > most {
            let percent = (*is as f64 / (*was).max(1) as f64 - 1.0) * 100.0;
            let _infallible = writeln!(lines, "{what}: {was} before, now {is} (+{percent:.1} %)");
        }
    }
    lines
}

/// Compares with the record of a place, or rewrites it.
fn compare(place: &str, now: Figures) -> Result<()> {
    if env::var_os("DISPATCHER_BLESS").is_some() {
        return bless(place, now);
    }
    let record: Record = serde_json::from_str(include_str!("record.json"))?;
    let Some(before) = record.get(place) else {
        println!("nothing is recorded of {place}");
        return Ok(());
    };
    let lines = grown(before, &now);
    let hint = "hint: DISPATCHER_BLESS=1 cargo test -p dispatcher-tests --test packet record";
    anyhow::ensure!(lines.is_empty(), "the datapath grew ({place})\n{lines}{hint} accepts it");
    Ok(())
}

fn bless(place: &str, now: Figures) -> Result<()> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _alone = ONE.lock();
    let mut record: Record = serde_json::from_str(&fs::read_to_string(RECORD)?)?;
    record.insert(place.to_owned(), now);
    fs::write(RECORD, serde_json::to_string_pretty(&record)? + "\n")?;
    let document = fs::read_to_string(DOCUMENT)?;
    let (before, _, after) = cut(&document)?;
    Ok(fs::write(DOCUMENT, [before, &table(&record), after].concat())?)
}

/// The document before the table including its mark, the table, and the rest.
fn cut(document: &str) -> Result<(&str, &str, &str)> {
    let place = |mark: &str| document.find(mark).with_context(|| format!("no {mark}"));
    let (start, end) = (place(MARKS[0])? + MARKS[0].len(), place(MARKS[1])?);
    let (before, rest) = document.split_at(start);
    let (table, after) = rest.split_at(end.checked_sub(start).context("the marks are turned")?);
    Ok((before, table, after))
}

/// The record's programs and the largest of their functions, for readers.
fn table(record: &Record) -> String {
    let none = Figures::new();
    let stacks = record.get(ANYWHERE).unwrap_or(&none);
    let mut text = String::new();
    for (place, figures) in record.iter().filter(|(place, _)| *place != ANYWHERE) {
        let header =
            format!("\n{place}:\n\n| | {VERIFIED} | {INSTRUCTIONS} | {COMPILED} | {STACK} |");
        let _infallible = writeln!(text, "{header}\n|---|---|---|---|---|");
        let names =
            figures.keys().filter_map(|name| name.strip_suffix(&format!(": {INSTRUCTIONS}")));
        let mut rows: Vec<(&str, u64)> =
            names.map(|name| (name, figures[&format!("{name}: {INSTRUCTIONS}")])).collect();
        rows.sort_by_key(|(name, size)| (!name.starts_with("program"), u64::MAX - size));
        for (name, size) in rows {
            let of = |of: &Figures, what: &str, unit: &str| {
                of.get(&format!("{what}: {unit}")).map_or(String::new(), u64::to_string)
            };
            let verified = of(figures, name, VERIFIED);
            let stack = of(stacks, name.split(" of ").next().unwrap_or_default(), STACK);
            let compiled = of(figures, name, COMPILED);
            let name = label(name);
            let _infallible =
                writeln!(text, "| {name} | {verified} | {size} | {compiled} | {stack} |");
        }
    }
    text + "\n"
}

/// A figure's subject with its names set as code.
fn label(of: &str) -> String {
    let quote = |word: &str| match word {
        "program" | "function" | "of" => word.to_owned(),
        _ => format!("`{word}`"),
    };
    of.split(' ').map(quote).collect::<Vec<_>>().join(" ")
}

#[test]
fn no_stack_has_grown() -> Result<()> {
    compare(ANYWHERE, stacks()?)
}

#[test]
fn no_program_has_grown() -> Result<()> {
    if !datapath::available() {
        return Ok(());
    }
    let now = costs()?;
    for program in PROGRAMS {
        let of = |unit: &str| now[&format!("program {program}: {unit}")];
        let (verified, instructions, compiled) = (of(VERIFIED), of(INSTRUCTIONS), of(COMPILED));
        println!("{program}: {verified} walked, {instructions} instructions, {compiled} bytes");
    }
    compare(&kernel()?, now)
}

#[test]
fn the_table_for_readers_is_that_of_the_record() -> Result<()> {
    if env::var_os("DISPATCHER_BLESS").is_some() {
        return Ok(());
    }
    let document = include_str!("../../../docs/benchmarks.md");
    let record: Record = serde_json::from_str(include_str!("record.json"))?;
    let hint = "DISPATCHER_BLESS=1 cargo test -p dispatcher-tests --test packet record";
    assert_eq!(cut(document)?.1, table(&record), "docs/benchmarks.md\nhint: {hint}");
    Ok(())
}

#[test]
fn what_grew_is_named_with_both_figures() {
    let figures = |stack, compiled| {
        let (a, b) = (format!("function f: {STACK}"), format!("program p: {COMPILED}"));
        Figures::from([(a, stack), (b, compiled)])
    };
    let before = figures(64, 10_000);
    assert_eq!(grown(&before, &figures(64, 10_200)), "");
    let line = "program p: bytes of machine code: 10000 before, now 10201 (+2.0 %)\n";
    assert_eq!(grown(&before, &figures(56, 10_201)), line);
    let line = "function f: bytes of stack: 64 before, now 72 (+12.5 %)\n";
    assert_eq!(grown(&before, &figures(72, 9_000)), line);
}
