//! Web servers with a queue: under load, requests wait for a worker.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{JoinHandle, sleep, spawn},
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::Lab;

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
        let addresses: Vec<_> = addresses.iter().map(|ip| SocketAddr::new(*ip, 80)).collect();
        self.serve_queueing_on(number, &addresses, workers, time)
    }

    /// As [`Lab::serve_queueing`], on these addresses and ports.
    ///
    /// # Errors
    /// When a socket cannot be had.
    pub fn serve_queueing_on(
        &self,
        number: usize,
        addresses: &[SocketAddr],
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
