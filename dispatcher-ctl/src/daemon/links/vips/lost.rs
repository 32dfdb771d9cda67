//! VIPs that are missing: put back where they are ours, with pauses where somebody takes them away again and again ([`Contest`]);
//! where they were somebody else's, missed with a warning.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{Contest, Core, Place, Vips, clock};
use crate::{
    api::types::EventKind,
    network::{Held, Link, NetworkEvent},
};

/// How often it is looked whether all are there, whatever the kernel reported.
const LOOK: Duration = Duration::from_secs(10);
/// Lines of the log, and warnings of `status`, about single VIPs; more are summed up.
const SINGLE: usize = 5;

impl Vips {
    fn is_due(&self, now: Instant) -> bool {
        self.looked.is_none_or(|at| now.saturating_duration_since(at) >= LOOK)
            || self.contests.values().any(|c| c.is_due(now) || c.is_over(now))
    }
}

impl Core {
    /// Whether reports of the kernel are about VIPs that should be there.
    pub(in crate::daemon) fn has_lost_vips(&self, events: &[NetworkEvent]) -> bool {
        let read_anew = |event: &NetworkEvent| matches!(event, NetworkEvent::ReadAnew);
        if events.iter().any(read_anew) {
            return true;
        }
        let gone = |event: &NetworkEvent| match event {
            NetworkEvent::AddressGone { ifindex, address, .. } => Some((*ifindex, *address)),
            NetworkEvent::LinkChanged(_)
            | NetworkEvent::LinkGone { .. }
            | NetworkEvent::AddressesChanged
            | NetworkEvent::ReadAnew
            | NetworkEvent::ResolutionChanged { .. } => None,
        };
        let gone: Vec<_> = events.iter().filter_map(gone).collect();
        if gone.is_empty() || !self.record.applied.manage_vips {
            return false;
        }
        let vips: HashSet<_> = self.state().services.iter().map(|s| s.config.vip).collect();
        let nics: HashSet<_> = self.nics.keys().filter_map(|name| self.ifindex(name)).collect();
        gone.iter().any(|(ifindex, vip)| nics.contains(ifindex) && vips.contains(vip))
    }

    /// Looks after VIPs where it is time to.
    pub(in crate::daemon) async fn tend_vips(&mut self) {
        if self.vips.is_due(clock::now()) {
            self.look_around(&[]).await;
        }
    }

