//! TCP servers that answer a request with as many bytes as it asks for, after the wait that it asks for.
//!
//! A request consists of two big-endian words: bytes of the answer (at least 1), and milliseconds until the answer. Every byte
//! of the answer is the server's number.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::{Lab, Node, listen::Threads};

/// Servers on threads of this process; they end when this value is dropped.
#[derive(Debug)]
pub struct Paced {
    _threads: Threads,
}

impl Lab {
    /// Starts a server on every backend, numbered from 1, for every given address (a VIP) and port. `slower` lists
    /// milliseconds by backend that are added to each wait; backends not in it add nothing.
    ///
    /// # Errors
    /// When a socket cannot be opened.
    pub fn serve_paced(&self, addresses: &[SocketAddr], slower: &[u64]) -> Result<Paced> {
        let mut threads = Threads::default();
        for (number, backend) in (1..).zip(&self.backends) {
            let slower = slower.get(usize::from(number) - 1).copied().unwrap_or_default();
            let slower = Duration::from_millis(slower);
            for address in addresses {
                threads.serve(backend, address, move |stream| answer(&stream, number, slower))?;
            }
        }
        Ok(Paced { _threads: threads })
    }
}

fn answer(mut stream: &TcpStream, number: u8, slower: Duration) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let mut request = [0; 8];
        stream.read_exact(&mut request)?;
        let [a, b, c, d, e, f, g, h] = request;
        let (bytes, wait) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        sleep(Duration::from_millis(wait.into()) + slower);
        stream.write_all(&vec![number; bytes as usize])?;
    }
}

impl Node {
    /// Connects to such a server.
    ///
    /// # Errors
    /// When there is no connection within 5 s.
    pub fn connect_paced(&self, address: IpAddr) -> Result<TcpStream> {
        let stream = self.enter(|| {
            TcpStream::connect_timeout(&(address, 80).into(), Duration::from_secs(5))
                .with_context(|| format!("connect to {address}"))
        })?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Asks for this many bytes after a wait, and returns the number of the server that sent them.
///
/// # Errors
/// When the bytes do not arrive, or come from two servers.
pub fn ask_paced(mut stream: &TcpStream, bytes: u32, wait: Duration) -> Result<u8> {
    let [a, b, c, d] = bytes.to_be_bytes();
    let [e, f, g, h] = u32::try_from(wait.as_millis())?.to_be_bytes();
    stream.write_all(&[a, b, c, d, e, f, g, h])?;
    let mut answer = vec![0; bytes as usize];
    stream.read_exact(&mut answer).context("read")?;
    let first = *answer.first().context("an answer of no bytes")?;
    ensure!(answer.iter().all(|byte| *byte == first), "an answer of two servers");
    Ok(first)
}
