//! The figures of frames over the veth, for readers and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Measured;
use crate::report::machine::Machine;

/// Nanoseconds a frame: median, least, most.
fn spread(measured: &Measured) -> (f64, f64, f64) {
    let mut figures = measured.figures.clone();
    figures.sort_by(f64::total_cmp);
    let at = |place: usize| figures.get(place).copied().unwrap_or(f64::NAN);
    (at(figures.len() / 2), at(0), at(figures.len().saturating_sub(1)))
}

fn of<'m>(all: &'m [Measured], name: &str) -> Option<&'m Measured> {
    all.iter().find(|measured| measured.trial.name == name)
}

/// Median and least, net of the trial's base.
fn net(all: &[Measured], measured: &Measured) -> (f64, f64) {
    let (median, least, _) = spread(measured);
    let base = of(all, measured.trial.base()).map_or((0.0, 0.0, 0.0), spread);
    (median - base.0, least - base.1)
}

/// How many times the frames of its rival, by medians and by the least disturbed rounds.
fn ratio(all: &[Measured], measured: &Measured) -> Option<(String, f64, f64)> {
    let rival = measured.trial.rival()?;
    let (theirs, ours) = (spread(of(all, &rival)?), spread(measured));
    Some((rival, theirs.0 / ours.0, theirs.1 / ours.1))
}

/// The table as text. Millions a second are of the median; ns are of the whole way, and net of it.
pub(super) fn text(all: &[Measured]) -> String {
    let Machine { processor, cpus, kernel, commit } = Machine::this();
    let mut text =
        format!("frames over veth; {processor}, {cpus} CPUs, Linux {kernel}, {commit}\n\n");
    let [a, b, c, d] = ["case", "Mpps", "least", "most"];
    let [e, f, g, h, i] = ["ns", "net", "best", "Mpps by", "best"];
    let _ = writeln!(text, "{a:18} {b:>7} {c:>7} {d:>7} {e:>8} {f:>8} {g:>8} {h:>8} {i:>6}");
    for measured in all {
        let (median, least, most) = spread(measured);
        let (net, best) = net(all, measured);
        let mpps = |ns: f64| 1000.0 / ns;
        let _ = write!(
            text,
            "{:18} {:7.3} {:7.3} {:7.3} {median:8.1} {net:8.1} {best:8.1}",
            measured.trial.name,
            mpps(median),
            mpps(most),
            mpps(least)
        );
        if let Some((rival, by, best)) = ratio(all, measured) {
            let _ = write!(text, " {by:8.2} {best:6.2}  {rival}");
        }
        text.push('\n');
    }
    text
}

/// The same, with every round's figure.
pub(super) fn json(all: &[Measured]) -> Value {
    let Machine { processor, cpus, kernel, commit } = Machine::this();
    let case = |measured: &Measured| {
        let (median, least, most) = spread(measured);
        let (net, best) = net(all, measured);
        let ratio = ratio(all, measured);
        json!({
            "case": measured.trial.name,
            "median": median,
            "min": least,
            "max": most,
            "net": net,
            "best": best,
            "base": measured.trial.base(),
            "rival": ratio.as_ref().map(|(rival, ..)| rival),
            "ratio": ratio.as_ref().map(|(_, by, _)| by),
            "best_ratio": ratio.as_ref().map(|(.., best)| best),
            "rounds": measured.figures,
        })
    };
    json!({
        "machine": { "processor": processor, "cpus": cpus, "kernel": kernel },
        "commit": commit,
        "unit": "ns/frame",
        "cases": all.iter().map(case).collect::<Vec<_>>(),
    })
}
