//! Clients that stay with their backends: across connections, services and quiescing.

use anyhow::{Result, ensure};
use dispatcher_lab::{Daemon, Lab, Plan, Process, VIP4};

use crate::common::{address_of, all_up, backend, lab, service, tally};

const STAY: &str = "affinity = { timeout = \"300s\" }";
const STAY_ON_BOTH: &str = "affinity = { timeout = \"300s\", cross_port = [8080] }";

/// Three clients, three web servers, and two services for them: `web` on port 80, and `shop` on port 8080, linked, with
/// the backends in reverse order.
struct Stay {
    // Dropped in this order.
    daemon: Daemon,
    _servers: Vec<Process>,
    lab: Lab,
}

impl Stay {
    /// `None`: skipped.
    fn start(name: &str) -> Result<Option<Self>> {
        let Some(lab) = lab(&Plan::new(name).clients(3))? else { return Ok(None) };
        let _servers = lab.serve_web()?;
        let keyed = |name, port, keys: &str| {
            let text = service(name, VIP4.into(), port, "tcp");
            format!("{}\nscheduler = \"rr\"\n{keys}\n\n", text.trim_end())
        };
        let mut text = keyed("web", 80, STAY_ON_BOTH);
        for node in &lab.backends {
            text += &backend(node.name(), address_of(node, VIP4.into()), 1);
        }
        text += &keyed("shop", 8080, STAY);
        for node in lab.backends.iter().rev() {
            text += &backend(node.name(), address_of(node, VIP4.into()), 1);
        }
        let mut daemon = lab.daemon(&text)?;
        daemon.start()?;
        all_up(&daemon)?;
        Ok(Some(Self { daemon, _servers, lab }))
    }

    /// Which backend answers a client's next connection to a port.
    fn asked(&self, client: usize, port: u16) -> Result<String> {
        let said =
            self.lab.clients[client].run(&format!("curl -s --max-time 5 http://{VIP4}:{port}/"))?;
        ensure!(said.starts_with("web-"), "{said:?} answered");
        Ok(said.trim().to_owned())
    }

    /// Which backend answers several connections of a client; an error if they differ.
    fn one(&self, client: usize, port: u16) -> Result<String> {
        let first = self.asked(client, port)?;
        for _ in 0..5 {
            let next = self.asked(client, port)?;
            ensure!(next == first, "client {client} was at {first}, then at {next}");
        }
        Ok(first)
    }
}

#[test]
fn a_client_stays_with_its_backend_on_both_ports() -> Result<()> {
    let Some(lab) = Stay::start("affinity")? else { return Ok(()) };
    let (first, second) = (lab.one(0, 80)?, lab.one(1, 80)?);
    assert_ne!(first, second, "clients take turns");
    assert_eq!((lab.one(0, 8080)?, lab.one(1, 8080)?), (first, second));
    // The other port first, with another client.
    let third = lab.one(2, 8080)?;
    assert_eq!(lab.one(2, 80)?, third);
    // Without affinity, each connection goes to the next backend.
    lab.daemon.edit(STAY_ON_BOTH, "")?;
    lab.daemon.edit(STAY, "")?;
    lab.daemon.ok("reload")?;
    let turns = tally([("web-1", 2), ("web-2", 2), ("web-3", 2)]);
    assert_eq!(lab.lab.clients[0].quick_requests(VIP4.into(), 6)?, turns);
    Ok(())
}

#[test]
fn quiescing_keeps_clients_that_have_a_record_and_moves_them_now_if_told_so() -> Result<()> {
    let Some(lab) = Stay::start("moved")? else { return Ok(()) };
    let first = lab.one(0, 80)?;
    lab.daemon.ok(&format!("quiesce web {first}"))?;
    assert_eq!(lab.one(0, 80)?, first, "quiesced, it keeps its client");
    for client in [1, 2] {
        assert_ne!(lab.one(client, 80)?, first, "quiesced, it takes no other");
    }
    lab.daemon.ok(&format!("quiesce web {first} --now"))?;
    let moved = lab.one(0, 80)?;
    assert_ne!(moved, first);
    assert_eq!(lab.one(0, 8080)?, moved, "the record went along");
    lab.daemon.ok(&format!("unquiesce web {first}"))?;
    assert_eq!(lab.one(0, 80)?, moved, "back in, it does not take back who left");
    // A backend that is down keeps no client.
    lab.daemon.ok(&format!("down web {moved}"))?;
    assert_ne!(lab.one(0, 80)?, moved);
    Ok(())
}

#[test]
fn affinity_set_by_hand_is_in_force_at_once_and_can_be_saved() -> Result<()> {
    let Some(Stay { mut daemon, _servers, lab }) = Stay::start("handed")? else { return Ok(()) };
    daemon.ok("service set shop --cross-port none --save")?;
    daemon.ok("service set web --cross-port none --affinity-timeout 0s --save")?;
    let client = &lab.clients[0];
    let spread = client.quick_requests(VIP4.into(), 30)?;
    assert_eq!(spread, tally([("web-1", 10), ("web-2", 10), ("web-3", 10)]));
    daemon.ok("service set web --affinity-timeout 5m --affinity-mask-v4 24 --save")?;
    daemon.ok("backend set web web-2 --sticky false --save")?;
    let saved = std::fs::read_to_string(daemon.config())?;
    ensure!(saved.contains("affinity = { timeout = \"300s\", mask_v4 = 24 }"), "{saved}");
    ensure!(saved.contains("sticky = false"), "{saved}");
    // All clients are in one network now: they stay with one backend, but not with the one that keeps no client.
    let mut who = String::new();
    for _ in 0..2 {
        who = client.run(&format!("curl -s --max-time 5 http://{VIP4}/"))?.trim().to_owned();
        if who != "web-2" {
            break;
        }
    }
    for client in &lab.clients {
        let got = client.quick_requests(VIP4.into(), 10)?;
        ensure!(got.get(&who) == Some(&10), "{}: {got:?}, expected {who}", client.name());
    }
    // The file agrees with what runs: another start changes nothing.
    ensure!(daemon.ok("plan")?.contains("nothing"), "{}", daemon.ok("plan")?);
    daemon.kill();
    daemon.start()?;
    let shown = crate::common::service_of(&daemon, "web")?;
    assert_eq!(
        (&shown["affinity"]["timeout"], &shown["affinity"]["mask_v4"]),
        (&300.into(), &24.into())
    );
    Ok(())
}
