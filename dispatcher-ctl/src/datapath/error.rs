//! Errors between the controller and the kernel: one line each, with a hint where the remedy is known.

use std::{io, path::PathBuf};

use dispatcher_common::maps::LAYOUT_VERSION;

use crate::model::XdpMode;

/// An error of the datapath's loading, pinning or maps.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// Another process holds the lock on the pins.
    #[error("pin directory {}: another controller{} holds it", .dir.display(), pid_text(*.pid))]
    Locked {
        /// Directory.
        dir: PathBuf,
        /// Its process id, if the kernel tells it.
        pid: Option<u32>,
    },
    /// The pin directory is not on a bpffs.
    #[error(
        "pin directory {}: {} is not on a bpf file system\nhint: mount -t bpf bpf {}",
        .dir.display(), .parent.display(), .parent.display()
    )]
    NoBpffs {
        /// The configured directory.
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
        /// The path.
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
    /// The maps could not be made, or the program could not be read.
    #[error("cannot load the datapath: {}", chain(.0))]
    Load(aya::EbpfError),
    /// The kernel refused the program.
    #[error("the kernel refuses the datapath: {}", refusal(.0))]
    Program(aya::programs::ProgramError),
    /// The driver refuses native XDP.
    #[error(
        "interface {interface}: its driver refuses native XDP: {}\nhint: xdp_mode = \"generic\"",
        with_words(.words.as_ref(), .source)
    )]
    NativeRefused {
        /// NIC.
        interface: String,
        /// The driver's text.
        words: Option<String>,
        /// The driver's error number.
        source: io::Error,
    },
    /// The driver refuses native XDP because the NIC's MTU is too large.
    #[error(
        "interface {interface}: its driver refuses native XDP: {}: {}, expected {LARGEST_NATIVE_MTU} or less\n\
         hint: ip link set {interface} mtu {LARGEST_NATIVE_MTU} (of a veth, the other end, too): there are no jumbo frames in native \
         mode yet; xdp_mode = \"generic\" takes them",
        with_words(.words.as_ref(), .source), mtu_text(*.mtu)
    )]
    MtuTooLarge {
        /// NIC.
        interface: String,
        /// Its MTU.
        mtu: u32,
        /// The driver's text.
        words: Option<String>,
        /// The driver's error number.
        source: io::Error,
    },
    /// The program could not be attached.
    #[error(
        "interface {interface}: cannot attach in {mode} mode: {}", with_words(.words.as_ref(), .source)
    )]
    Attach {
        /// NIC.
        interface: String,
        /// Mode.
        mode: XdpMode,
        /// The kernel's text.
        words: Option<String>,
        /// The kernel's error number.
        source: io::Error,
    },
    /// The programs that carry probes of VIPs could not be attached.
    #[error("interface {interface}: cannot attach the programs for probes of VIPs: {}", chain(.source))]
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
    /// Partial tables of services that are not in force with the same backends and rules.
    #[error("tables: backends and rules do not match the services")]
    NotInForce,
    /// The schedule pool is full.
    #[error("schedules: no room for a schedule of {wanted} slots, {free} of {total} are free")]
    PoolFull {
        /// Slots wanted.
        wanted: u32,
        /// Slots free, possibly in pieces.
        free: u32,
        /// Slots of the pool.
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

impl DatapathError {
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

/// The largest MTU that drivers with one page per frame (4 KiB: virtio_net, veth and others) accept for native XDP: headroom and the
/// kernel's own data at the buffer's end take the rest of the page.
pub(super) const LARGEST_NATIVE_MTU: u32 = 3498;

/// Says which MTU is too large: the driver of a veth checks the MTU of the other end.
fn mtu_text(mtu: u32) -> String {
    if mtu > LARGEST_NATIVE_MTU {
        return format!("its MTU is {mtu}");
    }
    format!("its MTU is {mtu}, that of the other end is larger")
}

/// The kernel's or the driver's text, if any, and the error number.
fn with_words(words: Option<&String>, source: &io::Error) -> String {
    words.map_or_else(|| source.to_string(), |words| format!("{words} ({source})"))
}

/// Why the kernel refused a program. Without the verifier's log if a capability is missing: the verifier did not run then.
fn refusal(error: &aya::programs::ProgramError) -> String {
    if let aya::programs::ProgramError::LoadError { io_error, .. } = error
        && io_error.raw_os_error() == Some(libc::EPERM)
    {
        return format!(
            "{io_error}\nhint: CAP_BPF and CAP_PERFMON of the first user namespace, and no kernel lockdown"
        );
    }
    chain(error)
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
