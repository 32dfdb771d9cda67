//! Serves connections: one accept loop for all listeners, with a bound on connections.
//!
//! When all places are taken, one more connection is accepted and another is closed: a silent one, the longest idle
//! one, or one that does not read its answer ([`visit`]). Requests in progress are never closed for others. [`http`]
//! serves HTTP this way, and the metric agent its own protocol.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub mod http;
mod visit;

pub use visit::Visit;
use visit::Visits;

/// Pause after a failed accept, which may be caused by a lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a full server checks whether a connection can be closed.
const RECHECK: Duration = Duration::from_millis(100);
/// Time limit of requests in progress once the server stops.
const GRACE: Duration = Duration::from_secs(1);

/// Accepts connections.
pub trait Listener: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection, and the client's address if there is one.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Option<IpAddr>)>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Option<IpAddr>)> {
        Self::accept(self).await.map(|(stream, peer)| (stream, Some(peer.ip())))
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Option<IpAddr>)> {
        Self::accept(self).await.map(|(stream, _)| (stream, None))
    }
}

/// Serves at most `most` connections at a time until `shutdown`; then those in progress have a moment to end. `name` is
/// the listener's name in the log.
pub async fn serve<L: Listener, F: Future<Output = ()> + Send + 'static>(
    name: &str,
    listener: L,
    most: usize,
    shutdown: &CancellationToken,
    client: impl Fn(L::Stream, Arc<Visit>) -> F,
) {
    let visits = Visits::default();
    let mut clients = JoinSet::new();
    loop {
        let is_full = visits.count() >= most;
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = clients.join_next(), if !clients.is_empty() => {}
            () = tokio::time::sleep(RECHECK), if is_full => {}
            accepted = listener.accept(), if !is_full || visits.can_give_way() => match accepted {
                Ok((stream, peer)) => {
                    if is_full {
                        visits.give_way();
                    }
                    let visit = visits.enter(peer);
                    clients.spawn(client(stream, visit));
                }
                Err(error) => {
                    tracing::warn!("{name}: cannot accept: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let ended = async { while clients.join_next().await.is_some() {} };
    // Dropping the set closes those that take too long.
    let _cut_off = tokio::time::timeout(GRACE, ended).await;
}

#[cfg(test)]
mod tests;
