//! Which service a packet is for.

use dispatcher_common::{
    reason::Reason,
    service::{ServiceId, ServiceKey},
};
use dispatcher_ebpf::{exit::Exit, parse::FlowWords};

use super::maps;

/// The service of a flow: exact VIP and port, else the VIP's service for every port.
///
/// Services on 0.0.0.0 (any address) will be looked up here, after these two.
#[inline(always)]
pub(super) fn classify(flow: &FlowWords) -> Result<ServiceId, Exit> {
    let mut key = ServiceKey {
        vip: *flow.vip(),
        port: ((flow.ports >> 16) as u16).to_ne_bytes(),
        protocol: flow.protocol as u8,
        _reserved: 0,
    };
    if let Some(service) = maps::service(&key) {
        return Ok(service);
    }
    key.port = [0, 0];
    maps::service(&key).ok_or_else(|| if_vip(Reason::NoService, flow))
}

/// The exit for a reason that holds for VIPs only: without services, or after a false positive of the filter, the
/// packet is not ours.
#[inline(always)]
pub(super) fn if_vip(reason: Reason, flow: &FlowWords) -> Exit {
    Exit::new(if maps::is_vip(flow.vip()) { reason } else { Reason::NotOurs })
}
