//! Installs Debian packages: only missing ones, without starting services or removing anything.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail};

use super::packages::Tool;
use crate::{shell::Cmd, workspace};

/// Package lists older than this are fetched again: a mirror may have dropped packages that they name.
const LISTS_ARE_OLD: Duration = Duration::from_secs(24 * 3600);
/// A file that answers "do not start it" when a package wants to start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Packages that would enable a system-wide service, and that service.
const SERVICES: [(&str, &str); 9] = [
    ("nginx", "nginx"),
    ("prometheus", "prometheus"),
    ("vsftpd", "vsftpd"),
    ("dovecot-core", "dovecot"),
    ("opensmtpd", "opensmtpd"),
    ("dnsmasq", "dnsmasq"),
    ("slapd", "slapd"),
    ("kamailio", "kamailio"),
    ("ipvsadm", "ipvsadm"),
];

/// Installs the packages of the missing tools.
///
/// # Errors
/// As [`install`].
pub(super) fn install_missing(tools: &[Tool]) -> Result<()> {
    let missing: Vec<&str> =
        tools.iter().filter(|tool| !tool.is_present()).map(|tool| tool.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing)?;
    match tools.iter().find(|tool| !tool.is_present()) {
        Some(tool) => bail!("package {} is installed, but {tool:?} is still missing", tool.package),
        None => Ok(()),
    }
}

/// Installs packages.
///
/// # Errors
/// Without apt or without root, or when apt fails: names the packages and the command.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    let hint = format!("hint: sudo apt-get install -y --no-install-recommends {list}");
    if workspace::find_program("apt-get").is_none() {
        bail!("missing: {list} (names of Debian packages; there is no apt-get here)");
    }
    if !is_root()? {
        bail!("missing: {list}\n{hint}");
    }
    eprintln!("setup: installing {list}");
    let _policy = Policy::set()?;
    let fresh = lists_are_fresh();
    if !fresh {
        update()?;
    }
    let mut result = get(&["install"], packages);
    if fresh && result.is_err() {
        update()?;
        result = get(&["install"], packages);
    }
    result.context(hint)?;
    disable_services(packages)
}

/// Fetches apt's package lists if they are missing or old and this process may do so.
///
/// # Errors
/// When apt fails.
pub(crate) fn refresh_package_lists() -> Result<()> {
    if lists_are_fresh() || !is_root()? { Ok(()) } else { update() }
}

fn update() -> Result<()> {
    get(&["update"], &[])
}

fn get(verb: &[&str], packages: &[&str]) -> Result<()> {
    let options = ["-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"];
    let safe: &[&str] =
        if packages.is_empty() { &[] } else { &["-y", "--no-install-recommends", "--no-remove"] };
    Cmd::new("apt-get")
        .args(options)
        .args(verb)
        .args(safe)
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run()
}

/// Prevents the services that were installed for the tests from starting at the next boot.
fn disable_services(packages: &[&str]) -> Result<()> {
    if workspace::find_program("systemctl").is_none() {
        return Ok(());
    }
    for (package, service) in SERVICES {
        if packages.contains(&package) {
            Cmd::new("systemctl").args(["disable", service]).run()?;
        }
    }
    Ok(())
}

fn lists_are_fresh() -> bool {
    let Ok(entries) = fs::read_dir("/var/lib/apt/lists") else { return false };
    let lists = entries.flatten().filter(|e| e.file_name().to_string_lossy().contains("_Packages"));
    // apt gives a list the time that the mirror states; the directory's own time shows when apt last asked.
    let asked = fs::metadata("/var/lib/apt/lists/partial").and_then(|m| m.modified());
    let age = asked.ok().and_then(|time| SystemTime::now().duration_since(time).ok());
    lists.count() > 0 && age.is_some_and(|age| age < LISTS_ARE_OLD)
}

/// Whether this process runs as root.
///
/// # Errors
/// When /proc does not say.
pub(crate) fn is_root() -> Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(fs::metadata("/proc/self").context("cannot read /proc/self")?.uid() == 0)
}

/// The policy file; removed at the end unless it was there before.
#[derive(Debug)]
struct Policy {
    ours: bool,
}

impl Policy {
    fn set() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let ours = !Path::new(POLICY).exists();
        if ours {
            fs::write(POLICY, "#!/bin/sh\nexit 101\n").context(POLICY)?;
            fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)).context(POLICY)?;
        }
        Ok(Self { ours })
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.ours {
            // If the file cannot be removed there is nothing better to do: the next set-up finds it.
            let _ = fs::remove_file(POLICY);
        }
    }
}
