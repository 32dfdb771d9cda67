//! What the acts play on: the laboratory, its servers, the daemon, and what was sent so far.

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
    /// The product.
    pub(crate) binary: PathBuf,
    /// The web servers.
    pub(crate) servers: Vec<Process>,
    // Last: it takes down what the others live in.
    /// The namespaces.
    pub(crate) lab: Lab,
}

impl Stage {
    /// Starts the servers and writes the configuration.
    ///
    /// # Errors
    /// When a server does not come up.
    pub(crate) fn set(lab: Lab, binary: PathBuf) -> Result<Self> {
        let servers = lab.serve_web()?;
        let checksum = transfer::prepare(&lab)?;
        let daemon = lab.daemon_of(binary.clone(), &services())?;
        Ok(Self { checksum, sent: Tally::new(), daemon, binary, servers, lab })
    }

    /// Says who is there.
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

    /// Runs a command of the product's and shows it.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) fn dispatcher(&self, show: &Show, line: &str) -> Result<String> {
        show.command(&format!("dispatcher {line}"));
        self.daemon.ok(line)
    }

    /// Puts other services into the configuration file, and has the daemon read it again.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) fn reload(&self, show: &Show, services: &str) -> Result<()> {
        self.daemon.write(&(self.lab.general(&["eth0"]) + services))?;
        show.say(&self.dispatcher(show, "plan")?);
        self.dispatcher(show, "reload").map(drop)
    }

    /// Waits until this many more connections of a service were placed.
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

    /// Makes requests to a VIP, each on a connection of its own, and checks that the answers are shared out exactly by
    /// these weights (in the servers' order).
    ///
    /// # Errors
    /// When one is lost or the shares differ.
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

    /// The check of [`Stage::expect_shares`], for answers that came in already.
    ///
    /// # Errors
    /// As there.
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

/// A service on all servers, as the configuration file has it; `settings` are lines of it.
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
