//! The verdicts of advisors on backends: up, or down and why.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::subject::subject;
use crate::{
    advisor::{
        Advisors, Health, ProbeOutcome,
        probe::{Finding, Load},
    },
    api::types::{BackendAdvisor, ProbeLateness, Probes},
    daemon::clock,
    model::{Advisor, Choice as _, Service, State},
    prober::Prober,
};

/// The log repeats a reason for which backends cannot be probed after this time at the earliest.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// The most reasons that it lists in that time.
const REASONS: usize = 20;

/// What one advisor's probes of a backend have found.
#[derive(Debug)]
struct Advice {
    /// How it probes.
    advisor: Arc<Advisor>,
    /// Its key in the configuration: `advisor` or `agent`.
    key: &'static str,
    health: Health,
    /// Why the backend is down, if it is: what the last failed probe found.
    why: Option<String>,
    /// What the last probe measured, if it was good, and when, in the time of [`crate::standstill::running`].
    load: Option<(Load, Duration)>,
    good: u64,
    bad: u64,
    /// Probes that could not be made.
    not_made: u64,
    /// Why it cannot be probed, if it cannot.
    not_probed: Option<String>,
    last_error: Option<String>,
    /// When the certificate ends that was seen last: seconds since the epoch.
    certificate_expiry: Option<i64>,
}

impl Advice {
    /// Nothing was found yet of a backend that is down for this reason, if it is.
    fn new(key: &'static str, advisor: Arc<Advisor>, why: Option<String>) -> Self {
        Self {
            advisor,
            key,
            health: Health::new(why.is_none()),
            why,
            load: None,
            good: 0,
            bad: 0,
            not_made: 0,
            not_probed: None,
            last_error: None,
            certificate_expiry: None,
        }
    }

    /// Adds what a probe found; true if the backend has come up or gone down by it.
    fn add(&mut self, finding: Result<Finding, String>, at: Duration) -> bool {
        let finding = match finding {
            Ok(finding) => finding,
            Err(why) => {
                // Nothing was found: the backend stays up or down.
                self.not_made += 1;
                (self.last_error, self.not_probed) = (Some(why.clone()), Some(why));
                return false;
            }
        };
        self.not_probed = None;
        let Advisor { rise, fall, kind, .. } = *self.advisor;
        let changed = self.health.record(finding.result.is_ok(), rise, fall);
        // What was seen of a certificate holds until another is seen.
        self.certificate_expiry = finding.certificate_expiry.or(self.certificate_expiry);
        let why = match finding.result {
            Ok(load) => {
                (self.load, self.good) = (Some((load, at)), self.good + 1);
                None
            }
            Err(fault) => {
                let error = fault.to_string();
                let why = format!("{} {error}", kind.word());
                (self.load, self.bad, self.last_error) = (None, self.bad + 1, Some(error));
                Some(why)
            }
        };
        if self.health.is_up() {
            self.why = None;
        } else if why.is_some() {
            // The newest reason counts: the fault may have become another.
            self.why = why;
        }
        changed
    }

    /// Adds a failure that was seen without a probe; true if the backend has gone down by it. Ignored while the backend is down:
    /// only probes bring it back up.
    fn add_failure(&mut self, why: String) -> bool {
        if !self.health.is_up() {
            return false;
        }
        self.last_error = Some(why.clone());
        let is_down = self.health.record(false, self.advisor.rise, self.advisor.fall);
        if is_down {
            (self.load, self.why) = (None, Some(why));
        }
        is_down
    }

    fn view(&self) -> BackendAdvisor {
        BackendAdvisor {
            kind: self.advisor.kind,
            target: self.advisor.target,
            load_seconds: self.load.and_then(|(load, _)| load.seconds()),
            system_load: self.load.and_then(|(load, _)| load.system()),
            probes: Probes { success: self.good, failure: self.bad, not_probed: self.not_made },
            last_error: self.last_error.clone(),
            not_probed: self.not_probed.clone(),
            certificate_expiry: self.certificate_expiry,
        }
    }
}

/// By slot, why backends are down from now on; none: they are up.
pub(in crate::daemon) type Changed = HashMap<u32, Option<String>>;

/// All advisors, and what they have found.
#[derive(Debug)]
pub(super) struct Advised {
    advisors: Advisors,
    /// By slot: of the service's advisor, then of the metric agent.
    found: HashMap<u32, Vec<Advice>>,
    /// Why backends could not be probed, and when the log last reported it.
    logged: HashMap<String, Instant>,
}

