//! When is there a way for probes of VIPs, and over which NICs? As long as an advisor probes VIPs, over all that are attached.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::daemon::core::Core;
use crate::{
    dataplane::ProbePrograms,
    model::{Service, State, Target},
    prober::{self, OpenError, Path, Prober, Surroundings},
};

/// After a failure it is tried again.
const PATIENCE: Duration = Duration::from_secs(2);
/// Of a way that breaks again and again the log speaks no oftener.
const SAID: Duration = Duration::from_secs(60);
/// MTU of the prober's veth where no NIC tells a smaller one.
const ETHERNET_MTU: u32 = 1500;

/// The way for probes of VIPs.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Probes {
    /// What probes ask for it.
    pub(in crate::daemon) prober: Prober,
    open: Option<Open>,
    /// Why it could not be opened, and when that was last tried.
    failed: Option<(String, Instant)>,
    /// When the log last said that it was broken.
    broken: Option<Instant>,
}

/// An open way.
#[derive(Debug)]
struct Open {
    programs: ProbePrograms,
    path: Arc<Path>,
    /// Names of the NICs with the program, by ifindex.
    nics: BTreeMap<u32, String>,
}

/// Whether a service's advisor probes a VIP from elsewhere than this host.
fn probes_vip(service: &Service) -> bool {
    let advisor = service.config.advisor.as_ref();
    advisor.is_some_and(|advisor| advisor.target == Target::Vip)
        && service.backends.iter().any(|backend| !backend.config.local)
}

impl Core {
    /// Opens, closes or adapts the way to what is wanted and which NICs there are.
    pub(in crate::daemon) async fn follow_probes(&mut self) {
        if !self.state().services.iter().any(|service| probes_vip(service)) {
            self.close_probes("no advisor probes a VIP").await;
            return;
        }
        match self.try_probes().await {
            Ok(()) => self.probes.failed = None,
            Err(error) => {
                let text = error.to_string();
                // Probes find out nothing then: of a way that is open only half way they would find backends down.
                self.close_probes(text.split('\n').next().unwrap_or_default()).await;
                if self.probes.failed.as_ref().is_none_or(|(before, _)| *before != text) {
                    tracing::error!("{text}");
                }
                self.probes.failed = Some((text, Instant::now()));
            }
        }
    }

    /// Tries again what has failed, and opens anew a way that somebody has broken.
    pub(in crate::daemon) async fn watch_probes(&mut self) {
        if let Some(open) = &self.probes.open
            && let Err(why) = Arc::clone(&open.path).is_whole().await
        {
            if self.probes.broken.is_none_or(|at| at.elapsed() >= SAID) {
                tracing::warn!("{why}: it is made anew; VIPs are not probed meanwhile");
                self.probes.broken = Some(Instant::now());
            }
            self.close_probes(&why).await;
            self.follow_probes().await;
            return;
        }
        let is_due = |(_, at): &(String, Instant)| at.elapsed() >= PATIENCE;
        if self.probes.failed.as_ref().is_some_and(is_due) {
            self.follow_probes().await;
        }
    }

    /// Closes the way; probes of VIPs are told why.
    pub(in crate::daemon) async fn close_probes(&mut self, why: &str) {
        self.probes.prober.set(Err(why.to_owned()));
        let Some(Open { programs, path, nics }) = self.probes.open.take() else { return };
        drop(programs);
        for name in nics.values() {
            prober::tidy(name).await;
        }
        if let Err(error) = path.close().await {
            tracing::warn!("{error}");
        }
    }

    async fn try_probes(&mut self) -> Result<(), OpenError> {
        let nics = self.probed_nics();
        let mut open = match self.probes.open.take() {
            Some(open) => open,
            None => self.open_probes().await?,
        };
        let followed = open.programs.follow(&nics);
        for (ifindex, name) in &open.nics {
            if !nics.contains_key(ifindex) {
                prober::tidy(name).await;
            }
        }
        let names = nics.values().cloned().collect();
        open.path.set_surroundings(Surroundings { vips: vips(self.state()), nics: names });
        let path = Arc::clone(&open.path);
        path.set_programs(open.programs.attached(path.host_end(), &nics));
        open.nics = nics;
        self.probes.open = Some(open);
        followed?;
        self.probes.prober.set(Ok(path));
        Ok(())
    }

    async fn open_probes(&self) -> Result<Open, OpenError> {
        let (mut programs, ends) = self.datapath.probe_programs()?;
        let mtus = self.nics.values().filter_map(|nic| nic.link.as_ref()).map(|link| link.mtu);
        let owner = self.record.applied.pin_dir.display().to_string();
        let path = Path::open(ends, mtus.min().unwrap_or(ETHERNET_MTU), &owner).await?;
        let name = path.host_end();
        if let Err(error) = programs.attach_prober(name) {
            // It would stay until the namespace is gone.
            let _best_effort = path.close().await;
            return Err(error.into());
        }
        tracing::info!("VIPs are probed by way of {name}");
        Ok(Open { programs, path: Arc::new(path), nics: BTreeMap::new() })
    }

    /// NICs by which answers may come: ifindex and name.
    fn probed_nics(&self) -> BTreeMap<u32, String> {
        let attached = self.nics.values().filter(|nic| nic.is_attached());
        let links = attached.filter_map(|nic| nic.link.as_ref());
        links.map(|link| (link.ifindex, link.name.clone())).collect()
    }
}

fn vips(state: &State) -> std::collections::HashSet<std::net::IpAddr> {
    state.services.iter().map(|service| service.config.vip).collect()
}
