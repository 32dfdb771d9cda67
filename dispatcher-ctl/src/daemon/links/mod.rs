//! NICs, VIPs and next hops: what the datapath is attached to, and its state in the kernel's network.
//!
//! [`Links`] owns them. [`nics`] attaches NICs, [`names`] follows their names, [`vips`] puts VIPs on them, [`answers`] keeps other
//! NICs from answering for VIPs, [`neighbours`] follows the MACs of backends ([`next_hops`]), [`probe_path`] is the path of
//! probes of VIPs, and [`refused`] counts redirects that NICs refused.

mod answers;
mod names;
mod neighbours;
mod next_hops;
mod nics;
mod probe_path;
mod refused;
mod vips;

use std::{borrow::Cow, time::Duration};

pub(crate) use self::answers::give_back as restore_arp_ignore;
use self::{
    answers::Answers,
    neighbours::Neighbours,
    probe_path::ProbePath,
    refused::RefusedPackets,
    vips::{Site, Vips},
};
pub(super) use self::{names::with_names, next_hops::NextHops, nics::Nics};
use super::{reports::Events, store::Store};
use crate::{
    api::types::{ApiError, Interface},
    datapath::{Counters, Datapath},
    model::{Config, NicName, SavedState, State, XdpMode},
    network::{Link, Network, NetworkEvent},
    prober::Prober,
};

/// All that follows the host's network.
#[derive(Debug)]
pub(super) struct Links {
    network: Network,
    nics: Nics,
    neighbours: Neighbours,
    vips: Vips,
    answers: Answers,
    probe_path: ProbePath,
    refused: RefusedPackets,
}

impl Links {
    /// Knows nothing yet; the kernel is not asked.
    pub(super) fn new(network: Network) -> Self {
        Self {
            network,
            nics: Nics::default(),
            neighbours: Neighbours::default(),
            vips: Vips::default(),
            answers: Answers::default(),
            probe_path: ProbePath::default(),
            refused: RefusedPackets::default(),
        }
    }

    /// The NICs that are wanted.
    pub(super) const fn nics(&self) -> &Nics {
        &self.nics
    }

    /// The host's network.
    pub(super) const fn network(&self) -> &Network {
        &self.network
    }

    /// The next hops of backends as they are now.
    pub(super) fn next_hops(&self) -> NextHops {
        NextHops::new(self.nics.there(), self.network.clone())
    }

    /// What probes of VIPs ask for their path.
    pub(super) const fn prober(&self) -> &Prober {
        self.probe_path.prober()
    }

    /// Sets the mode of a NIC that is not attached as configured. A NIC that runs in another mode is attached again.
    pub(super) fn choose_mode(&mut self, name: &str, mode: XdpMode) {
        self.nics.choose_mode(name, mode);
    }

    /// Takes the NICs of the running state, and finds out which of them exist.
    pub(super) async fn adopt(
        &mut self,
        store: &mut Store,
        datapath: &mut Datapath,
        events: &Events,
    ) -> Result<(), ApiError> {
        self.nics.adopt(store, datapath, events);
        // The kernel reports changes of NICs that are attached: only others need a look.
        if !self.nics.are_attached() {
            let links = self.network.links().await?;
            self.set_links(links, store, datapath);
        }
        Ok(())
    }

    /// Follows the MACs of a state's backends. If there are new ones, waits for their MACs, for this time at most.
    pub(super) async fn resolve(&mut self, state: &State, at_most: Duration) {
        if self.neighbours.watch(state, &self.nics, &self.network) {
            self.network.settled(at_most).await;
        }
    }

    /// Attaches every NIC that is there and is not attached. Returns the first failure; the others are tried all the same.
    pub(super) fn attach(
        &mut self,
        datapath: &mut Datapath,
        events: &Events,
    ) -> Result<(), ApiError> {
        self.nics.attach(datapath, events)
    }

