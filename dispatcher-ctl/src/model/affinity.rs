//! Which services share affinity entries.

use std::{collections::HashMap, net::IpAddr};

use super::ServiceSettings;

/// For each service, the index of the first service with which it shares affinity records, itself included. Two services of a
/// VIP are linked if either names the other's port.
#[must_use]
pub fn affinity_groups(services: &[&ServiceSettings]) -> Vec<usize> {
    let by_port = by_port(services);
    let mut above: Vec<usize> = (0..services.len()).collect();
    for (i, service) in services.iter().enumerate() {
        for port in &service.affinity.cross_port {
            for linked in by_port.get(&(service.vip, *port)).into_iter().flatten() {
                let (a, b) = (first(&above, i), first(&above, *linked));
                above[a.max(b)] = a.min(b);
            }
        }
    }
    (0..services.len()).map(|i| first(&above, i)).collect()
}

/// Indices of services by VIP and port.
fn by_port(services: &[&ServiceSettings]) -> HashMap<(IpAddr, u16), Vec<usize>> {
    let mut by_port: HashMap<_, Vec<_>> = HashMap::new();
    // Most services are not linked: the index is built only if one is.
    if services.iter().all(|service| service.affinity.cross_port.is_empty()) {
        return by_port;
    }
    for (i, service) in services.iter().enumerate() {
        by_port.entry((service.vip, service.port)).or_default().push(i);
    }
    by_port
}

/// The first of the group.
fn first(above: &[usize], mut i: usize) -> usize {
    while above[i] != i {
        i = above[i];
    }
    i
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::testing::service;

    #[test]
    fn services_are_linked_by_ports_of_their_vip_whichever_way() {
        let linked = |vip, port, cross_port: &[u16]| {
            let mut config = service("s", vip, port).config;
            config.affinity.cross_port = cross_port.to_vec();
            config
        };
        let services = [
            linked("192.0.2.1", 80, &[]),
            linked("192.0.2.1", 21, &[]),
            linked("192.0.2.2", 443, &[]),
            linked("192.0.2.1", 443, &[80, 8080]),
            linked("192.0.2.1", 0, &[21]),
            linked("192.0.2.1", 8080, &[]),
            linked("192.0.2.1", 8081, &[8080]),
        ];
        assert_eq!(affinity_groups(&services.iter().collect::<Vec<_>>()), [0, 1, 2, 0, 1, 0, 0]);
    }
}
