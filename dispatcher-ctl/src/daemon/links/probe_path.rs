//! The path of probes of VIPs: open as long as an advisor probes VIPs, over all NICs that are attached.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::nics::Nics;
use crate::{
    daemon::clock,
    datapath::{Datapath, ProbePrograms},
    model::{SavedState, Service, State, Target},
    prober::{self, OpenError, Path, Prober, Surroundings},
};

/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// The log repeats that the path is broken after this time at the earliest.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// MTU of the prober's veth, unless a NIC has a smaller one.
const ETHERNET_MTU: u32 = 1500;

/// The path of probes of VIPs.
#[derive(Debug, Default)]
pub(super) struct ProbePath {
    /// What probes ask for the path.
    prober: Prober,
    open: Option<Open>,
    /// Why it could not be opened, and when that was last tried.
    failed: Option<(String, Instant)>,
    /// When the log last reported that it was broken.
    broken: Option<Instant>,
}

/// An open path.
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

impl ProbePath {
    /// What probes ask for the path.
    pub(super) const fn prober(&self) -> &Prober {
        &self.prober
    }

    /// Opens, closes or adapts the path to what is wanted and which NICs there are.
    pub(super) async fn follow(&mut self, datapath: &Datapath, saved: &SavedState, nics: &Nics) {
        if !saved.state.services.iter().any(|service| probes_vip(service)) {
            self.close("no advisor probes a VIP").await;
            return;
        }
        match self.adapt(datapath, saved, nics).await {
            Ok(()) => self.failed = None,
            Err(error) => {
                let text = error.to_string();
                // Probes find nothing then. Over a path that is only half open they would find backends down.
                self.close(text.split('\n').next().unwrap_or_default()).await;
                if self.failed.as_ref().is_none_or(|(before, _)| *before != text) {
                    tracing::error!("{text}");
                }
                self.failed = Some((text, clock::now()));
            }
        }
    }

    /// Tries again to open the path, and replaces one that somebody has broken.
    pub(super) async fn watch(&mut self, datapath: &Datapath, saved: &SavedState, nics: &Nics) {
        let is_due = |at: Instant, pause| clock::now().saturating_duration_since(at) >= pause;
        if let Some(open) = &self.open
            && let Err(why) = Arc::clone(&open.path).is_whole().await
        {
            if self.broken.is_none_or(|at| is_due(at, LOG_EVERY)) {
                tracing::warn!("{why}: it is opened again; until then VIPs are not probed");
                self.broken = Some(clock::now());
            }
            self.close(&why).await;
            self.follow(datapath, saved, nics).await;
        } else if self.failed.as_ref().is_some_and(|(_, at)| is_due(*at, RETRY)) {
            self.follow(datapath, saved, nics).await;
        }
    }

    /// Closes the path; probes of VIPs then fail for this reason.
    pub(super) async fn close(&mut self, why: &str) {
        self.prober.set(Err(why.to_owned()));
        let Some(Open { programs, path, nics }) = self.open.take() else { return };
        drop(programs);
        for name in nics.values() {
            prober::remove_leftovers(name).await;
        }
        if let Err(error) = path.close().await {
            tracing::warn!("{error}");
        }
    }

    async fn adapt(
        &mut self,
        datapath: &Datapath,
        saved: &SavedState,
        nics: &Nics,
    ) -> Result<(), OpenError> {
        let attached = nics.attached();
        let mut open = match self.open.take() {
            Some(open) => open,
            None => open_path(datapath, saved, nics).await?,
        };
        let followed = open.programs.follow(&attached);
        for (ifindex, name) in &open.nics {
            if !attached.contains_key(ifindex) {
                prober::remove_leftovers(name).await;
            }
        }
        let names = attached.values().cloned().collect();
        open.path.set_surroundings(Surroundings { vips: vips(&saved.state), nics: names });
        let path = Arc::clone(&open.path);
        path.set_programs(open.programs.attached(path.host_end(), &attached));
        open.nics = attached;
        self.open = Some(open);
        followed?;
        self.prober.set(Ok(path));
        Ok(())
    }
}

async fn open_path(
    datapath: &Datapath,
    saved: &SavedState,
    nics: &Nics,
) -> Result<Open, OpenError> {
    let (mut programs, ends) = datapath.probe_programs()?;
    let mtu = nics.present().map(|link| link.mtu).min().unwrap_or(ETHERNET_MTU);
    let owner = saved.applied.pin_dir.display().to_string();
    let path = Path::open(ends, mtu, &owner).await?;
    let name = path.host_end();
    if let Err(error) = programs.attach_prober(name) {
        // It would stay until the namespace is gone.
        let _best_effort = path.close().await;
        return Err(error.into());
    }
    tracing::info!("VIPs are probed through {name}");
    Ok(Open { programs, path: Arc::new(path), nics: BTreeMap::new() })
}

fn vips(state: &State) -> HashSet<IpAddr> {
    state.services.iter().map(|service| service.config.vip).collect()
}