    /// Reads the links again, after reports of the kernel. Returns whether VIPs must be announced again.
    pub(super) async fn reread(
        &mut self,
        store: &mut Store,
        datapath: &mut Datapath,
    ) -> Result<bool, ApiError> {
        let before = self.nics.there();
        let links = self.network.links().await?;
        let down = self.nics.down();
        self.set_links(links, store, datapath);
        let has_changed = before != self.nics.there();
        if has_changed {
            self.neighbours.watch(&store.state, &self.nics, &self.network);
        }
        // A NIC that was set down has lost its IPv6 addresses, and its segment may have forgotten the others.
        let is_back = !down.is_subset(&self.nics.down());
        Ok(has_changed || is_back)
    }

    /// Whether reports of the kernel are about NICs of the configuration.
    pub(super) fn are_ours(&self, events: &[NetworkEvent], names: &[NicName]) -> bool {
        events.iter().any(|event| self.nics.is_ours(event, names))
    }

    /// Reports addresses that answer elsewhere, no longer, or again.
    pub(super) fn report_neighbours(&mut self, reports: &[NetworkEvent], events: &Events) {
        self.neighbours.report(reports, &self.nics, events);
    }

    /// Puts VIPs on the NICs where they belong, and removes them from others. `again`: also announces those that are there.
    pub(super) async fn place_vips(&mut self, store: &mut Store, events: &Events, again: bool) {
        let site = Site { network: &self.network, nics: &self.nics, events };
        self.vips.place(site, store, again).await;
    }

    /// Puts back VIPs that are missing where somebody else had them.
    pub(super) async fn add_missed_vips(&mut self, store: &mut Store, events: &Events) {
        if self.vips.misses_any() {
            self.place_vips(store, events, false).await;
            self.vips.check_soon();
        }
    }

    /// Checks with the next tick whether all VIPs are there.
    pub(super) const fn check_vips_soon(&mut self) {
        self.vips.check_soon();
    }

