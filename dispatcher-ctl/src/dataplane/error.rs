//! What can go wrong between the controller and the kernel, as one line each, with a hint where the mend is known.

use std::{io, path::PathBuf};

use dispatcher_common::maps::LAYOUT_VERSION;

use crate::model::XdpMode;

/// An error of the datapath's loading, pinning or maps.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// Another process holds the lock on the pins.
    #[error("pin directory {}: another controller{} holds it", .dir.display(), pid_text(*.pid))]
    Locked {
        /// Directory.
        dir: PathBuf,
        /// Its process, where the kernel tells.
        pid: Option<u32>,
    },
    /// The pin directory is not on a bpffs.
    #[error(
        "pin directory {}: {} is not on a bpf file system\nhint: mount -t bpf bpf {}",
        .dir.display(), .parent.display(), .parent.display()
    )]
    NoBpffs {
        /// Directory wanted.
        dir: PathBuf,
        /// Its nearest parent that exists.
        parent: PathBuf,
    },
    /// The pins are of another layout.
    #[error(
        "pinned maps in {}: layout version {found}, this controller has {LAYOUT_VERSION}\n\
         hint: dispatcher detach --all",
        .dir.display()
    )]
    Layout {
        /// Directory.
        dir: PathBuf,
        /// Version found.
        found: u64,
    },
    /// The pins are of a later version of the layout: a later release has taken the datapath over.
    #[error(
        "pinned maps in {}: layout version {found} of a newer release, this one has {LAYOUT_VERSION} and takes over none newer\n\
         hint: start the newer release; to go back to this one: dispatcher detach --all, which ends all connections",
        .dir.display()
    )]
    Newer {
        /// Directory.
        dir: PathBuf,
        /// Version found.
        found: u64,
    },
    /// The pins are not a whole set, but a program is attached with them.
    #[error(
        "pinned maps in {}: {what}, while a program is attached\nhint: dispatcher detach --all",
        .dir.display()
    )]
    Broken {
        /// Directory.
        dir: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Something about a path failed.
    #[error("cannot {action} {}: {source}", .path.display())]
    Path {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something about a map failed.
    #[error("map {map}: cannot {action}: {source}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The maps could not be made or the program not be read.
    #[error("cannot load the datapath: {}", chain(.0))]
    Load(aya::EbpfError),
    /// The kernel refused the program.
    #[error("the kernel refuses the datapath: {}", chain(.0))]
    Program(aya::programs::ProgramError),
    /// The driver refuses native XDP.
    #[error(
        "interface {interface}: its driver refuses native XDP: {source}\n\
         hint: xdp_mode = \"generic\""
    )]
    NativeRefused {
        /// NIC.
        interface: String,
        /// The driver's answer.
        source: io::Error,
    },
    /// The program could not be attached.
    #[error("interface {interface}: cannot attach in {mode} mode: {source}")]
    Attach {
        /// NIC.
        interface: String,
        /// Mode.
        mode: XdpMode,
        /// The kernel's answer.
        source: io::Error,
    },
    /// What carries probes of VIPs could not be attached.
    #[error("interface {interface}: cannot attach what carries probes of VIPs: {}", chain(.source))]
    AttachProbes {
        /// NIC.
        interface: String,
        /// Why not.
        source: aya::programs::ProgramError,
    },
    /// Another XDP program is attached already.
    #[error(
        "interface {interface}: another XDP program is attached to it\n\
         hint: ip link set {interface} xdp off, or detach it with the tool that attached it (bpftool net shows it)"
    )]
    Occupied {
        /// NIC.
        interface: String,
    },
    /// No program of ours is attached to the NIC.
    #[error("interface {0}: not attached")]
    NotAttached(String),
    /// The tables to publish contradict themselves.
    #[error("tables: {0}")]
    Invalid(String),
    /// The schedule pool is full.
    #[error("schedules: no room for a schedule of {wanted} slots, {free} of {total} are free")]
    PoolFull {
        /// Slots wanted.
        wanted: u32,
        /// Slots free, possibly in pieces.
        free: u32,
        /// Slots there are.
        total: u32,
    },
    /// The system call failed.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl DataplaneError {
    pub(super) fn path(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Path { action, path, source }
    }

    pub(super) fn map(map: &'static str, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Map { map, action, source }
    }

    pub(super) fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

/// An error with its causes on one line; aya's do not repeat them.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
