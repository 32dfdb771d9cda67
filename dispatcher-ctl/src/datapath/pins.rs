//! The pin directory: its place, its names and its lock.
//!
//! `PIN_DIR/netns-COOKIE/` has the maps under their names, the controller's `RECORD`, one `LINK-MODE-IFINDEX` for each
//! NIC, and `NAMESPACE`. The cookie is the network namespace's, unique until reboot, so dispatchers in two namespaces have two directories. The
//! lock is flock(2) on the directory itself, which the kernel releases with the process.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{Flock, FlockArg},
    mount::{MsFlags, mount},
    sys::{
        socket::{AddressFamily, SockFlag, SockType, socket},
        statfs::statfs,
    },
};

use super::{bpf::Link, error::DatapathError};
use crate::model::{Choice, XdpMode};

/// The kernel's number for a bpffs (include/uapi/linux/magic.h).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// Where a bpffs is mounted by convention.
const BPFFS: &str = "/sys/fs/bpf";
/// The beginning of the names of namespaces' directories.
const NAMESPACE: &str = "netns-";
/// Name of the saved state.
pub(super) const RECORD: &str = "RECORD";

/// The directory of this network namespace's pins, locked.
#[derive(Debug)]
pub(super) struct PinDir {
    /// The directory.
    pub(super) path: PathBuf,
    /// Held until dropped.
    _lock: Flock<File>,
}

/// The name of a pinned link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkName {
    /// Where in the kernel the program runs.
    pub(super) mode: XdpMode,
    /// The NIC's ifindex when it was attached.
    pub(super) ifindex: u32,
}

impl LinkName {
    /// The pin's name.
    pub(super) fn file_name(self) -> String {
        format!("LINK-{}-{}", self.mode, self.ifindex)
    }

    fn parse(name: &str) -> Option<Self> {
        let (mode, ifindex) = name.strip_prefix("LINK-")?.split_once('-')?;
        Some(Self { mode: XdpMode::from_word(mode)?, ifindex: ifindex.parse().ok()? })
    }
}

impl PinDir {
    /// Makes the directory if it is missing, and locks it.
    pub(super) fn open(pin_dir: &Path) -> Result<Self, DatapathError> {
        require_bpffs(pin_dir)?;
        let path = namespace_dir(pin_dir)?;
        // Somebody may remove the directory before it is locked: then make it again.
        loop {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(DatapathError::path("make directory", &path))?;
            if let Some(locked) = Self::lock(path.clone())? {
                return Ok(locked);
            }
        }
    }

    /// Locks the directory if there is one.
    pub(super) fn existing(pin_dir: &Path) -> Result<Option<Self>, DatapathError> {
        let path = namespace_dir(pin_dir)?;
        if path.exists() { Self::lock(path) } else { Ok(None) }
    }

    /// Locks a namespace's directory; `None` if it is no such directory, or a controller holds it.
    pub(super) fn idle(path: &Path) -> Result<Option<Self>, DatapathError> {
        let name = path.file_name().map(|name| name.to_string_lossy());
        if !name.is_some_and(|name| name.starts_with(NAMESPACE)) {
            return Ok(None);
        }
        match Self::lock(path.to_owned()) {
            Err(DatapathError::Locked { .. }) => Ok(None),
            locked => locked,
        }
    }

