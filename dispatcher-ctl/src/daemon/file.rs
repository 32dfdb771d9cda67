//! The configuration file: requests that read or write it take turns, and the core never waits for them.
//!
//! All work is done on other threads and within a time limit: if a mount hangs, or a file takes long to read, the request fails.
//! While a request has its turn, no other reloads or saves, so that a save replaces the file that was read.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::saved::{Before, Draft};
use crate::{
    api::types::ApiError,
    config::{self, ConfigErrors, Reader, Saved},
    files::{self, FileError},
    model::{Config, State},
};

/// How long it may take to read a text: more than the largest takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads texts, one after the other, on a thread of its own.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    turns: Arc<Semaphore>,
    reader: Arc<Mutex<Reader>>,
}

impl Default for Reading {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(1)), reader: Arc::default() }
    }
}

impl Reading {
    /// Reads a text on its own; `file` is what errors call it.
    pub(super) async fn parse(&self, text: String, file: String) -> Result<Config, ApiError> {
        self.run(move |_| config::parse(&text, &file)).await
    }

    /// Reads a text that differs a little from the one before.
    async fn reread(&self, text: String, file: String) -> Result<Config, ApiError> {
        self.run(move |reader| reader.parse(&text, &file)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Reader) -> Result<T, ConfigErrors> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (turns, reader) = (Arc::clone(&self.turns), Arc::clone(&self.reader));
        let done = async move {
            let turn = turns.acquire_owned().await.ok();
            let work = move || {
                let done = work(&mut reader.lock().unwrap_or_else(PoisonError::into_inner));
                drop(turn);
                done
            };
            tokio::task::spawn_blocking(work).await
        };
        match timeout(PATIENCE, done).await {
            Ok(Ok(done)) => Ok(done?),
            Ok(Err(error)) => Err(ApiError::failed(format!("reading was interrupted: {error}"))),
            Err(_) => {
                let late = format!("configuration: not read within {} s", PATIENCE.as_secs());
                Err(ApiError::failed(late))
            }
        }
    }
}

/// The file, and the lock that serialises its users.
#[derive(Clone, Debug)]
pub(super) struct ConfigFile {
    path: Arc<PathBuf>,
    turns: Arc<Semaphore>,
    reading: Reading,
}

impl ConfigFile {
    pub(super) fn new(path: PathBuf) -> Self {
        let turns = Arc::new(Semaphore::new(1));
        Self { path: Arc::new(path), turns, reading: Reading::default() }
    }

    /// Waits for a turn: until it is dropped, nobody else has the file.
    pub(super) async fn turn(&self) -> Result<Turn, ApiError> {
        let turns = Arc::clone(&self.turns).acquire_owned();
        match timeout(files::PATIENCE, turns).await {
            Ok(Ok(permit)) => Ok(Turn { file: self.clone(), _permit: permit }),
            Ok(Err(_)) | Err(_) => {
                let error = format!("{}: a reload or a save is under way", self.path.display());
                Err(ApiError::conflict(error))
            }
        }
    }
}

/// A turn at the file.
#[derive(Debug)]
pub(super) struct Turn {
    file: ConfigFile,
    _permit: OwnedSemaphorePermit,
}

impl Turn {
    /// What errors call the file.
    pub(super) fn name(&self) -> String {
        self.file.path.display().to_string()
    }

    /// Reads and checks it.
    pub(super) async fn load(&self) -> Result<Config, ApiError> {
        let text = config::read(&self.file.path).await?;
        self.file.reading.reread(text, self.name()).await
    }

    /// Opens it to be saved.
    pub(super) async fn open(&self) -> Result<Before, ApiError> {
        let path = Arc::clone(&self.file.path);
        let opened = files::in_time(&self.file.path, move || Before::open(&path)).await;
        opened.map_err(|e| self.unsaved(&e))
    }

    /// Writes what runs to a draft next to the file; nothing uses it yet.
    pub(super) async fn draft(
        &self,
        before: &Before,
        applied: Config,
        state: State,
    ) -> Result<(Saved, Draft), ApiError> {
        let (name, bytes) = (self.name(), before.bytes.clone());
        let rewrite = move |_: &mut Reader| {
            config::save(&config::text(bytes, &name)?, &name, &applied, &state)
        };
        let saved = self.file.reading.run(rewrite).await?;
        let (before, text) = (before.clone(), saved.text.clone());
        let written = files::in_time(&self.file.path, move || Draft::write(before, &text)).await;
        Ok((saved, written.map_err(|e| self.unsaved(&e))?))
    }

    /// Replaces the file with what was written, whole or not at all.
    pub(super) async fn keep(&self, draft: Draft) -> Result<(), ApiError> {
        let kept = files::in_time(&self.file.path, move || draft.keep()).await;
        kept.map_err(|e| ApiError::failed(format!("{}: in force, but not saved: {e}", self.name())))
    }

    fn unsaved(&self, error: &FileError) -> ApiError {
        let failed = ApiError::failed(format!("{}: cannot be saved: {error}", self.name()));
        match error.hint() {
            Some(hint) => failed.hint(hint),
            None => failed,
        }
    }
}
