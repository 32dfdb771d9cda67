//! A kernel that remembers what happened.

use std::time::Instant;

use super::{Contents, Publisher, TableStore, Write};
use crate::datapath::error::DatapathError;

/// A kernel that remembers what happened, and may fail once.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    pub(super) contents: Contents,
    pub(super) log: Vec<Event>,
    pub(super) fail_at: Option<usize>,
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    Write(Write, Instant),
    Waited,
}

impl TableStore for Recorder {
    fn read(&self) -> Result<Contents, DatapathError> {
        Ok(self.contents.clone())
    }

    fn refresh(&self, contents: &mut Contents) -> Result<(), DatapathError> {
        contents.devices.clone_from(&self.contents.devices);
        Ok(())
    }

    fn apply(&mut self, write: &Write) -> Result<(), DatapathError> {
        let gone = matches!(write, Write::Device { ifindex: Some(GONE), .. });
        if gone || self.fail_at == Some(self.log.len()) {
            self.fail_at = None;
            return Err(DatapathError::Invalid("a write that fails".to_owned()));
        }
        self.contents.apply(write);
        self.log.push(Event::Write(write.clone(), Instant::now()));
        Ok(())
    }

    fn wait_for_readers(&mut self) -> std::io::Result<()> {
        self.log.push(Event::Waited);
        Ok(())
    }
}

/// An ifindex that the kernel does not know.
pub(super) const GONE: u32 = 66;

pub(super) fn publisher(contents: Contents, fail_at: Option<usize>) -> Publisher<Recorder> {
    Publisher::new(Recorder { contents, log: Vec::new(), fail_at }, false).unwrap()
}
