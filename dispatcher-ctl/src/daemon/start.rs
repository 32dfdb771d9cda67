//! The start: takes over the existing datapath, or makes a new one.
//!
//! A takeover must not lose a packet: the new controller writes nothing until it knows as much as the old one did (saved state,
//! NICs, MACs of backends). In the meantime the datapath continues with the maps as they are.

use std::{io, net::TcpListener as StdTcpListener, path::PathBuf, time::Duration};

use tokio::sync::mpsc;

use super::{
    clock,
    core::Core,
    file::ConfigFile,
    reports::{Cause, Problems},
    store::read_saved,
};
use crate::{
    advisor::{Advisors, ProbeOutcome},
    api::{server::Socket, types::ApiError},
    capabilities::{Capability, Missing, missing},
    datapath::{Datapath, Origin, remove_all, remove_dead_namespaces},
    model::{AdvisorKind, Config, SavedState, ServiceConfig, State, Target},
    network::{Network, NetworkEvent},
    reconcile,
};

/// How long a start waits for the MACs of all backends: as long as the kernel tries to resolve one.
const RESOLVE_WAIT: Duration = Duration::from_secs(4);

/// The options of `dispatcher run`.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The configuration file.
    pub config: PathBuf,
    /// On SIGTERM, leave the datapath attached and forwarding.
    pub leave_attached: bool,
    /// API socket, if it differs from the configuration's.
    pub api_socket: Option<PathBuf>,
    /// The log's warnings and errors, for `status`.
    pub problems: Problems,
}

/// Why the daemon did not start, or stopped; for an invalid configuration: all errors.
#[derive(Debug)]
pub struct StartError(pub ApiError);

impl StartError {
    pub(super) fn failed(error: impl Into<String>) -> Self {
        Self(ApiError::failed(error))
    }

    pub(super) fn signals(error: io::Error) -> Self {
        Self::failed(format!("signals cannot be received: {error}"))
    }

    pub(super) fn task(what: &str, error: Option<io::Error>) -> Self {
        let why = error.map_or_else(|| "without an error".to_owned(), |e| e.to_string());
        Self::failed(format!("{what} ended: {why}"))
    }
}

