//! What this project wants its figures to be, and what they are.

use std::fmt::Write as _;

use super::Row;

/// One figure by another.
struct Aim {
    what: &'static str,
    case: &'static str,
    than: &'static str,
    most: f64,
}

const fn aim(what: &'static str, case: &'static str, than: &'static str, most: f64) -> Aim {
    Aim { what, case, than, most }
}

/// Ratios, net.
const AIMS: [Aim; 20] = [
    aim("hit", "hit/ipv4-tcp/1k", "floor/service/1k", 1.0),
    aim("hit", "hit/ipv4-tcp/64k", "floor/service/64k", 1.0),
    aim("hit", "hit/ipv4-tcp/1M", "floor/service/1M", 1.0),
    aim("IPv6 by IPv4", "hit/ipv6-tcp/1k", "hit/ipv4-tcp/1k", 1.4),
    aim("IPv6 by IPv4", "hit/ipv6-tcp/64k", "hit/ipv4-tcp/64k", 1.4),
    aim("IPv6 by IPv4", "hit/ipv6-tcp/1M", "hit/ipv4-tcp/1M", 1.6),
    aim("UDP by TCP", "hit/ipv4-udp/1k", "hit/ipv4-tcp/1k", 1.1),
    aim("UDP by TCP", "hit/ipv4-udp/64k", "hit/ipv4-tcp/64k", 1.1),
    aim("UDP by TCP", "hit/ipv4-udp/1M", "hit/ipv4-tcp/1M", 1.1),
    aim("new connection", "new/wrr", "floor/lru/new", 0.2),
    aim("new connection", "new/wlc-16", "floor/lru/new", 0.3),
    aim("flood", "new/guard", "floor/lru/new", 0.12),
    aim("1,024 services by one", "hit/1024-services/64k", "hit/ipv4-tcp/64k", 1.05),
    aim("1,024 services by one", "new/1024-services", "new/1-services", 1.2),
    aim("256 backends by 3", "hit/256-backends/64k", "hit/3-backends/64k", 1.05),
    aim("measured", "hit/measured/1k", "hit/ipv4-tcp/1k", 1.5),
    aim("measured", "hit/measured/64k", "hit/ipv4-tcp/64k", 1.5),
    aim("measured", "hit/measured/1M", "hit/ipv4-tcp/1M", 1.5),
    aim("ns above an empty program", "other/not-ours-ipv4", "", 5.0),
    aim("ns above an empty program", "other/not-ours-ipv6", "", 5.0),
];

/// An aim and its figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Reached {
    /// What is compared.
    pub what: &'static str,
    /// The case.
    pub case: &'static str,
    /// What it is compared with; empty: nothing, the figure is nanoseconds.
    pub than: &'static str,
    /// The most that it should be.
    pub most: f64,
    /// What it is by net medians.
    pub is: f64,
    /// What it is by net minima.
    pub best: f64,
}

/// The aims whose cases were measured.
#[must_use]
pub fn reached(rows: &[Row]) -> Vec<Reached> {
    let of = |name: &str| {
        let row = rows.iter().find(|row| row.name == name)?;
        Some((row.net, row.best))
    };
    let reached = |aim: &Aim| {
        let Aim { what, case, than, most } = *aim;
        let (net, best) = of(case)?;
        let by = if than.is_empty() { (1.0, 1.0) } else { of(than)? };
        Some(Reached { what, case, than, most, is: net / by.0, best: best / by.1 })
    };
    AIMS.iter().filter_map(reached).collect()
}

/// The aims as text.
#[must_use]
pub fn table(reached: &[Reached]) -> String {
    let mut text = String::new();
    let [a, b, c, d, e, f] = ["aim", "case", "by", "at most", "is", "best"];
    let _ = writeln!(text, "{a:26} {b:24} {c:20} {d:>7} {e:>6} {f:>6}");
    for Reached { what, case, than, most, is, best } in reached {
        let mark = if is <= most { "" } else { "  missed" };
        let _ =
            writeln!(text, "{what:26} {case:24} {than:20} {most:7.2} {is:6.2} {best:6.2}{mark}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::{Scale, all};

    #[test]
    fn aims_are_of_cases_that_there_are() {
        let names: Vec<String> = all(Scale::FULL).into_iter().map(|case| case.name).collect();
        let is_there = |name: &str| name.is_empty() || names.iter().any(|there| there == name);
        for aim in &AIMS {
            assert!(is_there(aim.case) && is_there(aim.than), "{} by {}", aim.case, aim.than);
        }
    }
}
