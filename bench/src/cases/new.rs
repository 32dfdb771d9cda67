//! Packets that open connections: each is the first one of its flow.

use dispatcher_ctl::model::Scheduler;
use dispatcher_tests::datapath::World;

use super::{Case, Fate, Flows, NEW_WAYS, Scale, hits};
use crate::{
    driver::Layout,
    subject::Subject,
    worlds::{self, BACKENDS, Keys},
};

pub(super) fn cases(scale: Scale) -> Vec<Case> {
    let (tcp4, tcp6, udp4) = (hits::tcp4, hits::tcp6, hits::udp4);
    let world = |scheduler, backends| move |ways| worlds::world(ways, scheduler, backends);
    let v4 = |name, world| fresh(scale, name, (Layout::Ipv4, tcp4()), world);
    let wrr = world(Scheduler::Wrr, BACKENDS);
    let mut cases = vec![
        v4("wrr", wrr),
        v4("rr", world(Scheduler::Rr, BACKENDS)),
        v4("lc-16", world(Scheduler::Lc, 16)),
        v4("wlc-16", world(Scheduler::Wlc, 16)),
        v4("maglev", world(Scheduler::Maglev, BACKENDS)),
        v4("sh", world(Scheduler::Sh, BACKENDS)),
        fresh(scale, "wrr-ipv6", (Layout::Ipv6, tcp6()), wrr),
        fresh(scale, "wrr-udp", (Layout::Ipv4, udp4()), wrr),
        fresh(scale, "affinity", (Layout::Ipv4, tcp4()), move |ways| {
            worlds::with_affinity(wrr(ways))
        }),
        fresh(scale, "guard", (Layout::Ipv4, tcp4()), move |ways| worlds::guarded(wrr(ways)))
            .fate(Fate::Stateless),
    ];
    for services in [1, 128, 1024] {
        let name = format!("{services}-services");
        let services = scale.services(services);
        let many = move |ways| worlds::many(ways, services);
        let mut case = fresh(scale, &name, (Layout::Ipv4, hits::many4()), many);
        case.vip_mask = services - 1;
        cases.push(case);
    }
    cases
}

/// A case of new connections.
fn fresh(
    scale: Scale,
    name: &str,
    (layout, [first, _]): (Layout, [Vec<u8>; 2]),
    world: impl Fn(u32) -> World + 'static,
) -> Case {
    let ways = scale.ways(NEW_WAYS);
    let load = move |keys: &Keys| Subject::datapath(&keys.put_into(world(ways)));
    let name = format!("new/{name}");
    Case::new(name.clone(), name, load, (layout, first))
        .flows(Flows::New(ways / 2 * 3))
        .fate(Fate::Opened)
        .floor("floor/lru/new")
}
