//! HTTP over any listener.

use std::{sync::Arc, time::Duration};

use axum::Router;
use http_body_util::BodyExt as _;
use hyper::{Request, body::Incoming, server::conn::http1, service::Service as _};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio_util::sync::CancellationToken;

use super::{Listener, Visit, visit::Watched};

/// Limits for clients of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// From connecting to the end of the first request's headers.
    pub silent: Duration,
    /// From the last answer to the end of the next request's headers: also how long a connection may be idle.
    pub head: Duration,
    /// From connecting to the end of the only request; `None` allows any number of requests per connection.
    pub only: Option<Duration>,
}

/// Serves until `shutdown`. `name` is the listener's name in the log.
pub async fn serve(
    name: &'static str,
    listener: impl Listener,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let service = TowerToHyperService::new(router);
    let stop = shutdown.clone();
    super::serve(name, listener, limits.connections, &shutdown, move |stream, visit| {
        let io = TokioIo::new(Watched { stream, visit: Arc::clone(&visit) });
        let served = served(name, io, Arc::clone(&visit), service.clone(), limits, stop.clone());
        async move {
            tokio::select! {
                () = served => {}
                () = visit.must_end(limits.silent) => {}
            }
        }
    })
    .await;
}

/// Serves one connection until the client ends it, is too slow, or the server stops.
async fn served(
    name: &'static str,
    io: impl hyper::rt::Read + hyper::rt::Write + Unpin,
    visit: Arc<Visit>,
    service: TowerToHyperService<Router>,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let answer = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let work = Work::new(&visit);
        request.extensions_mut().insert(Arc::clone(&visit));
        let answer = service.call(request);
        async move {
            let answer = answer.await?;
            // The request is in progress until its whole answer is sent.
            Ok::<_, std::convert::Infallible>(answer.map(|body| {
                body.map_frame(move |frame| {
                    let _under_way = &work;
                    frame
                })
            }))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .keep_alive(limits.only.is_none())
        .serve_connection(io, answer);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = tokio::time::sleep(limits.only.unwrap_or_default()), if limits.only.is_some() => {
            return tracing::debug!("{name}: not done within {:?}", limits.only);
        }
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("{name}: {error}");
    }
}

/// A request in progress.
struct Work(Arc<Visit>);

impl Work {
    fn new(visit: &Arc<Visit>) -> Self {
        visit.work();
        Self(Arc::clone(visit))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.wait();
    }
}
