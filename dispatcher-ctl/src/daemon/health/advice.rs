//! What advisors say of backends, and what follows: down, and up again.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::daemon::{clock, core::Core, reports::Cause};
use crate::{
    advisor::{
        Advisors, Health, Outcome, Subject,
        probe::{Finding, Load, Target},
    },
    api::types::{ApiError, BackendAdvisor, ProbeLateness, Probes},
    model::{self, Advisor, AdvisorKind, Backend, Choice as _, Service, State},
    prober::{Prober, Through},
};

/// Why backends cannot be probed the log says again after as long.
const SAID: Duration = Duration::from_secs(60);
/// And so many different reasons in that time.
const KEPT: usize = 20;

/// What the probes of a backend have said that one advisor made.
#[derive(Debug)]
struct Advice {
    /// By whom.
    advisor: Arc<Advisor>,
    /// Where the configuration says so.
    key: &'static str,
    health: Health,
    /// Why it is down, if it is: what the last probe said that failed.
    why: Option<String>,
    /// What the last probe measured, if it was good, and when, as [`crate::standstill::running`] has it.
    load: Option<(Load, Duration)>,
    good: u64,
    bad: u64,
    /// Probes that could not be made.
    none: u64,
    /// Why it cannot be probed, if it cannot.
    not_probed: Option<String>,
    last_error: Option<String>,
    /// When the certificate ends that was seen last: seconds since the epoch.
    certificate_expiry: Option<i64>,
}

impl Advice {
    /// Of a backend that is down, if it is, for this reason.
    fn new(key: &'static str, advisor: Arc<Advisor>, why: Option<String>) -> Self {
        Self {
            advisor,
            key,
            health: Health::new(why.is_none()),
            why,
            load: None,
            good: 0,
            bad: 0,
            none: 0,
            not_probed: None,
            last_error: None,
            certificate_expiry: None,
        }
    }

    /// Takes in what a probe found; true if the backend has come up or gone down by it.
    fn take(&mut self, finding: Result<Finding, String>, at: Duration) -> bool {
        let finding = match finding {
            Ok(finding) => finding,
            Err(why) => {
                // Nothing was found: it is what it was.
                self.none += 1;
                (self.last_error, self.not_probed) = (Some(why.clone()), Some(why));
                return false;
            }
        };
        self.not_probed = None;
        let Advisor { rise, fall, kind, .. } = *self.advisor;
        let changed = self.health.take(finding.result.is_ok(), rise, fall);
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
            // What is wrong may turn out to be another thing than what was seen first.
            self.why = why;
        }
        changed
    }

    /// Takes in why clients do not get through to it; true if the backend has gone down by that. Of one that is down it is no
    /// news, and only probes have it up again.
    fn doubt(&mut self, why: String) -> bool {
        if !self.health.is_up() {
            return false;
        }
        self.last_error = Some(why.clone());
        let is_down = self.health.take(false, self.advisor.rise, self.advisor.fall);
        if is_down {
            (self.load, self.why) = (None, Some(why));
        }
        is_down
    }

    fn shown(&self) -> BackendAdvisor {
        BackendAdvisor {
            kind: self.advisor.kind,
            target: self.advisor.target,
            load_seconds: self.load.and_then(|(load, _)| load.seconds()),
            system_load: self.load.and_then(|(load, _)| load.system()),
            probes: Probes { success: self.good, failure: self.bad, not_probed: self.none },
            last_error: self.last_error.clone(),
            not_probed: self.not_probed.clone(),
            certificate_expiry: self.certificate_expiry,
        }
    }
}

/// By slot, why backends are down from now on, or none where they are up.
type Changed = HashMap<u32, Option<String>>;

/// All advisors, and what they have said, by slot: the service's advisor, then the metric agent.
#[derive(Debug)]
pub(in crate::daemon) struct Advised {
    advisors: Advisors,
    said: HashMap<u32, Vec<Advice>>,
    /// Why backends could not be probed, and when the log last said so.
    complaints: HashMap<String, Instant>,
}

/// What has been said of a backend, as the API tells it.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Shown {
    /// By the service's advisor.
    pub(in crate::daemon) advisor: Option<BackendAdvisor>,
    /// By its metric agent, beside that.
    pub(in crate::daemon) agent: Option<BackendAdvisor>,
}

impl Advised {
    pub(in crate::daemon) fn new(advisors: Advisors) -> Self {
        Self { advisors, said: HashMap::new(), complaints: HashMap::new() }
    }

