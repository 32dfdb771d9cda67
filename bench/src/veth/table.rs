//! The figures of frames over the veth, as text and as JSON.

use serde_json::{Value, json};

use super::Measured;
use crate::report::{machine::Machine, table::table};

/// Nanoseconds per frame: median, least, greatest.
fn spread(measured: &Measured) -> (f64, f64, f64) {
    let mut figures = measured.figures.clone();
    figures.sort_by(f64::total_cmp);
    let at = |place: usize| figures.get(place).copied().unwrap_or(f64::NAN);
    (at(figures.len() / 2), at(0), at(figures.len().saturating_sub(1)))
}

fn of<'m>(all: &'m [Measured], name: &str) -> Option<&'m Measured> {
    all.iter().find(|measured| measured.trial.name == name)
}

/// Median and least, minus those of the trial's base.
fn net(all: &[Measured], measured: &Measured) -> (f64, f64) {
    let (median, least, _) = spread(measured);
    let base = of(all, measured.trial.base()).map_or((0.0, 0.0, 0.0), spread);
    (median - base.0, least - base.1)
}

/// A trial compared with its rival: the rival's time divided by the trial's. For the whole path by medians and by the least
/// disturbed rounds; for the net time by medians.
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

/// The table as text. Millions per second are medians; nanoseconds are of the whole path, and net.
pub(super) fn text(all: &[Measured]) -> String {
    let columns =
        ["case", "Mpps", "least", "most", "ns", "net", "best", "Mpps by", "best by", "rival"];
    let rows = all.iter().map(|measured| {
        let (median, least, most) = spread(measured);
        let (net, least_net) = net(all, measured);
        let [mpps, slowest, fastest] =
            [median, most, least].map(|ns| format!("{:.3}", 1000.0 / ns));
        let [median, net, best] = [median, net, least_net].map(|ns| format!("{ns:.1}"));
        let [by, best_by, rival] = ratio(all, measured).map_or_else(Default::default, |ratio| {
            [format!("{:.2}", ratio.whole), format!("{:.2}", ratio.best), ratio.rival]
        });
        let name = measured.trial.name.clone();
        [name, mpps, slowest, fastest, median, net, best, by, best_by, rival]
    });
    head("frames over veth") + &table(columns, &rows.collect::<Vec<_>>())
}

/// The table of a machine whose nanoseconds are instructions: how many times its rival's instructions each trial takes.
pub(super) fn instructions(all: &[Measured]) -> String {
    let columns = ["case", "all", "least", "most", "net", "all by", "net by", "rival"];
    let rows = all.iter().map(|measured| {
        let (median, least, most) = spread(measured);
        let [all_of_it, least, most, net] =
            [median, least, most, net(all, measured).0].map(|number| format!("{number:.0}"));
        let [by, net_by, rival] = ratio(all, measured).map_or_else(Default::default, |ratio| {
            [format!("{:.2}", 1.0 / ratio.whole), format!("{:.2}", 1.0 / ratio.net), ratio.rival]
        });
        [measured.trial.name.clone(), all_of_it, least, most, net, by, net_by, rival]
    });
    head("instructions per frame over veth") + &table(columns, &rows.collect::<Vec<_>>())
}

/// As [`text`], with the figures of all rounds.
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
