//! What NICs are called: by the kernel, which names what runs, and by the file, which may use an alternative name, or a name that a
//! NIC had when it was attached.
//!
//! A NIC that is renamed while it runs is followed by its index. When the file is read, its names win: a NIC that has the name now
//! is meant, else one that has it as an alternative name, else the one that had it.

use std::borrow::Cow;

use super::{core::Core, start::failed};
use crate::{
    api::types::ApiError,
    model::{Config, NicName, Record, State},
    network::Link,
};

impl Core {
    /// A configuration with the kernel's names of its NICs, and which of them it calls otherwise.
    ///
    /// # Errors
    /// As the kernel.
    pub(super) async fn kernel_names<'c>(
        &self,
        config: &'c Config,
    ) -> Result<(Cow<'c, Config>, Vec<NicName>), ApiError> {
        if config.interfaces.iter().all(|name| self.nics.contains_key(name)) {
            return Ok((Cow::Borrowed(config), Vec::new()));
        }
        let links = self.network.links().await.map_err(|e| failed(&e))?;
        let names = names(&config.interfaces, &links, &self.record.nic_names);
        Ok((with_names(config, &names), names))
    }

    /// The file as last applied, with the kernel's names of its NICs.
    pub(super) fn applied_names(&self) -> Cow<'_, Config> {
        with_names(&self.record.applied, &self.record.nic_names)
    }

    /// Keeps which NICs the file calls otherwise than the kernel.
    pub(super) fn keep_names(&mut self, names: Vec<NicName>) {
        if self.record.nic_names != names {
            self.record.note(|record| record.nic_names.clone_from(&names));
        }
    }

    /// A state with its NICs named as the file had better name them: alternative names stay.
    pub(super) fn as_in_file(&self, state: State) -> State {
        let written = |name: &String| {
            let known = self.record.nic_names.iter().find(|known| known.name == *name);
            let known = known.filter(|known| !self.is_stale(known));
            known.map_or_else(|| name.clone(), |known| known.written.clone())
        };
        let interfaces = state.interfaces.iter().map(written).collect();
        State { interfaces, ..state }
    }

    /// What an operator should know of names in the file that is in force.
    pub(super) fn name_warnings(&self) -> Vec<String> {
        self.stale_names(&self.record.nic_names)
    }

    /// What is wrong with names in a file.
    pub(super) fn stale_names(&self, names: &[NicName]) -> Vec<String> {
        let stale = names.iter().filter(|known| self.is_stale(known));
        let file = &self.config_status.file;
        let line = |NicName { written, name }: &NicName| {
            format!(
                "interface {written} of {file} is called {name} now; hint: write {name:?} there"
            )
        };
        stale.map(line).collect()
    }

    /// The kernel's name of a NIC that runs, given that or an alternative one.
    ///
    /// # Errors
    /// As the kernel.
    pub(super) async fn running_name(&self, name: String) -> Result<String, ApiError> {
        if self.state().interfaces.contains(&name) {
            return Ok(name);
        }
        let links = self.network.links().await.map_err(|e| failed(&e))?;
        let found = links.into_iter().find(|link| link.is_called(&name));
        Ok(found.map_or(name, |link| link.name))
    }

    /// Whether a NIC no longer has the name by which the file calls it.
    fn is_stale(&self, known: &NicName) -> bool {
        let link = self.nics.get(&known.name).and_then(|nic| nic.link.as_ref());
        link.is_some_and(|link| !link.is_called(&known.written))
    }

    /// Follows NICs that have other names than before.
    pub(super) fn follow_renames(&mut self, links: &[Link]) {
        let renames = self.renames(links);
        if !renames.is_empty() {
            self.rename_nics(&renames);
        }
    }

    /// Follows NICs that were renamed while no controller ran: the maps have their indices, and pinned links the program.
    ///
    /// # Errors
    /// As the kernel.
    pub(super) async fn follow_former_renames(&mut self) -> Result<(), ApiError> {
        let attached = self.datapath.attached().map_err(|e| failed(&e))?;
        let held = &self.datapath.contents().interfaces;
        let mut renames = Vec::new();
        for (name, held) in self.record.interface_names.iter().zip(held) {
            let nic = attached.iter().find(|nic| nic.ifindex == held.ifindex);
            if let Some(nic) = nic.filter(|nic| !name.is_empty() && nic.name != *name) {
                renames.push((name.clone(), nic.name.clone()));
            }
        }
        if !renames.is_empty() {
            self.rename_nics(&renames);
        }
        Ok(())
    }

    fn rename_nics(&mut self, renames: &[(String, String)]) {
        // All at once: two may have changed names with each other.
        let mut nics = std::mem::take(&mut self.nics);
        let taken: Vec<_> = renames
            .iter()
            .filter_map(|(from, to)| Some((from, to, nics.remove(from)?, self.modes.remove(from))))
            .collect();
        for (from, to) in renames {
            tracing::info!("{from}: is called {to} now");
        }
        for (_, to, nic, mode) in taken {
            if let Some(link) = &nic.link {
                self.datapath.rename(link.ifindex, to);
            }
            nics.insert(to.clone(), nic);
            self.modes.extend(mode.map(|mode| (to.clone(), mode)));
        }
        self.nics = nics;
        self.rename_vips(renames);
        self.record.note(|record| rename_in_record(record, renames));
    }

    /// Which NICs of ours have another name: former and present. Where the present one is that of a NIC that is wanted but not
    /// there, the names stay, and the NIC is taken for that one.
    fn renames(&self, links: &[Link]) -> Vec<(String, String)> {
        let name_of = |ifindex| links.iter().find(|link| link.ifindex == ifindex);
        let mut renames = Vec::new();
        for (name, nic) in &self.nics {
            let now = match &nic.link {
                Some(link) => name_of(link.ifindex),
                // Not there so far: it may have come under another name than the file's.
                None if links.iter().any(|link| link.name == *name) => None,
                None => {
                    let known = self.record.nic_names.iter().find(|known| known.name == *name);
                    let wanted = known.map_or(name, |known| &known.written);
                    links.iter().find(|link| link.is_called(wanted))
                }
            };
            if let Some(now) = now.filter(|now| now.name != *name) {
                renames.push((name.clone(), now.name.clone()));
            }
        }
        let leaves = |name: &String| renames.iter().any(|(from, _)| from == name);
        let is_free = |(_, to): &&(String, String)| !self.nics.contains_key(to) || leaves(to);
        let free: Vec<_> = renames.iter().filter(is_free).cloned().collect();
        if free.len() == renames.len() { renames } else { Vec::new() }
    }
}

