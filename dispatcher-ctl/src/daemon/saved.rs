//! Replaces the configuration file: whole or not at all, and only its text changes.
//!
//! The text is written next to the file and renamed over it. The new file gets owner, group, mode, access lists and other
//! attributes of the one before; if that fails, nothing is changed. A symbolic link stays: the file that it points to is
//! replaced.
//!
//! The new text's file is locked until it has replaced the one before. A process that is killed in between leaves it behind;
//! the next save removes it, because nobody holds its lock.

use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use rustix::fs::{
    AtFlags, CWD, FlockOperation, StatxAttributes, StatxFlags, XattrFlags, fgetxattr, flistxattr,
    flock, fsetxattr, statx,
};
use rustix::io::Errno;
use tempfile::{Builder, NamedTempFile};

use crate::files::{self, FileError};

/// Permission bits, with those that run a program as its owner.
const MODE: u32 = 0o7777;
/// Longest list of names, and longest value, of extended attributes (Linux: XATTR_LIST_MAX, XATTR_SIZE_MAX).
const LONGEST_ATTRIBUTE: usize = 65_536;
/// Random letters and digits in the name of a draft.
const RANDOM: usize = 6;
/// How the name of a draft ends.
const SUFFIX: &str = ".new";

/// The file as it stands.
#[derive(Clone, Debug)]
pub(super) struct Before {
    /// Its path, after all symbolic links.
    path: PathBuf,
    /// Its text.
    pub(super) bytes: Vec<u8>,
    metadata: Metadata,
}

impl Before {
    /// Reads a file that is to be replaced. Refuses now what would be refused in the end.
    pub(super) fn open(file: &Path) -> Result<Self, FileError> {
        let path = fs::canonicalize(file)?;
        let files::Contents { bytes, metadata } = files::read(&path, files::CONFIGURATION)?;
        // A file that may not be written, or is immutable, is not to be replaced either.
        files::open(&path, OpenOptions::new().write(true))?;
        if is_mount(&path)? {
            return Err(FileError::Mount);
        }
        Ok(Self { path, bytes, metadata })
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// How the name of a draft begins.
    fn prefix(&self) -> String {
        format!(".{}.", self.path.file_name().unwrap_or_default().to_string_lossy())
    }

    /// Removes drafts of this file whose writers were killed. What cannot be removed stays.
    fn remove_leftovers(&self) {
        let prefix = self.prefix();
        let is_draft = |name: &str| {
            let random = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(SUFFIX));
            let is_random = |r: &str| r.bytes().all(|b| b.is_ascii_alphanumeric());
            random.is_some_and(|random| random.len() == RANDOM && is_random(random))
        };
        for entry in fs::read_dir(self.folder()).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(is_draft) && self.is_leftover(&entry.path()) {
                drop(fs::remove_file(entry.path()));
            }
        }
    }

    /// Whether a draft is a regular file of this process's user or of the file's owner, and nobody writes it.
    fn is_leftover(&self, draft: &Path) -> bool {
        let owners = [nix::unistd::geteuid().as_raw(), self.metadata.uid()];
        let is_ours = |m: &Metadata| m.is_file() && owners.contains(&m.uid());
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        fs::symlink_metadata(draft).is_ok_and(|metadata| is_ours(&metadata))
            && options.open(draft).is_ok_and(|file| lock(&file).is_ok())
    }
}

/// The file that is to replace it; removed when dropped.
#[derive(Debug)]
pub(super) struct Draft {
    before: Before,
    file: NamedTempFile,
}

impl Draft {
    /// Writes it next to the file.
    pub(super) fn write(before: Before, text: &str) -> Result<Self, FileError> {
        before.remove_leftovers();
        let (prefix, folder) = (before.prefix(), before.folder());
        let mut builder = Builder::new();
        let file = builder.prefix(&prefix).suffix(SUFFIX).rand_bytes(RANDOM).tempfile_in(folder);
        let mut file = file.map_err(|error| {
            FileError::from(error).about(&format!("no file can be made in {}", folder.display()))
        })?;
        // Another process that saves may have found it before it was locked. Some file systems have no locks.
        if matches!(lock(file.as_file()), Err(Errno::WOULDBLOCK)) || !file.path().exists() {
            return Err(FileError::System("another process saves it".to_owned()));
        }
        file.write_all(text.as_bytes())?;
        take_over(&before, file.as_file())?;
        file.as_file().sync_all()?;
        Ok(Self { before, file })
    }

    /// Puts it in the file's place.
    pub(super) fn keep(self) -> Result<(), FileError> {
        let now = fs::metadata(&self.before.path)?;
        let what = |m: &Metadata| (m.ino(), m.size(), m.mtime(), m.mtime_nsec());
        if what(&now) != what(&self.before.metadata) {
            return Err(FileError::System("the file has changed meanwhile".to_owned()));
        }
        self.file.persist(&self.before.path).map_err(|e| FileError::from(e.error))?;
        // The file is there; at worst a crash brings back the one before.
        if let Ok(folder) = File::open(self.before.folder()) {
            drop(folder.sync_all());
        }
        Ok(())
    }
}

