//! Reads files that others own: configurations, keys, certificates. They may be on a hanging mount, or not be regular
//! files.
//!
//! [`read`] accepts only regular files of bounded size. [`in_time`] does such work on a thread of its own within
//! [`PATIENCE`]: the caller gets an error in the end, and nobody else is delayed. At most one thread works on a path,
//! so a hanging mount costs one thread per file on it, however often the file is requested.

use std::{
    collections::HashMap,
    fs::{File, FileType, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    sync::oneshot,
    time::timeout,
};

mod text;

pub use text::{NotText, text};

/// Time limit for a file.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Largest configuration, in bytes: about 50,000 backends.
pub const CONFIGURATION: u64 = 16 << 20;
/// Largest certificate file: the bundle of a whole system has 0.3 MB.
pub const CERTIFICATES: u64 = 4 << 20;

/// Why a file was not read or written; follows its name in messages.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("{0}")]
    System(String),
    /// It is a FIFO, a device, a directory.
    #[error("it is {0}, expected a regular file")]
    Kind(&'static str),
    /// It is too large; the limit.
    #[error("it is longer than {0} bytes")]
    Long(u64),
    /// Something is mounted on it.
    #[error("it is a mount point, which cannot be replaced")]
    Mount,
    /// It hangs.
    #[error("it does not answer within {} s", PATIENCE.as_secs())]
    Late,
}

impl FileError {
    /// Puts what could not be done before the error.
    #[must_use]
    pub fn about(self, what: &str) -> Self {
        Self::System(format!("{what}: {self}"))
    }

    /// How to fix it, if known.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Mount => Some("mount the file's directory in place of the file"),
            Self::System(_) | Self::Kind(_) | Self::Long(_) | Self::Late => None,
        }
    }
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        let text = error.to_string();
        Self::System(text.split(" (os error").next().unwrap_or_default().to_lowercase())
    }
}

/// A file as it was read.
#[derive(Debug)]
pub struct Contents {
    /// The whole contents.
    pub bytes: Vec<u8>,
    /// The file system's metadata when it was open.
    pub metadata: Metadata,
}

/// Reads a regular file of at most `limit` bytes. Symbolic links are followed.
///
/// # Errors
/// See [`FileError`]. A hanging mount blocks the caller: use [`read_in_time`] if that matters.
pub fn read(path: &Path, limit: u64) -> Result<Contents, FileError> {
    let file = open(path, OpenOptions::new().read(true))?;
    let metadata = file.metadata()?;
    if metadata.len() > limit {
        return Err(FileError::Long(limit));
    }
    let mut bytes = Vec::new();
    // Some file systems report size 0, and files may grow meanwhile.
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(FileError::Long(limit));
    }
    Ok(Contents { bytes, metadata })
}

/// Like [`read`], within [`PATIENCE`].
///
/// # Errors
/// See [`FileError`].
pub async fn read_in_time(path: &Path, limit: u64) -> Result<Contents, FileError> {
    let file = path.to_owned();
    in_time(path, move || read(&file, limit)).await
}

/// Opens a regular file, and nothing else.
pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> Result<File, FileError> {
    let options = options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    // Check before opening: opening a device may already act on it, and opening a FIFO waits for its other end.
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_fifo() {
        release_writer(path, options);
    }
    regular(kind)?;
    let file = options.open(path)?;
    regular(file.metadata()?.file_type())?;
    Ok(file)
}

/// Keeps the read end of the last FIFO that was refused: otherwise a program that opens it for writing would wait
/// forever for a reader.
fn release_writer(path: &Path, options: &OpenOptions) {
    static READ_END: Mutex<Option<File>> = Mutex::new(None);
    *READ_END.lock().unwrap_or_else(PoisonError::into_inner) = options.open(path).ok();
}

fn regular(kind: FileType) -> Result<(), FileError> {
    let what = match kind {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "something else",
    };
    Err(FileError::Kind(what))
}

/// Works on a file on a thread of its own. Later work on the same path waits for its turn.
///
/// # Errors
/// The work's error, or [`FileError::Late`]. Late work still runs to its end, and its result is dropped.
pub async fn in_time<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    let turns = turns_of(path);
    let worked = async {
        let turn = turns.lock_owned().await;
        let (sender, receiver) = oneshot::channel();
        thread::Builder::new().name("file".to_owned()).spawn(move || {
            // The caller may have stopped waiting.
            drop(sender.send(work()));
            drop(turn);
        })?;
        receiver
            .await
            .unwrap_or_else(|_| Err(FileError::System("the work was interrupted".to_owned())))
    };
    timeout(PATIENCE, worked).await.unwrap_or(Err(FileError::Late))
}

/// Starts a program. Starting waits for the program's file.
///
/// # Errors
/// It cannot be started, or its file does not answer. Must be called within a runtime.
pub async fn spawn(program: &Path, mut command: Command) -> Result<Child, FileError> {
    let runtime = tokio::runtime::Handle::current();
    let start = move || {
        let _entered = runtime.enter();
        Ok(command.spawn()?)
    };
    in_time(program, start).await
}

/// The lock of a path.
fn turns_of(path: &Path) -> Arc<tokio::sync::Mutex<()>> {
    type Turns = HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>;
    static TURNS: Mutex<Option<Turns>> = Mutex::new(None);
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    let turns = turns.get_or_insert_default();
    // Forget locks that nobody else holds.
    turns.retain(|_, turn| Arc::strong_count(turn) > 1);
    Arc::clone(turns.entry(path.to_owned()).or_default())
}

#[cfg(test)]
mod tests;
