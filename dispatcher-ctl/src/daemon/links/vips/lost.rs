//! VIPs that are missing: those that the controller added are put back, with pauses if somebody removes them repeatedly
//! ([`Contest`]). For others there is a warning.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{Contest, Place, Site, Vips, owned, wanted};
use crate::{
    api::types::EventKind,
    daemon::{clock, reports::Events},
    model::SavedState,
    network::{HeldAddress, Link, NetworkEvent},
};

/// How often the daemon checks whether all are there, even without a report of the kernel.
const CHECK: Duration = Duration::from_secs(10);
/// Lines of the log, and warnings of `status`, about single VIPs; more are summed up.
const SINGLE: usize = 5;

impl Vips {
    /// Whether it is time to check whether all are there.
    pub(in crate::daemon::links) fn is_due(&self) -> bool {
        let now = clock::now();
        self.checked.is_none_or(|at| now.saturating_duration_since(at) >= CHECK)
            || self.contests.values().any(|c| c.is_due(now) || c.is_over(now))
    }

    /// Begins a check; yields when.
    pub(in crate::daemon::links) fn begin_check(&mut self) -> Instant {
        *self.checked.insert(clock::now())
    }

    /// Puts VIPs back that are missing, and reports what has changed. `found`: addresses and links as they were at `now`, and
    /// what the kernel reported before.
    pub(in crate::daemon::links) async fn put_back(
        &mut self,
        site: Site<'_>,
        saved: &SavedState,
        found: (&[HeldAddress], &[Link], &[NetworkEvent]),
        now: Instant,
    ) {
        let (held, links, reports) = found;
        let lost = self.find_lost(site, saved, (held, links), &takers(reports), now);
        self.put_each(site, lost, now).await;
        self.report_contests(site.events, now);
    }

    /// VIPs that are missing and are to be put back now.
    fn find_lost(
        &mut self,
        site: Site<'_>,
        saved: &SavedState,
        (held, links): (&[HeldAddress], &[Link]),
        takers: &HashMap<(u32, IpAddr), String>,
        now: Instant,
    ) -> Vec<Place> {
        let there: HashMap<_, _> =
            held.iter().map(|held| ((held.ifindex, held.address), held.is_duplicate)).collect();
        let up: HashSet<u32> = links.iter().filter(|l| l.set_up).map(|l| l.ifindex).collect();
        let (wanted, owned) = (wanted(saved, site.nics), owned(saved));
        self.contests.retain(|place, _| wanted.contains(place));
        self.missed.retain(|place, _| wanted.contains(place));
        let mut lost = Vec::new();
        for place in wanted {
            let Some(ifindex) = site.ifindex(&place.0) else { continue };
            let found = there.get(&(ifindex, place.1));
            if found == Some(&false) {
                if let Some(contest) = self.contests.get_mut(&place) {
                    contest.mark_there(now);
                }
                self.end_missed(&place, site.events, now);
            } else if !owned.contains(&place) {
                self.miss(place, found.is_some(), site.events, now);
            } else if up.contains(&ifindex) {
                // A NIC that is set down loses its IPv6 addresses. They are put back when it is up.
                let contest =
                    self.contests.entry(place.clone()).or_insert_with(|| Contest::new(now));
                if contest.mark_missing(now)
                    && let Some(taker) = takers.get(&(ifindex, place.1))
                {
                    contest.by = Some(taker.clone());
                }
                if contest.is_due(now) {
                    lost.push(place);
                }
            }
        }
        lost
    }

    /// Puts VIPs back, and reports it.
    async fn put_each(&mut self, site: Site<'_>, lost: Vec<Place>, now: Instant) {
        let mut back: BTreeMap<String, Vec<EventKind>> = BTreeMap::new();
        for place in lost {
            if self.put(site, &place).await.is_none() {
                continue;
            }
            self.placed.insert(place.clone());
            let Some(contest) = self.contests.get_mut(&place) else { continue };
            contest.mark_there(now);
            let (interface, vip) = place;
            let (losses, taken_by) = (contest.losses, contest.by.clone());
            let event =
                EventKind::VipRestored { interface: interface.clone(), vip, losses, taken_by };
            back.entry(interface).or_default().push(event);
        }
        for (interface, restored) in back {
            if restored.len() <= SINGLE {
                restored.into_iter().for_each(|event| site.events.log_and_send(event));
            } else {
                tracing::warn!("{interface}: {} VIPs were taken away, put back", restored.len());
                restored.into_iter().for_each(|event| site.events.send(event));
            }
        }
    }

