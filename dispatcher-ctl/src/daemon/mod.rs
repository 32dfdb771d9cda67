//! The daemon: puts datapath, network, API and metrics together and keeps them in step.
//!
//! One [`core::Core`] holds everything behind one lock; requests ([`control`]), the kernel's reports and the clock take
//! turns on it. [`start`] takes over or makes the datapath, [`nics`] follows NICs and VIPs, [`view`] answers questions.

mod advice;
mod affinity;
mod answers;
mod clock;
mod control;
mod core;
mod counts;
mod events;
mod exits;
mod file;
mod manage;
mod memory;
mod names;
mod neighbours;
mod nics;
mod passive;
mod probes;
mod problems;
mod publish;
mod quiesce;
mod refused;
mod report;
mod resume;
mod rules;
mod saved;
mod start;
mod store;
mod teardown;
mod view;
mod vips;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Mutex, mpsc},
    task::JoinSet,
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::answers::give_back as give_back_arp;
pub use self::{
    memory::set_up as set_up_memory, problems::Problems, start::StartError, store::read_saved,
};

use self::{control::Handle, core::Core};
use crate::{
    advisor::{Outcome, upheaval},
    api,
    api::Controller as _,
    metrics,
    network::NetworkEvent,
    standstill,
};

/// How often slots are released and rates sampled.
const TICK: Duration = Duration::from_secs(1);

/// What `dispatcher run` was told.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The configuration file.
    pub config: PathBuf,
    /// On SIGTERM, leave the datapath attached and forwarding.
    pub leave_attached: bool,
    /// API socket, where it is not the configuration's.
    pub api_socket: Option<PathBuf>,
    /// The log's warnings and errors, for status.
    pub problems: Problems,
}

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
/// Where it cannot start, or a task that should run for ever ends.
pub async fn run(options: RunOptions) -> Result<(), StartError> {
    // Before anything is attached: a signal from here on ends the daemon in order.
    let signals = Signals::new().map_err(StartError::signals)?;
    let hangups = signal(SignalKind::hangup()).map_err(StartError::signals)?;
    standstill::watch();
    let leave_attached = options.leave_attached;
    let started = start::start(options).await?;
    let start::Started { core, file, events, outcomes, socket, metrics_listener } = started;
    let handle = Handle::new(Arc::new(Mutex::new(core)), file);

    let shutdown = CancellationToken::new();
    let exits = handle.core().await.events.exits().clone().run(shutdown.clone());
    let exits = tokio::spawn(exits);
    let mut tasks = JoinSet::new();
    let controller = Arc::new(handle.clone());
    let patience = api::server::Patience::default();
    tasks.spawn(api::server::serve(socket, Arc::clone(&controller), patience, shutdown.clone()));
    tasks.spawn(metrics::server::serve(metrics_listener, controller, shutdown.clone()));
    tasks.spawn(reload_at(hangups, handle.clone(), shutdown.clone()));
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!("the service manager was not told that we are ready: {error}");
    }
    tracing::info!("ready");

    let failure = watch(&handle, events, outcomes, signals, &mut tasks).await;
    // Readiness ends with the loop; nobody may be listening.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    shutdown.cancel();
    while tasks.join_next().await.is_some() {}
    // It ends with the others; if it has ended before, it has said why.
    let _ = exits.await;
    handle.core().await.close_probes("the daemon ends").await;
    match failure {
        None if !leave_attached => handle.core().await.dismantle().await.map_err(StartError::from),
        None => Ok(()),
        Some(failure) => Err(failure),
    }
}

/// Takes in events, time and signals until it is time to stop; says why, if that is a failure.
async fn watch(
    handle: &Handle,
    mut events: mpsc::UnboundedReceiver<NetworkEvent>,
    mut outcomes: mpsc::Receiver<Outcome>,
    mut signals: Signals,
    tasks: &mut JoinSet<std::io::Result<()>>,
) -> Option<StartError> {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sample = tokio::time::interval(manage::SAMPLE);
    sample.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => {
                    let mut batch = vec![event];
                    while let Ok(event) = events.try_recv() {
                        batch.push(event);
                    }
                    handle.core().await.take_events(batch).await;
                }
                None => return Some(StartError::task("the network watcher", None)),
            },
            outcome = outcomes.recv() => match outcome {
                Some(outcome) => {
                    let mut batch = vec![outcome];
                    while let Ok(outcome) = outcomes.try_recv() {
                        batch.push(outcome);
                    }
                    if let Err(error) = handle.core().await.take_outcomes(batch).await {
                        tracing::error!("{error}");
                    }
                }
                None => return Some(StartError::task("the advisors", None)),
            },
            _ = tick.tick() => handle.core().await.tick().await,
            _ = sample.tick() => if let Err(error) = handle.core().await.manage().await {
                tracing::error!("manager: {error}");
            },
            ended = tasks.join_next() => {
                let error = ended.and_then(|joined| joined.ok()).and_then(Result::err);
                return Some(StartError::task("a server", error));
            }
            _ = signals.terminate.recv() => return None,
            _ = signals.interrupt.recv() => return None,
        }
    }
}

/// Reloads at each SIGHUP. Those that come during a reload are one more: the file may have changed since it was read.
async fn reload_at(
    mut hangups: Signal,
    handle: Handle,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    loop {
        let reload = async {
            hangups.recv().await;
            if handle.reload().await.is_err() {
                tracing::warn!("nothing was changed");
            }
        };
        // A reload that is broken off is as one that is killed: whatever it has begun, the next controller ends.
        tokio::select! {
            () = reload => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

impl Core {
    /// What is due every second.
    async fn tick(&mut self) {
        if std::mem::take(&mut self.is_untidy) {
            memory::give_back();
        }
        self.watch_standstill();
        self.watch_guard();
        self.tell_progress();
        self.look_at_refused();
        self.watch_probes().await;
        self.tend_vips().await;
        for result in [
            self.watch_handshakes().await,
            self.release_slots(),
            self.sample_rates(),
            self.watch_rules(),
            self.keep_deadlines().await,
        ] {
            if let Err(error) = result {
                tracing::error!("{error}");
            }
        }
    }

    /// Takes in what the kernel reported.
    async fn take_events(&mut self, events: Vec<NetworkEvent>) {
        self.tell_neighbours(&events);
        let is_link = |e: &NetworkEvent| {
            matches!(e, NetworkEvent::LinkChanged(_) | NetworkEvent::LinkGone { .. })
        };
        let is_address = |e: &NetworkEvent| {
            matches!(
                e,
                NetworkEvent::AddressGone { .. }
                    | NetworkEvent::AddressesChanged
                    | NetworkEvent::ReadAnew
            )
        };
        if events.iter().any(|event| is_link(event) || is_address(event)) {
            upheaval::note();
            self.vips.look_soon();
        }
        let result = if events.iter().any(is_link) {
            self.links_changed(&events).await
        } else if events.iter().all(is_address) && !self.has_wildcards() {
            // The host's own addresses matter to services on any address only.
            Ok(())
        } else {
            self.publish_moved(&events)
        };
        if let Err(error) = result {
            tracing::error!("{error}");
        }
        if events.iter().any(|e| matches!(e, NetworkEvent::LinkGone { .. })) {
            self.watch_probes().await;
        }
        if self.has_lost_vips(&events) {
            self.look_around(&events).await;
        }
    }
}
