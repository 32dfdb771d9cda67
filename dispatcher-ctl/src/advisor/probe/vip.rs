//! Sockets of probes of a VIP: they go to one backend, and where it does not answer there, it is asked by its own address.

use std::{future::Future, io, net::SocketAddr, pin::pin, time::Duration};

use socket2::{Protocol, Type};
use tokio::{
    net::{TcpSocket, TcpStream, UdpSocket},
    time::{sleep, timeout},
};

use super::reason;
use crate::prober::{Through, was_forwarded};

/// How long a backend's own address is tried, after an answer from the VIP that was none.
const ASKED: Duration = Duration::from_millis(250);

/// A connection to the VIP.
///
/// # Errors
/// It was refused, or is not to be had within `patience`; and whether the backend answers by its own address.
pub(super) async fn tcp(
    through: &Through,
    vip: SocketAddr,
    patience: Duration,
) -> Result<TcpStream, String> {
    // Asked before patience ends, so that the answer is there by then.
    let mut asked = pin!(async {
        sleep(patience.mul_f64(0.75)).await;
        TcpStream::connect(through.own).await.is_ok()
    });
    let (mut connected, mut over) = (pin!(connect(through, vip)), pin!(sleep(patience)));
    let mut answers = None;
    let result = loop {
        tokio::select! {
            result = &mut connected => break Some(result),
            answer = &mut asked, if answers.is_none() => answers = Some(answer),
            () = &mut over => break None,
        }
    };
    let said = match result {
        Some(Ok(stream)) => return Ok(stream),
        Some(Err(Failure::Forwarded)) => return Err(forwarded(vip, through.own)),
        Some(Err(Failure::Refused(error))) => {
            let now = async { TcpStream::connect(through.own).await.is_ok() };
            answers = timeout(ASKED.min(patience), now).await.ok();
            format!("{vip}: {}", reason(&error))
        }
        None => format!("{vip}: no connection within {patience:?}"),
    };
    Err(if answers == Some(true) { suspect(&said, through.own) } else { said })
}

/// Adds to what is wrong with a VIP that the backend answers by its own address, if it does. An echo has no port: 0.
pub(super) async fn doubt(
    own: SocketAddr,
    said: String,
    asked: impl Future<Output = bool>,
) -> String {
    match timeout(ASKED, asked).await {
        Ok(true) => suspect(&said, own),
        Ok(false) | Err(_) => said,
    }
}

fn suspect(said: &str, own: SocketAddr) -> String {
    let own = if own.port() == 0 { own.ip().to_string() } else { own.to_string() };
    format!("{said}, though {own} answers: is the VIP on its loopback?")
}

/// Why there is no connection.
enum Failure {
    /// The backend sent the packets on.
    Forwarded,
    /// Whatever else was said.
    Refused(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Refused(error)
    }
}

fn forwarded(vip: SocketAddr, own: SocketAddr) -> String {
    let own = own.ip();
    format!(
        "{vip}: no connection: {own} forwards packets for the VIP instead of answering: is the VIP on its loopback?"
    )
}

async fn connect(through: &Through, vip: SocketAddr) -> Result<TcpStream, Failure> {
    let (socket, _) = through.socket(vip.ip(), Type::STREAM, Protocol::TCP).await?;
    // What was reported of it can be read only while it is open.
    let kept = socket.try_clone()?;
    let connected = TcpSocket::from_std_stream(socket.into()).connect(vip).await;
    connected.map_err(|error| {
        if was_forwarded(&kept) { Failure::Forwarded } else { Failure::Refused(error) }
    })
}

/// A UDP socket that sends to the VIP, and hears of nobody else.
///
/// # Errors
/// As the kernel.
pub(super) async fn udp(through: &Through, vip: SocketAddr) -> io::Result<UdpSocket> {
    let (socket, _) = through.socket(vip.ip(), Type::DGRAM, Protocol::UDP).await?;
    socket.connect(&vip.into())?;
    UdpSocket::from_std(socket.into())
}
