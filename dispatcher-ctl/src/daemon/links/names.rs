//! Names of NICs: what runs has the kernel's names; the file may have an alternative name, or the name that a NIC had when it
//! was attached.
//!
//! A NIC that is renamed while it runs is followed by its index. When the file is read, a name means the NIC that
//! has it now, else the one that has it as an alternative name, else the one that had it.

use std::borrow::Cow;

use super::nics::Nics;
use crate::{
    api::types::ApiError,
    datapath::Attached,
    model::{Config, NicName, SavedState, State},
    network::Link,
};

/// Names that have changed: former and present.
type Renames = [(String, String)];

/// NICs that have another name in a file than in the kernel. `known`: those of the former file.
pub(super) fn of(written: &[String], links: &[Link], known: &[NicName]) -> Vec<NicName> {
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

/// A configuration with the kernel's names of its NICs.
pub(in crate::daemon) fn with_names<'c>(config: &'c Config, names: &[NicName]) -> Cow<'c, Config> {
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
    let mut config = config.clone();
    config.interfaces = interfaces;
    Cow::Owned(config)
}

/// A state with the names of NICs that belong in the file: alternative names stay.
pub(super) fn as_in_file(state: State, known: &[NicName], nics: &Nics) -> State {
    let written = |name: &String| {
        let known = known.iter().find(|known| known.name == *name);
        let known = known.filter(|known| !is_stale(known, nics));
        known.map_or_else(|| name.clone(), |known| known.written.clone())
    };
    let interfaces = state.interfaces.iter().map(written).collect();
    State { interfaces, ..state }
}

/// Warnings about names of NICs in a file.
pub(super) fn stale(names: &[NicName], nics: &Nics, file: &str) -> Vec<String> {
    let stale = names.iter().filter(|known| is_stale(known, nics));
    let line = |NicName { written, name }: &NicName| {
        format!("interface {written} of {file} is called {name} now; hint: write {name:?} there")
    };
    stale.map(line).collect()
}

/// Whether a NIC no longer has the name by which the file calls it.
fn is_stale(known: &NicName, nics: &Nics) -> bool {
    nics.link(&known.name).is_some_and(|link| !link.is_called(&known.written))
}

/// The kernel's name of a NIC, given that or an alternative one.
///
/// # Errors
/// There is no such NIC.
pub(super) fn require(name: &str, links: &[Link]) -> Result<String, ApiError> {
    let found = links.iter().find(|link| link.name == name);
    if let Some(link) = found.or_else(|| links.iter().find(|link| link.is_called(name))) {
        return Ok(link.name.clone());
    }
    let there: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
    let error = format!("interface {name:?} is not there, expected a NIC of this host");
    Err(ApiError::not_found(error).hint(format!("there are {}", there.join(", "))))
}

/// NICs that were renamed. If a NIC now has the name of a wanted NIC that is missing, it is taken for that NIC and nothing is
/// renamed.
pub(super) fn renames(nics: &Nics, links: &[Link], known: &[NicName]) -> Vec<(String, String)> {
    let mut renames = Vec::new();
    for (name, link) in nics.links() {
        let now = match link {
            Some(link) => links.iter().find(|now| now.ifindex == link.ifindex),
            // Not there so far: it may have come under another name than the file's.
            None if links.iter().any(|link| link.name == *name) => None,
            None => {
                let known = known.iter().find(|known| known.name == *name);
                let wanted = known.map_or(name, |known| &known.written);
                links.iter().find(|link| link.is_called(wanted))
            }
        };
        if let Some(now) = now.filter(|now| now.name != *name) {
            renames.push((name.clone(), now.name.clone()));
        }
    }
    let leaves = |name: &String| renames.iter().any(|(from, _)| from == name);
    let is_free = |(_, to): &(String, String)| !nics.contains(to) || leaves(to);
    if renames.iter().all(is_free) { renames } else { Vec::new() }
}

/// Which NICs were renamed while no controller ran: `held` are the ifindexes that the maps have for these names.
pub(super) fn former_renames(
    names: &[String],
    held: impl Iterator<Item = u32>,
    attached: &[Attached],
) -> Vec<(String, String)> {
    let renamed = |(name, held): (&String, u32)| {
        let nic = attached.iter().find(|nic| nic.ifindex == held)?;
        (!name.is_empty() && nic.name != *name).then(|| (name.clone(), nic.name.clone()))
    };
    names.iter().zip(held).filter_map(renamed).collect()
}

/// The present name of what had a name before.
pub(super) fn renamed(name: &str, renames: &Renames) -> String {
    let found = renames.iter().find(|(from, _)| from == name);
    found.map_or(name, |(_, to)| to).to_owned()
}

/// Gives NICs their present names in the whole saved state.
pub(super) fn rename(saved: &mut SavedState, renames: &Renames) {
    for name in saved.state.interfaces.iter_mut().chain(&mut saved.interface_names) {
        *name = renamed(name, renames);
    }
    for vip in &mut saved.vips {
        vip.interface = renamed(&vip.interface, renames);
    }
    for (from, to) in renames {
        let written = saved.applied.interfaces.contains(from);
        match saved.nic_names.iter_mut().find(|known| known.name == *from) {
            Some(known) => to.clone_into(&mut known.name),
            None if written => {
                let (written, name) = (from.clone(), to.clone());
                saved.nic_names.push(NicName { written, name });
            }
            None => {}
        }
    }
    saved.nic_names.retain(|known| known.written != known.name);
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
        let found = |links: &[Link]| of(&written, links, &former);
        assert_eq!(found(std::slice::from_ref(&lan0)), former);
        assert_eq!(found(&[lan0.clone(), link("eth1", &["eth0"])]), [known("eth0", "eth1")]);
        assert_eq!(found(&[lan0, link("eth1", &["eth0"]), link("eth0", &[])]), []);
        assert_eq!(of(&written, &[], &[]), []);
    }
}
