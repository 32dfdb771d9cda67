//! The API's Unix socket: has mode 0660, replaces a socket that nobody listens on, and is removed at the end.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{
            fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
};

use nix::sys::{
    socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket},
    stat::{Mode, fchmod},
};
use tokio::net::UnixListener;

/// Who may use the API: owner and group of the socket.
const MODE: u32 = 0o660;

/// Why the socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon listens on it.
    #[error(
        "api_socket {0}: another daemon listens on it\nhint: dispatcher --api-socket {0} status"
    )]
    InUse(PathBuf),
    /// There is a file that is not a socket.
    #[error("api_socket {0}: exists and is not a socket, expected a free path")]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("api_socket {path}: {action}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

/// A listening socket and its file.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    pub(super) file: SocketFile,
}

/// The file of a socket. Dropping this removes the file, if it is still the same.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Socket {
    /// Listens at a path. Makes its directory if that is missing; replaces a socket that nobody listens on.
    ///
    /// # Errors
    /// See [`SocketError`]. Must be called within a tokio runtime.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |action| {
            move |source: io::Error| SocketError::Io { path: path.to_owned(), action, source }
        };
        if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            fs::create_dir_all(directory).map_err(failed("making its directory"))?;
        }
        remove_dead(path)?;
        let fd = open(path).map_err(|e| failed("listening")(e.into()))?;
        // The socket was bound with at most this mode, less the umask: it is never open to more people than this.
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))
            .map_err(failed("setting its mode"))?;
        let metadata = fs::symlink_metadata(path).map_err(failed("looking at it"))?;
        let file = SocketFile { path: path.to_owned(), inode: (metadata.dev(), metadata.ino()) };
        let listener = std::os::unix::net::UnixListener::from(fd);
        let listener = UnixListener::from_std(listener).map_err(failed("listening"))?;
        Ok(Self { listener, file })
    }
}

/// Removes a socket that nobody listens on, if there is one.
///
/// # Errors
/// Where somebody listens on it, or it is not a socket.
pub fn remove_dead(path: &Path) -> Result<(), SocketError> {
    let failed =
        |action| move |source: io::Error| SocketError::Io { path: path.to_owned(), action, source };
    let metadata = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed("looking at it"))?,
    };
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("removing the one left behind"))
        }
        Err(e) => Err(failed("finding out who listens on it")(e)),
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
    }
}

/// A bound and listening socket, not blocking.
fn open(path: &Path) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // Linux gives the file the mode of the unbound socket, less the umask (unix_bind_bsd in net/unix/af_unix.c): so
    // others may connect at no moment.
    fchmod(&fd, Mode::from_bits_truncate(MODE))?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&fd, Backlog::MAXCONN)?;
    Ok(fd)
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.inode);
        if ours {
            // If it stays, the next daemon replaces it.
            drop(fs::remove_file(&self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_private_replaces_a_dead_one_and_cleans_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/api.sock");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a dead socket is left behind");

        let socket = Socket::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert!(matches!(Socket::bind(&path), Err(SocketError::InUse(_))));
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_not_ours_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

        fs::remove_file(&path).unwrap();
        let first = Socket::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = Socket::bind(&path).unwrap();
        drop(first);
        assert!(path.exists(), "the second daemon's socket outlives the first");
        drop(second);
    }
}
