//! The floors, and the cost of the driver itself.

use dispatcher_common::reason::Reason;

use super::{Case, Fate, Flows, NEW_WAYS, SIZES, Scale, hits, others};
use crate::{driver::Layout, subject::Subject, worlds::Keys};

pub(super) fn cases(scale: Scale) -> Vec<Case> {
    let mut cases: Vec<Case> = [
        (Layout::Ipv4, hits::tcp4()[1].clone()),
        (Layout::Ipv6, hits::tcp6()[1].clone()),
        (Layout::Vlan, hits::vlan()[1].clone()),
        (Layout::Fragment, others::fragments()[1].clone()),
        (Layout::Icmp, others::icmp()),
    ]
    .into_iter()
    .map(|(layout, frame)| {
        let name = format!("base/{}", layout.program());
        Case::new(name, "base", |_| Subject::floor("pass", 4), (layout, frame))
            // The program counts no reasons.
            .fate(Fate::Passed(Reason::NotOurs))
    })
    .collect();
    for program in ["line", "service", "lru"] {
        for size in scale.sizes(SIZES.len()) {
            let (size, flows, ways) = SIZES[size];
            let subject = format!("floor/{program}/{size}");
            let ways = scale.ways(ways);
            let load = move |_: &Keys| Subject::floor(program, ways);
            let [syn, ack] = hits::tcp4();
            cases.push(
                Case::new(subject.clone(), subject, load, (Layout::Ipv4, ack))
                    .opening(vec![(Layout::Ipv4, syn)])
                    .flows(Flows::Of(scale.flows(flows))),
            );
        }
        let subject = format!("floor/{program}/new");
        let ways = scale.ways(NEW_WAYS);
        let [syn, _] = hits::tcp4();
        let load = move |_: &Keys| Subject::floor(program, ways);
        cases.push(
            Case::new(subject.clone(), subject, load, (Layout::Ipv4, syn))
                .flows(Flows::New(ways / 2 * 3))
                .fate(Fate::Opened),
        );
    }
    cases
}