/// What probes have found of a backend, as the API shows it.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Shown {
    /// By the service's advisor.
    pub(in crate::daemon) advisor: Option<BackendAdvisor>,
    /// By its metric agent, in addition.
    pub(in crate::daemon) agent: Option<BackendAdvisor>,
}

impl Advised {
    pub(super) fn new(advisors: Advisors) -> Self {
        Self { advisors, found: HashMap::new(), logged: HashMap::new() }
    }

    /// How late probes began lately.
    pub(super) fn lateness(&self) -> ProbeLateness {
        let late = self.advisors.lateness();
        ProbeLateness { up: late.up.as_secs_f64(), other: late.other.as_secs_f64() }
    }

    /// Probes the backends of a state, and forgets what was found of others.
    pub(super) fn follow(&mut self, state: &State, prober: &Prober) {
        let mut former = std::mem::take(&mut self.found);
        let mut subjects = Vec::new();
        for service in &state.services {
            let asked: Vec<_> =
                service.config.advisors().map(|(key, a)| (key, Arc::new(a.clone()))).collect();
            if asked.is_empty() {
                continue;
            }
            for backend in &service.backends {
                let mut before = former.remove(&backend.slot).unwrap_or_default();
                let advice = |(key, advisor): &(&'static str, Arc<Advisor>)| {
                    let is_same = |found: &Advice| found.key == *key && found.advisor == *advisor;
                    before.iter().position(is_same).map_or_else(
                        || Advice::new(key, Arc::clone(advisor), backend.advised_down.clone()),
                        |at| before.swap_remove(at),
                    )
                };
                self.found.insert(backend.slot, asked.iter().map(advice).collect());
                subjects.extend(asked.iter().map(|(_, a)| subject(service, backend, a, prober)));
            }
        }
        self.advisors.follow(subjects);
    }

    /// Adds an outcome; if the backend has come up or gone down, returns why it is down, or none if it is up.
    pub(super) fn add(&mut self, outcome: ProbeOutcome) -> Option<Option<String>> {
        let ProbeOutcome { slot, advisor, at, finding } = outcome;
        let all = self.found.get_mut(&slot)?;
        // A probe may end after its advisor was replaced.
        let found = all.iter_mut().find(|found| found.advisor == advisor)?;
        let was_probed = found.not_probed.is_none();
        let has_changed = found.add(finding, at);
        let not_probed = found.not_probed.clone().filter(|_| was_probed);
        let changed = has_changed.then(|| reasons(all));
        not_probed.into_iter().for_each(|why| self.log_not_probed(why));
        changed
    }

    /// Logs why backends cannot be probed, but not too often.
    fn log_not_probed(&mut self, why: String) {
        let now = clock::now();
        self.logged.retain(|_, at| now.saturating_duration_since(*at) < LOG_EVERY);
        if self.logged.len() < REASONS && !self.logged.contains_key(&why) {
            tracing::warn!("backends cannot be probed, and are left as they were: {why}");
            self.logged.insert(why, now);
        }
    }

    /// Adds failures that were seen without a probe, by slot; yields the backends that have gone down by them.
    pub(super) fn add_failures(&mut self, bad: HashMap<u32, String>) -> Changed {
        let mut changed = HashMap::new();
        for (slot, why) in bad {
            let all = self.found.get_mut(&slot).map_or(&mut [][..], Vec::as_mut_slice);
            let advisor = all.iter_mut().find(|found| found.key == "advisor");
            if advisor.is_some_and(|advisor| advisor.add_failure(why)) {
                changed.insert(slot, reasons(all));
            }
        }
        changed
    }

    /// What was last measured of a slot's backend by its advisor and by its metric agent, and when, in the time of
    /// [`crate::standstill::running`].
    pub(super) fn loads(&self, slot: u32) -> impl Iterator<Item = (Load, Duration)> {
        self.found.get(&slot).into_iter().flatten().filter_map(|found| found.load)
    }

    /// Why a slot's backend is down, if it is, by what was found last.
    pub(super) fn why_down(&self, slot: u32) -> Option<String> {
        reasons(self.found.get(&slot)?)
    }

    /// What probes have found of a slot's backend.
    pub(super) fn shown(&self, slot: u32) -> Shown {
        let all = self.found.get(&slot).map_or(&[][..], Vec::as_slice);
        let of = |key: &str| all.iter().find(|found| found.key == key).map(Advice::view);
        Shown { advisor: of("advisor"), agent: of("agent") }
    }
}