    /// Locks; `None` if the directory was removed meanwhile.
    fn lock(path: PathBuf) -> Result<Option<Self>, DatapathError> {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DatapathError::path("open", path)(error)),
        };
        let ours = file.metadata().map_err(DatapathError::path("stat", &path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => {
                let same = fs::metadata(&path).is_ok_and(|now| now.ino() == ours.ino());
                Ok(same.then_some(Self { path, _lock: lock }))
            }
            Err((_, nix::Error::EWOULDBLOCK)) => {
                Err(DatapathError::Locked { pid: holder(&ours), dir: path })
            }
            Err((_, error)) => Err(DatapathError::path("lock", path)(error.into())),
        }
    }

    /// Path of a pin.
    pub(super) fn pin(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Names of all pins.
    pub(super) fn names(&self) -> Result<Vec<String>, DatapathError> {
        let failed = || DatapathError::path("list", &self.path);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed())? {
            names.push(entry.map_err(failed())?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// The pinned links.
    pub(super) fn links(&self) -> Result<Vec<LinkName>, DatapathError> {
        Ok(self.names()?.iter().filter_map(|name| LinkName::parse(name)).collect())
    }

    /// Removes a pin; it need not be there.
    pub(super) fn unpin(&self, name: &str) -> Result<(), DatapathError> {
        unpin(&self.pin(name))
    }

    /// Detaches a link and removes its pin.
    pub(super) fn remove_link(&self, name: &str) -> Result<(), DatapathError> {
        let path = self.pin(name);
        if let Ok(link) = Link::open(&path) {
            // A link whose NIC no longer exists cannot be detached.
            if link.info().is_ok_and(|info| info.ifindex != 0) {
                link.detach().map_err(DatapathError::path("detach", &path))?;
            }
        }
        self.unpin(name)
    }

    /// Detaches all links; removes all pins, the directory, and its parent if that is empty then.
    pub(super) fn remove(&self) -> Result<Vec<String>, DatapathError> {
        let names = self.names()?;
        for name in names.iter().filter(|name| name.starts_with("LINK")) {
            self.remove_link(name)?;
        }
        for name in &names {
            self.unpin(name)?;
        }
        fs::remove_dir(&self.path).map_err(DatapathError::path("remove", &self.path))?;
        if let Some(parent) = self.path.parent() {
            // It may hold pins of other namespaces; a bpffs's root cannot be removed.
            let _not_empty = fs::remove_dir(parent);
        }
        Ok(names)
    }
}

/// Removes a pin; it need not be there.
pub(super) fn unpin(path: &Path) -> Result<(), DatapathError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DatapathError::path("unpin", path)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The directory of this thread's network namespace.
fn namespace_dir(pin_dir: &Path) -> Result<PathBuf, DatapathError> {
    let cookie = netns_cookie().map_err(DatapathError::system("identify the network namespace"))?;
    Ok(pin_dir.join(format!("{NAMESPACE}{cookie}")))
}

/// The cookie of this thread's network namespace (Linux 5.14).
fn netns_cookie() -> io::Result<u64> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    super::bpf::netns_cookie(socket.as_fd())
}

/// Ensures that the directory will be on a bpffs; mounts one at the conventional place if necessary.
fn require_bpffs(dir: &Path) -> Result<(), DatapathError> {
    let parent = nearest_parent(dir);
    if is_bpffs(&parent) {
        return Ok(());
    }
    if dir.starts_with(BPFFS) && !is_bpffs(Path::new(BPFFS)) {
        let none: Option<&str> = None;
        mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), none).map_err(|errno| {
            DatapathError::path("mount a bpf file system on", BPFFS)(errno.into())
        })?;
        return Ok(());
    }
    Err(DatapathError::NoBpffs { dir: dir.to_owned(), parent })
}

fn nearest_parent(dir: &Path) -> PathBuf {
    dir.ancestors()
        .find(|path| path.exists())
        .filter(|path| !path.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
        .to_owned()
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.filesystem_type().0 == BPF_FS_MAGIC)
}

/// The process that holds a lock on a file, according to /proc/locks.
fn holder(file: &fs::Metadata) -> Option<u32> {
    let (major, minor) = (libc::major(file.dev()), libc::minor(file.dev()));
    let wanted = format!("{major:02x}:{minor:02x}:{}", file.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        // "1: FLOCK  ADVISORY  WRITE 708 00:1e:2311 0 EOF"
        let mut words = line.split_whitespace().skip(4);
        let pid = words.next()?;
        (words.next()? == wanted).then(|| pid.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_round_trip() {
        for mode in [XdpMode::Native, XdpMode::Generic] {
            let name = LinkName { mode, ifindex: 4_294_967_295 };
            assert_eq!(LinkName::parse(&name.file_name()), Some(name));
        }
        for other in ["LINK", "LINK-native-", "LINK-native-x", "LINK-hw-1", "CONNECTIONS"] {
            assert_eq!(LinkName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_directory_elsewhere_is_refused_with_its_nearest_parent() {
        let dir = tempfile::tempdir().unwrap();
        let error = require_bpffs(&dir.path().join("a/b")).unwrap_err().to_string();
        assert!(error.contains("is not on a bpf file system\nhint: mount -t bpf"), "{error}");
        assert!(error.contains(&format!(": {} is", dir.path().display())), "{error}");
    }

    #[test]
    fn the_holder_of_a_lock_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let _held = PinDir::lock(dir.path().to_owned()).unwrap().unwrap();
        let error = PinDir::lock(dir.path().to_owned()).unwrap_err().to_string();
        let pid = std::process::id();
        assert!(error.ends_with(&format!("another controller (pid {pid}) holds it")), "{error}");
    }
}