impl<E> From<E> for StartError
where
    ApiError: From<E>,
{
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// The started parts, for the main loop.
pub(super) struct Started {
    pub(super) core: Core,
    pub(super) file: ConfigFile,
    pub(super) kernel_reports: mpsc::UnboundedReceiver<NetworkEvent>,
    pub(super) outcomes: mpsc::Receiver<ProbeOutcome>,
    pub(super) socket: Socket,
    pub(super) metrics_listener: tokio::net::TcpListener,
}

/// Starts everything. On a failure before the datapath is complete, an existing datapath stays as it was; a new one is
/// removed.
pub(super) async fn start(options: RunOptions) -> Result<Started, StartError> {
    let file = ConfigFile::new(options.config.clone());
    let config = file.turn().await?.load().await?;
    require_capabilities(&config)?;
    let (datapath, origin) = Datapath::open(&config.pin_dir, config.connections.capacity)?;
    match remove_dead_namespaces(&config.pin_dir) {
        Ok(removed) => removed.iter().for_each(|dir| {
            tracing::info!("{}: its network namespace is gone, removed", dir.display());
        }),
        Err(error) => {
            tracing::warn!("what other network namespaces left cannot be removed: {error}");
        }
    }
    let fresh = matches!(origin, Origin::Fresh);
    let result = set_up(options, config.clone(), datapath, file).await;
    if result.is_err() && fresh {
        // Nothing depends on it yet.
        if let Err(error) = remove_all(&config.pin_dir, drop) {
            tracing::error!("{error}");
        }
    }
    result
}

/// Refuses to start without the capabilities that this configuration needs.
fn require_capabilities(config: &Config) -> Result<(), StartError> {
    let mut needs = vec![
        (Capability::Bpf, "load the datapath and open its maps"),
        (Capability::NetAdmin, "attach it to NICs and to put VIPs on them"),
        (Capability::Perfmon, "have the kernel's verifier accept it"),
    ];
    let has_kind = |kind: AdvisorKind| {
        let mut advisors = config.services.iter().filter_map(|s| s.advisor.as_ref());
        advisors.any(|advisor| advisor.kind == kind)
    };
    let has_vips = config.services.iter().any(|service| !service.vip.is_unspecified());
    if config.manage_vips && has_vips {
        needs.push((Capability::NetRaw, "announce VIPs (or manage_vips = false)"));
    } else if has_kind(AdvisorKind::Ping) {
        needs.push((Capability::NetRaw, "ping backends"));
    }
    if let Some(Missing { error, hint }) = missing(&needs) {
        return Err(ApiError::failed(error).hint(hint).into());
    }
    if config.services.iter().any(|service| probes_vip_of(service)) {
        let needs = [(Capability::SysAdmin, "probe VIPs: without it they are not probed")];
        if let Some(Missing { error, hint }) = missing(&needs) {
            tracing::warn!(
                "{error}; hint: {hint}, or set target = \"address\" in [service.advisor]"
            );
        }
    }
    Ok(())
}

/// Whether a service's advisor probes a VIP from the prober.
fn probes_vip_of(service: &ServiceConfig) -> bool {
    let target = service.advisor.as_ref().map(|advisor| advisor.target);
    target == Some(Target::Vip) && service.backends.iter().any(|backend| !backend.local)
}

async fn set_up(
    options: RunOptions,
    config: Config,
    datapath: Datapath,
    file: ConfigFile,
) -> Result<Started, StartError> {
    let path = options.api_socket.as_deref().unwrap_or(&config.api_socket);
    let socket = Socket::bind(path)?;
    let metrics_listener = listen(&config)?;
    let (network, kernel_reports) = Network::start().await?;
    let found = found_state(&datapath)?;
    let takeover = found.is_some();
    let saved = found.unwrap_or_else(|| empty_state(&config));
    let (advisors, outcomes) = Advisors::new();
    let mut core =
        Core::new(&options.config, saved, datapath, network, advisors, options.problems, takeover)?;
    if takeover {
        let (links, store, datapath, _) = core.links();
        links.follow_former_renames(store, datapath)?;
    }
    let (named, names) = core.kernel_names(&config).await?;
    let wanted = {
        let applied = takeover.then(|| core.applied_names());
        let retired = &core.store.retired_slots;
        reconcile::merge(applied.as_deref(), &named, core.state(), retired, clock::epoch_ms())?
    };
    drop(named);
    core.started_with.clone_from(&config.settings);
    core.started_with.connections.capacity = core.plane.table().capacity();
    for attached in core.plane.datapath().attached()? {
        core.links.choose_mode(&attached.name, attached.mode);
        if attached.mode != config.xdp_mode {
            core.started_with.xdp_mode = attached.mode;
        }
    }
    core.resolve_wait = RESOLVE_WAIT;
    if !takeover {
        for name in &wanted.interfaces {
            core.links.require(name).await?;
        }
    }
    let cause = if takeover { Cause::File } else { Cause::Start };
    core.commit(wanted, Some(config), cause).await?;
    core.resolve_wait = super::core::RESOLVE_WAIT;
    core.keep_names(names);
    core.links
        .stale_names(&core.store.nic_names, &core.reports.config().file)
        .iter()
        .for_each(|warning| tracing::warn!("{warning}"));
    let (links, store, datapath, events) = core.links();
    links.nics().detach_unwanted(datapath, events)?;
    links.check_vips(store, events, &[]).await;
    let origin = if takeover { "taken over" } else { "fresh start" };
    tracing::info!("{}, {origin}", summary(core.state()));
    Ok(Started { core, file, kernel_reports, outcomes, socket, metrics_listener })
}

fn listen(config: &Config) -> Result<tokio::net::TcpListener, StartError> {
    let address = config.metrics_listen;
    let failed = |e: io::Error| StartError::failed(format!("metrics_listen {address}: {e}"));
    let listener = StdTcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    tokio::net::TcpListener::from_std(listener).map_err(failed)
}

/// How many services run, and on which NICs.
fn summary(state: &State) -> String {
    let services = match state.services.len() {
        1 => "1 service".to_owned(),
        number => format!("{number} services"),
    };
    match &state.interfaces[..] {
        [] => format!("{services}, no NIC"),
        nics => format!("{services} on {}", nics.join(", ")),
    }
}

/// The former controller's saved state.
fn found_state(datapath: &Datapath) -> Result<Option<SavedState>, StartError> {
    let stored = datapath.saved_state()?;
    let Some(stored) = stored else { return Ok(None) };
    let saved = read_saved(&stored).map_err(|e| {
        ApiError::failed(format!("the saved state of the former controller cannot be read: {e}"))
            .hint("dispatcher detach --all")
    })?;
    Ok(Some(saved))
}

fn empty_state(config: &Config) -> SavedState {
    SavedState {
        applied: Config { services: Vec::new(), ..config.clone() },
        state: State::default(),
        vips: Vec::new(),
        retired_slots: Vec::new(),
        interface_names: Vec::new(),
        nic_names: Vec::new(),
        arp_ignored: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::testing;

    #[test]
    fn the_summary_counts_services_and_names_nics() {
        let mut state = State::default();
        assert_eq!(summary(&state), "0 services, no NIC");
        state.services.push(testing::service("web", "192.0.2.80", 80).into());
        assert_eq!(summary(&state), "1 service, no NIC");
        state.interfaces = vec!["eth0".to_owned(), "eth1".to_owned()];
        assert_eq!(summary(&state), "1 service on eth0, eth1");
    }
}
