//! Settles wanted services: gives them numbers, and keeps what belongs to running services and backends.
//!
//! A connection belongs to a slot, and a slot to a service id. A service or backend keeps its number only if its connections stay
//! valid:
//!
//! * A service with the VIP, port and protocol of a running one is the same service, whatever its name: it keeps its id. Any
//!   other service gets a new id, even if it has the same name, and its backends get new slots: so no connection of the old
//!   VIP and port is ever taken for one of the new ones.
//! * A backend with the address of a running one of that service is the same backend: it keeps its slot. Another address
//!   is another backend, even under the same name.
//!
//! An unchanged service is shared with the running state.
//!
//! Quiesced and down (by hand or by an advisor) are states of a machine: they stay with the address, even if the service's VIP or port
//! changes.

use std::{collections::HashMap, net::IpAddr};

use super::ids::Ids;
use crate::{
    config::{ConfigError, ConfigErrors, check},
    model::{
        Backend, Outline, RetiredSlot, Rule, RuleConfig, Service, ServiceConfig, Shared, State,
    },
};

/// A wanted service.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// The running one: it is valid and has its numbers.
    AsItRuns(Shared<Service>),
    /// With these settings, backends and rules.
    Anew(Box<ServiceConfig>),
}

impl Wanted {
    /// Changes its settings.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut ServiceConfig)) {
        let mut config = match self {
            Self::AsItRuns(service) => Outline::from(&**service).into(),
            Self::Anew(config) => (**config).clone(),
        };
        change(&mut config);
        *self = Self::Anew(config.into());
    }

    /// Its description as in a configuration.
    fn outline(&self) -> Outline<'_> {
        match self {
            Self::AsItRuns(service) => (&**service).into(),
            Self::Anew(config) => (&**config).into(),
        }
    }

    /// Whether its settings are not checked yet.
    const fn is_new(&self) -> bool {
        matches!(self, Self::Anew(_))
    }
}

/// Settles wanted services, all or none. `now_ms` is the time, in milliseconds since the epoch.
///
/// # Errors
/// They are not valid together; each alone may be.
pub(super) fn settle(
    wanted: Vec<Wanted>,
    running: &State,
    retired: &[RetiredSlot],
    now_ms: u64,
) -> Result<Vec<Shared<Service>>, ConfigErrors> {
    let services: Vec<_> = wanted.iter().map(Wanted::outline).collect();
    check::services(&services, |i| wanted[i].is_new())?;
    let mut ids = Ids::new(running, retired);
    let by_key: HashMap<_, &Service> =
        running.services.iter().map(|s| (s.config.key(), &**s)).collect();
    let mut in_force = |wanted: Wanted| match wanted {
        Wanted::AsItRuns(service) => Ok(service),
        Wanted::Anew(config) => {
            let same = by_key.get(&config.key()).copied();
            service(*config, same, running, &mut ids, now_ms).map(Shared::from)
        }
    };
    let settled: Result<_, ConfigError> = wanted.into_iter().map(&mut in_force).collect();
    settled.map_err(ConfigErrors::from)
}

fn service(
    wanted: ServiceConfig,
    same: Option<&Service>,
    running: &State,
    ids: &mut Ids,
    now_ms: u64,
) -> Result<Service, ConfigError> {
    let ServiceConfig { settings: config, backends: wanted, rules: wanted_rules } = wanted;
    let id = match same {
        Some(same) => same.id,
        None => ids.service()?,
    };
    let origin = same.or_else(|| running.service(&config.name));
    let machines: HashMap<IpAddr, &Backend> = origin
        .map(|origin| origin.backends.iter().map(|b| (b.config.address, b)).collect())
        .unwrap_or_default();
    let has_advisor = config.advisors().next().is_some();
    let mut backends = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let before = machines.get(&wanted.address);
        let slot = match before.filter(|_| same.is_some()) {
            Some(before) => before.slot,
            None => ids.slot()?,
        };
        let same_weight = before.filter(|b| b.config.weight == wanted.weight);
        backends.push(Backend {
            slot,
            weight_by_hand: same_weight.is_some_and(|b| b.weight_by_hand),
            managed: same_weight.and_then(|b| b.managed),
            slow_start: before.and_then(|b| b.slow_start),
            quiesced: before.is_some_and(|b| b.quiesced),
            quiesced_now: before.is_some_and(|b| b.quiesced_now),
            quiesce_deadline_ms: before.and_then(|b| b.quiesce_deadline_ms),
            down: before.is_some_and(|b| b.down),
            // Without an advisor nothing would bring it up again.
            advised_down: before.and_then(|b| b.advised_down.clone()).filter(|_| has_advisor),
            since_ms: before.map_or(now_ms, |b| b.since_ms),
            config: wanted,
        });
    }
    let rules = rules(wanted_rules, same, ids)?;
    Ok(Service { id, config, backends, rules })
}

/// A rule with the name of a running one of that service is the same rule: it keeps its id, and so its cursor.
fn rules(
    wanted: Vec<RuleConfig>,
    same: Option<&Service>,
    ids: &mut Ids,
) -> Result<Vec<Rule>, ConfigError> {
    let running = same.map_or(&[][..], |same| &same.rules);
    let mut in_force = |config: RuleConfig| {
        let before = running.iter().find(|rule| rule.config.name == config.name);
        let id = before.map_or_else(|| ids.rule(), |before| Ok(before.id))?;
        Ok(Rule { id, config })
    };
    wanted.into_iter().map(&mut in_force).collect()
}
