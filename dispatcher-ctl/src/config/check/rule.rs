//! Checks the rules of a service, one by one and together.

use std::collections::{HashMap, HashSet};

use dispatcher_common::limits::MAX_CONDITIONS;

use super::{Found, shown, value::name};
use crate::{
    model::{Evaluate, Outline, RuleConfig, ServiceSettings, Share},
    settings::row::Table as _,
};

/// Keys of a rule that are not conditions.
const OTHERS: [&str; 5] = ["name", "priority", "backends", "share", "evaluate"];

impl Found {
    /// Checks a service's rules.
    pub(super) fn rules(&mut self, i: usize, service: &Outline<'_>) {
        let Outline { settings: service, backends, rules } = service;
        let (mut names, mut priorities) = (HashMap::new(), HashMap::new());
        let known: HashSet<&str> = backends.iter().map(|b| b.name.as_str()).collect();
        for (j, rule) in rules.iter().enumerate() {
            self.object = match (service.name.as_str(), rule.name.as_str()) {
                ("", _) | (_, "") => format!("service[{i}].rule[{j}]: "),
                (service, rule) => format!("rule {}/{}: ", shown(service), shown(rule)),
            };
            self.prefix = format!("service[{i}].rule[{j}].");
            self.rule(i, service, rule, &known);
            let path = |j: usize, key: &str| format!("service[{i}].rule[{j}].{key}");
            if let Some(first) = names.insert(rule.name.as_str(), j) {
                let message = format!("name {} is given twice, expected once", rule.name);
                self.say("name", &message).causes = vec![path(first, "name")];
            }
            if let Some(first) = priorities.insert(rule.priority, j) {
                let other = shown(&rules[first].name);
                let message =
                    format!("priority {} is rule {other}'s, expected its own", rule.priority);
                self.say("priority", &message).causes = vec![path(first, "priority")];
            }
        }
        let conditions: usize = rules.iter().map(|rule| rule.conditions()).sum();
        if conditions > MAX_CONDITIONS as usize {
            self.prefix = format!("service[{i}].");
            self.object = format!("service {}: ", shown(&service.name));
            let message = format!(
                "{conditions} conditions are too many, expected {MAX_CONDITIONS}: one for each \
                 rule, or for each of its clients"
            );
            self.say("rule", &message);
        }
    }

    fn rule(
        &mut self,
        i: usize,
        service: &ServiceSettings,
        rule: &RuleConfig,
        known: &HashSet<&str>,
    ) {
        self.complain("name", name(&rule.name));
        self.rule_backends(i, service, rule, known);
        if rule.always && rule.has_condition() {
            self.say("always", "always is set together with other conditions, expected it alone");
        }
        if !rule.always && !rule.has_condition() {
            let problem = self.say("name", "it has no condition, expected one, or always = true");
            // A condition that could not be read was reported already.
            let at = problem.error.path.trim_end_matches("name").to_owned();
            let conditions = RuleConfig::KEYS.known.iter().filter(|key| !OTHERS.contains(key));
            problem.causes = conditions.map(|key| format!("{at}{key}")).collect();
        }
        for (k, range) in rule.clients.iter().enumerate() {
            if range.first.is_ipv4() != service.vip.is_ipv4() {
                let message = format!(
                    "clients holds {range}, which never use vip {}, expected its family",
                    service.vip
                );
                self.say(&format!("clients[{k}]"), &message).causes =
                    vec![format!("service[{i}].vip")];
            }
        }
        for (what, min, max) in [
            ("new_connections", rule.min_new_connections, rule.max_new_connections),
            ("active_connections", rule.min_active_connections, rule.max_active_connections),
            ("bandwidth", rule.min_bandwidth, rule.max_bandwidth),
        ] {
            if let (Some(min), Some(max)) = (min, max)
                && min > max
            {
                let message = format!("min_{what} {min} is above max_{what} {max}");
                self.say(&format!("min_{what}"), &message);
            }
        }
        self.rule_measures(i, service, rule);
    }

    /// `known` are the names of the service's backends.
    fn rule_backends(
        &mut self,
        i: usize,
        service: &ServiceSettings,
        rule: &RuleConfig,
        known: &HashSet<&str>,
    ) {
        if rule.backends.is_empty() {
            self.say("backends", "backends is empty, expected names of the service's backends");
        }
        let mut named = HashSet::new();
        for (k, backend) in rule.backends.iter().enumerate() {
            let key = format!("backends[{k}]");
            if !named.insert(backend.as_str()) {
                let message = format!("backend {} is named twice, expected once", shown(backend));
                self.say(&key, &message);
            } else if !known.contains(backend.as_str()) && !backend.is_empty() {
                let message = format!(
                    "backend {} is unknown, expected one of service {}",
                    shown(backend),
                    shown(&service.name)
                );
                self.say(&key, &message).causes = vec![format!("service[{i}].backend[*].name")];
            }
        }
    }

    /// Bandwidth needs a measured service; `evaluate` and `share` need a condition that they apply to.
    fn rule_measures(&mut self, i: usize, service: &ServiceSettings, rule: &RuleConfig) {
        if rule.has_bandwidth() && !service.is_measured() {
            let key = match rule {
                RuleConfig { min_bandwidth: Some(_), .. } => "min_bandwidth",
                RuleConfig { max_bandwidth: Some(_), .. } => "max_bandwidth",
                _ => "shared_bandwidth",
            };
            let message =
                format!("{key} needs a service that is measured, expected measure = true");
            self.say(key, &message).causes =
                ["measure", "scheduler"].map(|key| format!("service[{i}].{key}")).into();
        }
        if rule.evaluate != Evaluate::default() && !rule.is_evaluated() {
            let message =
                format!("evaluate {} needs a condition on a rate or count", rule.evaluate);
            self.say("evaluate", &message);
        }
        if rule.share != Share::default() && rule.shared_bandwidth.is_none() {
            let message = format!("share {} needs shared_bandwidth", rule.share);
            self.say("share", &message);
        }
    }
}
