//! Web servers with a queue, and clients that do not wait for one another: what a weight is worth shows in how long requests
//! take, from the moment they were due.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use super::{Lab, Node};

/// A server: so many workers take requests in turn, and each takes its time.
#[derive(Debug)]
pub struct Queueing {
    /// Microseconds that a request takes.
    time: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Lab {
    /// Starts such a server on port 80 of these addresses (VIPs), on a backend, whose number from 1 is what it answers.
    ///
    /// # Errors
    /// When a socket cannot be had.
    pub fn serve_queueing(
        &self,
        number: usize,
        addresses: &[IpAddr],
        workers: usize,
        time: Duration,
    ) -> Result<Queueing> {
        let backend = self.backends.get(number - 1).context("no such backend")?;
        let mut server =
            Queueing { time: Arc::default(), stop: Arc::default(), threads: Vec::new() };
        server.takes(time);
        let (requests, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        for address in addresses {
            let address = SocketAddr::new(*address, 80);
            let listener = backend.enter(|| TcpListener::bind(address).context("bind"))?;
            listener.set_nonblocking(true)?;
            let (requests, stop) = (requests.clone(), Arc::clone(&server.stop));
            server.threads.push(spawn(move || accept(&listener, &requests, &stop)));
        }
        for _ in 0..workers {
            let (queue, time) = (Arc::clone(&queue), Arc::clone(&server.time));
            server.threads.push(spawn(move || {
                // A client that goes ends its request.
                while let Ok(stream) =
                    { queue.lock().map(|queue| queue.recv()) }.unwrap_or(Err(mpsc::RecvError))
                {
                    let _ = answer(
                        &stream,
                        number,
                        Duration::from_micros(time.load(Ordering::Relaxed)),
                    );
                }
            }));
        }
        Ok(server)
    }
}

impl Queueing {
    /// From now on a request takes so long.
    pub fn takes(&self, time: Duration) {
        self.time.store(time.as_micros() as u64, Ordering::Relaxed);
    }
}

impl Drop for Queueing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, requests: &mpsc::Sender<TcpStream>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => drop(requests.send(stream)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(Duration::from_millis(1)),
            Err(_) => return,
        }
    }
}

fn answer(mut stream: &TcpStream, number: usize, time: Duration) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = Vec::new();
    let mut piece = [0; 512];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            length => request.extend_from_slice(&piece[..length]),
        }
    }
    sleep(time);
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{number}\n");
    stream.write_all(answer.as_bytes())
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// When it was due, from the beginning.
    pub due: Duration,
    /// How long it took from then on.
    pub took: Duration,
    /// Number of the server that answered; none: nobody did within 10 s.
    pub by: Option<u8>,
}

impl Node {
    /// Makes requests to port 80 of an address at random moments, on average so many a second, each on a connection of its own,
    /// whether those before were answered or not.
    ///
    /// # Errors
    /// When the client cannot be entered.
    pub fn open_loop(
        &self,
        address: IpAddr,
        per_second: f64,
        lasting: Duration,
    ) -> Result<Vec<Answered>> {
        self.enter(|| {
            let mut random = SmallRng::seed_from_u64(7);
            let (began, mut due) = (Instant::now(), Duration::ZERO);
            let mut requests = Vec::new();
            loop {
                // Exponential pauses: requests know nothing of one another.
                due += Duration::from_secs_f64(-(1.0 - random.random::<f64>()).ln() / per_second);
                if due >= lasting {
                    break;
                }
                sleep((began + due).saturating_duration_since(Instant::now()));
                requests.push(spawn(move || {
                    let by = request(address).ok();
                    Answered { due, took: (began + due).elapsed(), by }
                }));
            }
            let ended = requests.into_iter().map(|thread| thread.join().ok().context("a request"));
            ended.collect()
        })
    }
}

fn request(address: IpAddr) -> Result<u8> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&(address, 80).into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    // A number, or a backend's name that ends in one.
    let body = answer.trim_end().rsplit(['\n', '-']).next().context("a body")?;
    Ok(body.parse()?)
}

/// How long the slowest of so many percent took at most, of those that were due in this part of the time.
#[must_use]
pub fn percentile(answered: &[Answered], percent: f64, from: Duration) -> Duration {
    let late = answered.iter().filter(|answered| answered.due >= from);
    let mut took: Vec<_> = late.map(|answered| answered.took).collect();
    took.sort_unstable();
    let last = took.len().saturating_sub(1);
    let index = (took.len() as f64 * percent / 100.0).ceil() as usize;
    took.get(index.saturating_sub(1).min(last)).copied().unwrap_or_default()
}
