//! What the acts play on: the laboratory, its servers, the daemon, and what was sent so far.

use std::{net::IpAddr, path::PathBuf};

use anyhow::{Result, ensure};
use dispatcher_tests::lab::{Daemon, Lab, Process, Tally, VIP4, VIP6};

use super::{show::Show, transfer};

const SERVICES: [(&str, &str); 2] = [("web", "10.0.0.80"), ("web6", "fd00::80")];
const WEIGHTS: [(&str, u32); 3] = [("web-1", 3), ("web-2", 2), ("web-3", 1)];

/// The stage.
#[derive(Debug)]
pub(super) struct Stage {
    /// Checksum of the file that every server has.
    pub(super) checksum: String,
    /// Connections of service `web` so far, by server, as the client saw them.
    pub(super) sent: Tally,
    /// The daemon.
    pub(super) daemon: Daemon,
    /// The product.
    pub(super) binary: PathBuf,
    /// The web servers.
    pub(super) servers: Vec<Process>,
    // Last: it takes down what the others live in.
    /// The namespaces.
    pub(super) lab: Lab,
}

impl Stage {
    /// Starts the servers and writes the configuration.
    ///
    /// # Errors
    /// When a server does not come up.
    pub(super) fn set(lab: Lab, binary: PathBuf) -> Result<Self> {
        let servers = lab.serve_web()?;
        let checksum = transfer::prepare(&lab)?;
        let daemon = lab.daemon_of(binary.clone(), &services())?;
        Ok(Self { checksum, sent: Tally::new(), daemon, binary, servers, lab })
    }

    /// Says who is there.
    pub(super) fn introduce(&self, show: &Show) {
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
    pub(super) fn dispatcher(&self, show: &Show, line: &str) -> Result<String> {
        show.command(&format!("dispatcher {line}"));
        self.daemon.ok(line)
    }

    /// Makes requests to a VIP, each on a connection of its own, and checks that the answers are shared out exactly by
    /// these weights (in the servers' order).
    ///
    /// # Errors
    /// When one is lost or the shares differ.
    pub(super) fn expect_shares(
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
    pub(super) fn check_shares(
        &mut self,
        show: &Show,
        vip: IpAddr,
        tally: &Tally,
        number: u32,
        weights: [u32; 3],
    ) -> Result<()> {
        let sum: u32 = weights.iter().sum();
        for ((name, _), weight) in WEIGHTS.iter().zip(weights) {
            let got = tally.get(*name).copied().unwrap_or(0);
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
fn services() -> String {
    let mut text = String::new();
    for (service, vip) in SERVICES {
        text += &format!(
            "[[service]]\nname = {service:?}\nvip = {vip:?}\nport = 80\nprotocol = \"tcp\"\n\n"
        );
        for (number, (name, weight)) in (11..).zip(WEIGHTS) {
            let address = format!("10.0.0.{number}");
            text += &format!(
                "[[service.backend]]\nname = {name:?}\naddress = {address:?}\nweight = {weight}\n\n"
            );
        }
    }
    text
}
