//! What a probe of a backend is sent to.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    advisor::{Subject, probe::Target},
    model::{self, Advisor, AdvisorKind, Backend, Service},
    prober::{Prober, Through},
};

/// How an advisor probes a backend.
pub(super) fn subject(
    service: &Service,
    backend: &Backend,
    advisor: &Arc<Advisor>,
    prober: &Prober,
) -> Subject {
    let (config, slot) = (&service.config, backend.slot);
    let port = advisor.port_of(config.port);
    let own = SocketAddr::new(backend.config.address, port);
    let vip = SocketAddr::new(config.vip, port);
    let (address, through) = match advisor.target {
        model::Target::Address => (own, None),
        // This very host has the VIP.
        model::Target::Vip if backend.config.local => (vip, None),
        model::Target::Vip => {
            let mac = backend.config.mac;
            (vip, Some(Through { slot, own, mac, prober: prober.clone() }))
        }
    };
    let usual = if advisor.kind == AdvisorKind::Https { 443 } else { 80 };
    let target = Target {
        address,
        host: host(SocketAddr::new(config.vip, config.port), usual),
        protocol: config.protocol,
        service: config.name.clone(),
        backend: backend.config.name.clone(),
        through,
    };
    Subject { slot, target, advisor: Arc::clone(advisor) }
}

/// The VIP as a client would name it in a request: with its port, unless it is the usual one.
fn host(vip: SocketAddr, usual: u16) -> String {
    if ![0, usual].contains(&vip.port()) {
        return vip.to_string();
    }
    match vip {
        SocketAddr::V4(vip) => vip.ip().to_string(),
        SocketAddr::V6(vip) => format!("[{}]", vip.ip()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_named_as_clients_name_it() {
        for (vip, want) in [
            ("192.0.2.80:80", "192.0.2.80"),
            ("192.0.2.80:8080", "192.0.2.80:8080"),
            ("[2001:db8::80]:80", "[2001:db8::80]"),
            ("[2001:db8::80]:81", "[2001:db8::80]:81"),
            ("192.0.2.80:0", "192.0.2.80"),
        ] {
            assert_eq!(host(vip.parse().unwrap(), 80), want);
        }
        assert_eq!(host("192.0.2.80:443".parse().unwrap(), 443), "192.0.2.80");
    }
}
