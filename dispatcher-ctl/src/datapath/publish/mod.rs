//! Publication: makes the maps hold what is wanted by writing the difference, safely while packets flow.
//!
//! The order of writes is in [`phases`]. Every write goes through a [`TableStore`]: the kernel's is in
//! [`kernel`](super::kernel).

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::{Duration, Instant},
};

use dispatcher_common::{
    backend::{NEW, PRESENT, RESET},
    limits::{self, MAX_ADDRESSES, MAX_INTERFACES, MAX_SERVICES, MAX_SLOTS},
    rule::{Condition, Rule, RuleSet},
    service::{Policy, Schedule},
};

mod contents;
mod phases;
mod rules;
#[cfg(test)]
mod tests;
mod wanted;
mod write;

pub use contents::Contents;
use phases::{PHASES, Scope, Step};
use wanted::{Holder, Wanted};
pub use write::{Array, KeyBytes, Write, key_bytes};

use super::{
    error::DatapathError,
    mapped::word_of,
    pool::{Pool, REST, Space},
    tables::Tables,
};
use crate::schedule::ScheduleTable;

/// Where writes go.
pub trait TableStore {
    /// Reads everything.
    ///
    /// # Errors
    /// As the kernel.
    fn read(&self) -> Result<Contents, DatapathError>;

    /// Reads again what changes without the publisher: the kernel drops the devices of NICs that are removed.
    ///
    /// # Errors
    /// As the kernel.
    fn refresh(&self, contents: &mut Contents) -> Result<(), DatapathError>;

    /// Makes one write.
    ///
    /// # Errors
    /// As the kernel.
    fn apply(&mut self, write: &Write) -> Result<(), DatapathError>;

    /// Returns when no packet uses what it read before.
    ///
    /// # Errors
    /// Where the kernel cannot tell.
    fn wait_for_readers(&mut self) -> io::Result<()>;
}

/// The changes of a publication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Writes made.
    pub writes: usize,
    /// Schedules written.
    pub schedules: usize,
    /// Interface indices whose NIC does not exist (any more): not in use until a later publication.
    pub missing_interfaces: Vec<u8>,
}

/// Writes differences, and remembers what the maps hold.
#[derive(Debug)]
pub struct Publisher<S> {
    store: S,
    contents: Contents,
    pool: Pool,
    conditions: Pool,
}

impl<S: TableStore> Publisher<S> {
    /// A publisher for existing maps; `fresh` if nothing reads them yet.
    ///
    /// # Errors
    /// As the store.
    pub fn new(store: S, fresh: bool) -> Result<Self, DatapathError> {
        let contents = store.read()?;
        let (mut pool, mut conditions) = (pool_of(&contents), conditions_of(&contents));
        if fresh {
            pool.rested();
            conditions.rested();
        }
        Ok(Self { store, contents, pool, conditions })
    }

    /// What the maps hold.
    pub const fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Whether these tables may be published: they are complete, or their services are in force with the same backends and
    /// rules.
    fn holds(&self, tables: &Tables) -> bool {
        !tables.is_partial || phases::are_in_force(&self.contents, tables)
    }

    /// Makes the maps hold the wanted tables. Partial tables cost only as much as what they hold; the writes and their order
    /// are the same as with complete tables.
    ///
    /// # Errors
    /// The tables contradict themselves, may not be published ([`DatapathError::NotInForce`]), or find no room in the pool; or the
    /// store fails. Then a prefix of the writes is made, possibly none.
    pub fn publish(&mut self, tables: &Tables) -> Result<Changes, DatapathError> {
        if !self.holds(tables) {
            return Err(DatapathError::NotInForce);
        }
        check(tables)?;
        if !tables.is_partial {
            self.store.refresh(&mut self.contents)?;
        }
        let mut changes = Changes::default();
        let result = self.run_phases(&Wanted::new(tables), &mut changes);
        if result.is_err() {
            // Space may have been taken, and no descriptor names it.
            self.pool = pool_of(&self.contents);
            self.conditions = conditions_of(&self.contents);
        }
        result.map(|()| changes)
    }

    /// Turns rules on or off; skips rules that do not exist. Conditions on packets apply in addition.
    ///
    /// # Errors
    /// As the store.
    pub fn set_active(&mut self, active: &BTreeMap<u32, bool>) -> Result<Changes, DatapathError> {
        let mut changes = Changes::default();
        for (&rule, &active) in active {
            let held = self.contents.rules.get(rule as usize);
            if held.is_some_and(|held| held.owner != 0 && held.active != u64::from(active)) {
                self.write(&rules::activation(rule, active), &mut changes)?;
            }
        }
        Ok(changes)
    }

