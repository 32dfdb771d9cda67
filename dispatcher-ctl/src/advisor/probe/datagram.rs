//! How is a question asked over datagrams, of which any may be lost?

use std::{future::pending, time::Duration};

use tokio::{net::UdpSocket, time::interval};

use super::Fault;
use crate::standstill::within;

/// How often a question is sent while nobody answers, spread evenly over the time there is: one lost datagram is no sign of
/// a server that is down.
const SENDINGS: u32 = 3;
/// Bytes of an answer that are looked at.
const LONGEST: usize = 4096;

/// Asks until an answer is understood or refused; `understand` yields none for what answers something else.
///
/// # Errors
/// What was wrong with the answer; nobody is there (port unreachable), or nobody answers within `patience`.
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
        let mut next = interval(patience / SENDINGS);
        for _ in 0..SENDINGS {
            next.tick().await;
            // What the sending meets with is an earlier sending's: it is told by the receiving, too, unless it ends here.
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
