//! Files that probes need: keys, and certificates of those who may sign.
//!
//! A file that is replaced is away for a moment, or half written. That is no backend's fault: what was last read well stays in
//! force, and the log says so.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use super::Fault;

/// A file that could not be read is tried again after as long.
const AGAIN: Duration = Duration::from_secs(1);

/// What files of one sort hold, by path; the path none stands for what the system has.
#[derive(Debug)]
pub(super) struct Kept<T>(OnceLock<Mutex<HashMap<Option<PathBuf>, Held<T>>>>);

#[derive(Debug)]
struct Held<T> {
    good: Option<Arc<T>>,
    /// What was wrong when it was last read, if anything.
    wrong: Option<String>,
    read: Instant,
}

impl<T> Kept<T> {
    pub(super) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// What a file holds, as it was read at most so long ago, or as it was last read well.
    ///
    /// # Errors
    /// It was never read well: what `read` says.
    pub(super) fn get(
        &self,
        file: Option<&Path>,
        age: Duration,
        read: impl FnOnce() -> Result<T, String>,
    ) -> Result<Arc<T>, Fault> {
        let all = self.0.get_or_init(Mutex::default);
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        let key = file.map(Path::to_path_buf);
        let held = all.remove(&key);
        let age =
            if held.as_ref().is_some_and(|h| h.wrong.is_some()) { age.min(AGAIN) } else { age };
        let held = match held {
            Some(held) if held.good.is_some() && held.read.elapsed() < age => held,
            held => Held::anew(held, read()),
        };
        let good = held.good.clone();
        let wrong = held.wrong.clone();
        all.insert(key, held);
        good.ok_or_else(|| Fault::Here(wrong.unwrap_or_default()))
    }
}

impl<T> Held<T> {
    fn anew(before: Option<Self>, read: Result<T, String>) -> Self {
        let (good, was_wrong) = before.map_or((None, None), |held| (held.good, held.wrong));
        let now = Instant::now();
        match read {
            Ok(new) => Self { good: Some(Arc::new(new)), wrong: None, read: now },
            Err(wrong) => {
                if good.is_some() && was_wrong.as_ref() != Some(&wrong) {
                    tracing::warn!("{wrong}: what was last read from it stays in force");
                }
                Self { good, wrong: Some(wrong), read: now }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_last_read_well_stays_in_force() {
        let kept = Kept::new();
        let file = Path::new("/key");
        let get = |read: Result<u32, &str>| {
            let read = read.map_err(str::to_owned);
            kept.get(Some(file), Duration::ZERO, || read).map(|value| *value)
        };
        assert_eq!(get(Err("no such file")), Err(Fault::Here("no such file".to_owned())));
        assert_eq!(get(Ok(1)), Ok(1));
        assert_eq!(get(Err("is empty")), Ok(1));
        assert_eq!(get(Ok(2)), Ok(2));
        let fresh = kept.get(Some(file), Duration::from_secs(60), || Err("is not read".to_owned()));
        assert_eq!(fresh.map(|value| *value), Ok(2));
        assert_eq!(kept.get(None, Duration::ZERO, || Ok(7)).map(|value| *value), Ok(7));
    }
}
