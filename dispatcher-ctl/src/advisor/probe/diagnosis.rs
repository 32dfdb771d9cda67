//! Limits how often a backend that does not answer by the VIP is asked by its own address, for a better message.
//!
//! Such a request uses this host's routes and neighbours. A dead backend costs an entry of the kernel's neighbour
//! table, which all namespaces share and which is small (`gc_thresh3`, 1024 by default). Thousands of dead backends
//! must not fill it: so few are asked at a time, and each less and less often. The last answer holds meanwhile.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Requests per second, over all backends: a failed neighbour entry is kept for about 20 s.
const PER_SECOND: f64 = 5.0;
/// Burst of requests after a time without any.
const BURST: f64 = 40.0;
/// How long a positive answer holds.
const ANSWER_HOLDS: Duration = Duration::from_secs(10);
/// How long a first negative answer holds; doubled each time the backend stays silent.
const FIRST_SILENCE: Duration = Duration::from_secs(2);
/// While a backend is asked, others may ask it, too (another service, or another kind): its neighbour entry exists
/// already.
const CONCURRENT: Duration = Duration::from_secs(1);
/// Upper bound of the time for which a negative answer holds.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);
/// Answers that are kept.
const KEPT: usize = 16_384;

/// Which backend is asked: its address, and whether by datagrams.
pub(super) type Own = (SocketAddr, bool);

static INQUIRIES: Mutex<Option<Inquiries>> = Mutex::new(None);

/// Known answers, and the budget of requests.
#[derive(Debug)]
struct Inquiries {
    answers: HashMap<Own, Answer>,
    /// Requests that may be made now.
    left: f64,
    /// When `left` was computed.
    at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    answers: bool,
    at: Instant,
    holds: Duration,
}

/// Whether a backend answers by its own address: asks, or returns the last answer while it holds.
pub(super) async fn answers(own: Own, ask: impl Future<Output = bool>) -> bool {
    let known = with(|asked, now| asked.begin(own, now));
    if let Some(known) = known {
        return known;
    }
    let answers = ask.await;
    if answers {
        with(|asked, now| asked.end(own, true, now));
    }
    answers
}

fn with<T>(act: impl FnOnce(&mut Inquiries, Instant) -> T) -> T {
    let mut asked = INQUIRIES.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    act(asked.get_or_insert_with(|| Inquiries::new(now)), now)
}

impl Inquiries {
    fn new(now: Instant) -> Self {
        Self { answers: HashMap::new(), left: BURST, at: now }
    }

    /// Returns the known answer to use, or `None`: ask now.
    fn begin(&mut self, own: Own, now: Instant) -> Option<bool> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.left, self.at) = ((self.left + passed * PER_SECOND).min(BURST), now);
        let known = self.answers.get(&own).copied();
        let age = known.map(|known| now.saturating_duration_since(known.at));
        if known.is_some_and(|known| !known.answers) && age.is_some_and(|age| age < CONCURRENT) {
            return None;
        }
        let is_fresh = known.zip(age).is_some_and(|(known, age)| age < known.holds);
        if is_fresh || self.left < 1.0 {
            return Some(known.is_some_and(|known| is_fresh && known.answers));
        }
        self.left -= 1.0;
        // The asking task may be cancelled: until it ends, the backend counts as silent.
        self.end(own, false, now);
        None
    }

    fn end(&mut self, own: Own, answers: bool, now: Instant) {
        if self.answers.len() >= KEPT {
            self.answers.clear();
        }
        let holds = match self.answers.get(&own) {
            _ if answers => ANSWER_HOLDS,
            Some(last) if !last.answers => (last.holds * 2).min(LONGEST_SILENCE),
            Some(_) | None => FIRST_SILENCE,
        };
        self.answers.insert(own, Answer { answers, at: now, holds });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(last: u8) -> Own {
        (SocketAddr::from(([10, 0, 0, last], 80)), false)
    }

    #[test]
    fn few_backends_are_asked_at_a_time() {
        let now = Instant::now();
        let mut asked = Inquiries::new(now);
        let mut ask = |at| (0..=255).filter(|n| asked.begin(own(*n), at).is_none()).count();
        assert_eq!(ask(now), 40);
        let later: usize = (1..=10).map(|s| ask(now + Duration::from_secs(s))).sum();
        assert!((49..=50).contains(&later), "{later}");
    }

    #[test]
    fn one_that_stays_silent_is_asked_more_and_more_seldom() {
        let now = Instant::now();
        let mut asked = Inquiries::new(now);
        let mut ask =
            |second: u64| asked.begin(own(1), now + Duration::from_secs(second)).is_none();
        let questions = (0..600).filter(|second| ask(*second)).count();
        assert!((12..=17).contains(&questions), "{questions}");
    }

    #[test]
    fn an_answer_holds_until_the_next() {
        let now = Instant::now();
        let mut asked = Inquiries::new(now);
        assert_eq!(asked.begin(own(1), now), None);
        asked.end(own(1), true, now + Duration::from_millis(3));
        assert_eq!(asked.begin(own(1), now + Duration::from_secs(9)), Some(true));
        assert_eq!(asked.begin(own(1), now + Duration::from_secs(11)), None);
        // Another request at the same time is allowed; later the negative answer holds.
        assert_eq!(asked.begin(own(1), now + Duration::from_millis(11_500)), None);
        assert_eq!(asked.begin(own(1), now + Duration::from_millis(12_500)), Some(false));
    }
}
