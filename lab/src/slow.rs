//! A transfer that lasts as long as a test needs: the client reads slowly until [`SlowDownload::finish`].

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::Node;

/// Bytes read between two pauses; some megabytes per second.
const PIECE: usize = 32 * 1024;
const PAUSE: Duration = Duration::from_millis(10);
/// Time limit without any byte while it reads fast.
const STALLED: Duration = Duration::from_secs(60);

/// A transfer in progress.
#[derive(Debug)]
pub struct SlowDownload {
    server: String,
    hurry: Arc<AtomicBool>,
    received: Arc<AtomicUsize>,
    reader: JoinHandle<Result<Vec<u8>>>,
}

impl Node {
    /// Starts to download `path` from port 80 of an address, and returns when the head of the answer has arrived.
    ///
    /// # Errors
    /// When there is no good answer within 5 s.
    pub fn slow_download(&self, address: IpAddr, path: &str) -> Result<SlowDownload> {
        let stream = self.enter(|| {
            TcpStream::connect_timeout(&(address, 80).into(), Duration::from_secs(5))
                .with_context(|| format!("connect to {address}"))
        })?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(&stream, "GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")?;
        let mut answer = BufReader::new(stream);
        let (mut line, mut head) = (String::new(), Vec::new());
        while answer.read_line(&mut line)? > 2 {
            head.push(std::mem::take(&mut line));
        }
        ensure!(head.first().is_some_and(|l| l.contains(" 200 ")), "answer: {head:?}");
        let server = head.iter().find_map(|line| line.strip_prefix("X-Backend: "));
        let server = server.context("no X-Backend in the answer")?.trim().to_owned();
        let (hurry, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let reader = {
            let (hurry, received) = (Arc::clone(&hurry), Arc::clone(&received));
            std::thread::spawn(move || read(&mut answer, &hurry, &received))
        };
        Ok(SlowDownload { server, hurry, received, reader })
    }
}

fn read(
    answer: &mut BufReader<TcpStream>,
    hurry: &AtomicBool,
    received: &AtomicUsize,
) -> Result<Vec<u8>> {
    answer.get_ref().set_read_timeout(Some(STALLED))?;
    let (mut all, mut piece) = (Vec::new(), vec![0; PIECE]);
    loop {
        let length = answer.read(&mut piece).context("read")?;
        if length == 0 {
            return Ok(all);
        }
        all.extend_from_slice(&piece[..length]);
        received.store(all.len(), Ordering::Relaxed);
        if !hurry.load(Ordering::Relaxed) {
            std::thread::sleep(PAUSE);
        }
    }
}

impl SlowDownload {
    /// The server's name.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Bytes of the body so far.
    #[must_use]
    pub fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }

    /// Reads the rest at full speed and returns the body.
    ///
    /// # Errors
    /// When the transfer had ended before (then it proves nothing), or breaks off.
    pub fn finish(self) -> Result<Vec<u8>> {
        ensure!(!self.reader.is_finished(), "the transfer was over before its end was awaited");
        self.hurry.store(true, Ordering::Relaxed);
        self.reader.join().map_err(|_| anyhow!("the reader panicked"))?
    }
}
