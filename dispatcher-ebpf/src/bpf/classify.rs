//! Finds the service of a packet.

use dispatcher_common::{
    net::Address,
    reason::Reason,
    service::{ANY, OWN, ServiceId, ServiceKey},
};
use dispatcher_ebpf::{
    outcome::Exit,
    parse::{FlowWords, MAPPED, address},
};

use super::maps;

/// The service of a flow: by VIP and port, else the VIP's service for every port, else one on any address in the same order.
#[inline(always)]
pub(crate) fn classify(flow: &FlowWords) -> Result<ServiceId, Exit> {
    let mut key =
        ServiceKey { vip: flow.vip(), port: port(flow), protocol: flow.protocol as u8, any: 0 };
    if let Some(service) = maps::service(&key) {
        return Ok(service);
    }
    key.port = [0, 0];
    if let Some(service) = maps::service(&key) {
        return Ok(service);
    }
    if !has_wildcards(flow) {
        return Err(if_vip(Reason::NoService, flow));
    }
    let number = maps::vip(flow);
    if number == Some(OWN) || flow.is_special() {
        return Err(Exit::new(Reason::NotOurs));
    }
    key.vip = unspecified(!flow.has_mapped_vip());
    key.port = port(flow);
    key.any = ANY;
    if let Some(service) = maps::service(&key) {
        return Ok(service);
    }
    key.port = [0, 0];
    let reason = if number.is_some() { Reason::NoService } else { Reason::NotOurs };
    maps::service(&key).ok_or(Exit::new(reason))
}

/// The exit for a reason that holds for VIPs only: without services, or after a false positive of the filter, the
/// packet is not ours.
#[inline(always)]
pub(crate) fn if_vip(reason: Reason, flow: &FlowWords) -> Exit {
    let is_vip = maps::vip(flow).is_some_and(|services| services != OWN);
    Exit::new(if is_vip { reason } else { Reason::NotOurs })
}

/// Whether a flow's destination is a VIP, or an address that services on any address may take.
#[inline(always)]
pub(crate) fn is_ours(flow: &FlowWords) -> bool {
    match maps::vip(flow) {
        Some(services) => services != OWN,
        None => has_wildcards(flow) && !flow.is_special(),
    }
}

/// Whether there are services on any address of the flow's family.
#[inline(always)]
fn has_wildcards(flow: &FlowWords) -> bool {
    maps::wildcards() >> u64::from(!flow.has_mapped_vip()) & 1 != 0
}

#[inline(always)]
const fn port(flow: &FlowWords) -> [u8; 2] {
    ((flow.ports >> 16) as u16).to_ne_bytes()
}

/// The unspecified address of a family, as in keys.
#[inline(always)]
const fn unspecified(is_v6: bool) -> Address {
    let words = if is_v6 { [0; 4] } else { [MAPPED[0], MAPPED[1], MAPPED[2], 0] };
    address(words)
}
