//! Serves connections: one accept loop for all listeners, and the choice of the connection that gives way when there are too many.
//!
//! A server has room for a number of connections. When all are taken, one more is accepted and one is closed: of a client that has
//! sent nothing, has been idle for the longest, or does not read its answer ([`visit`]). A request under way is never cut off for
//! others. [`http`] serves HTTP this way, the metric agent its own protocol.

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

/// Pause after a failed accept: there may be no free file descriptor.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the server checks whether a connection can give way, after all were busy.
const LOOK: Duration = Duration::from_millis(100);
/// How long requests under way may take once the server stops.
const GRACE: Duration = Duration::from_secs(1);

/// A listener that accepts connections.
pub trait Listener: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection, and its client's address where clients have one.
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

/// Serves connections until `shutdown`; then those under way get [`GRACE`] to end. At most `most` are served at a time. `name` is
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
            () = tokio::time::sleep(LOOK), if is_full => {}
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
    // Dropping the set ends those that take longer.
    let _cut_off = tokio::time::timeout(GRACE, ended).await;
}

#[cfg(test)]
mod tests;
