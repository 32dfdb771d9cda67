//! The project's aims for its figures, and the figures reached.

use super::{
    figures::{best, of},
    paired::Paired,
};
use crate::bench::Measured;

/// An aim: the ratio of one case's figure to another's.
struct Aim {
    what: &'static str,
    case: &'static str,
    than: &'static str,
    most: f64,
}

const fn aim(what: &'static str, case: &'static str, than: &'static str, most: f64) -> Aim {
    Aim { what, case, than, most }
}

/// The aims, as ratios of net figures.
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
    /// The measured case.
    pub case: &'static str,
    /// The case that it is compared with; empty: none, the figure is in nanoseconds.
    pub than: &'static str,
    /// The greatest figure that meets the aim.
    pub most: f64,
    /// The net figure, compared round by round.
    pub is: Paired,
    /// The net figure from the least time of each case.
    pub best: f64,
}

impl Reached {
    /// Whether the figure meets the aim.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.is.median <= self.most
    }

    /// The number of loads in which it does.
    #[must_use]
    pub fn loads_met(&self) -> usize {
        self.is.by_load.iter().filter(|is| **is <= self.most).count()
    }
}

/// The aims whose cases were measured.
#[must_use]
pub fn reached(cases: &[Measured]) -> Vec<Reached> {
    let reached = |aim: &Aim| {
        let Aim { what, case, than, most } = *aim;
        let case_of = of(cases, case)?;
        let (by, by_best) = match than {
            "" => (None, 1.0),
            than => (Some(of(cases, than)?), best(of(cases, than)?)?),
        };
        let is = Paired::of(case_of, by)?;
        Some(Reached { what, case, than, most, is, best: best(case_of)? / by_best })
    };
    AIMS.iter().filter_map(reached).collect()
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
