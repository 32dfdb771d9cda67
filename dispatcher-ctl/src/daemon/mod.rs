//! The daemon: puts datapath, network, API and metrics together and keeps them in step.
//!
//! One [`core::Core`] holds everything behind one lock. Requests ([`control`]), events of the kernel and timers ([`react`]) use
//! it in turn. It consists of rooms, each of which owns its data: [`links`] follows NICs, VIPs and next hops, [`health`] decides
//! the state of backends, [`weights`] runs the manager, [`reports`] reports events, [`store`] keeps the saved state, and
//! [`plane`] holds the datapath. [`start`] takes over or makes the datapath, and [`view`] builds the API's answers.

mod clock;
mod control;
mod core;
mod error;
mod file;
mod health;
mod links;
mod memory;
mod plane;
mod publish;
mod react;
mod reports;
mod saved;
mod start;
mod store;
mod view;
mod weights;

use std::{sync::Arc, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Mutex, mpsc},
    task::JoinSet,
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::links::restore_arp_ignore;
pub use self::{
    memory::set_up as set_up_memory,
    reports::Problems,
    start::{RunOptions, StartError},
    store::read_saved,
};

use self::control::Handle;
use crate::{
    advisor::ProbeOutcome, api, api::Controller, metrics, network::NetworkEvent, standstill,
};

/// How often slots are released and rates sampled.
const TICK: Duration = Duration::from_secs(1);

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start, or a task ends that should not.
pub async fn run(options: RunOptions) -> Result<(), StartError> {
    // Before anything is attached: from here on, a signal stops the daemon cleanly.
    let signals = Signals::new().map_err(StartError::signals)?;
    let hangups = signal(SignalKind::hangup()).map_err(StartError::signals)?;
    standstill::watch();
    let leave_attached = options.leave_attached;
    let started = start::start(options).await?;
    let start::Started { core, file, kernel_reports, outcomes, socket, metrics_listener } = started;
    let handle = Handle::new(Arc::new(Mutex::new(core)), file);

    let shutdown = CancellationToken::new();
    let exits = handle.core().await.reports.events().exits().clone().run(shutdown.clone());
    let exits = tokio::spawn(exits);
    let mut tasks = JoinSet::new();
    let controller: Arc<dyn Controller> = Arc::new(handle.clone());
    let patience = api::server::Patience::default();
    tasks.spawn(api::serve(socket, Arc::clone(&controller), patience, shutdown.clone()));
    tasks.spawn(metrics::server::serve(metrics_listener, controller, shutdown.clone()));
    tasks.spawn(reload_at(hangups, handle.clone(), shutdown.clone()));
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!("cannot tell systemd that the daemon is ready: {error}");
    }
    tracing::info!("ready");

    let failure = watch(&handle, kernel_reports, outcomes, signals, &mut tasks).await;
    // Readiness ends with the loop; nobody may be listening.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    shutdown.cancel();
    while tasks.join_next().await.is_some() {}
    // It ends with the others; if it ended earlier, it reported the cause.
    let _ = exits.await;
    handle.core().await.links.close_probes("the daemon ends").await;
    match failure {
        None if !leave_attached => handle.core().await.dismantle().await.map_err(StartError::from),
        None => Ok(()),
        Some(failure) => Err(failure),
    }
}

/// Handles events, timers and signals until the daemon must stop; returns the cause if that is a failure.
async fn watch(
    handle: &Handle,
    mut kernel_reports: mpsc::UnboundedReceiver<NetworkEvent>,
    mut outcomes: mpsc::Receiver<ProbeOutcome>,
    mut signals: Signals,
    tasks: &mut JoinSet<std::io::Result<()>>,
) -> Option<StartError> {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sample = tokio::time::interval(weights::SAMPLE);
    sample.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            report = kernel_reports.recv() => match report {
                Some(report) => {
                    let mut batch = vec![report];
                    while let Ok(report) = kernel_reports.try_recv() {
                        batch.push(report);
                    }
                    handle.core().await.follow_reports(batch).await;
                }
                None => return Some(StartError::task("the network watcher", None)),
            },
            outcome = outcomes.recv() => match outcome {
                Some(outcome) => {
                    let mut batch = vec![outcome];
                    while let Ok(outcome) = outcomes.try_recv() {
                        batch.push(outcome);
                    }
                    if let Err(error) = handle.core().await.follow_outcomes(batch).await {
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

/// Reloads at each SIGHUP. All signals during a reload cause one more reload: the file may have changed since it was read.
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
        // An interrupted reload is like a killed one: the next controller completes it.
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
