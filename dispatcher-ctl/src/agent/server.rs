//! Answers peers that know the key with the last measurement.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{AgentConfig, Key, Report, metrics::Meter, protocol};
use crate::serve::{self, Visit};

/// Connections at once. For one more, a silent one is closed.
const CONNECTIONS: usize = 64;
/// Time limit of a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Measures and answers until it is dropped; `ready` is called when it can answer.
///
/// # Errors
/// The key cannot be read, or the address cannot be listened on.
pub async fn serve(config: AgentConfig, ready: impl FnOnce()) -> Result<(), String> {
    crate::standstill::watch();
    let key = Key::read(&config.key_file).await?;
    let listen = config.listen;
    let listener = TcpListener::bind(listen);
    let listener = listener.await.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let mut meter = Meter::new(config.metrics, config.interval);
    // Measure before the first answer.
    sleep(config.interval).await;
    let (reports, report) = watch::channel(meter.measure().await);
    ready();
    let measure = async {
        loop {
            sleep(config.interval).await;
            let report = meter.measure().await;
            reports.send_if_modified(|before| {
                log_change(before, &report);
                *before = report;
                true
            });
        }
    };
    tokio::select! {
        () = measure => Ok(()),
        () = answer_all(listener, key, report) => Ok(()),
    }
}

/// Logs changes that an operator may want to know.
fn log_change(before: &Report, now: &Report) {
    match (before, now) {
        (before, Report::Unknown(why)) if before != now => {
            tracing::warn!("the load is unknown: {why}");
        }
        (before, Report::Down) if before != now => tracing::warn!("a command says that it is down"),
        (Report::Down | Report::Unknown(_), Report::Load(_)) => {
            tracing::info!("the load is known again");
        }
        (Report::Load(_) | Report::Down | Report::Unknown(_), _) => {}
    }
}

async fn answer_all(listener: TcpListener, key: Key, report: watch::Receiver<Report>) {
    let never = CancellationToken::new();
    let client = |stream, visit| {
        let (key, report) = (key.clone(), report.borrow().clone());
        answer(stream, visit, key, report)
    };
    serve::serve("listen", listener, CONNECTIONS, &never, client).await;
}

async fn answer(mut stream: TcpStream, visit: Arc<Visit>, key: Key, report: Report) {
    let peer = stream.peer_addr().map_or("?".to_owned(), |peer| peer.to_string());
    let answered = timeout(PATIENCE, protocol::answer(&mut stream, &key, &report, || visit.wait()));
    tokio::select! {
        answered = answered => match answered {
            Ok(Ok(())) => tracing::debug!("{peer}: answered {report:?}"),
            Ok(Err(what)) => tracing::warn!("{peer}: {what}"),
            Err(_) => tracing::debug!("{peer}: sent nothing for {PATIENCE:?}"),
        },
        () = visit.must_end(PATIENCE) => {
            tracing::debug!("{peer}: closed in favour of another");
            if !visit.has_spoken() {
                // It may be a dispatcher: let it know that nothing is wrong with the machine.
                drop(stream.try_write(&protocol::BUSY));
            }
        }
    }
}
