//! The report as text: `docs/benchmarks.md` shows what the terminal shows.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};

use super::{Report, Row, aims::Reached, machine::Machine, table::table};

/// The results stand between these lines of the page.
const MARKS: [&str; 2] = ["<!-- results -->\n", "<!-- /results -->"];

/// Writes the results into `docs/benchmarks.md`.
///
/// # Errors
/// When the file cannot be read or written, or has no place for results.
pub fn write(report: &Report<'_>) -> Result<()> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md");
    let named = || page.display().to_string();
    let text = fs::read_to_string(&page).with_context(named)?;
    let text = placed(&text, &text_of(report)).with_context(named)?;
    fs::write(&page, text).with_context(named)
}

/// The page with its results replaced.
fn placed(page: &str, results: &str) -> Result<String> {
    let [begin, end] = MARKS;
    let (before, rest) =
        page.split_once(begin).with_context(|| format!("no line {}", begin.trim()))?;
    let (_, after) = rest.split_once(end).with_context(|| format!("no line {end}"))?;
    Ok(format!("{before}{begin}\n{results}\n{end}{after}"))
}

/// The report: machine and method, the table, and the aims.
#[must_use]
pub fn text_of(report: &Report<'_>) -> String {
    let Machine { processor, cpus, kernel, commit } = &report.machine;
    let (least, most, loud) = report.noise();
    let mut text = format!(
        "`cargo xtask bench`, {} loads of {} rounds, commit {commit}. Machine: {processor}, {cpus} CPUs, Linux {kernel}.\n\
         The empty program took {least:.1} to {most:.1} ns under the driver. {:.0} % of the measurements were disturbed and count only for least and most.\n\
         ns per packet; \"of loads\" are the least and the most of the loads' medians:\n\n",
        report.loads,
        report.rounds,
        100.0 * loud
    );
    text += &cases(&report.rows);
    if report.reached.is_empty() {
        return text;
    }
    text += "\nAims and results of the same run (ratios of net figures; the last two are nanoseconds):\n\n";
    text += &aims(&report.reached);
    let count =
        |is_met: fn(&Reached) -> bool| report.reached.iter().filter(|aim| is_met(aim)).count();
    let _infallible = write!(
        text,
        "\n{} of {} are met by the medians, {} in every load, {} by the minima.\n",
        count(Reached::is_met),
        report.reached.len(),
        count(|aim| aim.loads_met() == aim.is.by_load.len()),
        count(|aim| aim.best <= aim.most)
    );
    text
}

fn cases(rows: &[Row]) -> String {
    let head =
        ["case", "flows", "median", "min", "max", "net", "best", "ratio", "of loads", "best ratio"];
    let rows = rows.iter().filter(|row| !row.name.starts_with("base/")).map(|row| {
        let flows = row.flows.map_or_else(|| "each new".to_owned(), grouped);
        let [median, min, max, net, best] =
            [row.median, row.min, row.max, row.net.median, row.best].map(|ns| format!("{ns:.1}"));
        let ratio = row.ratio.as_ref();
        let [ratio, loads, best_ratio] = ratio.map_or_else(Default::default, |ratio| {
            let net = &ratio.net;
            let loads = format!("{:.2} to {:.2}", net.least(), net.most());
            [format!("{:.2}", net.median), loads, format!("{:.2}", ratio.best)]
        });
        [format!("`{}`", row.name), flows, median, min, max, net, best, ratio, loads, best_ratio]
    });
    table(head, &rows.collect::<Vec<_>>())
}

fn aims(reached: &[Reached]) -> String {
    let head = ["aim", "case", "by", "at most", "is", "of loads", "met in", "minima"];
    let rows = reached.iter().map(|aim| {
        let Reached { what, case, than, most, is, best } = aim;
        let than = if than.is_empty() { "empty program".to_owned() } else { format!("`{than}`") };
        let loads = format!("{:.2} to {:.2}", is.least(), is.most());
        let met = format!("{} of {}", aim.loads_met(), is.by_load.len());
        let [most, is, best] = [*most, is.median, *best].map(|ratio| format!("{ratio:.2}"));
        [(*what).to_owned(), format!("`{case}`"), than, most, is, loads, met, best]
    });
    table(head, &rows.collect::<Vec<_>>())
}

/// The number with commas between thousands.
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
