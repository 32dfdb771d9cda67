//! Who is answered, and with what: the last measurement, to whoever knows the key.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use super::{AgentConfig, Key, Report, metrics::Meter, protocol};

/// Connections at once; more wait.
const CONNECTIONS: usize = 64;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Measures and answers until it is dropped; `ready` is called when it answers.
///
/// # Errors
/// The key cannot be read, or the address not be listened on.
pub async fn serve(config: AgentConfig, ready: impl FnOnce()) -> Result<(), String> {
    crate::standstill::watch();
    let key = Key::read(&config.key_file)?;
    let listen = config.listen;
    let listener = TcpListener::bind(listen);
    let listener = listener.await.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let mut meter = Meter::new(config.metrics, config.interval);
    // Nothing is told before it was measured.
    sleep(config.interval).await;
    let (reports, report) = watch::channel(meter.measure().await);
    ready();
    let measure = async {
        loop {
            sleep(config.interval).await;
            let report = meter.measure().await;
            reports.send_if_modified(|before| {
                tell(before, &report);
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

/// Logs what a person may want to mend.
fn tell(before: &Report, now: &Report) {
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
    let turns = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("cannot accept: {error}");
                // It may be that there are no more files, which passes.
                sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let (key, report) = (key.clone(), report.borrow().clone());
        tokio::spawn(async move {
            let _turn = turn;
            answer(stream, &key, &report).await;
        });
    }
}

async fn answer(stream: TcpStream, key: &Key, report: &Report) {
    let peer = stream.peer_addr().map_or("?".to_owned(), |peer| peer.to_string());
    match timeout(PATIENCE, protocol::answer(stream, key, report)).await {
        Ok(Ok(())) => tracing::debug!("{peer}: told {report:?}"),
        Ok(Err(what)) => tracing::warn!("{peer}: {what}"),
        Err(_) => tracing::debug!("{peer}: says nothing for {PATIENCE:?}"),
    }
}
