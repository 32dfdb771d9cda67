//! The report for a terminal.

use std::fmt::Write as _;

use super::{Ratio, Report, Row, aims::Reached, machine::Machine};

/// Where and how, the table, and the aims.
#[must_use]
pub fn text(report: &Report<'_>) -> String {
    let Machine { processor, cpus, kernel, commit } = &report.machine;
    let (least, most, loud) = report.noise();
    let mut text = format!(
        "ns/packet, {} loads of {} rounds; {processor}, {cpus} CPUs, Linux {kernel}, {commit}\n\
         empty program {least:.1} to {most:.1} ns; {:.0} % of the measurements disturbed, and left out of medians\n\n",
        report.loads,
        report.rounds,
        100.0 * loud
    );
    table(&mut text, &report.rows);
    if !report.reached.is_empty() {
        text.push('\n');
        aims(&mut text, &report.reached);
    }
    text
}

fn table(text: &mut String, rows: &[Row]) {
    let [a, b, c, d, e] = ["case", "flows", "median", "min", "max"];
    let [f, g, h, i, j, k] = ["net", "best", "ratio", "of loads", "best", "floor"];
    let _ = writeln!(
        text,
        "{a:24} {b:>9} {c:>7} {d:>7} {e:>7} {f:>7} {g:>7} {h:>6} {i:>12} {j:>6}  {k}"
    );
    for row in rows {
        let flows = row.flows.map_or_else(|| "new".to_owned(), |flows| flows.to_string());
        let Row { name, median, min, max, best, .. } = row;
        let net = row.net.median;
        let _ = write!(
            text,
            "{name:24} {flows:>9} {median:7.1} {min:7.1} {max:7.1} {net:7.1} {best:7.1}"
        );
        if let Some(Ratio { floor, net, best }) = &row.ratio {
            let loads = format!("{:.2} to {:.2}", net.least(), net.most());
            let _ = write!(text, " {:6.2} {loads:>12} {best:6.2}  {floor}", net.median);
        }
        text.push('\n');
    }
}

fn aims(text: &mut String, reached: &[Reached]) {
    let [a, b, c, d, e] = ["aim", "case", "by", "at most", "is"];
    let [f, g, h] = ["of loads", "met in", "best"];
    let _ = writeln!(text, "{a:26} {b:24} {c:20} {d:>7} {e:>6} {f:>14} {g:>7} {h:>6}");
    for aim in reached {
        let Reached { what, case, than, most, is, best } = aim;
        let loads = format!("{:.2} to {:.2}", is.least(), is.most());
        let met = format!("{}/{}", aim.loads_met(), is.by_load.len());
        let mark = if aim.is_met() { "" } else { "  missed" };
        let is = is.median;
        let _ = writeln!(
            text,
            "{what:26} {case:24} {than:20} {most:7.2} {is:6.2} {loads:>14} {met:>7} {best:6.2}{mark}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::paired::Paired;

    #[test]
    fn a_line_says_what_it_is_compared_with() {
        let paired = |median, by_load: [f64; 2]| Paired { median, by_load: by_load.into() };
        let row = Row {
            name: "hit/ipv4-tcp/1k".into(),
            flows: Some(1024),
            median: 50.0,
            min: 48.0,
            max: 60.0,
            net: paired(40.0, [39.0, 41.0]),
            best: 39.0,
            ratio: Some(Ratio {
                floor: "floor/service/1k".into(),
                net: paired(0.8, [0.9, 0.7]),
                best: 0.75,
            }),
        };
        let mut text = String::new();
        table(&mut text, &[row]);
        let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        let expected =
            "hit/ipv4-tcp/1k 1024 50.0 48.0 60.0 40.0 39.0 0.80 0.70 to 0.90 0.75 floor/service/1k";
        assert_eq!(words.join(" "), expected);
    }
}
