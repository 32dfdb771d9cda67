//! Caches files that probes need: keys and CA certificates.
//!
//! While a file is replaced it may be missing or half written. That is no fault of a backend: the last good contents
//! stay in use, and the log says so.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::timeout;

use super::Fault;

/// A file that could not be read is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);
/// Time limit for reading a file: shorter than the time limits of probes, which would count it against the backend.
const PATIENCE: Duration = Duration::from_millis(250);

/// Contents of the files of one kind, by path; `None` is the system's own set.
#[derive(Debug)]
pub(super) struct FileCache<T>(OnceLock<Mutex<HashMap<Option<PathBuf>, Cached<T>>>>);

#[derive(Debug)]
struct Cached<T> {
    good: Option<Arc<T>>,
    /// Why the last reading failed, if it did.
    wrong: Option<String>,
    read: Instant,
}

impl<T> FileCache<T> {
    pub(super) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// A file's contents: read at most `age` ago, or else the last good contents. A file that cannot be read in time
    /// counts as unreadable.
    ///
    /// # Errors
    /// It was never read successfully; with the error of `read`.
    pub(super) async fn get(
        &self,
        file: Option<&Path>,
        age: Duration,
        read: impl Future<Output = Result<T, String>>,
    ) -> Result<Arc<T>, Fault> {
        let key = file.map(Path::to_path_buf);
        if let Some(good) = self.fresh(&key, age) {
            return Ok(good);
        }
        let read = timeout(PATIENCE, read).await.unwrap_or_else(|_| {
            let what = file.map_or("the system's certificates".into(), Path::to_string_lossy);
            Err(format!("{what}: it does not answer within {PATIENCE:?}"))
        });
        let mut all = self.all();
        let cached = Cached::updated(all.remove(&key), read);
        let (good, wrong) = (cached.good.clone(), cached.wrong.clone());
        all.insert(key, cached);
        good.ok_or_else(|| Fault::Here(wrong.unwrap_or_default()))
    }

    fn fresh(&self, key: &Option<PathBuf>, age: Duration) -> Option<Arc<T>> {
        let all = self.all();
        let cached = all.get(key)?;
        let age = if cached.wrong.is_some() { age.min(RETRY) } else { age };
        cached.good.clone().filter(|_| cached.read.elapsed() < age)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Option<PathBuf>, Cached<T>>> {
        self.0.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Cached<T> {
    fn updated(before: Option<Self>, read: Result<T, String>) -> Self {
        let (good, was_wrong) = before.map_or((None, None), |cached| (cached.good, cached.wrong));
        let now = Instant::now();
        match read {
            Ok(new) => Self { good: Some(Arc::new(new)), wrong: None, read: now },
            Err(wrong) => {
                if good.is_some() && was_wrong.as_ref() != Some(&wrong) {
                    tracing::warn!("{wrong}: its last content that was read stays in use");
                }
                Self { good, wrong: Some(wrong), read: now }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_last_read_well_stays_in_force() {
        let kept = FileCache::new();
        let file = Path::new("/key");
        let get = async |read: Result<u32, &str>| {
            let read = async { read.map_err(str::to_owned) };
            kept.get(Some(file), Duration::ZERO, read).await.map(|value| *value)
        };
        assert_eq!(get(Err("no such file")).await, Err(Fault::Here("no such file".to_owned())));
        assert_eq!(get(Ok(1)).await, Ok(1));
        assert_eq!(get(Err("is empty")).await, Ok(1));
        assert_eq!(get(Ok(2)).await, Ok(2));
        let unread = async { Err("is not read".to_owned()) };
        let fresh = kept.get(Some(file), Duration::from_secs(60), unread).await;
        assert_eq!(fresh.map(|value| *value), Ok(2));
        let system = kept.get(None, Duration::ZERO, async { Ok(7) }).await;
        assert_eq!(system.map(|value| *value), Ok(7));
    }

    #[tokio::test]
    async fn a_file_that_hangs_is_not_waited_for() {
        let kept = FileCache::<u32>::new();
        let file = Path::new("/key");
        let hang = || kept.get(Some(file), Duration::ZERO, std::future::pending());
        let said = "/key: it does not answer within 250ms".to_owned();
        assert_eq!(hang().await, Err(Fault::Here(said)));
        kept.get(Some(file), Duration::ZERO, async { Ok(1) }).await.unwrap();
        assert_eq!(hang().await.map(|value| *value), Ok(1));
    }
}