/// Gives NICs their present names.
fn rename_in_record(record: &mut Record, renames: &[(String, String)]) {
    let rename = |name: &mut String| {
        if let Some((_, to)) = renames.iter().find(|(from, _)| from == name) {
            to.clone_into(name);
        }
    };
    record.state.interfaces.iter_mut().for_each(rename);
    record.interface_names.iter_mut().for_each(rename);
    record.vips.iter_mut().for_each(|vip| rename(&mut vip.interface));
    for (from, to) in renames {
        let written = record.applied.interfaces.contains(from);
        match record.nic_names.iter_mut().find(|known| known.name == *from) {
            Some(known) => to.clone_into(&mut known.name),
            None if written => {
                let (written, name) = (from.clone(), to.clone());
                record.nic_names.push(NicName { written, name });
            }
            None => {}
        }
    }
    record.nic_names.retain(|known| known.written != known.name);
}

/// Which NICs a file calls otherwise than the kernel.
fn names(written: &[String], links: &[Link], known: &[NicName]) -> Vec<NicName> {
    let name = |written: &String| {
        if links.iter().any(|link| link.name == *written) {
            return None;
        }
        let alternative = links.iter().find(|link| link.is_called(written)).map(|link| &link.name);
        let former = || known.iter().find(|known| known.written == *written).map(|k| &k.name);
        let name = alternative.or_else(former)?.clone();
        Some(NicName { written: written.clone(), name })
    };
    written.iter().filter_map(name).collect()
}

fn with_names<'c>(config: &'c Config, names: &[NicName]) -> Cow<'c, Config> {
    if names.is_empty() {
        return Cow::Borrowed(config);
    }
    let name = |written: &String| {
        let known = names.iter().find(|known| known.written == *written);
        known.map_or_else(|| written.clone(), |known| known.name.clone())
    };
    let mut interfaces: Vec<String> = Vec::new();
    for name in config.interfaces.iter().map(name) {
        // Both of a NIC's names may be written.
        if !interfaces.contains(&name) {
            interfaces.push(name);
        }
    }
    Cow::Owned(Config { interfaces, ..config.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, altnames: &[&str]) -> Link {
        let altnames = altnames.iter().map(ToString::to_string).collect();
        Link { name: name.to_owned(), altnames, ..Link::default() }
    }

    fn known(written: &str, name: &str) -> NicName {
        NicName { written: written.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn the_name_that_a_nic_has_wins_then_an_alternative_then_a_former_one() {
        let written = ["eth0".to_owned()];
        let former = [known("eth0", "lan0")];
        let lan0 = link("lan0", &[]);
        let found = |links: &[Link]| names(&written, links, &former);
        assert_eq!(found(std::slice::from_ref(&lan0)), former);
        assert_eq!(found(&[lan0.clone(), link("eth1", &["eth0"])]), [known("eth0", "eth1")]);
        assert_eq!(found(&[lan0, link("eth1", &["eth0"]), link("eth0", &[])]), []);
        assert_eq!(names(&written, &[], &[]), []);
    }
}
