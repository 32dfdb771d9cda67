//! Measures the time from a request until the datapath acts on it, by reading the policies of services in the datapath's own
//! map.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::net::UnixStream},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::MapData;
use dispatcher_common::{limits::MAX_SERVICES, maps, service::Policy};

/// Time limit for a change.
const PATIENCE: Duration = Duration::from_secs(5);

/// The policies of all services, mapped.
pub(super) struct Policies {
    words: &'static [AtomicU64],
}

impl Policies {
    /// Maps the policies that are pinned under a directory.
    pub(super) fn open(pins: &Path) -> Result<Self> {
        let of_namespace = fs::read_dir(pins)?.filter_map(Result::ok).map(|entry| entry.path());
        let pinned = of_namespace.map(|dir| dir.join(maps::POLICIES)).find(|path| path.exists());
        let map = MapData::from_pin(pinned.context("no policies are pinned")?)?;
        let length = MAX_SERVICES as usize * size_of::<Policy>();
        // SAFETY: a new mapping of a map with this length, at an address that the kernel chooses.
        let memory = unsafe {
            let fd = std::os::fd::AsFd::as_fd(map.fd()).as_raw_fd();
            libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, fd, 0)
        };
        ensure!(memory != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        // SAFETY: the mapping is page-aligned, has this length, and is never unmapped; all access is atomic.
        let words = unsafe { std::slice::from_raw_parts(memory.cast(), length / 8) };
        Ok(Self { words })
    }

    fn schedule(&self, service: usize) -> u64 {
        let word = service * size_of::<Policy>() + std::mem::offset_of!(Policy, schedule);
        self.words[word / 8].load(Ordering::Acquire)
    }

    /// Sets a weight by a raw request, so that no time of the client counts. Returns the times from just before the request
    /// until the datapath had the new schedule, and until the answer arrived.
    pub(super) fn change(
        &self,
        socket: &Path,
        service: usize,
        backend: usize,
        weight: usize,
    ) -> Result<(Duration, Duration)> {
        let body = format!("{{\"weight\": {weight}}}");
        let request = format!(
            "PATCH /v1/services/s{service}/backends/b{backend} HTTP/1.1\r\nhost: localhost\r\n\
             content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = UnixStream::connect(socket)?;
        let before = self.schedule(service);
        let started = Instant::now();
        stream.write_all(request.as_bytes())?;
        while self.schedule(service) == before {
            if started.elapsed() > PATIENCE {
                bail!("s{service}/b{backend} to {weight}: the datapath has no other schedule");
            }
            // If the daemon has no other CPU, this lets it run on this one.
            std::thread::yield_now();
        }
        let swapped = started.elapsed();
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Ok((swapped, started.elapsed()))
    }
}
