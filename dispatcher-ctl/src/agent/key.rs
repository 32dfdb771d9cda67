//! The key that agent and dispatcher share, and the check of who may read it.

use std::{fmt, os::unix::fs::MetadataExt as _, path::Path};

use ring::hmac;

use crate::files::{self, Contents};

/// Shortest key, in bytes.
const SHORTEST: usize = 16;
/// Longest key file, in bytes.
const LONGEST: u64 = 4096;
/// Permissions of group and others.
const OTHERS: u32 = 0o077;

/// A key for HMAC-SHA-256.
#[derive(Clone)]
pub struct Key(hmac::Key);

impl Key {
    /// A key of these bytes.
    ///
    /// # Errors
    /// They are too few.
    pub fn new(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() < SHORTEST {
            return Err(format!("has {} bytes, expected at least {SHORTEST}", bytes.len()));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// Reads a key from a file and trims white space. Only the file's owner may have access to it.
    ///
    /// # Errors
    /// The file cannot be read in time, is open to others, or is too short.
    pub async fn read(path: &Path) -> Result<Self, String> {
        let wrong = |what: String| format!("key_file {}: {what}", path.display());
        let contents = files::read_in_time(path, LONGEST).await;
        let Contents { bytes, metadata } = contents.map_err(|error| wrong(error.to_string()))?;
        if metadata.mode() & OTHERS != 0 {
            let mode = metadata.mode() & 0o777;
            return Err(wrong(format!("mode {mode:03o} gives others access, expected 600")));
        }
        Self::new(bytes.trim_ascii()).map_err(wrong)
    }

    /// The signature that proves knowledge of the key.
    pub(super) fn sign(&self, message: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, message)
    }

    /// Whether the sender knows the key; runs in constant time.
    pub(super) fn is_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        hmac::verify(&self.0, message, signature).is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[tokio::test]
    async fn a_key_is_read_from_a_file_that_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let put = async |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Key::read(&path).await
        };
        let key = put("0123456789abcdef\n", 0o600).await.unwrap();
        let same = Key::new(b"0123456789abcdef").unwrap();
        assert!(key.is_signed(b"word", same.sign(b"word").as_ref()));
        for (text, mode, want) in [
            ("0123456789abcdef", 0o640, "mode 640 gives others access, expected 600"),
            ("0123456789abcde\n", 0o600, "has 15 bytes, expected at least 16"),
        ] {
            let error = put(text, mode).await.unwrap_err();
            assert_eq!(error, format!("key_file {}: {want}", path.display()));
        }
        fs::remove_file(&path).unwrap();
        let error = Key::read(&path).await.unwrap_err();
        assert!(error.ends_with("no such file or directory"), "{error}");
        fs::write(&path, "x".repeat(5000)).unwrap();
        let error = Key::read(&path).await.unwrap_err();
        assert!(error.ends_with("it is longer than 4096 bytes"), "{error}");
    }
}
