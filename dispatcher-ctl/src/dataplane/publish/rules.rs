//! Rules among the phases: what a condition leads to is there before it, and goes after it.

use std::collections::BTreeSet;

use dispatcher_common::{rule::Condition, service::Schedule};

use super::{
    contents::Contents,
    phases::{Holder, Wanted},
    write::Write,
};
use crate::dataplane::{
    error::DataplaneError,
    tables::{ScheduleTable, Tables},
};

/// Rules that are new, are another service's, or hold now and did not, or the other way round.
pub(super) fn gaining(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let mut writes = Vec::new();
    for (&rule, table) in &wanted.tables.rules {
        let held = &now.rules[rule as usize];
        let active = Write::RuleActive { rule, active: table.active };
        if held.owner != u64::from(table.service) + 1 {
            // A packet that finds it by the conditions of its former service finds no backend.
            if held.schedule != 0 {
                writes.push(Write::RuleSchedule { rule, schedule: Schedule(0) });
            }
            writes.push(Write::ResetRule { rule });
            writes.push(active);
            writes.push(Write::RuleOwner { rule, service: Some(table.service) });
        } else if held.active != u64::from(table.active) {
            writes.push(active);
        }
    }
    writes
}

/// Schedules that differ.
pub(super) fn schedules(now: &Contents, wanted: &Wanted<'_>) -> Vec<(Holder, ScheduleTable)> {
    let changed = wanted.tables.rules.iter().filter(|(id, rule)| {
        let (held, wanted) = (now.rule_schedule(**id), &rule.schedule);
        now.ring(held) != wanted.ring || now.members(held) != wanted.members
    });
    changed.map(|(id, rule)| (Holder::Rule(*id), rule.schedule.clone())).collect()
}

/// Conditions that differ, by service.
pub(super) fn conditions(now: &Contents, wanted: &Wanted<'_>) -> Vec<(u32, Vec<Condition>)> {
    let services = wanted.tables.services.iter();
    let changed =
        services.filter(|(id, service)| now.conditions(now.rule_set(**id)) != service.conditions);
    changed.map(|(id, service)| (*id, service.conditions.clone())).collect()
}

/// Rules that are nobody's any more.
pub(super) fn unwanted(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let mut writes = Vec::new();
    for (rule, held) in (0..).zip(&now.rules) {
        let is_clear = held.owner | held.schedule | held.active == 0;
        if is_clear || wanted.tables.rules.contains_key(&rule) {
            continue;
        }
        writes.push(Write::RuleActive { rule, active: false });
        writes.push(Write::RuleSchedule { rule, schedule: Schedule(0) });
        writes.push(Write::RuleOwner { rule, service: None });
    }
    writes
}

/// Whether conditions lead to rules of their service, and rules are somebody's.
pub(super) fn check(tables: &Tables, rules: usize) -> Result<(), DataplaneError> {
    let invalid = |text: String| Err(DataplaneError::Invalid(text));
    let mut led_to = BTreeSet::new();
    for (id, service) in &tables.services {
        for rule in service.conditions.iter().map(|condition| condition.rule) {
            if tables.rules.get(&rule).is_none_or(|rule| rule.service != *id) {
                return invalid(format!("rule {rule} is not service {id}'s"));
            }
            led_to.insert(rule);
        }
    }
    match tables.rules.keys().find(|rule| **rule as usize >= rules || !led_to.contains(rule)) {
        Some(rule) => invalid(format!("rule {rule} has no condition, or is not below {rules}")),
        None => Ok(()),
    }
}
