//! What the core does at every tick, at reports of the kernel, and at outcomes of probes.

use super::{
    clock,
    core::Core,
    health::{self, Changed},
    memory,
    reports::{Cause, Left, past_deadline},
};
use crate::{
    advisor::{ProbeOutcome, disturbance},
    api::types::ApiError,
    network::NetworkEvent,
    reconcile::Dirty,
};

impl Core {
    /// What is due every second.
    pub(super) async fn tick(&mut self) {
        if std::mem::take(&mut self.is_untidy) {
            memory::give_back();
        }
        self.health.watch_standstill();
        let syn_guard = self.store.applied.connections.syn_guard;
        self.reports.watch_guard(self.plane.table().active().half_open(), syn_guard);
        self.report_draining();
        self.links.count_refused(self.plane.datapath());
        self.links.watch_probes(self.plane.datapath(), &self.store).await;
        let (links, store, _, events) = self.links();
        links.tend_vips(store, events).await;
        for result in [
            self.watch_handshakes().await,
            self.plane.release_slots(&mut self.store),
            self.plane.sample_rates(&self.store.retired_slots),
            self.plane.watch_rules(&self.store),
            self.keep_deadlines().await,
        ] {
            if let Err(error) = result {
                tracing::error!("{error}");
            }
        }
    }

    /// Follows what the kernel reported.
    pub(super) async fn follow_reports(&mut self, reports: Vec<NetworkEvent>) {
        let (links, _, _, events) = self.links();
        links.report_neighbours(&reports, events);
        let is_link = |e: &NetworkEvent| {
            matches!(e, NetworkEvent::LinkChanged(_) | NetworkEvent::LinkGone { .. })
        };
        let is_address = |e: &NetworkEvent| {
            matches!(
                e,
                NetworkEvent::AddressGone { .. }
                    | NetworkEvent::AddressesChanged
                    | NetworkEvent::ReadAgain
            )
        };
        if reports.iter().any(|report| is_link(report) || is_address(report)) {
            disturbance::note_change();
            self.links.check_vips_soon();
        }
        let result = if reports.iter().any(is_link) {
            self.follow_links(&reports).await
        } else if reports.iter().all(is_address) && !self.state().has_wildcards() {
            // The host's own addresses matter to services on any address only.
            Ok(())
        } else {
            self.publish_moved(&reports)
        };
        if let Err(error) = result {
            tracing::error!("{error}");
        }
        if reports.iter().any(|e| matches!(e, NetworkEvent::LinkGone { .. })) {
            self.links.watch_probes(self.plane.datapath(), &self.store).await;
        }
        if self.links.has_lost_vips(&reports, &self.store) {
            let (links, store, _, events) = self.links();
            links.check_vips(store, events, &reports).await;
        }
    }

    /// Follows NICs that came, went or changed.
    async fn follow_links(&mut self, reports: &[NetworkEvent]) -> Result<(), ApiError> {
        if !self.links.are_ours(reports, &self.store.nic_names) {
            return self.publish(&Dirty::All);
        }
        let (links, store, datapath, _) = self.links();
        let again = links.reread(store, datapath).await?;
        self.publish(&Dirty::All)?;
        let (links, store, datapath, events) = self.links();
        let attached = links.attach(datapath, events);
        links.follow_probes(datapath, store).await;
        links.place_vips(store, events, again).await;
        attached
    }

    /// Follows outcomes of probes: backends come up or go down by them.
    pub(super) async fn follow_outcomes(
        &mut self,
        outcomes: Vec<ProbeOutcome>,
    ) -> Result<(), ApiError> {
        let changed = self.health.add_outcomes(outcomes);
        self.advise(changed).await
    }

    /// Ends windows of passive signals that are over: backends go down by them.
    async fn watch_handshakes(&mut self) -> Result<(), ApiError> {
        let syn_guard = self.store.applied.connections.syn_guard;
        if !self.health.is_window_over(&self.store.state, self.plane.table(), syn_guard) {
            return Ok(());
        }
        let (_, counters) = self.plane.recent_counters(&self.store.retired_slots)?;
        let changed = self.health.judge_windows(&self.store.state, self.plane.table(), &counters);
        self.advise(changed).await
    }

    async fn advise(&mut self, changed: Changed) -> Result<(), ApiError> {
        if changed.is_empty() {
            return Ok(());
        }
        let state = health::advise(self.state(), changed, clock::epoch_ms());
        self.commit(state, None, Cause::Advisor).await
    }

    /// What the manager has to do several times a second.
    pub(super) async fn manage(&mut self) -> Result<(), ApiError> {
        let now = clock::now();
        self.weights.sample(now, &self.store.state, &self.health, self.plane.table());
        if self.weights.is_interval_over(now, &self.store.state.manager) {
            if self.weights.is_reread_due(&self.store.state.manager) {
                let (_, counters) = self.plane.recent_counters(&self.store.retired_slots)?;
                self.weights.reread(&counters);
            }
            let events = self.reports.events();
            if let Some(state) = self.weights.weigh(&self.store.state, &self.health, events) {
                self.commit(state, None, Cause::Manager).await?;
            }
        }
        match self.weights.ramp_up(now, &self.store.state) {
            Some(state) => self.commit(state, None, Cause::Manager).await,
            None => Ok(()),
        }
    }

    fn report_draining(&mut self) {
        let (table, swept) = (self.plane.table(), self.plane.swept());
        self.reports.report_draining(&self.store.state, |backend| {
            let active = table.active().slot(backend.slot).active();
            Left::new(active, swept.slot(backend.slot))
        });
    }

    /// Takes backends down whose deadline has passed.
    async fn keep_deadlines(&mut self) -> Result<(), ApiError> {
        if self.health.is_settling() {
            return Ok(());
        }
        let connections = |backend: &crate::model::Backend| {
            self.plane.table().active().slot(backend.slot).active()
        };
        let Some((state, events)) = past_deadline(self.state(), clock::epoch_ms(), connections)
        else {
            return Ok(());
        };
        // Before the backend is reported as down: this is why.
        events.into_iter().for_each(|event| self.reports.events().log_and_send(event));
        self.commit(state, None, Cause::Hand).await
    }
}
