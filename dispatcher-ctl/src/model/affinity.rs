//! How clients stay with their backends, and which services share what is known of a client.

use std::{collections::HashMap, fmt, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{ServiceSettings, duration};

/// How a service's clients stay with their backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affinity {
    /// Time since a client's last new connection after which it is placed anew; 0: clients do not stay.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Leading bits that tell IPv4 clients apart.
    pub mask_v4: u8,
    /// Leading bits that tell IPv6 clients apart.
    pub mask_v6: u8,
    /// Ports of other services of the VIP, whose clients find the same backend.
    pub cross_port: Vec<u16>,
}

impl Default for Affinity {
    fn default() -> Self {
        Self { timeout: Duration::ZERO, mask_v4: 32, mask_v6: 128, cross_port: Vec::new() }
    }
}

impl fmt::Display for Affinity {
    /// As the configuration writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timeout, mask_v4, mask_v6, cross_port } = self;
        let timeout = duration::text(*timeout);
        write!(f, "{{ timeout = \"{timeout}\", mask_v4 = {mask_v4}, mask_v6 = {mask_v6}, ")?;
        write!(f, "cross_port = {cross_port:?} }}")
    }
}

/// For each service, which is the first of those it shares records with, itself included: services are linked where one
/// names a port of another of its VIP, whichever way.
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
    // Most services are linked with none: only what is asked for is looked up.
    if services.iter().all(|service| service.affinity.cross_port.is_empty()) {
        return by_port;
    }
    for (i, service) in services.iter().enumerate() {
        by_port.entry((service.vip, service.port)).or_default().push(i);
    }
    by_port
}

/// The first of the group, which lies above none.
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
