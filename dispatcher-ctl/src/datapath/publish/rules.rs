//! Phases of rules: a rule is written before the conditions that lead to it, and removed after them.

use std::collections::BTreeSet;

use dispatcher_common::rule::{Condition, Rule};

use super::{
    contents::Contents,
    wanted::{Holder, Wanted},
    write::{Array, Write},
};
use crate::{
    datapath::{error::DatapathError, mapped::word_of, tables::Tables},
    schedule::ScheduleTable,
};

/// Rules that are new, change their service, or are turned on or off.
pub(super) fn gaining(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let mut writes = Vec::new();
    for (&id, table) in &wanted.tables.rules {
        let (held, active) = (&now.rules[id as usize], u64::from(table.active));
        let owner = owner(table.service);
        if held.owner == owner {
            writes.extend(Array::Rules.difference(id, held, &Rule { active, ..*held }));
            continue;
        }
        // Without a schedule: a packet that reaches it by the conditions of its former service finds no backend.
        let vacant = Rule { schedule: 0, ..*held };
        writes.extend(Array::Rules.difference(id, held, &vacant));
        // The datapath may have changed both since they were read.
        writes.push(Array::Rules.store(id, word_of!(Rule, cursor), 0));
        writes.push(Array::Rules.store(id, word_of!(Rule, connections), 0));
        // In this order: the owner comes last.
        let rule = Rule { active, owner, ..vacant };
        writes.extend(Array::Rules.difference(id, &vacant, &rule));
    }
    writes
}

/// [`Rule::owner`] of a service's rules.
pub(super) fn owner(service: u32) -> u64 {
    u64::from(service) + 1
}

/// Turns a rule on or off.
pub(super) fn activation(id: u32, active: bool) -> Write {
    Array::Rules.store(id, word_of!(Rule, active), active.into())
}

/// Schedules that differ.
pub(super) fn schedules(now: &Contents, wanted: &Wanted<'_>) -> Vec<(Holder, ScheduleTable)> {
    let rules = wanted.tables.rules.iter();
    let changed = rules.filter(|(id, rule)| !now.is_at(now.rule_schedule(**id), &rule.schedule));
    changed.map(|(id, rule)| (Holder::Rule(*id), rule.schedule.clone())).collect()
}

/// Conditions that differ, by service.
pub(super) fn conditions(now: &Contents, wanted: &Wanted<'_>) -> Vec<(u32, Vec<Condition>)> {
    let services = wanted.tables.services.iter();
    let changed =
        services.filter(|(id, service)| now.conditions(now.rule_set(**id)) != service.conditions);
    changed.map(|(id, service)| (*id, service.conditions.clone())).collect()
}

/// Removes rules that no service has any more.
pub(super) fn unwanted(now: &Contents, wanted: &Wanted<'_>) -> Vec<Write> {
    let rules = (0..).zip(&now.rules);
    let unwanted = rules.filter(|(id, _)| !wanted.tables.rules.contains_key(id));
    // Word by word in this order: the schedule goes first, the owner last.
    let clear = |held: &Rule| Rule { schedule: 0, active: 0, owner: 0, ..*held };
    unwanted.flat_map(|(id, held)| Array::Rules.difference(id, held, &clear(held))).collect()
}

/// Checks that conditions lead to rules of their service, and that every rule has a condition.
pub(super) fn check(tables: &Tables, rules: usize) -> Result<(), DatapathError> {
    let invalid = |text: String| Err(DatapathError::Invalid(text));
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
