//! Sends a request over datagrams, of which any may be lost, and waits for an answer.

use std::{future::pending, time::Duration};

use tokio::{net::UdpSocket, time::interval};

use super::Fault;
use crate::standstill::within;

/// How often a request is sent, spread evenly over the time limit: a single lost datagram does not mean that the server
/// is down.
const ATTEMPTS: u32 = 3;
/// Bytes of an answer that are read.
const LONGEST: usize = 4096;

/// Asks until an answer is accepted or refused; `understand` returns `None` for an answer to something else.
///
/// # Errors
/// The answer is wrong, nobody listens (port unreachable), or nobody answers within `patience`.
pub(super) async fn ask(
    socket: &UdpSocket,
    question: &[u8],
    patience: Duration,
    understand: impl Fn(&[u8]) -> Option<Result<(), String>>,
) -> Result<(), Fault> {
    let mut buffer = [0; LONGEST];
    let answered = async {
        loop {
            let length = socket.recv(&mut buffer).await.map_err(|error| Fault::of(&error))?;
            if let Some(result) = understand(buffer.get(..length).unwrap_or_default()) {
                return result.map_err(Fault::Backend);
            }
        }
    };
    let asked = async {
        let mut next = interval(patience / ATTEMPTS);
        for _ in 0..ATTEMPTS {
            next.tick().await;
            // An error of sending is caused by an earlier sending. Whichever sees it first, sending or receiving, ends
            // the probe.
            socket.send(question).await.map_err(|error| Fault::of(&error))?;
        }
        pending().await
    };
    let both = async {
        tokio::select! {
            result = answered => result,
            result = asked => result,
        }
    };
    match within(patience, both).await {
        Ok(result) => result,
        Err(_) => Err(Fault::Backend(format!("no answer within {patience:?}"))),
    }
}
