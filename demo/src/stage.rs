//! The stage of the acts: the laboratory, its servers, the daemon, and what was sent so far.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use dispatcher_lab::{Daemon, Lab, Process, Tally, VIP4, VIP6, eventually};

use crate::{show::Show, transfer};

/// Weights of the servers in both services, in the servers' order.
pub(crate) const WEIGHTS: [u32; 3] = [3, 2, 1];

/// The stage.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Checksum of the file that every server has.
    pub(crate) checksum: String,
    /// Connections of service `web` so far, by server, as the client saw them.
    pub(crate) sent: Tally,
    /// The daemon.
    pub(crate) daemon: Daemon,
    /// The dispatcher's binary.
    pub(crate) binary: PathBuf,
    /// The web servers.
    pub(crate) servers: Vec<Process>,
    // Last, because dropping it removes what the other fields need.
    /// The namespaces.
    pub(crate) lab: Lab,
}

impl Stage {
    /// Starts the servers and writes the configuration.
    ///
    /// # Errors
    /// When a server does not start.
    pub(crate) fn set(lab: Lab, binary: PathBuf) -> Result<Self> {
        let servers = lab.serve_web()?;
        let checksum = transfer::prepare(&lab)?;
        let daemon = lab.daemon_of(binary.clone(), &services())?;
        Ok(Self { checksum, sent: Tally::new(), daemon, binary, servers, lab })
    }

    /// Introduces the hosts.
    pub(crate) fn introduce(&self, show: &Show) {
        let lab = &self.lab;
        show.say(&format!("client      {:10} {}", lab.client().v4(), lab.client().v6()));
        show.say(&format!(
            "dispatcher  {:10} {}   VIPs {VIP4} and {VIP6}",
            lab.lb.v4(),
            lab.lb.v6()
        ));
        for server in &lab.backends {
            show.say(&format!("{:11} {:10} {}   nginx", server.name(), server.v4(), server.v6()));
        }
    }

    /// Runs a `dispatcher` command and shows it.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) fn dispatcher(&self, show: &Show, line: &str) -> Result<String> {
        show.command(&format!("dispatcher {line}"));
        self.daemon.ok(line)
    }

    /// Replaces the services in the configuration file, and makes the daemon read it again.
    ///
    /// # Errors
    /// When the daemon refuses the file.
    pub(crate) fn reload(&self, show: &Show, services: &str) -> Result<()> {
        self.daemon.write(&(self.lab.general(&["eth0"]) + services))?;
        show.say(&self.dispatcher(show, "plan")?);
        self.dispatcher(show, "reload").map(drop)
    }

    /// Waits until the service has placed this many more connections than at the time of the call.
    ///
    /// # Errors
    /// When they do not come within 15 s.
    pub(crate) fn placed(&self, service: &str, connections: f64) -> Result<()> {
        let label = format!("service={service:?}");
        let placed = || self.daemon.metric("dispatcher_service_connections_total", &[&label]);
        let before = placed()?;
        eventually(Duration::from_secs(15), "new connections", || {
            Ok(placed()? >= before + connections)
        })
    }

    /// Sends requests to a VIP, each on a connection of its own, and checks that the servers' shares of the answers match
    /// these weights exactly (in the servers' order).
    ///
    /// # Errors
    /// When a request is lost or the shares differ.
    pub(crate) fn expect_shares(
        &mut self,
        show: &Show,
        vip: IpAddr,
        number: u32,
        weights: [u32; 3],
    ) -> Result<()> {
        show.say(&format!("{number} requests to {vip}, each on a connection of its own:"));
        let tally = self.lab.client().quick_requests(vip, number)?;
        self.check_shares(show, vip, &tally, number, weights)
    }

    /// Checks as [`Stage::expect_shares`] does, for answers that have already arrived.
    ///
    /// # Errors
    /// As [`Stage::expect_shares`].
    pub(crate) fn check_shares(
        &mut self,
        show: &Show,
        vip: IpAddr,
        tally: &Tally,
        number: u32,
        weights: [u32; 3],
    ) -> Result<()> {
        let sum: u32 = weights.iter().sum();
        for (server, weight) in self.lab.backends.iter().zip(weights) {
            let name = server.name();
            let got = tally.get(name).copied().unwrap_or(0);
            let want = number * weight / sum;
            show.bar(name, got, number);
            ensure!(got == want, "{name} answered {got} of {number}, expected {want}: {tally:?}");
        }
        ensure!(tally.values().sum::<u32>() == number, "not every request was answered: {tally:?}");
        show.good(&format!("{}:{}:{}, exactly; none lost", weights[0], weights[1], weights[2]));
        if vip == IpAddr::V4(VIP4) {
            for (name, count) in tally {
                *self.sent.entry(name.clone()).or_default() += count;
            }
        }
        Ok(())
    }
}

/// One service for each family, with the same weights.
pub(crate) fn services() -> String {
    service("web", VIP4.into(), 80, "", WEIGHTS) + &service("web6", VIP6.into(), 80, "", WEIGHTS)
}

/// A service on all servers, as text of the configuration file; `settings` are further lines of it.
pub(crate) fn service(
    name: &str,
    vip: IpAddr,
    port: u16,
    settings: &str,
    weights: [u32; 3],
) -> String {
    let vip = vip.to_string();
    let mut text = format!(
        "[[service]]\nname = {name:?}\nvip = {vip:?}\nport = {port}\nprotocol = \"tcp\"\n{settings}\n"
    );
    for (number, weight) in (1..).zip(weights) {
        text += &format!(
            "[[service.backend]]\nname = \"web-{number}\"\naddress = \"10.0.0.{}\"\nweight = {weight}\n\n",
            10 + number
        );
    }
    text
}
