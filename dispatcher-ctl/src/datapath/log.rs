//! Copies the lines of a datapath that logs to the controller's log, under the target "datapath". Such a datapath is loaded only
//! if that log accepts them.
//!
//! Each loaded program has its own ring buffer of lines, `AYA_LOGS`. It is not pinned and belongs to no layout: it
//! ends with the program and the reader.

use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::Handle,
    task::AbortHandle,
};

use super::error::DatapathError;

/// The object whose programs log.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dispatcher-log.bpf.o"));

/// The most verbose level at which a program logs.
#[derive(Debug)]
pub(super) struct Level(u8);

impl Level {
    /// The level that the controller's log accepts. `None`: it accepts nothing, and the program that does not log is loaded.
    pub(super) fn wanted() -> Option<Self> {
        if tracing::enabled!(target: "datapath", tracing::Level::TRACE) {
            Some(Self(aya_log::Level::Trace as u8))
        } else if tracing::enabled!(target: "datapath", tracing::Level::DEBUG) {
            Some(Self(aya_log::Level::Debug as u8))
        } else {
            None
        }
    }

    /// Sets the level of the programs to be loaded, and returns their object.
    pub(super) fn set<'a>(&'a self, loader: &mut EbpfLoader<'a>) -> &'static [u8] {
        loader.override_global(aya_log::LEVEL, &self.0, true);
        OBJECT
    }
}

/// Reads a program's lines until dropped.
#[derive(Debug)]
pub(super) struct Reader(AbortHandle);

impl Reader {
    /// Starts reading the lines of a program that was loaded for a NIC. `None` outside of a runtime.
    pub(super) fn start(ebpf: &mut Ebpf, interface: &str) -> Result<Option<Self>, DatapathError> {
        let Ok(runtime) = Handle::try_current() else { return Ok(None) };
        let lines = Lines { interface: interface.to_owned() };
        let logger = EbpfLogger::init_with_logger(ebpf, lines)
            .map_err(std::io::Error::other)
            .map_err(DatapathError::system("read the datapath's log"))?;
        // SAFETY: a logger owns its ring buffer's descriptor and never changes or closes it; this one is dropped with the
        // `AsyncFd` only.
        let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
        let mut logger = logger
            .map_err(std::io::Error::from)
            .map_err(DatapathError::system("wait for the datapath's log"))?;
        let task = runtime.spawn(async move {
            while let Ok(mut ready) = logger.readable_mut().await {
                ready.get_inner_mut().flush();
                ready.clear_ready();
            }
        });
        Ok(Some(Self(task.abort_handle())))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Writes the lines of one NIC's program to the controller's log.
struct Lines {
    interface: String,
}

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{}: {}", self.interface, record.args());
        // Names of reasons are padded.
        let line = line.trim_end();
        if record.level() == log::Level::Trace {
            tracing::trace!(target: "datapath", "{line}");
        } else {
            tracing::debug!(target: "datapath", "{line}");
        }
    }

    fn flush(&self) {}
}
