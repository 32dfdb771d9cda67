//! Checks affinity: that of each service, and that of services that share entries.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use dispatcher_common::limits;

use super::{Found, shown};
use crate::model::{Affinity, Outline, affinity_groups, duration};

impl Found {
    /// Checks the affinity of one service.
    pub(super) fn affinity(&mut self, affinity: &Affinity) {
        self.bounds("affinity.", affinity);
        if affinity.timeout.is_zero() && !affinity.cross_port.is_empty() {
            let message = "timeout 0s keeps no clients for cross_port, expected more than 0s";
            self.say("affinity.timeout", message);
        }
    }

    /// Checks affinity between services.
    pub(super) fn affinity_together(&mut self, services: &[Outline<'_>]) {
        if services.iter().all(|service| service.settings.affinity.cross_port.is_empty()) {
            return;
        }
        self.cross_ports(services);
        let groups = affinity_groups(&services.iter().map(|s| s.settings).collect::<Vec<_>>());
        for (i, first) in groups.iter().enumerate() {
            self.agreement(services, i, *first);
        }
        let peers = peers(services, &groups);
        if peers > limits::PEERS as usize {
            let message = format!(
                "{peers} pairs of services with a backend in common are too many, expected {}",
                limits::PEERS
            );
            self.say("service", &message);
        }
    }

    /// Each port in `cross_port` must be that of another service of the VIP.
    fn cross_ports(&mut self, services: &[Outline<'_>]) {
        let mut count: HashMap<(IpAddr, u16), usize> = HashMap::new();
        for Outline { settings: service, .. } in services {
            *count.entry((service.vip, service.port)).or_default() += 1;
        }
        for (i, Outline { settings: service, .. }) in services.iter().enumerate() {
            for (j, port) in service.affinity.cross_port.iter().enumerate() {
                let own = usize::from(*port == service.port);
                if count.get(&(service.vip, *port)).copied().unwrap_or_default() <= own {
                    let message = format!(
                        "service {}: cross_port {port} is no port of another service of vip {}",
                        shown(&service.name),
                        service.vip
                    );
                    let key = format!("service[{i}].affinity.cross_port[{j}]");
                    self.say(&key, &message).causes = link(services.len());
                }
            }
        }
    }

    /// Services that share entries must agree on timeout and masks.
    fn agreement(&mut self, services: &[Outline<'_>], i: usize, first: usize) {
        let (service, leader) = (services[i].settings, services[first].settings);
        let (ours, theirs) = (&service.affinity, &leader.affinity);
        let time = |affinity: &Affinity| duration::text(affinity.timeout);
        for (key, ours, theirs) in [
            ("timeout", time(ours), time(theirs)),
            ("mask_v4", ours.mask_v4.to_string(), theirs.mask_v4.to_string()),
            ("mask_v6", ours.mask_v6.to_string(), theirs.mask_v6.to_string()),
        ] {
            if ours != theirs {
                let message = format!(
                    "service {}: affinity {key} {ours} differs from service {}'s, linked by \
                     cross_port, expected {theirs}",
                    shown(&service.name),
                    shown(&leader.name),
                );
                let mut causes = link(services.len());
                causes.push(format!("service[{first}].affinity.{key}"));
                self.say(&format!("service[{i}].affinity.{key}"), &message).causes = causes;
            }
        }
    }
}

/// The values that link services: an error in one of them may cause a message about the link.
fn link(services: usize) -> Vec<String> {
    let keys = ["vip", "port", "affinity.cross_port"];
    (0..services).flat_map(|i| keys.map(|key| format!("service[{i}].{key}"))).collect()
}

/// Ordered pairs of services of a group, for each backend that they have in common.
fn peers(services: &[Outline<'_>], groups: &[usize]) -> usize {
    let linked: HashSet<_> = (0..).zip(groups).filter(|(i, g)| i != *g).map(|(_, g)| *g).collect();
    let mut shared: HashMap<(usize, IpAddr), usize> = HashMap::new();
    for (service, group) in services.iter().zip(groups).filter(|(_, g)| linked.contains(g)) {
        for backend in &service.backends {
            *shared.entry((*group, backend.address)).or_default() += 1;
        }
    }
    shared.values().map(|n| n * (n - 1)).sum()
}
