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

/// A trial beside its rival: the rival's share of the time for the whole way, by medians and by the least disturbed rounds,
/// and for the net of it by medians.
struct Ratio {
    rival: String,
    whole: f64,
    best: f64,
    net: f64,
}

fn ratio(all: &[Measured], measured: &Measured) -> Option<Ratio> {
    let rival = measured.trial.rival()?;
    let other = of(all, &rival)?;
    let (theirs, ours) = (spread(other), spread(measured));
    let net = net(all, other).0 / net(all, measured).0;
    Some(Ratio { rival, whole: theirs.0 / ours.0, best: theirs.1 / ours.1, net })
}

fn head(what: &str) -> String {
    let Machine { processor, cpus, kernel, commit } = Machine::this();
    format!("{what}; {processor}, {cpus} CPUs, Linux {kernel}, {commit}\n\n")
}

/// The table as text. Millions a second are of the median; ns are of the whole way, and net of it.
pub(super) fn text(all: &[Measured]) -> String {
    let mut text = head("frames over veth");
    let [a, b, c, d] = ["case", "Mpps", "least", "most"];
    let [e, f, g, h, i] = ["ns", "net", "best", "Mpps by", "best"];
    let _ = writeln!(text, "{a:18} {b:>7} {c:>7} {d:>7} {e:>8} {f:>8} {g:>8} {h:>8} {i:>6}");
    for measured in all {
        let (median, least, most) = spread(measured);
        let (net, least_net) = net(all, measured);
        let [mpps, slowest, fastest] = [median, most, least].map(|ns| 1000.0 / ns);
        let name = &measured.trial.name;
        let _ = write!(text, "{name:18} {mpps:7.3} {slowest:7.3} {fastest:7.3}");
        let _ = write!(text, " {median:8.1} {net:8.1} {least_net:8.1}");
        if let Some(Ratio { rival, whole, best, .. }) = ratio(all, measured) {
            let _ = write!(text, " {whole:8.2} {best:6.2}  {rival}");
        }
        text.push('\n');
    }
    text
}

/// The table of a machine whose nanoseconds are instructions: how many times those of its rival each takes.
pub(super) fn instructions(all: &[Measured]) -> String {
    let mut text = head("instructions a frame over veth");
    let [a, b, c, d] = ["case", "all", "least", "most"];
    let [e, f, g, h] = ["net", "all by", "net by", "rival"];
    let _ = writeln!(text, "{a:18} {b:>8} {c:>8} {d:>8} {e:>8} {f:>7} {g:>7}  {h}");
    for measured in all {
        let (median, least, most) = spread(measured);
        let (net, _) = net(all, measured);
        let name = &measured.trial.name;
        let _ = write!(text, "{name:18} {median:8.0} {least:8.0} {most:8.0} {net:8.0}");
        if let Some(Ratio { rival, whole, net, .. }) = ratio(all, measured) {
            let _ = write!(text, " {:7.2} {:7.2}  {rival}", 1.0 / whole, 1.0 / net);
        }
        text.push('\n');
    }
    text
}

/// The same, with every round's figure.
pub(super) fn json(all: &[Measured], unit: &str) -> Value {
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
            "rival": ratio.as_ref().map(|ratio| &ratio.rival),
            "ratio": ratio.as_ref().map(|ratio| ratio.whole),
            "best_ratio": ratio.as_ref().map(|ratio| ratio.best),
            "net_ratio": ratio.as_ref().map(|ratio| ratio.net),
            "rounds": measured.figures,
        })
    };
    json!({
        "machine": { "processor": processor, "cpus": cpus, "kernel": kernel },
        "commit": commit,
        "unit": unit,
        "cases": all.iter().map(case).collect::<Vec<_>>(),
    })
}
