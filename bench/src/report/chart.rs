//! A bar chart of the table, as SVG: net nanoseconds a packet.

use std::fmt::Write as _;

use super::{Row, machine::Machine};

const WIDTH: f64 = 860.0;
/// Where bars begin, and how long the longest is.
const LEFT: f64 = 200.0;
const LONGEST: f64 = 480.0;
const TOP: f64 = 56.0;
const LINE: f64 = 20.0;
/// Between groups.
const GAP: f64 = 10.0;

/// Colours of the groups that cases are in by the first part of their name.
const COLOURS: [(&str, &str); 4] =
    [("floor", "#9aa5b1"), ("hit", "#2f6fb2"), ("new", "#c8642b"), ("other", "#5a8f4d")];

/// Draws the rows but the empty programs.
#[must_use]
pub fn draw(machine: &Machine, rows: &[Row]) -> String {
    let group = |row: &Row| row.name.split('/').next().unwrap_or_default().to_owned();
    let rows: Vec<&Row> = rows.iter().filter(|row| group(row) != "base").collect();
    let most = rows.iter().map(|row| row.net.median).fold(1.0, f64::max);
    let (mut bars, mut y, mut last) = (String::new(), TOP, String::new());
    for row in rows {
        let group = group(row);
        if !last.is_empty() && last != group {
            y += GAP;
        }
        let colour = COLOURS.iter().find(|(name, _)| *name == group).map_or("#777", |(_, c)| c);
        bar(&mut bars, row, y, row.net.median.max(0.0) / most * LONGEST, colour);
        (y, last) = (y + LINE, group);
    }
    let height = y + GAP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"15\">Nanoseconds a packet, net of an empty program \
         (median; ratio to the floor)</text>\n"
    );
    let Machine { processor, cpus, kernel, commit } = machine;
    let place = format!("{processor}, {cpus} CPUs, Linux {kernel}, commit {commit}");
    let _ = writeln!(svg, "<text x=\"12\" y=\"40\" fill=\"#666\">{}</text>", escaped(&place));
    svg + &bars + "</svg>\n"
}

fn bar(svg: &mut String, row: &Row, y: f64, length: f64, colour: &str) {
    let (text, end) = (y + 12.0, LEFT + length + 6.0);
    let name = escaped(&row.name);
    let _ =
        writeln!(svg, "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{name}</text>", LEFT - 8.0);
    let _ = writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"14\" fill=\"{colour}\"/>"
    );
    let ratio = row.ratio.as_ref().map_or(String::new(), |ratio| {
        format!(" ({:.2} × {})", ratio.net.median, escaped(&ratio.floor))
    });
    let net = row.net.median;
    let _ = writeln!(svg, "<text x=\"{end:.1}\" y=\"{text}\" fill=\"#333\">{net:.1}{ratio}</text>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::paired::Paired;

    #[test]
    fn the_longest_bar_is_the_dearest_case() {
        let row = |name: &str, net: f64| Row {
            name: name.into(),
            flows: None,
            median: net,
            min: net,
            max: net,
            net: Paired { median: net, by_load: vec![net] },
            best: net,
            ratio: None,
        };
        let machine = Machine {
            processor: "a<b".into(),
            cpus: 2,
            kernel: "6.18".into(),
            commit: "abc".into(),
        };
        let rows = [row("base/ipv4", 900.0), row("hit/x", 50.0), row("new/x", 100.0)];
        let svg = draw(&machine, &rows);
        assert!(svg.contains("a&lt;b") && !svg.contains("base"));
        assert!(svg.contains("width=\"480.0\" height=\"14\" fill=\"#c8642b\""), "{svg}");
        assert!(svg.contains("width=\"240.0\" height=\"14\" fill=\"#2f6fb2\""), "{svg}");
    }
}