    fn run_phases(
        &mut self,
        wanted: &Wanted<'_>,
        changes: &mut Changes,
    ) -> Result<(), DatapathError> {
        for (name, scope, step) in PHASES {
            if wanted.tables.is_partial && scope == Scope::All {
                continue;
            }
            let before = changes.writes;
            match step {
                Step::Writes(phase) => {
                    for write in phase(&self.contents, wanted) {
                        self.write(&write, changes)?;
                    }
                }
                Step::Schedules(phase) => {
                    for (holder, schedule) in phase(&self.contents, wanted) {
                        self.swap(holder, &schedule, changes)?;
                    }
                }
                Step::Conditions(phase) => {
                    for (service, records) in phase(&self.contents, wanted) {
                        self.swap_conditions(service, records, changes)?;
                    }
                }
            }
            if changes.writes > before {
                tracing::trace!(phase = name, writes = changes.writes - before, "published");
            }
        }
        Ok(())
    }

    fn write(&mut self, write: &Write, changes: &mut Changes) -> Result<(), DatapathError> {
        if let Write::Word { array: Array::Interfaces, index, .. } = write
            && changes.missing_interfaces.iter().any(|missing| u32::from(*missing) == *index)
        {
            // It stays out of use: packets go only to the device that the interface's record names.
            return Ok(());
        }
        match (self.store.apply(write), write) {
            (Ok(()), _) => {}
            (Err(error), Write::Device { index, ifindex: Some(_) }) => {
                tracing::debug!(%error, "interface is gone");
                changes.missing_interfaces.push(*index);
                return Ok(());
            }
            (Err(error), _) => return Err(error),
        }
        self.contents.apply(write);
        changes.writes += 1;
        Ok(())
    }

    fn swap(
        &mut self,
        holder: Holder,
        wanted: &ScheduleTable,
        changes: &mut Changes,
    ) -> Result<(), DatapathError> {
        let old = self.contents.space(match holder {
            Holder::Rule(rule) => self.contents.rule_schedule(rule),
            Holder::Service(service) => self.contents.schedule(service),
        });
        let mut schedule = Schedule(0);
        if wanted.space() > 0 {
            let offset = room(&mut self.pool, &mut self.store, wanted.space())?.offset;
            self.write(&Write::Ring { offset, words: wanted.words() }, changes)?;
            schedule = Schedule::new(offset, wanted.ring.len() as u32);
            changes.schedules += 1;
        }
        let write = match holder {
            Holder::Rule(rule) => Array::Rules.store(rule, word_of!(Rule, schedule), schedule.0),
            Holder::Service(service) => {
                Array::Policies.store(service, word_of!(Policy, schedule), schedule.0)
            }
        };
        self.write(&write, changes)?;
        self.pool.leave(old, Instant::now());
        Ok(())
    }

    fn swap_conditions(
        &mut self,
        service: u32,
        records: Vec<Condition>,
        changes: &mut Changes,
    ) -> Result<(), DatapathError> {
        let old = condition_space(self.contents.rule_set(service));
        let mut rules = RuleSet(0);
        if !records.is_empty() {
            let offset = room(&mut self.conditions, &mut self.store, records.len())?.offset;
            rules = RuleSet::new(offset, records.len() as u32);
            self.write(&Write::Conditions { offset, records }, changes)?;
        }
        let write = Array::Policies.store(service, word_of!(Policy, rules), rules.0);
        self.write(&write, changes)?;
        self.conditions.leave(old, Instant::now());
        Ok(())
    }
}

/// Takes space from a pool; waits for readers of freed space if there is no other.
fn room(
    pool: &mut Pool,
    store: &mut impl TableStore,
    records: usize,
) -> Result<Space, DatapathError> {
    let length = u32::try_from(records).unwrap_or(u32::MAX);
    if let Some(space) = pool.take(length, Instant::now()) {
        return Ok(space);
    }
    if store.wait_for_readers().is_err() {
        std::thread::sleep(REST + Duration::from_millis(1));
    }
    pool.rested();
    pool.take(length, Instant::now()).ok_or_else(|| DatapathError::PoolFull {
        wanted: length,
        free: pool.available(),
        total: pool.size(),
    })
}

fn pool_of(contents: &Contents) -> Pool {
    let schedules = contents.all_schedules().chain(contents.rule_schedules());
    let held = schedules.map(|schedule| contents.space(schedule));
    Pool::resume(contents.schedules.len() as u32, held, Instant::now())
}

