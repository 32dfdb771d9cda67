//! Servers on threads of this process: one accept loop, and a closure that handles the connections.

use std::{
    io::ErrorKind,
    net::{TcpListener, TcpStream, ToSocketAddrs},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep, spawn},
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::Node;

/// Threads of servers; dropping this value stops them and waits for their end.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Adds a thread; its work must end when the flag is set.
    pub(crate) fn spawn(&mut self, work: impl FnOnce(&AtomicBool) + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(spawn(move || work(&stop)));
    }

    /// Listens on a node's address, and passes on the connections one after the other.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub(crate) fn listen(
        &mut self,
        node: &Node,
        address: impl ToSocketAddrs + Send,
        mut take: impl FnMut(TcpStream) + Send + 'static,
    ) -> Result<()> {
        let listener = node.enter(|| TcpListener::bind(address).context("bind"))?;
        listener.set_nonblocking(true)?;
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::MAXCONN)?;
        self.spawn(move |stop| {
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => take(stream),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        sleep(Duration::from_millis(1));
                    }
                    Err(_) => return,
                }
            }
        });
        Ok(())
    }

    /// Listens on a node's address, and serves each connection on its own thread, which ends when the client goes.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub(crate) fn serve(
        &mut self,
        node: &Node,
        address: impl ToSocketAddrs + Send,
        serve: impl Fn(TcpStream) -> std::io::Result<()> + Clone + Send + 'static,
    ) -> Result<()> {
        self.listen(node, address, move |stream| {
            let serve = serve.clone();
            drop(spawn(move || serve(stream)));
        })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // The thread has reported its panic on standard error.
            let _ = thread.join();
        }
    }
}