    /// Reports VIPs that are taken away again and again or cannot be put back, and those that no longer are.
    fn report_contests(&mut self, events: &Events, now: Instant) {
        for ((interface, vip), contest) in &mut self.contests {
            let (interface, vip, losses) = (interface.clone(), *vip, contest.losses);
            match (contest.alert, contest.is_grave()) {
                (None, true) => {
                    contest.alert = Some(now);
                    let reason = reason(contest, now);
                    events.log_and_send(EventKind::VipAlert { interface, vip, losses, reason });
                }
                (Some(since), _) if contest.is_over(now) => {
                    let seconds = now.saturating_duration_since(since).as_secs_f64();
                    events.log_and_send(EventKind::VipClear { interface, vip, seconds });
                }
                _ => {}
            }
        }
        self.contests.retain(|_, contest| !contest.is_over(now));
    }

    /// Notes that a VIP that somebody else had put there is missing.
    fn miss(&mut self, place: Place, is_duplicate: bool, events: &Events, now: Instant) {
        let known = self.missed.contains_key(&place);
        if known || !self.placed.remove(&place) {
            return;
        }
        let reason = if is_duplicate {
            "another host has this address, so this one does not use it"
        } else {
            "the address is gone, and was not added by dispatcher"
        };
        self.missed.insert(place.clone(), (reason, now));
        let ((interface, vip), reason) = (place, reason.to_owned());
        events.log_and_send(EventKind::VipAlert { interface, vip, losses: 1, reason });
    }

    /// Notes that a VIP that was missed is there.
    fn end_missed(&mut self, place: &Place, events: &Events, now: Instant) {
        if let Some((_, since)) = self.missed.remove(place) {
            self.placed.insert(place.clone());
            let seconds = now.saturating_duration_since(since).as_secs_f64();
            let (interface, vip) = place.clone();
            events.log_and_send(EventKind::VipClear { interface, vip, seconds });
        }
    }

    /// What an operator should know of VIPs.
    pub(in crate::daemon::links) fn warnings(&self) -> Vec<String> {
        let now = clock::now();
        let contested = self.contests.iter().filter(|(_, contest)| contest.is_grave());
        let contested = contested.map(|((interface, vip), contest)| {
            format!("{interface}: VIP {vip} {}", reason(contest, now))
        });
        let missed = self.missed.iter().map(|((interface, vip), (reason, _))| {
            format!(
                "{interface}: VIP {vip} is missing: {reason}; hint: add it again, or have dispatcher do so: dispatcher reload"
            )
        });
        let mut all: Vec<_> = contested.chain(missed).collect();
        if all.len() > SINGLE {
            let more = all.len() - SINGLE;
            all.truncate(SINGLE);
            all.push(format!("{more} more VIPs are taken away or missing: dispatcher events"));
        }
        all
    }
}

/// What is wrong with a VIP.
fn reason(contest: &Contest, now: Instant) -> String {
    let again = match contest.wait(now) {
        Some(wait) => format!("to be put back in {} s", wait.as_secs_f64().ceil()),
        None => format!("put back {} s ago", contest.elapsed(now).as_secs()),
    };
    if let Some(failure) = &contest.failure {
        return format!("cannot be put there, {again}: {failure}");
    }
    let by = contest.by.as_ref().map(|by| format!(", last by {by}")).unwrap_or_default();
    format!(
        "was taken away {} times{by}, {again}; hint: something else manages this NIC's addresses \
         (systemd-networkd: KeepConfiguration=static; NetworkManager, keepalived, another dispatcher)",
        contest.losses
    )
}

/// Who took which address away, as far as the kernel tells: for IPv4, by a number that is mostly the id of a process.
fn takers(events: &[NetworkEvent]) -> HashMap<(u32, IpAddr), String> {
    let mut names: HashMap<u32, Option<String>> = HashMap::new();
    let mut takers = HashMap::new();
    for event in events {
        let NetworkEvent::AddressGone { ifindex, address, by: Some(port) } = event else {
            continue;
        };
        if let Some(name) = names.entry(*port).or_insert_with(|| process(*port)) {
            takers.insert((*ifindex, *address), name.clone());
        }
    }
    takers
}

/// The name of a process that may be gone already.
fn process(pid: u32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("{} (pid {pid})", name.trim_end()))
}