    /// Looks which addresses and NICs this host has, puts back VIPs that are missing, and notes which NICs answer for them.
    /// `events`: what the kernel reported.
    pub(in crate::daemon) async fn look_around(&mut self, events: &[NetworkEvent]) {
        let found = tokio::join!(self.network.held(), self.network.links());
        let (held, links) = match found {
            (Ok(held), Ok(links)) => (held, links),
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!("VIPs cannot be looked after: {error}");
                return;
            }
        };
        let now = clock::now();
        self.vips.looked = Some(now);
        self.look_for_answers(&links, &held);
        let lost = self.find_lost(&held, &links, &takers(events), now);
        self.put_back(lost, now).await;
        self.tell_contests(now);
    }

    /// VIPs that are missing and are to be put back now.
    fn find_lost(
        &mut self,
        held: &[Held],
        links: &[Link],
        takers: &HashMap<(u32, IpAddr), String>,
        now: Instant,
    ) -> Vec<Place> {
        let there: HashMap<_, _> =
            held.iter().map(|held| ((held.ifindex, held.address), held.is_duplicate)).collect();
        let up: HashSet<u32> = links.iter().filter(|l| l.set_up).map(|l| l.ifindex).collect();
        let (wanted, owned) = (self.wanted_vips(), self.owned_vips());
        self.vips.contests.retain(|place, _| wanted.contains(place));
        self.vips.missed.retain(|place, _| wanted.contains(place));
        let mut lost = Vec::new();
        for place in wanted {
            let Some(ifindex) = self.ifindex(&place.0) else { continue };
            let found = there.get(&(ifindex, place.1));
            if found == Some(&false) {
                if let Some(contest) = self.vips.contests.get_mut(&place) {
                    contest.there(now);
                }
                self.found_again(&place, now);
            } else if !owned.contains(&place) {
                self.miss(place, found.is_some(), now);
            } else if up.contains(&ifindex) {
                // A NIC that is set down loses its IPv6 addresses. They are put back when it is up.
                let contests = &mut self.vips.contests;
                let contest = contests.entry(place.clone()).or_insert_with(|| Contest::new(now));
                if contest.missing(now)
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

    /// Puts VIPs back, and says so.
    async fn put_back(&mut self, lost: Vec<Place>, now: Instant) {
        let mut back: BTreeMap<String, Vec<EventKind>> = BTreeMap::new();
        for place in lost {
            if self.put_vip(&place).await.is_none() {
                continue;
            }
            self.vips.placed.insert(place.clone());
            let Some(contest) = self.vips.contests.get_mut(&place) else { continue };
            contest.there(now);
            let (interface, vip) = place;
            let (losses, taken_by) = (contest.losses, contest.by.clone());
            let event =
                EventKind::VipRestored { interface: interface.clone(), vip, losses, taken_by };
            back.entry(interface).or_default().push(event);
        }
        for (interface, events) in back {
            if events.len() <= SINGLE {
                events.into_iter().for_each(|event| self.events.tell(event));
            } else {
                tracing::warn!("{interface}: {} VIPs were taken away, put back", events.len());
                events.into_iter().for_each(|event| self.events.tell_readers(event));
            }
        }
    }

    /// Tells of VIPs that are taken away again and again or cannot be put back, and of those that no longer are.
    fn tell_contests(&mut self, now: Instant) {
        let mut told = Vec::new();
        for ((interface, vip), contest) in &mut self.vips.contests {
            let (interface, vip, losses) = (interface.clone(), *vip, contest.losses);
            match (contest.alert, contest.is_grave()) {
                (None, true) => {
                    contest.alert = Some(now);
                    let reason = reason(contest, now);
                    told.push(EventKind::VipAlert { interface, vip, losses, reason });
                }
                (Some(since), _) if contest.is_over(now) => {
                    let seconds = now.saturating_duration_since(since).as_secs_f64();
                    told.push(EventKind::VipClear { interface, vip, seconds });
                }
                _ => {}
            }
        }
        self.vips.contests.retain(|_, contest| !contest.is_over(now));
        told.into_iter().for_each(|event| self.events.tell(event));
    }

    /// Takes in that an address of somebody else's, which is a VIP, is missing.
    fn miss(&mut self, place: Place, is_duplicate: bool, now: Instant) {
        let known = self.vips.missed.contains_key(&place);
        if known || !self.vips.placed.remove(&place) {
            return;
        }
        let reason = if is_duplicate {
            "another host has this address, so this one does not use it"
        } else {
            "the address is gone, and was not added by dispatcher"
        };
        self.vips.missed.insert(place.clone(), (reason, now));
        let ((interface, vip), reason) = (place, reason.to_owned());
        self.events.tell(EventKind::VipAlert { interface, vip, losses: 1, reason });
    }

    /// Takes in that a VIP that was missed is there.
    fn found_again(&mut self, place: &Place, now: Instant) {
        if let Some((_, since)) = self.vips.missed.remove(place) {
            self.vips.placed.insert(place.clone());
            let seconds = now.saturating_duration_since(since).as_secs_f64();
            let (interface, vip) = place.clone();
            self.events.tell(EventKind::VipClear { interface, vip, seconds });
        }
    }

    /// What an operator should know of VIPs.
    pub(in crate::daemon) fn vip_warnings(&self) -> Vec<String> {
        let now = clock::now();
        let contested = self.vips.contests.iter().filter(|(_, contest)| contest.is_grave());
        let contested = contested.map(|((interface, vip), contest)| {
            format!("{interface}: VIP {vip} {}", reason(contest, now))
        });
        let missed = self.vips.missed.iter().map(|((interface, vip), (reason, _))| {
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

/// What is the matter with a VIP.
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

/// Who took which address away, as far as the kernel tells: for IPv4, by a number that mostly is that of a process.
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
