//! Clients that stay with their backends: over connections, over services, through quiescing.

use anyhow::{Result, ensure};
use dispatcher_tests::lab::{Daemon, Lab, Plan, Process, VIP4};

use crate::common::{address_of, all_up, backend, lab, service, tally};

const STAY: &str = "affinity = { timeout = \"300s\" }";
const STAY_ON_BOTH: &str = "affinity = { timeout = \"300s\", cross_port = [8080] }";

/// Three clients, three web servers, and two services for them: `web` on port 80, and `shop` on port 8080, linked, with the
/// backends the other way round.
struct Stay {
    // In the order in which they must go.
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

    /// Who answers a client's next connection to a port.
    fn asked(&self, client: usize, port: u16) -> Result<String> {
        let said =
            self.lab.clients[client].run(&format!("curl -s --max-time 5 http://{VIP4}:{port}/"))?;
        ensure!(said.starts_with("web-"), "{said:?} answered");
        Ok(said.trim().to_owned())
    }

    /// Who answers several connections of a client, if it is the same for all.
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
    // The other way round, and a client of its own.
    let third = lab.one(2, 8080)?;
    assert_eq!(lab.one(2, 80)?, third);
    // Without affinity, each connection goes to the next.
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
    // Taken down, it keeps nobody.
    lab.daemon.ok(&format!("down web {moved}"))?;
    assert_ne!(lab.one(0, 80)?, moved);
    Ok(())
}
