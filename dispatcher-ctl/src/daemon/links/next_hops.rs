//! The next hops of backends: MAC and NIC, or why there is none.

use std::net::IpAddr;

use crate::{
    model::{Backend, BackendConfig},
    network::{Network, Resolution},
    reconcile::{self, NextHop, Nic},
};

/// The NICs that exist at one moment, and where backends' addresses answer.
pub(in crate::daemon) struct NextHops {
    nics: Vec<Nic>,
    network: Network,
}

impl NextHops {
    pub(super) const fn new(nics: Vec<Nic>, network: Network) -> Self {
        Self { nics, network }
    }

    /// The NICs, as the tables need them.
    pub(in crate::daemon) fn nics(&self) -> &[Nic] {
        &self.nics
    }

    /// Where an address answers.
    pub(in crate::daemon) fn resolution(&self, address: IpAddr) -> Resolution {
        self.network.resolution(address)
    }

    /// The next hop to a backend that is not on this host, if it is known.
    pub(in crate::daemon) fn to(&self, backend: &BackendConfig) -> Option<NextHop<'_>> {
        reconcile::next_hop(backend, &self.nics, &|address| self.resolution(address)).ok()
    }

    /// Why a backend gets no new connections, if it gets none. `advised`: why advisors have it down, if they do.
    pub(in crate::daemon) fn idle_reason(
        &self,
        backend: &Backend,
        advised: Option<&str>,
    ) -> Option<String> {
        reconcile::idle_reason(backend, advised, &self.nics, &|address| self.resolution(address))
    }

    /// Why a backend is down, if it is, though it may be quiesced. `advised`: as above.
    pub(in crate::daemon) fn down_reason(
        &self,
        backend: &Backend,
        advised: Option<&str>,
    ) -> Option<String> {
        reconcile::down_reason(backend, advised, &self.nics, &|address| self.resolution(address))
    }
}
