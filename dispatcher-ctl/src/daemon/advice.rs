//! What advisors say of backends, and what follows: down, and up again.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Instant};

use super::{clock, core::Core, events::Cause};
use crate::{
    advisor::{
        Advisors, Health, Outcome, Subject,
        probe::{Load, Target},
    },
    api::types::{ApiError, BackendAdvisor, Probes},
    model::{self, Advisor, AdvisorKind, Backend, Choice as _, Service, State},
    prober::{Prober, Through},
};

/// What the probes of a backend have said.
#[derive(Debug)]
struct Advice {
    /// By whom.
    advisor: Arc<Advisor>,
    health: Health,
    /// What the last probe measured, if it was good, and when.
    load: Option<(Load, Instant)>,
    good: u64,
    bad: u64,
    last_error: Option<String>,
    /// When the certificate ends that was seen last: seconds since the epoch.
    certificate_expiry: Option<i64>,
}

/// All advisors, and what they have said, by slot.
#[derive(Debug)]
pub(super) struct Advised {
    advisors: Advisors,
    said: HashMap<u32, Advice>,
}

impl Advised {
    pub(super) fn new(advisors: Advisors) -> Self {
        Self { advisors, said: HashMap::new() }
    }

    /// Probes the backends of a state, and forgets what was said of others.
    pub(super) fn follow(&mut self, state: &State, prober: &Prober) {
        let mut former = std::mem::take(&mut self.said);
        let mut subjects = Vec::new();
        for service in &state.services {
            let Some(advisor) = service.config.advisor.clone().map(Arc::new) else { continue };
            for backend in &service.backends {
                subjects.push(subject(service, backend, &advisor, prober));
                let same = former.remove(&backend.slot).filter(|said| said.advisor == advisor);
                let said = same.unwrap_or_else(|| Advice {
                    advisor: Arc::clone(&advisor),
                    health: Health::new(backend.advised_down.is_none()),
                    load: None,
                    good: 0,
                    bad: 0,
                    last_error: None,
                    certificate_expiry: None,
                });
                self.said.insert(backend.slot, said);
            }
        }
        self.advisors.follow(subjects);
    }

    /// Takes in an outcome; yields why the backend is down, or none where it is up, if that has changed.
    fn take(&mut self, outcome: Outcome) -> Option<Option<String>> {
        let said = self.said.get_mut(&outcome.slot)?;
        // A probe may end after its advisor was replaced.
        if said.advisor != outcome.advisor {
            return None;
        }
        let Advisor { rise, fall, kind, .. } = *said.advisor;
        let finding = match outcome.finding {
            Ok(finding) => finding,
            Err(why) => {
                // Nothing was found: it is what it was.
                (said.load, said.last_error) = (None, Some(why));
                return None;
            }
        };
        let changed = said.health.take(finding.result.is_ok(), rise, fall);
        // What was seen of a certificate holds until another is seen.
        said.certificate_expiry = finding.certificate_expiry.or(said.certificate_expiry);
        match finding.result {
            Ok(load) => {
                (said.load, said.good) = (Some((load, outcome.at)), said.good + 1);
                changed.then_some(None)
            }
            Err(error) => {
                let why = format!("{} {error}", kind.word());
                (said.load, said.bad, said.last_error) = (None, said.bad + 1, Some(error));
                changed.then_some(Some(why))
            }
        }
    }

    /// What was last measured of a slot's backend, and when.
    pub(super) fn load(&self, slot: u32) -> Option<(Load, Instant)> {
        self.said.get(&slot)?.load
    }

    /// What has been said of a slot's backend, as the API tells it.
    pub(super) fn shown(&self, slot: u32) -> Option<BackendAdvisor> {
        let said = self.said.get(&slot)?;
        Some(BackendAdvisor {
            kind: said.advisor.kind,
            target: said.advisor.target,
            load_seconds: said.load.and_then(|(load, _)| load.seconds()),
            system_load: said.load.and_then(|(load, _)| load.system()),
            probes: Probes { success: said.good, failure: said.bad },
            last_error: said.last_error.clone(),
            certificate_expiry: said.certificate_expiry,
        })
    }
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
        model::Target::Vip => (vip, Some(Through { slot, own, prober: prober.clone() })),
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
    pub(super) async fn take_outcomes(&mut self, outcomes: Vec<Outcome>) -> Result<(), ApiError> {
        let mut changed = HashMap::new();
        for outcome in outcomes {
            let slot = outcome.slot;
            if let Some(why) = self.advised.take(outcome) {
                changed.insert(slot, why);
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        let mut state = self.state().clone();
        for backend in state.services.iter_mut().flat_map(|service| &mut service.backends) {
            if let Some(why) = changed.remove(&backend.slot) {
                (backend.advised_down, backend.since_ms) = (why, clock::epoch_ms());
            }
        }
        self.commit(state, None, Cause::Advisor).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