fn conditions_of(contents: &Contents) -> Pool {
    let held = contents.policies.iter().map(|policy| condition_space(RuleSet(policy.rules)));
    Pool::resume(contents.conditions.len() as u32, held, Instant::now())
}

const fn condition_space(rules: RuleSet) -> Space {
    Space { offset: rules.offset(), length: rules.count() }
}

/// Checks that the tables are within their limits and agree with each other.
fn check(tables: &Tables) -> Result<(), DatapathError> {
    let invalid = |text: String| Err(DatapathError::Invalid(text));
    // By slot, up to the last: the service from which it takes new connections.
    if let Some(slot) = tables.backends.keys().find(|slot| !(1..MAX_SLOTS).contains(slot)) {
        return invalid(format!("slot {slot} is not in 1..{MAX_SLOTS}"));
    }
    let slots = tables.backends.last_key_value().map_or(0, |(slot, _)| *slot as usize + 1);
    let (mut takes_new, mut member_of) = (vec![None; slots], vec![0; slots]);
    for (slot, backend) in &tables.backends {
        let place = &mut takes_new[*slot as usize];
        // Removed, but its clients are still reset.
        let lingers = backend.forward.flags() == RESET;
        if backend.forward.flags() & PRESENT == 0 && !lingers {
            return invalid(format!("slot {slot} has a backend that is not present"));
        }
        *place = (backend.forward.flags() & NEW != 0).then_some(backend.service);
    }
    for (id, service) in &tables.services {
        if *id >= MAX_SERVICES {
            return invalid(format!("service id {id} is not below {MAX_SERVICES}"));
        }
        if let Err(text) = check_schedule(*id, *id, &service.schedule, &takes_new, &mut member_of) {
            return invalid(text);
        }
    }
    check_addresses(tables).or_else(invalid)?;
    for (id, rule) in &tables.rules {
        let (number, schedule) = (MAX_SERVICES + id, &rule.schedule);
        if let Err(text) =
            check_schedule(rule.service, number, schedule, &takes_new, &mut member_of)
        {
            return invalid(format!("rule {id}: {text}"));
        }
    }
    rules::check(tables, limits::MAX_RULES as usize)?;
    for ((service, slot), peer) in &tables.peers {
        let is_theirs = tables.backends.get(peer).is_some_and(|peer| peer.service == *service);
        if !is_theirs {
            return invalid(format!("peer {peer} of slot {slot} is not service {service}'s"));
        }
    }
    if let Some(index) = tables.interfaces.keys().find(|index| u32::from(**index) >= MAX_INTERFACES)
    {
        return invalid(format!("interface index {index} is not below {MAX_INTERFACES}"));
    }
    Ok(())
}

/// Checks that there is room for VIPs and own addresses.
fn check_addresses(tables: &Tables) -> Result<(), String> {
    let vips = tables.services.values().map(|service| &service.key.vip);
    let count = vips.chain(&tables.own_addresses).collect::<BTreeSet<_>>().len();
    if count > MAX_ADDRESSES as usize {
        return Err(format!(
            "{count} VIPs and addresses of this host are too many for services on any address, \
             expected {MAX_ADDRESSES}"
        ));
    }
    Ok(())
}

/// Checks that a schedule has only slots that take new connections of its service (`takes_new`, by slot), each member once,
/// and only members in its ring. `number` identifies the schedule. `member_of` is scratch space: by slot, the number of the schedule
/// that had it last, plus one.
fn check_schedule(
    id: u32,
    number: u32,
    schedule: &ScheduleTable,
    takes_new: &[Option<u32>],
    member_of: &mut [u32],
) -> Result<(), String> {
    for slot in schedule.members.iter().map(|slot| usize::from(*slot)) {
        if takes_new.get(slot) != Some(&Some(id)) {
            return Err(format!(
                "schedule of service {id} has slot {slot}, which takes no new connections of it"
            ));
        }
        if std::mem::replace(&mut member_of[slot], number + 1) == number + 1 {
            return Err(format!("schedule of service {id} has slot {slot} twice"));
        }
    }
    let stranger = |slot: &&u16| member_of.get(usize::from(**slot)) != Some(&(number + 1));
    if let Some(slot) = schedule.ring.iter().find(stranger) {
        return Err(format!("ring of service {id} has slot {slot}, which is no member"));
    }
    if schedule.ring.is_empty() != schedule.members.is_empty() {
        return Err(format!("schedule of service {id} has members, but no ring"));
    }
    Ok(())
}
