//! A server's connections, and the choice of which one to close for another.

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

/// A client that is silent for this long is closed first; one that does not read for this long can be closed.
const STALLED_AFTER: Duration = Duration::from_secs(1);
/// A client that was idle for less is kept: its request may be on its way.
const GRACE: Duration = Duration::from_millis(200);
/// A client with more than this fraction of all connections has no such grace period: it would block others.
const CROWD: usize = 4;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has not sent a request yet.
    Silent,
    /// The next request, or the rest of one, is awaited.
    Waiting,
    /// Its request is in progress.
    Working,
}

#[derive(Debug)]
struct Doing {
    phase: Phase,
    /// Since when; while an answer is read, the last time something of it was read.
    since: Instant,
    /// Since when the client has not read its answer.
    stalled: Option<Instant>,
}

/// A connection, as its server sees it.
#[derive(Debug)]
pub struct Visit {
    peer: Option<IpAddr>,
    doing: Mutex<Doing>,
    end: CancellationToken,
}

impl Visit {
    fn new(peer: Option<IpAddr>) -> Self {
        let doing = Doing { phase: Phase::Silent, since: Instant::now(), stalled: None };
        Self { peer, doing: Mutex::new(doing), end: CancellationToken::new() }
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        let mut doing = self.doing();
        (doing.phase, doing.since) = (phase, Instant::now());
    }

    /// Marks that the next request, or the rest of one, is awaited.
    pub(crate) fn wait(&self) {
        self.enter(Phase::Waiting);
    }

    /// Marks that a request is in progress; it is not closed for others.
    pub(crate) fn work(&self) {
        self.enter(Phase::Working);
    }

    /// Records that a part of an answer was accepted, or that none could be.
    fn note_write(&self, is_taken: bool) {
        let mut doing = self.doing();
        let now = Instant::now();
        if is_taken {
            (doing.since, doing.stalled) = (now, None);
        } else {
            doing.stalled.get_or_insert(now);
        }
    }

    /// Whether it has sent a request.
    pub(crate) fn has_spoken(&self) -> bool {
        self.doing().phase != Phase::Silent
    }

    /// Waits until this connection must be closed: another needs its place, or it was silent for too long.
    pub(crate) async fn must_end(&self, silent: Duration) {
        tokio::select! {
            () = self.end.cancelled() => {}
            () = async {
                tokio::time::sleep(silent).await;
                if self.has_spoken() {
                    std::future::pending::<()>().await;
                }
            } => {}
        }
    }

    /// Its rank among those that can be closed, lowest first; `None`: it cannot be closed.
    fn rank(&self, now: Instant, is_crowd: bool) -> Option<(u8, Instant)> {
        let doing = self.doing();
        let idle = now.saturating_duration_since(doing.since);
        let is_stalled = |since: &Instant| now.saturating_duration_since(*since) >= STALLED_AFTER;
        match doing.phase {
            Phase::Silent if idle >= STALLED_AFTER => Some((0, doing.since)),
            Phase::Silent | Phase::Waiting if is_crowd || idle >= GRACE => Some((1, doing.since)),
            Phase::Silent | Phase::Waiting => None,
            Phase::Working => doing.stalled.filter(is_stalled).map(|since| (2, since)),
        }
    }
}

/// All connections of a server. Ended ones remove themselves.
#[derive(Debug, Default)]
pub(super) struct Visits(Mutex<Vec<Weak<Visit>>>);

impl Visits {
    fn present(&self) -> Vec<Arc<Visit>> {
        let mut visits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        visits.retain(|visit| visit.strong_count() > 0);
        let present = visits.iter().filter_map(Weak::upgrade);
        present.filter(|visit| !visit.end.is_cancelled()).collect()
    }

    /// Number of connections, without those that are being closed.
    pub(super) fn count(&self) -> usize {
        self.present().len()
    }

    /// Adds one.
    pub(super) fn enter(&self, peer: Option<IpAddr>) -> Arc<Visit> {
        let visit = Arc::new(Visit::new(peer));
        let mut visits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        visits.push(Arc::downgrade(&visit));
        visit
    }

    /// Whether one of them can be closed.
    pub(super) fn can_give_way(&self) -> bool {
        self.first_to_go().is_some()
    }

    /// Closes one of them.
    pub(super) fn give_way(&self) {
        if let Some(visit) = self.first_to_go() {
            visit.end.cancel();
        }
    }

    /// The connection to close. Among equals, it belongs to the client with the most connections, so that no client
    /// loses its only one to another's many.
    fn first_to_go(&self) -> Option<Arc<Visit>> {
        let present = self.present();
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for peer in present.iter().filter_map(|visit| visit.peer) {
            *counts.entry(peer).or_default() += 1;
        }
        let count = |visit: &Visit| visit.peer.and_then(|peer| counts.get(&peer)).copied();
        let (now, crowd) = (Instant::now(), (present.len() / CROWD).max(1));
        let ranked = present.iter().filter_map(|visit| {
            let of_peer = count(visit).unwrap_or_default();
            let (class, since) = visit.rank(now, of_peer > crowd)?;
            Some(((class, Reverse(of_peer), since), visit))
        });
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, visit)| Arc::clone(visit))
    }
}

/// A stream that records whether the client accepts what is sent.
#[derive(Debug)]
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) visit: Arc<Visit>,
}

mod watched {
    use std::{
        io,
        pin::Pin,
        task::{Context, Poll},
    };

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::Watched;

    impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_read(context, buffer)
        }
    }

    impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let written = Pin::new(&mut self.stream).poll_write(context, bytes);
            self.visit.note_write(written.is_ready());
            written
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
            self.visit.note_write(written.is_ready());
            written
        }

        fn is_write_vectored(&self) -> bool {
            self.stream.is_write_vectored()
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(context)
        }

        fn poll_shutdown(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(context)
        }
    }
}
