//! Questions: what is asked of a server, once for all services that ask the same.

#![expect(clippy::mutable_key_type, reason = "a prober is compared by identity only")]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use super::probe::Target;
use crate::model::{Advisor, AdvisorKind, Passive, Protocol, Transport};

/// A backend that is probed, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// Its slot.
    pub slot: u32,
    /// What is probed.
    pub target: Target,
    /// How it is probed.
    pub advisor: Arc<Advisor>,
}

/// A question. Two questions differ on the wire or in when they are asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    target: Target,
    advisor: Advisor,
}

/// Those for whom a question is asked, shared with its loop.
#[derive(Clone, Debug)]
pub(super) struct SharedAskers(Arc<(Mutex<Askers>, Notify)>);

/// Those who ask the same question.
#[derive(Clone, Debug)]
pub(super) struct Askers {
    /// The target, as one of them names it.
    pub(super) target: Target,
    /// Slot and advisor of each.
    pub(super) all: Vec<(u32, Arc<Advisor>)>,
}

impl Question {
    fn of(subject: &Subject) -> Self {
        let mut advisor = (*subject.advisor).clone();
        // Each asker judges an outcome by its own thresholds.
        (advisor.rise, advisor.fall, advisor.passive) = (1, 1, Passive::default());
        let mut target = subject.target.clone();
        if advisor.kind != AdvisorKind::Exec {
            // Only a command is told the names of service and backend.
            target.service.clear();
            target.backend.clear();
        }
        if advisor.host.is_some() || !advisor.kind.asks_by_name() {
            target.host.clear();
        }
        if advisor.kind.transport() != Transport::Service {
            target.protocol = Protocol::Tcp;
        }
        if let Some(through) = &mut target.through {
            // The slot does not matter: it is the same backend.
            through.slot = 0;
        }
        Self { target, advisor }
    }

    pub(super) const fn advisor(&self) -> &Advisor {
        &self.advisor
    }
}

impl Askers {
    /// Bad probes in a row after which every asker has the backend down.
    pub(super) fn fall(&self) -> u32 {
        self.all.iter().map(|(_, advisor)| advisor.fall).max().unwrap_or(1)
    }
}

impl SharedAskers {
    pub(super) fn new(askers: Askers) -> Self {
        Self(Arc::new((Mutex::new(askers), Notify::new())))
    }

    pub(super) fn get(&self) -> Askers {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, askers: Askers) {
        let (held, joined) = &*self.0;
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        if askers.all.iter().any(|asker| !held.all.contains(asker)) {
            joined.notify_one();
        }
        *held = askers;
    }

    /// Waits until an asker has joined that has no result yet.
    pub(super) async fn wait_for_newcomer(&self) {
        self.0.1.notified().await;
    }
}

/// Groups subjects by question.
pub(super) fn questions(subjects: impl IntoIterator<Item = Subject>) -> HashMap<Question, Askers> {
    let mut all: HashMap<Question, Askers> = HashMap::new();
    for subject in subjects {
        let question = Question::of(&subject);
        let Subject { slot, target, advisor } = subject;
        let askers = all.entry(question).or_insert_with(|| Askers { target, all: Vec::new() });
        askers.all.push((slot, advisor));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(slot: u32, advisor: &Advisor, host: &str, address: &str) -> Subject {
        let target = Target {
            address: address.parse().unwrap(),
            host: host.to_owned(),
            protocol: if slot.is_multiple_of(2) { Protocol::Tcp } else { Protocol::Udp },
            service: format!("service-{slot}"),
            backend: format!("backend-{slot}"),
            through: None,
        };
        Subject { slot, target, advisor: Arc::new(advisor.clone()) }
    }

    /// Number of questions that two services ask of one server.
    fn asked(one: &Advisor, other: &Advisor) -> usize {
        let one = subject(1, one, "192.0.2.80", "10.0.0.1:80");
        let other = subject(2, other, "192.0.2.81", "10.0.0.1:80");
        let questions = questions([one, other]);
        assert_eq!(questions.values().map(|askers| askers.all.len()).sum::<usize>(), 2);
        questions.len()
    }

    #[test]
    fn who_asks_the_same_shares_the_answer() {
        let of = |kind| Advisor { key_file: Some("/key".into()), ..Advisor::new(kind) };
        let agent = of(AdvisorKind::Agent);
        assert_eq!(asked(&agent, &agent), 1);
        assert_eq!(asked(&agent, &Advisor { fall: 3, rise: 2, ..agent.clone() }), 1);
        let named = Advisor { host: Some("example.com".to_owned()), ..of(AdvisorKind::Http) };
        assert_eq!(asked(&named, &named), 1);
        assert_eq!(asked(&of(AdvisorKind::Ping), &of(AdvisorKind::Ping)), 1);
    }

    #[tokio::test]
    async fn who_joins_is_told_soon() {
        let connect = Advisor::new(AdvisorKind::Connect);
        let of = |slots: &[u32]| {
            let subject = |slot: &u32| subject(*slot, &connect, "", "10.0.0.1:80");
            questions(slots.iter().map(subject)).into_values().next().unwrap()
        };
        let asked = SharedAskers::new(of(&[1, 2]));
        let joined = async || {
            let patience = std::time::Duration::from_millis(20);
            tokio::time::timeout(patience, asked.wait_for_newcomer()).await.is_ok()
        };
        asked.set(of(&[2]));
        assert!(!joined().await, "one has gone");
        asked.set(of(&[2, 3]));
        assert!(joined().await && !joined().await);
    }

    #[test]
    fn who_asks_something_else_does_not() {
        let of = Advisor::new;
        // Different host names, different protocols, different services.
        assert_eq!(asked(&of(AdvisorKind::Http), &of(AdvisorKind::Http)), 2);
        assert_eq!(asked(&of(AdvisorKind::Dns), &of(AdvisorKind::Dns)), 2);
        assert_eq!(asked(&of(AdvisorKind::Exec), &of(AdvisorKind::Exec)), 2);
        let connect = of(AdvisorKind::Connect);
        assert_eq!(asked(&connect, &of(AdvisorKind::Smtp)), 2);
        let slow = Advisor { interval: connect.interval * 2, ..connect.clone() };
        assert_eq!(asked(&connect, &slow), 2);
        let [one, other] = ["10.0.0.1:80", "10.0.0.2:80"].map(|at| subject(2, &connect, "", at));
        assert_eq!(questions([one, other]).len(), 2);
    }
}
