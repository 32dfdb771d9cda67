//! The prober's network namespace: a thread that lives in it and opens sockets there for everyone.
//!
//! A socket belongs to the namespace of the thread that opens it, whoever uses it. The namespace has no name: it ends
//! with the thread, the last socket and the last handle, however this process ends.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::mpsc::{Receiver, Sender, channel},
};

use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{runtime::Handle, sync::oneshot};

use crate::network::extack;

/// A request for a socket.
struct Order {
    domain: Domain,
    kind: Type,
    protocol: Protocol,
    answer: oneshot::Sender<io::Result<Socket>>,
}

/// A network namespace, and the thread that opens sockets in it.
#[derive(Debug)]
pub(super) struct Namespace {
    orders: Sender<Order>,
    file: File,
    /// A netlink connection to it.
    pub(super) netlink: rtnetlink::Handle,
}

impl Namespace {
    /// Creates a namespace.
    ///
    /// # Errors
    /// See unshare(2): `EPERM` without CAP_SYS_ADMIN.
    pub(super) async fn make() -> io::Result<Self> {
        let (orders, receiver) = channel();
        let (sender, made) = oneshot::channel();
        let runtime = Handle::current();
        std::thread::Builder::new().name("prober".to_owned()).spawn(move || {
            // If nobody waits any more, there will be no orders, either.
            drop(sender.send(enter(&runtime)));
            make_sockets(&receiver);
        })?;
        let (file, netlink) =
            made.await.map_err(|_| io::Error::other("the prober's thread has ended"))??;
        Ok(Self { orders, file, netlink })
    }

    /// Opens a non-blocking socket in it.
    ///
    /// # Errors
    /// See socket(2).
    pub(super) async fn socket(
        &self,
        domain: Domain,
        kind: Type,
        protocol: Protocol,
    ) -> io::Result<Socket> {
        let (answer, made) = oneshot::channel();
        let ended = || io::Error::other("the prober's thread has ended");
        self.orders.send(Order { domain, kind, protocol, answer }).map_err(|_| ended())?;
        made.await.map_err(|_| ended())?
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Moves this thread into a namespace of its own.
fn enter(runtime: &Handle) -> io::Result<(File, rtnetlink::Handle)> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    let file = File::open("/proc/thread-self/ns/net")?;
    // The socket is opened here and served by the runtime's threads.
    let _entered = runtime.enter();
    Ok((file, extack::connect()?))
}

fn make_sockets(orders: &Receiver<Order>) {
    while let Ok(Order { domain, kind, protocol, answer }) = orders.recv() {
        let made = Socket::new(domain, kind, Some(protocol))
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        // The requester may have stopped waiting.
        drop(answer.send(made));
    }
}