    /// How late probes began lately.
    pub(in crate::daemon) fn lateness(&self) -> ProbeLateness {
        let late = self.advisors.lateness();
        ProbeLateness { up: late.up.as_secs_f64(), other: late.other.as_secs_f64() }
    }

    /// Probes the backends of a state, and forgets what was said of others.
    pub(in crate::daemon) fn follow(&mut self, state: &State, prober: &Prober) {
        let mut former = std::mem::take(&mut self.said);
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
                    let is_same = |said: &Advice| said.key == *key && said.advisor == *advisor;
                    before.iter().position(is_same).map_or_else(
                        || Advice::new(key, Arc::clone(advisor), backend.advised_down.clone()),
                        |at| before.swap_remove(at),
                    )
                };
                self.said.insert(backend.slot, asked.iter().map(advice).collect());
                subjects.extend(asked.iter().map(|(_, a)| subject(service, backend, a, prober)));
            }
        }
        self.advisors.follow(subjects);
    }

    /// Takes in an outcome; yields why the backend is down, or none where it is up, if that has changed.
    fn take(&mut self, outcome: Outcome) -> Option<Option<String>> {
        let Outcome { slot, advisor, at, finding } = outcome;
        let all = self.said.get_mut(&slot)?;
        // A probe may end after its advisor was replaced.
        let said = all.iter_mut().find(|said| said.advisor == advisor)?;
        let was_probed = said.not_probed.is_none();
        let has_changed = said.take(finding, at);
        let complaint = said.not_probed.clone().filter(|_| was_probed);
        let changed = has_changed.then(|| reasons(all));
        complaint.into_iter().for_each(|why| self.complain(why));
        changed
    }

    /// Has the log say why backends cannot be probed, now and then.
    fn complain(&mut self, why: String) {
        let now = clock::now();
        self.complaints.retain(|_, at| now.saturating_duration_since(*at) < SAID);
        if self.complaints.len() < KEPT && !self.complaints.contains_key(&why) {
            tracing::warn!("backends cannot be probed, and are left as they were: {why}");
            self.complaints.insert(why, now);
        }
    }

    /// Takes in why clients do not get through to slots' backends; yields those that are down for it, if they were not.
    pub(in crate::daemon) fn doubt(&mut self, bad: HashMap<u32, String>) -> Changed {
        let mut changed = HashMap::new();
        for (slot, why) in bad {
            let all = self.said.get_mut(&slot).map_or(&mut [][..], Vec::as_mut_slice);
            let said = all.iter_mut().find(|said| said.key == "advisor");
            if said.is_some_and(|said| said.doubt(why)) {
                changed.insert(slot, reasons(all));
            }
        }
        changed
    }

    /// What was last measured of a slot's backend by its advisor, by its metric agent, and when, as
    /// [`crate::standstill::running`] has it.
    pub(in crate::daemon) fn loads(&self, slot: u32) -> impl Iterator<Item = (Load, Duration)> {
        self.said.get(&slot).into_iter().flatten().filter_map(|said| said.load)
    }

    /// Why a slot's backend is down, as it was said last, if it is.
    pub(in crate::daemon) fn why_down(&self, slot: u32) -> Option<String> {
        reasons(self.said.get(&slot)?)
    }

    /// What has been said of a slot's backend.
    pub(in crate::daemon) fn shown(&self, slot: u32) -> Shown {
        let all = self.said.get(&slot).map_or(&[][..], Vec::as_slice);
        let of = |key: &str| all.iter().find(|said| said.key == key).map(Advice::shown);
        Shown { advisor: of("advisor"), agent: of("agent") }
    }
}

