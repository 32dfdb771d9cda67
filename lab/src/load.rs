//! Clients that do not wait for one another. A weight's effect shows in which server answers, and in the time from the moment
//! at which a request was due until its answer.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use super::Node;

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// When it was due, since the start.
    pub due: Duration,
    /// Time from then until the answer.
    pub took: Duration,
    /// Number of the server that answered; none: no answer within 10 s.
    pub by: Option<u8>,
}

/// Requests in the background, until they are stopped.
#[derive(Debug)]
pub struct Load {
    began: Instant,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Vec<Answered>>>>,
}

impl Node {
    /// Sends requests to port 80 of an address at random moments, on average this many per second. Each has its own
    /// connection, and does not wait for the answers to earlier ones.
    ///
    /// # Errors
    /// When the client's namespace cannot be entered.
    pub fn open_loop(
        &self,
        address: IpAddr,
        per_second: f64,
        lasting: Duration,
    ) -> Result<Vec<Answered>> {
        let address = SocketAddr::new(address, 80);
        self.enter(|| requests(address, per_second, Instant::now(), |due| due < lasting))
    }

    /// As [`Self::open_loop`], to an address and port; does not wait for the end.
    #[must_use]
    pub fn start_load(&self, address: SocketAddr, per_second: f64) -> Load {
        let (began, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let (node, stopped) = (self.clone(), Arc::clone(&stop));
        let thread = spawn(move || {
            let goes_on = |_| !stopped.load(Ordering::Relaxed);
            node.enter(|| requests(address, per_second, began, goes_on))
        });
        Load { began, stop, thread: Some(thread) }
    }
}

impl Load {
    /// Time since the start, as in [`Answered::due`].
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Sends no more requests, waits for the outstanding answers, and returns all of them.
    ///
    /// # Errors
    /// When the client's namespace could not be entered.
    pub fn stop(mut self) -> Result<Vec<Answered>> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the load was stopped before")?;
        thread.join().map_err(|_| anyhow!("the load panicked"))?
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The thread has reported its panic on standard error.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Sends requests as long as `goes_on` returns true for the moment at which the next one is due.
fn requests(
    address: SocketAddr,
    per_second: f64,
    began: Instant,
    goes_on: impl Fn(Duration) -> bool,
) -> Result<Vec<Answered>> {
    let mut random = SmallRng::seed_from_u64(7);
    let (mut due, mut requests) = (Duration::ZERO, Vec::new());
    loop {
        // Exponential pauses: requests are independent of one another.
        due += Duration::from_secs_f64(-(1.0 - random.random::<f64>()).ln() / per_second);
        if !goes_on(due) {
            break;
        }
        sleep((began + due).saturating_duration_since(Instant::now()));
        requests.push(spawn(move || {
            let by = request(address).ok();
            Answered { due, took: (began + due).elapsed(), by }
        }));
    }
    requests.into_iter().map(|thread| thread.join().ok().context("a request")).collect()
}

fn request(address: SocketAddr) -> Result<u8> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    // A number, or a backend's name that ends in a number.
    let body = answer.trim_end().rsplit(['\n', '-']).next().context("a body")?;
    Ok(body.parse()?)
}

/// A percentile of the answer times, over the requests that were due from this moment on.
#[must_use]
pub fn percentile(answered: &[Answered], percent: f64, from: Duration) -> Duration {
    let late = answered.iter().filter(|answered| answered.due >= from);
    let mut took: Vec<_> = late.map(|answered| answered.took).collect();
    took.sort_unstable();
    let last = took.len().saturating_sub(1);
    let index = (took.len() as f64 * percent / 100.0).ceil() as usize;
    took.get(index.saturating_sub(1).min(last)).copied().unwrap_or_default()
}
