//! Honest TCP clients: long-lived connections whose bytes are echoed and checked, and new connections at a steady rate.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv6Addr, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{Node, listen::Threads};

/// Bytes that are sent and echoed in one piece.
const PIECE: usize = 64;
/// Time limit for a piece.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time limit for a new connection, including retransmitted SYNs.
const OPENING: Duration = Duration::from_secs(4);
/// Number of threads that open connections: a waiting one must not delay the others.
const OPENERS: u32 = 24;

/// A server that sends back what it receives, until this value is dropped.
#[derive(Debug)]
pub struct EchoServer {
    _threads: Threads,
}

impl EchoServer {
    /// Starts a server on a node, on this port of all addresses.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(node: &Node, port: u16) -> Result<Self> {
        let mut threads = Threads::default();
        threads.serve(node, (Ipv6Addr::UNSPECIFIED, port), |mut stream| {
            let mut piece = [0; 4096];
            while let read @ 1.. = stream.read(&mut piece)? {
                stream.write_all(&piece[..read])?;
            }
            Ok(())
        })?;
        Ok(Self { _threads: threads })
    }
}

/// Long-lived connections, each with a trickle of bytes that are echoed and checked.
#[derive(Debug)]
pub struct Established {
    stop: Arc<AtomicBool>,
    pieces: Arc<AtomicU64>,
    client: JoinHandle<Result<Vec<TcpStream>>>,
}

impl Established {
    /// Opens this many connections from a node, and starts the trickle.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn open(node: &Node, to: SocketAddr, number: usize) -> Result<Self> {
        let streams = node.enter(|| {
            (0..number)
                .map(|_| Ok(TcpStream::connect_timeout(&to, PATIENCE)?))
                .collect::<Result<Vec<_>>>()
        })?;
        let (stop, pieces) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let client = {
            let (stop, pieces) = (Arc::clone(&stop), Arc::clone(&pieces));
            std::thread::spawn(move || trickle(streams, &stop, &pieces))
        };
        Ok(Self { stop, pieces, client })
    }

    /// Stops the trickle. Returns the connections, still open, and the number of echoed pieces.
    ///
    /// # Errors
    /// The first connection's error, if there was one.
    pub fn stop(self) -> Result<(Vec<TcpStream>, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        let streams = self.client.join().map_err(|_| anyhow!("the client panicked"))??;
        Ok((streams, self.pieces.load(Ordering::Relaxed)))
    }
}

fn trickle(
    mut streams: Vec<TcpStream>,
    stop: &AtomicBool,
    pieces: &AtomicU64,
) -> Result<Vec<TcpStream>> {
    for stream in &streams {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
    }
    let mut round = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        for (i, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&piece(i as u64, round)).with_context(|| format!("connection {i}"))?;
        }
        for (i, stream) in streams.iter_mut().enumerate() {
            let mut got = [0; PIECE];
            stream.read_exact(&mut got).with_context(|| format!("connection {i}"))?;
            ensure!(got == piece(i as u64, round), "connection {i}: another echo");
            pieces.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(streams)
}

/// Bytes that identify connection and round.
fn piece(connection: u64, round: u64) -> [u8; PIECE] {
    let mut piece = [0; PIECE];
    for (i, word) in (0..).zip(piece.chunks_exact_mut(8)) {
        let value = (connection << 40 ^ round << 8 ^ i).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        word.copy_from_slice(&value.to_le_bytes());
    }
    piece
}

/// New connections at a steady rate, each used once.
#[derive(Debug)]
pub struct Honest {
    stop: Arc<AtomicBool>,
    succeeded: Arc<AtomicU32>,
    failed: Arc<AtomicU32>,
    openers: Vec<JoinHandle<Result<()>>>,
}

impl Honest {
    /// Starts to open this many connections per second from a node.
    #[must_use]
    pub fn start(node: &Node, to: SocketAddr, rate: u32) -> Self {
        let (stop, next) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let (succeeded, failed) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
        let start = Instant::now();
        let open = |_| {
            let (node, stop, next) = (node.clone(), Arc::clone(&stop), Arc::clone(&next));
            let (succeeded, failed) = (Arc::clone(&succeeded), Arc::clone(&failed));
            std::thread::spawn(move || {
                node.enter(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let due = start + Duration::from_secs(1) * number / rate;
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                        let outcome = if once(to).is_ok() { &succeeded } else { &failed };
                        outcome.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
        };
        let openers = (0..OPENERS).map(open).collect();
        Self { stop, succeeded, failed, openers }
    }

    /// Stops, and returns how many connections succeeded and how many failed.
    ///
    /// # Errors
    /// When the client could not run at all.
    pub fn stop(self) -> Result<(u32, u32)> {
        self.stop.store(true, Ordering::Relaxed);
        for opener in self.openers {
            opener.join().map_err(|_| anyhow!("an opener panicked"))??;
        }
        Ok((self.succeeded.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed)))
    }
}

fn once(to: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, OPENING)?;
    stream.set_read_timeout(Some(OPENING))?;
    let (sent, mut got) = (piece(7, 7), [0; PIECE]);
    stream.write_all(&sent)?;
    stream.read_exact(&mut got)?;
    ensure!(got == sent, "another echo");
    Ok(())
}
