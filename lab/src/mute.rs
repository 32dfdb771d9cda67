//! A server that takes connections and datagrams, and never says anything.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep},
    time::Duration,
};

use anyhow::Result;

use super::Node;

/// It listens until this value goes.
#[derive(Debug)]
pub struct Mute {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _datagrams: UdpSocket,
}

impl Node {
    /// Starts one on a port, TCP and UDP.
    ///
    /// # Errors
    /// When a socket cannot be had.
    pub fn serve_mute(&self, port: u16) -> Result<Mute> {
        let any = (Ipv4Addr::UNSPECIFIED, port);
        let (listener, datagrams) =
            self.enter(|| Ok((TcpListener::bind(any)?, UdpSocket::bind(any)?)))?;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || take(&listener, &stopped));
        Ok(Mute { stop, thread: Some(thread), _datagrams: datagrams })
    }
}

fn take(listener: &TcpListener, stop: &AtomicBool) {
    let mut taken = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => taken.push(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(Duration::from_millis(20)),
            Err(_) => return,
        }
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic there was said on standard error.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