/// Why a backend is down, by all advisors that have it down.
fn reasons(all: &[Advice]) -> Option<String> {
    let reasons: Vec<_> = all.iter().filter_map(|found| found.why.as_deref()).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// A state in which backends have come up or gone down; `now_ms` is in milliseconds since the epoch.
pub(in crate::daemon) fn advise(state: &State, mut changed: Changed, now_ms: u64) -> State {
    let mut state = state.clone();
    let slots: HashSet<u32> = changed.keys().copied().collect();
    let is_meant = |service: &Service| service.backends.iter().any(|b| slots.contains(&b.slot));
    state.change(is_meant, |service| {
        for backend in &mut service.backends {
            if let Some(why) = changed.remove(&backend.slot) {
                if why.is_some() != backend.advised_down.is_some() {
                    backend.since_ms = now_ms;
                }
                backend.advised_down = why;
            }
        }
    });
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fault::Fault, model::AdvisorKind, standstill::running};

    fn found(result: Result<Load, &str>) -> Result<Finding, String> {
        let result = result.map_err(|why| Fault::Backend(why.to_owned()));
        Ok(Finding { result, certificate_expiry: None })
    }

    #[tokio::test]
    async fn a_backend_is_up_when_advisor_and_agent_both_say_so() {
        let (http, agent) = (Advisor::new(AdvisorKind::Http), Advisor::new(AdvisorKind::Agent));
        let (http, agent) = (Arc::new(http), Arc::new(agent));
        let mut advised = Advised::new(Advisors::new().0);
        let advice = [("advisor", &http), ("agent", &agent)];
        let advice = advice.map(|(key, a)| Advice::new(key, Arc::clone(a), None));
        advised.found.insert(7, advice.into());
        let mut take = |advisor: &Arc<Advisor>, finding| {
            let (advisor, at) = (Arc::clone(advisor), running());
            advised.add(ProbeOutcome { slot: 7, advisor, at, finding })
        };
        let (fine, load) = (Load::Time(Duration::from_millis(3)), Load::System(40.0));
        assert_eq!(take(&http, found(Ok(fine))), None);
        assert_eq!(take(&agent, found(Ok(load))), None);
        let down = |why: &str| Some(Some(why.to_owned()));
        assert_eq!(take(&agent, found(Err("-1"))), down("agent -1"));
        assert_eq!(take(&http, found(Err("status 503"))), down("http status 503; agent -1"));
        assert_eq!(take(&http, Err("no probe".to_owned())), None, "nothing was found");
        assert_eq!(take(&http, found(Ok(fine))), down("agent -1"));
        assert_eq!(take(&agent, found(Ok(load))), Some(None));
        let loads = |advised: &Advised| advised.loads(7).map(|(load, _)| load).collect::<Vec<_>>();
        assert_eq!(loads(&advised), [fine, load]);
    }

    #[test]
    fn what_could_not_be_probed_is_what_it_was() {
        let http = Arc::new(Advisor { rise: 2, fall: 2, ..Advisor::new(AdvisorKind::Http) });
        let fine = || found(Ok(Load::Time(Duration::from_millis(3))));
        let local = || Err("too many open files".to_owned());
        let mut advice = Advice::new("advisor", Arc::clone(&http), None);
        // It neither changes up or down nor restarts the count.
        for (finding, is_news) in [
            (fine(), false),
            (found(Err("status 503")), false),
            (local(), false),
            (local(), false),
            (found(Err("status 503")), true),
            (local(), false),
            (fine(), false),
            (local(), false),
            (fine(), true),
            (local(), false),
        ] {
            assert_eq!(advice.add(finding, running()), is_news);
        }
        let shown = advice.view();
        assert_eq!(shown.probes, Probes { success: 3, failure: 2, not_probed: 5 });
        assert_eq!(shown.not_probed.as_deref(), Some("too many open files"));
        assert_eq!(shown.load_seconds, Some(0.003), "what was measured holds");
        advice.add(fine(), running());
        assert_eq!(advice.view().not_probed, None);
    }

    #[test]
    fn what_is_wrong_is_what_was_seen_last() {
        let http = Arc::new(Advisor { rise: 2, ..Advisor::new(AdvisorKind::Http) });
        let mut advice = Advice::new("advisor", http, None);
        let fine = Load::Time(Duration::from_millis(3));
        for (result, is_news, why) in [
            (Err("no answer"), true, Some("http no answer")),
            (Err("status 503"), false, Some("http status 503")),
            (Ok(fine), false, Some("http status 503")),
            (Ok(fine), true, None),
        ] {
            assert_eq!(advice.add(found(result), running()), is_news, "{result:?}");
            assert_eq!(advice.why.as_deref(), why, "{result:?}");
        }
    }
}
