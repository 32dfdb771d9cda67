//! Bounds how many probes run at once, and chooses which waiting probe is next.
//!
//! There are two lanes with places of their own: one for backends that are up, one for all others. Dead backends use up
//! their whole time limit, but never delay probes of backends that are up. In the second lane most places go to the
//! probe that has waited longest, and some to the backend that went down last, so that a short outage is noticed as
//! over soon, however many backends have been down for long.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// One of this many places goes to the backend that went down last.
const NEWEST_EVERY: u32 = 4;

/// The lane of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Backends that their last probes found up.
    Up,
    /// All others, with the time since when, by [`crate::standstill::running`].
    Other(Duration),
}

/// Both lanes.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    up: Arc<Semaphore>,
    other: Arc<Other>,
}

/// Permission to probe; dropping it frees the place.
#[derive(Debug)]
pub(super) enum Permit {
    Up(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit),
    Other(#[expect(dead_code, reason = "it is held")] Place),
}

impl Lanes {
    /// Lanes with this many places.
    pub(super) fn new(up: usize, other: usize) -> Self {
        let queue = Queue { free: other, ..Queue::default() };
        Self { up: Arc::new(Semaphore::new(up)), other: Arc::new(Other(Mutex::new(queue))) }
    }

    /// Waits for a place.
    pub(super) async fn enter(&self, lane: Lane) -> Permit {
        match lane {
            Lane::Up => {
                if let Ok(permit) = Arc::clone(&self.up).try_acquire_owned() {
                    return Permit::Up(permit);
                }
                // A place of the other lane that nobody needs.
                if let Some(place) = self.other.try_enter() {
                    return Permit::Other(place);
                }
                match Arc::clone(&self.up).acquire_owned().await {
                    Ok(permit) => Permit::Up(permit),
                    // The semaphore is never closed.
                    Err(_) => std::future::pending().await,
                }
            }
            Lane::Other(since) => Permit::Other(self.other.enter(since).await),
        }
    }
}

#[derive(Debug)]
struct Other(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    free: usize,
    /// Those that wait, in order of arrival.
    waiting: BTreeMap<u64, (Duration, oneshot::Sender<Place>)>,
    /// The same, by the time since when they have been down.
    newest: BTreeSet<(Duration, u64)>,
    last: u64,
    turns: u32,
}

/// A place in the lane of the others; `None` once it was passed on.
#[derive(Debug)]
pub(super) struct Place(Option<Arc<Other>>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(lane) = self.0.take() {
            lane.leave();
        }
    }
}

impl Other {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_enter(self: &Arc<Self>) -> Option<Place> {
        let mut queue = self.queue();
        queue.free = queue.free.checked_sub(1)?;
        Some(Place(Some(Arc::clone(self))))
    }

    async fn enter(self: &Arc<Self>, since: Duration) -> Place {
        if let Some(place) = self.try_enter() {
            return place;
        }
        let turn = self.queue().wait(since);
        match turn.await {
            Ok(place) => place,
            // The sender is kept until it has sent.
            Err(_) => std::future::pending().await,
        }
    }

    /// Gives a place to the next that still waits.
    fn leave(self: Arc<Self>) {
        loop {
            let Some(next) = self.queue().next() else { return };
            match next.send(Place(Some(Arc::clone(&self)))) {
                Ok(()) => return,
                Err(mut unwanted) => unwanted.0 = None,
            }
        }
    }
}

impl Queue {
    fn wait(&mut self, since: Duration) -> oneshot::Receiver<Place> {
        let (sender, turn) = oneshot::channel();
        self.last += 1;
        self.waiting.insert(self.last, (since, sender));
        self.newest.insert((since, self.last));
        turn
    }

    /// The next that waits; `None` frees the place.
    fn next(&mut self) -> Option<oneshot::Sender<Place>> {
        self.turns = self.turns.wrapping_add(1);
        let number = if self.turns.is_multiple_of(NEWEST_EVERY) {
            self.newest.last().map(|(_, number)| *number)
        } else {
            self.waiting.first_key_value().map(|(number, _)| *number)
        };
        let next = number.and_then(|number| Some((number, self.waiting.remove(&number)?)));
        let Some((number, (since, sender))) = next else {
            self.free += 1;
            return None;
        };
        self.newest.remove(&(since, number));
        Some(sender)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn down(seconds: u64) -> Lane {
        Lane::Other(Duration::from_secs(seconds))
    }

    /// Starts tasks that wait for a place in this order, report it, and free it at once.
    async fn waiting(lanes: &Lanes, since: &[u64]) -> (Vec<JoinHandle<()>>, mpsc::Receiver<u64>) {
        let (sender, receiver) = mpsc::channel(since.len());
        let mut tasks = Vec::new();
        for since in since.iter().copied() {
            let (lanes, sender) = (lanes.clone(), sender.clone());
            tasks.push(tokio::spawn(async move {
                let _turn = lanes.enter(down(since)).await;
                sender.send(since).await.unwrap();
            }));
            tokio::task::yield_now().await;
        }
        (tasks, receiver)
    }

    #[tokio::test]
    async fn who_is_up_does_not_wait_for_who_is_gone() {
        let lanes = Lanes::new(2, 3);
        let mut gone = Vec::new();
        for _ in 0..3 {
            gone.push(lanes.enter(down(0)).await);
        }
        timeout(Duration::from_millis(50), lanes.enter(down(9))).await.unwrap_err();
        let up = timeout(SOON, lanes.enter(Lane::Up)).await.unwrap();
        assert!(matches!(up, Permit::Up(_)));
        // A backend that is up also uses a free place of the other lane.
        gone.pop();
        let (_second, third) = (lanes.enter(Lane::Up).await, lanes.enter(Lane::Up).await);
        assert!(matches!(third, Permit::Other(_)));
    }

    #[tokio::test]
    async fn some_turns_are_of_who_went_down_last() {
        let lanes = Lanes::new(1, 1);
        let held = lanes.enter(down(0)).await;
        let since: Vec<u64> = (1..=40).chain([99]).chain([5; 20]).collect();
        let (tasks, mut told) = waiting(&lanes, &since).await;
        drop(held);
        let mut order = Vec::new();
        for _ in 0..since.len() {
            order.push(timeout(SOON, told.recv()).await.unwrap().unwrap());
        }
        let at = order.iter().position(|since| *since == 99).unwrap();
        assert!(at < 4, "{order:?}");
        // Nobody starves.
        let first = order.iter().position(|since| *since == 1).unwrap();
        assert!(first < 4, "{order:?}");
        for task in tasks {
            task.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_turn_of_who_waits_no_more_goes_on() {
        let lanes = Lanes::new(1, 1);
        let held = lanes.enter(down(0)).await;
        let (tasks, mut told) = waiting(&lanes, &[1, 2, 3, 4]).await;
        tasks[..3].iter().for_each(JoinHandle::abort);
        tokio::task::yield_now().await;
        drop(held);
        assert_eq!(timeout(SOON, told.recv()).await.unwrap(), Some(4));
        for task in tasks {
            let _aborted = task.await;
        }
        timeout(SOON, lanes.enter(down(7))).await.unwrap();
    }
}
