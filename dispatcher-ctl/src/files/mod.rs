//! Files that others own: a configuration, a key, certificates. They may lie on a mount that hangs, or be no files at all.
//!
//! [`read`] takes regular files of bounded size only. [`in_time`] does such work on a thread of its own, within [`PATIENCE`]:
//! who waits for it holds up nobody else, and gets an error in the end. At most one thread works on a path, so that a mount
//! that hangs costs one thread for each file on it, however often the file is asked for.

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

/// How long a file may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Largest configuration, in bytes: some 50,000 backends.
pub const CONFIGURATION: u64 = 16 << 20;
/// Largest file of certificates: a whole system's bundle has 0.3 MB.
pub const CERTIFICATES: u64 = 4 << 20;

/// Why a file was not read or written, to stand behind its name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("{0}")]
    System(String),
    /// It is a FIFO, a device, a directory.
    #[error("it is {0}, expected a regular file")]
    Kind(&'static str),
    /// Its size.
    #[error("it is longer than {0} bytes")]
    Long(u64),
    /// Something is mounted on it.
    #[error("it is a mount point, and no file can take the place of one")]
    Mount,
    /// It hangs.
    #[error("it does not answer within {} s", PATIENCE.as_secs())]
    Late,
}

impl FileError {
    /// What could not be done, and why.
    #[must_use]
    pub fn about(self, what: &str) -> Self {
        Self::System(format!("{what}: {self}"))
    }

    /// How to mend it, where that is known.
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
    /// All of it.
    pub bytes: Vec<u8>,
    /// What the file system said of it when it was open.
    pub metadata: Metadata,
}

/// Reads a regular file of at most `limit` bytes. Symbolic links are followed.
///
/// # Errors
/// As [`FileError`] says. A mount that hangs holds it up: use [`read_in_time`] where that must not be.
pub fn read(path: &Path, limit: u64) -> Result<Contents, FileError> {
    let file = open(path, OpenOptions::new().read(true))?;
    let metadata = file.metadata()?;
    if metadata.len() > limit {
        return Err(FileError::Long(limit));
    }
    let mut bytes = Vec::new();
    // Files of some file systems say that they are empty, or grow meanwhile.
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(FileError::Long(limit));
    }
    Ok(Contents { bytes, metadata })
}

/// As [`read`], within [`PATIENCE`].
///
/// # Errors
/// As [`FileError`] says.
pub async fn read_in_time(path: &Path, limit: u64) -> Result<Contents, FileError> {
    let file = path.to_owned();
    in_time(path, move || read(&file, limit)).await
}

/// Opens a regular file, and nothing else.
pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> Result<File, FileError> {
    let options = options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    // To open a device may already do something, and to open a FIFO waits for its other end.
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_fifo() {
        release_writer(path, options);
    }
    regular(kind)?;
    let file = options.open(path)?;
    regular(file.metadata()?.file_type())?;
    Ok(file)
}

/// Keeps the read end of the last FIFO that was refused: a program that is about to write into it would otherwise wait for a
/// reader for ever.
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

/// Does something with a file on a thread of its own. Later work on the same path waits for its turn.
///
/// # Errors
/// What the work says, or [`FileError::Late`]. The work then still ends some time, and what it made is dropped.
pub async fn in_time<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    let turns = turns_of(path);
    let worked = async {
        let turn = turns.lock_owned().await;
        let (sender, receiver) = oneshot::channel();
        thread::Builder::new().name("file".to_owned()).spawn(move || {
            // Nobody waits for it any more where it was late.
            drop(sender.send(work()));
            drop(turn);
        })?;
        receiver.await.unwrap_or_else(|_| Err(FileError::System("the work was cut off".to_owned())))
    };
    timeout(PATIENCE, worked).await.unwrap_or(Err(FileError::Late))
}

/// Starts a program. To do that waits for the program's file.
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

/// Who works on a path, and who waits for it.
fn turns_of(path: &Path) -> Arc<tokio::sync::Mutex<()>> {
    type Turns = HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>;
    static TURNS: Mutex<Option<Turns>> = Mutex::new(None);
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    let turns = turns.get_or_insert_default();
    // Those that nobody else has are of no use any more.
    turns.retain(|_, turn| Arc::strong_count(turn) > 1);
    Arc::clone(turns.entry(path.to_owned()).or_default())
}

#[cfg(test)]
mod tests;
