//! Timer loops that decide when each backend is probed: one per question, with bounds on sockets and commands in use.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};

use super::{
    disturbance::{TOO_STILL, Watch},
    lanes::Lanes,
    lateness::{Lateness, LatenessMeter},
    pace::Pace,
    probe::{Finding, Target, probe},
    question::{Askers, Question, SharedAskers, Subject, questions},
};
use crate::{
    fault::Fault,
    model::{Advisor, AdvisorKind},
    standstill::{Mark, running},
};

/// Probes at once, for backends that are up and for others: each uses a socket.
const SOCKETS: (usize, usize) = (256, 384);
/// Commands at once, likewise.
const COMMANDS: (usize, usize) = (32, 32);
/// The first probes of many backends are spread over this time.
const SPREAD: Duration = Duration::from_secs(1);

/// What a probe found.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeOutcome {
    /// The slot that was probed.
    pub slot: u32,
    /// How it was probed.
    pub advisor: Arc<Advisor>,
    /// When it ended, by [`crate::standstill::running`].
    pub at: Duration,
    /// What it found; or why the backend could not be probed, which says nothing about the backend.
    pub finding: Result<Finding, String>,
}

/// All loops, one per question.
#[derive(Debug)]
pub struct Advisors {
    loops: HashMap<Question, (AbortHandle, SharedAskers)>,
    tasks: JoinSet<()>,
    shared: Arc<Shared>,
}

/// What all loops share.
#[derive(Debug)]
struct Shared {
    sockets: Lanes,
    commands: Lanes,
    late: LatenessMeter,
    outcomes: mpsc::Sender<ProbeOutcome>,
}

impl Advisors {
    /// Starts without loops; the receiver yields all outcomes.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<ProbeOutcome>) {
        let (outcomes, receiver) = mpsc::channel(SOCKETS.0 + SOCKETS.1);
        let [sockets, commands] = [SOCKETS, COMMANDS].map(|(up, other)| Lanes::new(up, other));
        let shared = Arc::new(Shared { sockets, commands, late: LatenessMeter::new(), outcomes });
        (Self { loops: HashMap::new(), tasks: JoinSet::new(), shared }, receiver)
    }

    /// Probes these backends and no others. Loops whose question is asked again continue.
    #[expect(clippy::mutable_key_type, reason = "a prober is compared by identity only")]
    pub fn follow(&mut self, subjects: impl IntoIterator<Item = Subject>) {
        let mut former = std::mem::take(&mut self.loops);
        for (question, askers) in questions(subjects) {
            let running = match former.remove(&question) {
                Some((running, shared)) => {
                    shared.set(askers);
                    (running, shared)
                }
                None => self.start(question.advisor().clone(), SharedAskers::new(askers)),
            };
            self.loops.insert(question, running);
        }
        former.values().for_each(|(running, _)| running.abort());
        while self.tasks.try_join_next().is_some() {}
    }

    /// How late probes began recently.
    #[must_use]
    pub fn lateness(&self) -> Lateness {
        self.shared.late.get()
    }

    fn start(&mut self, advisor: Advisor, askers: SharedAskers) -> (AbortHandle, SharedAskers) {
        let shared = Arc::clone(&self.shared);
        let task = self.tasks.spawn(run_loop(advisor, askers.clone(), shared));
        (task, askers)
    }
}

async fn run_loop(advisor: Advisor, askers: SharedAskers, shared: Arc<Shared>) {
    let is_command = advisor.kind == AdvisorKind::Exec;
    let lanes = if is_command { &shared.commands } else { &shared.sockets };
    let spread = advisor.interval.min(SPREAD);
    let mut pace = Pace::new(&advisor, running());
    let mut due = Instant::now() + spread.mul_f64(random());
    loop {
        let slept = Mark::now();
        let is_due = tokio::select! {
            () = sleep_until(due) => true,
            () = askers.wait_for_newcomer() => false,
        };
        // A new asker needs a result soon. After a standstill all loops are due at once, so spread them, too.
        if !is_due || slept.stood_still() >= TOO_STILL {
            due = Instant::now() + spread.mul_f64(random());
            sleep_until(due).await;
        }
        let lane = pace.lane();
        let waited = Mark::now();
        let turn = lanes.enter(lane).await;
        shared.late.record(lane, due.elapsed().saturating_sub(waited.stood_still()));
        let Askers { target, all } = askers.get();
        let finding = probe_once(&advisor, &target).await;
        drop(turn);
        let at = running();
        // Askers that joined or left during the probe do not change who gets this outcome.
        pace.record(&finding, askers.get().fall(), at);
        for (slot, advisor) in all {
            let outcome = ProbeOutcome { slot, advisor, at, finding: finding.clone() };
            if shared.outcomes.send(outcome).await.is_err() {
                return;
            }
        }
        // Interval from beginning to beginning, ±10 %, so that backends that began together drift apart.
        due = (due + pace.pause(at).mul_f64(0.9 + 0.2 * random())).max(Instant::now());
    }
}

/// Makes a probe if it can be made. A failure counts only if nothing was wrong on this host meanwhile.
async fn probe_once(advisor: &Advisor, target: &Target) -> Result<Finding, String> {
    let watch = Watch::begin(target).await?;
    let finding = probe(advisor, target).await;
    match &finding.result {
        Ok(_) => return Ok(finding),
        Err(Fault::Here(why)) => return Err(why.clone()),
        Err(Fault::Backend(_)) => {}
    }
    watch.end().await?;
    Ok(finding)
}

/// A random number from 0 to 1.
fn random() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX)
}
