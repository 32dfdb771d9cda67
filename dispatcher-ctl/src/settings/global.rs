//! The settings at the top of the file.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use super::{
    Connections, Exits, Manager,
    connections::FRESH,
    row::{read_required, read_rest},
    section::Section,
    settings,
    spec::Spec,
};
use crate::values::XdpMode;

/// `api_socket`, also that of the command line.
pub const API_SOCKET: &str = "/run/dispatcher/api.sock";
/// The note in a plan for a setting that is read when the daemon starts.
const RESTART: &str = "takes effect when the daemon is restarted";
/// The note in a plan for a setting that is read when a NIC is attached.
const ATTACH: &str = "takes effect when a NIC is next attached";

settings! {
    /// The settings of a configuration besides services.
    GlobalSettings at "at the top of the file, before the first [table]", also ["service"], later ["api_listen"];
    given {}
    required {
        /// NICs by which clients' packets arrive and backends are reached; may be empty.
        ///
        /// Names, or alternative names of at most 15 characters (`ip link property add dev eth0 altname lan0`).
        interfaces: Vec<String> => Spec::NEW.expected("NIC names").may_be("at most 64")
            .required("an array of NIC names (empty if they are attached at runtime)");
    }
    file {
        /// Where in the kernel the program runs: in the driver (`"native"`) or in the network stack (`"generic"`).
        ///
        /// The program never falls back to `"generic"` by itself.
        xdp_mode: XdpMode = XdpMode::Native => Spec::NEW.note(ATTACH);
        /// Unix socket of API and command line, mode 0660.
        api_socket: PathBuf = PathBuf::from(API_SOCKET) => Spec::NEW.note(RESTART);
        /// Address and port of `GET /metrics`.
        metrics_listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)) => Spec::NEW
            .expected("an address and port such as \"127.0.0.1:9464\"").note(RESTART);
        /// Directory on a bpffs for pinned maps and links.
        pin_dir: PathBuf = PathBuf::from("/sys/fs/bpf/dispatcher") => Spec::NEW.note(FRESH);
        /// Put each VIP on the NICs as /32 or /128, announce it, put it back if it is removed, and remove it at detach.
        manage_vips: bool = true;
        /// Keep NICs that are not in `interfaces` from answering ARP requests for VIPs.
        ///
        /// Sets their `arp_ignore` to 1, and puts the former value back at detach. With `false`, `status` warns of them.
        #[serde(default)]
        manage_arp: bool = false => Spec::NEW.more("See [a second NIC](operations.md#a-second-nic)");
        /// The connection table.
        connections: Connections = Connections::new() => Spec::NEW.default_is("`{}`").more("See [connections](#connections)");
        /// How weights are computed.
        #[serde(default)]
        manager: Manager = Manager::new() => Spec::NEW.default_is("`{}`").more("See [manager](#manager)");
        /// Commands that are run when something happens.
        #[serde(default)]
        exits: Exits = Exits::new() => Spec::NEW.default_is("`{}`").more("See [exits](#exits)");
    }
}

impl GlobalSettings {
    /// Reads them.
    pub(crate) fn read(s: &mut Section<'_, '_>) -> Self {
        let mut settings = Self::new(read_required::<Self, _>(s, "interfaces"));
        read_rest(s, &mut settings, &[]);
        settings
    }
}
