//! The report as `docs/benchmarks.md` and its chart show it: results are written by who measured them, not by hand.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{Report, Row, aims::Reached, chart, machine::Machine};

/// Where the results stand in the page: between these.
const MARKS: [&str; 2] = ["<!-- results -->\n", "<!-- /results -->"];

/// Writes results and chart into the sources' documentation, and yields what was written.
///
/// # Errors
/// When a file cannot be read or written, or the page has no place for results.
pub fn write(report: &Report<'_>) -> Result<[PathBuf; 2]> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let files = ["benchmarks.md", "benchmarks.svg"].map(|name| docs.join(name));
    let [page, svg] = &files;
    let named = |file: &Path| file.display().to_string();
    let text = fs::read_to_string(page).with_context(|| named(page))?;
    let text = placed(&text, &results(report)).with_context(|| named(page))?;
    fs::write(page, text).with_context(|| named(page))?;
    fs::write(svg, chart::draw(&report.machine, &report.rows)).with_context(|| named(svg))?;
    Ok(files)
}

/// The page with other results.
fn placed(page: &str, results: &str) -> Result<String> {
    let [begin, end] = MARKS;
    let (before, rest) =
        page.split_once(begin).with_context(|| format!("no line {}", begin.trim()))?;
    let (_, after) = rest.split_once(end).with_context(|| format!("no line {end}"))?;
    Ok(format!("{before}{begin}\n{results}\n{end}{after}"))
}

fn results(report: &Report<'_>) -> String {
    let Machine { processor, cpus, kernel, commit } = &report.machine;
    let (least, most, loud) = report.noise();
    let mut text = format!(
        "`cargo xtask bench`, {} loads of {} rounds, commit {commit}. Machine: {processor}, {cpus} CPUs, Linux {kernel}.\n\
         The empty program took {least:.1} to {most:.1} ns under the driver, {:.0} % of the measurements were disturbed and count only for least and most.\n\
         ns a packet; beside a ratio the least and the most of the loads':\n\n",
        report.loads,
        report.rounds,
        100.0 * loud
    );
    table(&mut text, &report.rows);
    text += "\nWhat is wanted, and what is, of the same run (ratios of net figures; the last two are nanoseconds):\n\n";
    aims(&mut text, &report.reached);
    let count =
        |is_met: fn(&Reached) -> bool| report.reached.iter().filter(|aim| is_met(aim)).count();
    let _ = write!(
        text,
        "\n{} of {} are met by the medians, {} in every load, {} by the minima.\n",
        count(Reached::is_met),
        report.reached.len(),
        count(|aim| aim.loads_met() == aim.is.by_load.len()),
        count(|aim| aim.best <= aim.most)
    );
    text
}

fn table(text: &mut String, rows: &[Row]) {
    *text += "| case | flows | median | min | max | net | best | ratio | of loads | best ratio |\n\
              |---|---|---|---|---|---|---|---|---|---|\n";
    for row in rows.iter().filter(|row| !row.name.starts_with("base/")) {
        let Row { name, median, min, max, best, .. } = row;
        let (flows, net) =
            (row.flows.map_or_else(|| "each new".to_owned(), grouped), row.net.median);
        let ratio = row.ratio.as_ref().map_or_else(
            || " |  | ".to_owned(),
            |ratio| {
                let (least, most) = (ratio.net.least(), ratio.net.most());
                format!("{:.2} | {least:.2} to {most:.2} | {:.2}", ratio.net.median, ratio.best)
            },
        );
        let _ = writeln!(
            text,
            "| `{name}` | {flows} | {median:.1} | {min:.1} | {max:.1} | {net:.1} | {best:.1} | {ratio} |"
        );
    }
}

fn aims(text: &mut String, reached: &[Reached]) {
    *text += "| | case | by | at most | is | of loads | met in | minima |\n|---|---|---|---|---|---|---|---|\n";
    for aim in reached {
        let Reached { what, case, than, most, is, best } = aim;
        let than = if than.is_empty() { "empty program".to_owned() } else { format!("`{than}`") };
        let _ = writeln!(
            text,
            "| {what} | `{case}` | {than} | {most:.2} | {:.2} | {:.2} to {:.2} | {} of {} | {best:.2} |",
            is.median,
            is.least(),
            is.most(),
            aim.loads_met(),
            is.by_load.len()
        );
    }
}

/// With commas between thousands.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<String> = groups.map(|group| String::from_utf8_lossy(group).into()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([7, 1024, 1_048_576].map(grouped), ["7", "1,024", "1,048,576"]);
    }

    #[test]
    fn results_take_the_place_of_results() {
        let page = "a\n<!-- results -->\nold\n<!-- /results -->\nb\n";
        let placed = placed(page, "new\n").unwrap();
        assert_eq!(placed, "a\n<!-- results -->\n\nnew\n\n<!-- /results -->\nb\n");
        assert!(super::placed("a\n", "new").is_err());
    }

    #[test]
    fn the_page_has_a_place_for_results() {
        let page = include_str!("../../../docs/benchmarks.md");
        assert!(placed(page, "new\n").is_ok());
    }
}
