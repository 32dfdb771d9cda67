//! `dispatcher detach`: detaches a NIC, or removes everything.

use std::path::{Path, PathBuf};

use super::{Ask, Outcome, args::Detach, block_on, error::CliError, output};
use crate::{
    api::{routes, server::remove_dead},
    capabilities::{Capability, Missing, missing},
    daemon,
    datapath::{self, DatapathError, SavedTexts},
    model::{Config, OwnedVip},
    network::{Network, NetworkError},
    prober,
};

pub(super) fn detach(ask: &Ask, args: Detach) -> Outcome {
    let Some(interface) = args.interface else {
        let pin_dir = args.pin_dir.unwrap_or_else(|| Config::new(Vec::new()).settings.pin_dir);
        return all(&pin_dir, ask.socket.clone());
    };
    ask.daemon(async |client| {
        client.change(&routes::DETACH, [&interface], &(), args.changing.save).await
    })?;
    Ok(output::line(format!("interface {interface}: detached")))
}

/// Removes everything that a daemon left behind; needs no daemon, and refuses while one runs.
fn all(pin_dir: &Path, socket: Option<PathBuf>) -> Outcome {
    let dir = pin_dir.display();
    let mut found = None;
    require_capabilities()?;
    // VIPs first: without the program, the kernel would answer for them.
    datapath::remove_all(pin_dir, |saved| found = Some(vips(pin_dir, saved, socket)))
        .map_err(refused)?;
    let ours = match found {
        None => output::line(format!("pin directory {dir}: nothing is left there")),
        Some(removed) => {
            output::line(format!("pin directory {dir}: detached and removed")) + &removed?
        }
    };
    Ok(dead(pin_dir)? + &ours)
}

fn require_capabilities() -> Result<(), CliError> {
    let needs = [
        (Capability::Bpf, "open pinned programs"),
        (Capability::NetAdmin, "detach them and remove VIPs"),
    ];
    match missing(&needs) {
        Some(Missing { error, hint }) => Err(CliError::failed(error).hint(hint)),
        None => Ok(()),
    }
}

/// Removes what deleted network namespaces have left; reports which.
fn dead(pin_dir: &Path) -> Outcome {
    let removed = datapath::remove_dead_namespaces(pin_dir).map_err(refused)?;
    let line = |dir: &PathBuf| {
        output::line(format!("{}: its network namespace is gone, removed", dir.display()))
    };
    Ok(removed.iter().map(line).collect())
}

/// Removes what was added in addition to the datapath, as the saved state lists it.
fn vips(pin_dir: &Path, saved: Option<SavedTexts>, socket: Option<PathBuf>) -> Outcome {
    let Some(saved) = saved else { return Ok(String::new()) };
    let record = daemon::read_saved(&saved).map_err(|e| {
        CliError::failed(format!(
            "pin directory {}: removed, but its saved state, which lists added VIPs, is not understood: {e}",
            pin_dir.display()
        ))
        .hint("ip address show, and remove the vips with ip address delete")
    })?;
    let removed = block_on(tidy(&record.state.interfaces, &record.vips))??;
    record.arp_ignored.iter().for_each(daemon::restore_arp_ignore);
    let line = |vip: &OwnedVip| {
        output::line(format!("interface {}: vip {} removed", vip.interface, vip.vip))
    };
    // A stale socket does no harm: the next daemon replaces it.
    drop(remove_dead(&socket.unwrap_or(record.applied.settings.api_socket)));
    Ok(removed.into_iter().map(line).collect())
}

/// Removes what probes of VIPs may have left on NICs, then VIPs from the NICs that still exist; returns which.
async fn tidy<'v>(nics: &[String], vips: &'v [OwnedVip]) -> Result<Vec<&'v OwnedVip>, CliError> {
    for nic in nics {
        prober::remove_leftovers(nic).await;
    }
    let mut removed = Vec::new();
    if vips.is_empty() {
        return Ok(removed);
    }
    let (network, _events) = Network::start().await.map_err(|e| stays(vips.first(), &e))?;
    for vip in vips {
        let Ok(ifindex) = nix::net::if_::if_nametoindex(vip.interface.as_str()) else {
            continue;
        };
        network.remove_vip(ifindex, vip.vip).await.map_err(|e| stays(Some(vip), &e))?;
        removed.push(vip);
    }
    Ok(removed)
}

fn stays(vip: Option<&OwnedVip>, error: &NetworkError) -> CliError {
    match vip {
        None => CliError::failed(error.to_string()),
        Some(OwnedVip { interface, vip }) => {
            CliError::failed(format!("interface {interface}: vip {vip} cannot be removed: {error}"))
                .hint(format!("ip address delete {vip} dev {interface}"))
        }
    }
}

fn refused(error: DatapathError) -> CliError {
    let hint = if let DatapathError::Locked { pid, .. } = &error {
        let pid = pid.map_or_else(|| "PID".to_owned(), |pid| pid.to_string());
        Some(format!("kill {pid}, which stops that controller and detaches"))
    } else {
        None
    };
    CliError { hint, ..CliError::failed(error.to_string()) }
}
