//! When is which backend probed? A loop for each, all under one bound on sockets.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, mpsc},
    task::{AbortHandle, JoinSet},
    time::sleep,
};

use super::probe::{Finding, Target, probe};
use crate::model::Advisor;

/// Probes under way at once: each has a socket.
const SOCKETS: usize = 512;
/// The first probes of many backends are spread over as long.
const SPREAD: Duration = Duration::from_secs(1);

/// A backend that is probed, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// Its slot.
    pub slot: u32,
    /// What is probed.
    pub target: Target,
    /// How.
    pub advisor: Arc<Advisor>,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The slot that was probed.
    pub slot: u32,
    /// How.
    pub advisor: Arc<Advisor>,
    /// When it ended.
    pub at: Instant,
    /// What it found; or why the backend could not be probed, which says nothing of the backend.
    pub finding: Result<Finding, String>,
}

/// All loops.
#[derive(Debug)]
pub struct Advisors {
    loops: HashMap<Subject, AbortHandle>,
    tasks: JoinSet<()>,
    sockets: Arc<Semaphore>,
    outcomes: mpsc::Sender<Outcome>,
}

impl Advisors {
    /// None yet; outcomes will come from the receiver.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Outcome>) {
        let (outcomes, receiver) = mpsc::channel(SOCKETS);
        let sockets = Arc::new(Semaphore::new(SOCKETS));
        (Self { loops: HashMap::new(), tasks: JoinSet::new(), sockets, outcomes }, receiver)
    }

    /// Probes these backends from now on, and no others. Loops of those that were probed the same way go on.
    #[expect(clippy::mutable_key_type, reason = "of a prober only its identity is compared")]
    pub fn follow(&mut self, subjects: impl IntoIterator<Item = Subject>) {
        let mut former = std::mem::take(&mut self.loops);
        for subject in subjects {
            let running = former.remove(&subject).unwrap_or_else(|| self.start(subject.clone()));
            self.loops.insert(subject, running);
        }
        former.values().for_each(AbortHandle::abort);
        while self.tasks.try_join_next().is_some() {}
    }

    fn start(&mut self, subject: Subject) -> AbortHandle {
        let (sockets, outcomes) = (Arc::clone(&self.sockets), self.outcomes.clone());
        self.tasks.spawn(probe_for_ever(subject, sockets, outcomes))
    }
}

async fn probe_for_ever(
    Subject { slot, target, advisor }: Subject,
    sockets: Arc<Semaphore>,
    outcomes: mpsc::Sender<Outcome>,
) {
    sleep(advisor.interval.min(SPREAD).mul_f64(random())).await;
    loop {
        let began = tokio::time::Instant::now();
        let finding = {
            let Ok(_socket) = sockets.acquire().await else { return };
            find(&advisor, &target).await
        };
        let (advisor_of, at) = (Arc::clone(&advisor), Instant::now());
        if outcomes.send(Outcome { slot, advisor: advisor_of, at, finding }).await.is_err() {
            return;
        }
        // From beginning to beginning, give or take a tenth: backends that began together drift apart.
        let pause = advisor.interval.mul_f64(0.9 + 0.2 * random());
        sleep(pause.saturating_sub(began.elapsed())).await;
    }
}

async fn find(advisor: &Advisor, target: &Target) -> Result<Finding, String> {
    if let Some(through) = &target.through {
        through.ready(target.address.ip()).await?;
    }
    Ok(probe(advisor, target).await)
}

/// From 0 to 1.
fn random() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX)
}