    /// Checks which addresses and NICs this host has, puts back VIPs that are missing, and notes which NICs answer for them.
    /// `reports`: what the kernel reported.
    pub(super) async fn check_vips(
        &mut self,
        store: &mut Store,
        events: &Events,
        reports: &[NetworkEvent],
    ) {
        let found = tokio::join!(self.network.held(), self.network.links());
        let (held, links) = match found {
            (Ok(held), Ok(links)) => (held, links),
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!("VIPs cannot be checked: {error}");
                return;
            }
        };
        let checked = self.vips.begin_check();
        self.answers.find(&links, &held, &self.nics, store);
        let site = Site { network: &self.network, nics: &self.nics, events };
        self.vips.put_back(site, store, (&held, &links, reports), checked).await;
    }

    /// Checks VIPs if the check is due.
    pub(super) async fn tend_vips(&mut self, store: &mut Store, events: &Events) {
        if self.vips.is_due() {
            self.check_vips(store, events, &[]).await;
        }
    }

    /// Whether reports of the kernel are about VIPs that should be there.
    pub(super) fn has_lost_vips(&self, reports: &[NetworkEvent], saved: &SavedState) -> bool {
        vips::has_lost(reports, saved, &self.nics)
    }

    /// Whether VIPs are on the NICs where they belong and on no others, as far as is known.
    pub(super) fn has_placed_vips(&self, saved: &SavedState) -> bool {
        self.vips.are_placed(saved, &self.nics)
    }

    /// Opens, closes or adapts the path of probes of VIPs to what is wanted and which NICs there are.
    pub(super) async fn follow_probes(&mut self, datapath: &Datapath, saved: &SavedState) {
        self.probe_path.follow(datapath, saved, &self.nics).await;
    }

    /// Tries again to open the path of probes, and replaces one that somebody has broken.
    pub(super) async fn watch_probes(&mut self, datapath: &Datapath, saved: &SavedState) {
        self.probe_path.watch(datapath, saved, &self.nics).await;
    }

    /// Closes the path of probes; probes of VIPs then fail for this reason.
    pub(super) async fn close_probes(&mut self, why: &str) {
        self.probe_path.close(why).await;
    }

    /// Counts redirects that NICs refused, and logs when that begins.
    pub(super) fn count_refused(&mut self, datapath: &Datapath) {
        self.refused.count(datapath, &self.nics);
    }

    /// Undoes what was set on NICs: VIPs first, so that the kernel never answers for one instead of the datapath.
    pub(super) async fn give_back(&mut self, store: &mut Store, events: &Events) {
        let site = Site { network: &self.network, nics: &self.nics, events };
        self.vips.remove_all(site, store).await;
        answers::give_back_unless(store, |_| false);
    }

    /// What an operator should know. `file`: what the configuration file is called.
    pub(super) fn warnings(&self, saved: &SavedState, file: &str) -> Vec<String> {
        let names = names::stale(&saved.nic_names, &self.nics, file);
        [names, self.vips.warnings(), self.answers.warnings()].concat()
    }

    /// The NICs as the API shows them.
    pub(super) fn view(&self, counters: &Counters) -> Vec<Interface> {
        let mut views = self.nics.view(counters);
        for view in &mut views {
            if let Some(ifindex) = view.ifindex {
                view.refused = self.refused.of(ifindex, |from| self.nics.name(from));
                view.note = view.note.take().or_else(|| self.refused.note(ifindex));
            }
        }
        views
    }

    /// A configuration with the kernel's names of its NICs, and which of them it calls otherwise.
    pub(super) async fn kernel_names<'c>(
        &self,
        config: &'c Config,
        known: &[NicName],
    ) -> Result<(Cow<'c, Config>, Vec<NicName>), ApiError> {
        if config.interfaces.iter().all(|name| self.nics.contains(name)) {
            return Ok((Cow::Borrowed(config), Vec::new()));
        }
        let links = self.network.links().await?;
        let names = names::of(&config.interfaces, &links, known);
        Ok((with_names(config, &names), names))
    }

    /// A state with the names of NICs that belong in the file: alternative names stay.
    pub(super) fn as_in_file(&self, state: State, known: &[NicName]) -> State {
        names::as_in_file(state, known, &self.nics)
    }

    /// Warnings about names of NICs in a file.
    pub(super) fn stale_names(&self, names: &[NicName], file: &str) -> Vec<String> {
        names::stale(names, &self.nics, file)
    }

    /// The kernel's name of a NIC, given that or an alternative one. Refuses a NIC that is not there: a misspelt name would go
    /// unnoticed.
    ///
    /// # Errors
    /// There is no such NIC.
    pub(super) async fn require(&self, name: &str) -> Result<String, ApiError> {
        names::require(name, &self.network.links().await?)
    }

    /// The kernel's name of a NIC that runs, given that or an alternative one.
    pub(super) async fn running_name(
        &self,
        name: String,
        state: &State,
    ) -> Result<String, ApiError> {
        if state.interfaces.contains(&name) {
            return Ok(name);
        }
        let links = self.network.links().await?;
        let found = links.into_iter().find(|link| link.is_called(&name));
        Ok(found.map_or(name, |link| link.name))
    }

    /// Follows NICs that were renamed while no controller ran: the maps have their indices, and pinned links the program.
    pub(super) fn follow_former_renames(
        &mut self,
        store: &mut Store,
        datapath: &mut Datapath,
    ) -> Result<(), ApiError> {
        let attached = datapath.attached()?;
        let held = datapath.contents().interfaces.iter().map(|held| held.ifindex);
        let renames = names::former_renames(&store.interface_names, held, &attached);
        self.rename(&renames, store, datapath);
        Ok(())
    }

    /// Takes the kernel's links, and follows NICs that were renamed.
    fn set_links(&mut self, links: Vec<Link>, store: &mut Store, datapath: &mut Datapath) {
        let renames = names::renames(&self.nics, &links, &store.nic_names);
        self.rename(&renames, store, datapath);
        self.nics.set_links(links);
    }

    fn rename(&mut self, renames: &[(String, String)], store: &mut Store, datapath: &mut Datapath) {
        if renames.is_empty() {
            return;
        }
        self.nics.rename(renames, datapath);
        self.vips.rename(renames);
        store.note(|saved| names::rename(saved, renames));
    }
}
