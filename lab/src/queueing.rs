//! Web servers with a queue: under load, requests wait for a worker.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{Lab, listen::Threads};

/// A server whose workers take requests in turn; each request takes a set time.
#[derive(Debug)]
pub struct Queueing {
    /// Microseconds that a request takes.
    time: Arc<AtomicU64>,
    _threads: Threads,
}

impl Lab {
    /// Starts such a server on a backend, on port 80 of these addresses (VIPs). It answers with the backend's number, counted
    /// from 1.
    ///
    /// # Errors
    /// When a socket cannot be opened.
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
    /// When a socket cannot be opened.
    pub fn serve_queueing_on(
        &self,
        number: usize,
        addresses: &[SocketAddr],
        workers: usize,
        time: Duration,
    ) -> Result<Queueing> {
        let backend = self.backends.get(number - 1).context("no such backend")?;
        let time = Arc::new(AtomicU64::new(time.as_micros() as u64));
        let (requests, queue) = mpsc::channel::<TcpStream>();
        let (mut threads, queue) = (Threads::default(), Arc::new(Mutex::new(queue)));
        for _ in 0..workers {
            let (queue, time) = (Arc::clone(&queue), Arc::clone(&time));
            threads.spawn(move |_| {
                // When the listeners end, the queue ends, too.
                let next = || queue.lock().ok()?.recv().ok();
                while let Some(stream) = next() {
                    let time = Duration::from_micros(time.load(Ordering::Relaxed));
                    // When a client goes, its request ends.
                    let _ = answer(&stream, number, time);
                }
            });
        }
        for address in addresses {
            let requests = requests.clone();
            threads.listen(backend, address, move |stream| drop(requests.send(stream)))?;
        }
        Ok(Queueing { time, _threads: threads })
    }
}

impl Queueing {
    /// Sets the time of each request from now on.
    pub fn takes(&self, time: Duration) {
        self.time.store(time.as_micros() as u64, Ordering::Relaxed);
    }
}

fn answer(mut stream: &TcpStream, number: usize, time: Duration) -> std::io::Result<()> {
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