/// Locks a draft, unless another process or thread writes it.
fn lock(draft: &File) -> rustix::io::Result<()> {
    flock(draft, FlockOperation::NonBlockingLockExclusive)
}

/// Gives a new file owner, mode and attributes of the one before.
fn take_over(before: &Before, file: &File) -> Result<(), FileError> {
    let (was, is) = (&before.metadata, file.metadata()?);
    let (uid, gid) = (was.uid(), was.gid());
    if (uid, gid) != (is.uid(), is.gid()) {
        fchown(file, Some(uid), Some(gid)).map_err(|error| {
            FileError::from(error).about(&format!("its owner {uid}:{gid} cannot be kept"))
        })?;
    }
    file.set_permissions(Permissions::from_mode(was.mode() & MODE))?;
    let source = files::open(&before.path, OpenOptions::new().read(true))?;
    for name in attributes(&source)? {
        let mut value = Vec::with_capacity(LONGEST_ATTRIBUTE);
        let copied = fgetxattr(&source, &*name, rustix::buffer::spare_capacity(&mut value))
            .and_then(|_| fsetxattr(file, &*name, &value, XattrFlags::empty()));
        // Security modules label files by their own rules.
        if let Err(error) = copied
            && !name.starts_with(b"security.")
        {
            let name = String::from_utf8_lossy(&name);
            let what = format!("its attribute {name} cannot be kept");
            return Err(FileError::from(io::Error::from(error)).about(&what));
        }
    }
    Ok(())
}

/// Names of a file's extended attributes: access lists are among them.
fn attributes(file: &File) -> Result<Vec<Vec<u8>>, FileError> {
    let mut names = Vec::with_capacity(LONGEST_ATTRIBUTE);
    match flistxattr(file, rustix::buffer::spare_capacity(&mut names)) {
        Ok(_) => {}
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(io::Error::from(error).into()),
    }
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(<[u8]>::to_vec).collect())
}

/// Whether something is mounted on a path: no file can be renamed over it then.
fn is_mount(path: &Path) -> Result<bool, FileError> {
    let seen = statx(CWD, path, AtFlags::empty(), StatxFlags::empty()).map_err(io::Error::from)?;
    Ok(seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn save(file: &Path, text: &str) -> Result<(), FileError> {
        Draft::write(Before::open(file)?, text)?.keep()
    }

    #[test]
    fn all_but_the_text_stays() {
        let directory = tempfile::tempdir().unwrap();
        let [file, link] = ["real.toml", "link.toml"].map(|name| directory.path().join(name));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        symlink("real.toml", &link).unwrap();
        let owner = nix::unistd::geteuid().is_root().then_some((1234, 4321));
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(&file, Some(uid), Some(gid)).unwrap();
        }
        let attribute = rustix::fs::setxattr(&file, "user.note", b"kept", XattrFlags::empty());
        save(&link, "new").unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("real.toml"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        let now = fs::metadata(&file).unwrap();
        assert_eq!(now.mode() & MODE, 0o640);
        if let Some(owner) = owner {
            assert_eq!((now.uid(), now.gid()), owner);
        }
        if attribute.is_ok() {
            let mut value = Vec::with_capacity(16);
            let buffer = rustix::buffer::spare_capacity(&mut value);
            rustix::fs::getxattr(&file, "user.note", buffer).unwrap();
            assert_eq!(value, b"kept");
        }
        let names = fs::read_dir(&directory).unwrap().count();
        assert_eq!(names, 2, "nothing is left beside it");
    }

    #[test]
    fn drafts_that_nobody_writes_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let file = at("file.toml");
        fs::write(&file, "old").unwrap();
        let others = [
            ".file.toml.abc12.new",
            ".file.toml.abc-12.new",
            ".file.toml.abc123.old",
            ".other.toml.abc123.new",
            "file.toml.abc123.new",
        ];
        for name in others.iter().chain(&[".file.toml.abc123.new"]) {
            fs::write(at(name), "left").unwrap();
        }
        symlink("file.toml", at(".file.toml.abc124.new")).unwrap();
        fs::create_dir(at(".file.toml.abc125.new")).unwrap();
        let written = Draft::write(Before::open(&file).unwrap(), "now").unwrap();
        save(&file, "new").unwrap();
        assert!(!at(".file.toml.abc123.new").exists());
        assert!(written.file.path().exists(), "another save writes it");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), others.len() + 4);
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    }

    #[test]
    fn what_cannot_be_saved_is_refused_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file.toml");
        let error = save(&file, "new").unwrap_err();
        assert_eq!(error.to_string(), "no such file or directory");
        fs::write(&file, "old").unwrap();
        // Its owner edits it between reading and replacing.
        let draft = Draft::write(Before::open(&file).unwrap(), "new").unwrap();
        fs::write(&file, "by hand").unwrap();
        let error = draft.keep().unwrap_err();
        assert_eq!(error.to_string(), "the file has changed meanwhile");
        assert_eq!(fs::read_to_string(&file).unwrap(), "by hand");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing is left beside it");
        let error = save(directory.path(), "new").unwrap_err();
        assert_eq!(error.to_string(), "it is a directory, expected a regular file");
    }
}