/// Why a backend is down, by whoever says so.
fn reasons(all: &[Advice]) -> Option<String> {
    let reasons: Vec<_> = all.iter().filter_map(|said| said.why.as_deref()).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn subject(
    service: &Service,
    backend: &Backend,
    advisor: &Arc<Advisor>,
    prober: &Prober,
) -> Subject {
    let (config, slot) = (&service.config, backend.slot);
    let port = advisor.port_of(config.port);
    let own = SocketAddr::new(backend.config.address, port);
    let vip = SocketAddr::new(config.vip, port);
    let (address, through) = match advisor.target {
        model::Target::Address => (own, None),
        // This very host has the VIP.
        model::Target::Vip if backend.config.local => (vip, None),
        model::Target::Vip => {
            let mac = backend.config.mac;
            (vip, Some(Through { slot, own, mac, prober: prober.clone() }))
        }
    };
    let usual = if advisor.kind == AdvisorKind::Https { 443 } else { 80 };
    let target = Target {
        address,
        host: host(SocketAddr::new(config.vip, config.port), usual),
        protocol: config.protocol,
        service: config.name.clone(),
        backend: backend.config.name.clone(),
        through,
    };
    Subject { slot, target, advisor: Arc::clone(advisor) }
}

/// The VIP as a client would name it in a request: with its port, unless it is the usual one.
fn host(vip: SocketAddr, usual: u16) -> String {
    if ![0, usual].contains(&vip.port()) {
        return vip.to_string();
    }
    match vip {
        SocketAddr::V4(vip) => vip.ip().to_string(),
        SocketAddr::V6(vip) => format!("[{}]", vip.ip()),
    }
}

impl Core {
    /// Takes in outcomes of probes; backends that came up or went down are so from now on.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(in crate::daemon) async fn take_outcomes(
        &mut self,
        outcomes: Vec<Outcome>,
    ) -> Result<(), ApiError> {
        let mut changed = HashMap::new();
        for outcome in outcomes {
            let slot = outcome.slot;
            if let Some(why) = self.advised.take(outcome) {
                changed.insert(slot, why);
            }
        }
        self.take_changed(changed).await
    }

    /// Has backends down, or up again.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(in crate::daemon) async fn take_changed(
        &mut self,
        mut changed: Changed,
    ) -> Result<(), ApiError> {
        if changed.is_empty() {
            return Ok(());
        }
        let mut state = self.state().clone();
        let slots: HashSet<u32> = changed.keys().copied().collect();
        let is_meant = |service: &Service| service.backends.iter().any(|b| slots.contains(&b.slot));
        state.change(is_meant, |service| {
            for backend in &mut service.backends {
                if let Some(why) = changed.remove(&backend.slot) {
                    if why.is_some() != backend.advised_down.is_some() {
                        backend.since_ms = clock::epoch_ms();
                    }
                    backend.advised_down = why;
                }
            }
        });
        self.commit(state, None, Cause::Advisor).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{advisor::probe::Fault, standstill::running};

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
        advised.said.insert(7, advice.into());
        let mut take = |advisor: &Arc<Advisor>, finding| {
            let (advisor, at) = (Arc::clone(advisor), running());
            advised.take(Outcome { slot: 7, advisor, at, finding })
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
        let mut said = Advice::new("advisor", Arc::clone(&http), None);
        // Neither up nor down, nor does it begin the counting anew.
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
            assert_eq!(said.take(finding, running()), is_news);
        }
        let shown = said.shown();
        assert_eq!(shown.probes, Probes { success: 3, failure: 2, not_probed: 5 });
        assert_eq!(shown.not_probed.as_deref(), Some("too many open files"));
        assert_eq!(shown.load_seconds, Some(0.003), "what was measured holds");
        said.take(fine(), running());
        assert_eq!(said.shown().not_probed, None);
    }

    #[test]
    fn what_is_wrong_is_what_was_seen_last() {
        let http = Arc::new(Advisor { rise: 2, ..Advisor::new(AdvisorKind::Http) });
        let mut said = Advice::new("advisor", http, None);
        let fine = Load::Time(Duration::from_millis(3));
        for (result, is_news, why) in [
            (Err("no answer"), true, Some("http no answer")),
            (Err("status 503"), false, Some("http status 503")),
            (Ok(fine), false, Some("http status 503")),
            (Ok(fine), true, None),
        ] {
            assert_eq!(said.take(found(result), running()), is_news, "{result:?}");
            assert_eq!(said.why.as_deref(), why, "{result:?}");
        }
    }

    #[test]
    fn a_host_is_named_as_clients_name_it() {
        for (vip, want) in [
            ("192.0.2.80:80", "192.0.2.80"),
            ("192.0.2.80:8080", "192.0.2.80:8080"),
            ("[2001:db8::80]:80", "[2001:db8::80]"),
            ("[2001:db8::80]:81", "[2001:db8::80]:81"),
            ("192.0.2.80:0", "192.0.2.80"),
        ] {
            assert_eq!(host(vip.parse().unwrap(), 80), want);
        }
        assert_eq!(host("192.0.2.80:443".parse().unwrap(), 443), "192.0.2.80");
    }
}
