//! Sockets for probes of a VIP, each through one backend; if the backend does not answer there, its own address is
//! tried.

use std::{future::Future, io, net::SocketAddr, pin::pin, time::Duration};

use socket2::{Protocol, Type};
use tokio::{
    net::{TcpSocket, TcpStream, UdpSocket},
    time::{sleep, timeout},
};

use super::{Fault, diagnosis};
use crate::{
    prober::{Through, was_forwarded},
    standstill::within,
};

/// How long a backend's own address is tried after a failed answer by the VIP.
const OWN_ADDRESS_PATIENCE: Duration = Duration::from_millis(250);

/// Opens a connection to the VIP.
///
/// # Errors
/// It is refused or not established within `patience`; the text says whether the backend answers by its own address.
pub(super) async fn tcp(
    through: &Through,
    vip: SocketAddr,
    patience: Duration,
) -> Result<TcpStream, Fault> {
    // Starts before `patience` ends, so that the result is known by then.
    let mut asked = pin!(async {
        sleep(patience.mul_f64(0.75)).await;
        diagnosis::answers((through.own, false), connects(through.own)).await
    });
    let mut connected = pin!(within(patience, connect(through, vip)));
    let mut answers = None;
    let result = loop {
        tokio::select! {
            result = &mut connected => break result,
            answer = &mut asked, if answers.is_none() => answers = Some(answer),
        }
    };
    let said = match result {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(Failure::Forwarded)) => return Err(Fault::Backend(forwarded(vip, through.own))),
        Ok(Err(Failure::Refused(error))) => match Fault::of(&error).with_address(vip) {
            Fault::Backend(said) => {
                let now = diagnosis::answers((through.own, false), connects(through.own));
                answers = timeout(OWN_ADDRESS_PATIENCE.min(patience), now).await.ok();
                said
            }
            here @ Fault::Here(_) => return Err(here),
        },
        Err(_) => format!("{vip}: no connection within {patience:?}"),
    };
    Err(Fault::Backend(match answers {
        Some(true) => with_hint(&said, through.own),
        Some(false) | None => said,
    }))
}

async fn connects(own: SocketAddr) -> bool {
    TcpStream::connect(own).await.is_ok()
}

/// Adds to a fault of a VIP that the backend answers by its own address, if it does. Port 0: an echo.
pub(super) async fn hint_at_loopback(
    own: SocketAddr,
    said: String,
    asked: impl Future<Output = bool>,
) -> String {
    match timeout(OWN_ADDRESS_PATIENCE, diagnosis::answers((own, true), asked)).await {
        Ok(true) => with_hint(&said, own),
        Ok(false) | Err(_) => said,
    }
}

fn with_hint(said: &str, own: SocketAddr) -> String {
    let own = if own.port() == 0 { own.ip().to_string() } else { own.to_string() };
    format!("{said}, though {own} answers: is the VIP on its loopback?")
}

/// Why there is no connection.
enum Failure {
    /// The backend forwarded the packets.
    Forwarded,
    /// Any other error.
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
    // What was reported about the socket can be read only while it is open.
    let kept = socket.try_clone()?;
    let connected = TcpSocket::from_std_stream(socket.into()).connect(vip).await;
    connected.map_err(|error| {
        if was_forwarded(&kept) { Failure::Forwarded } else { Failure::Refused(error) }
    })
}

/// Opens a UDP socket that is connected to the VIP.
///
/// # Errors
/// As the kernel reports.
pub(super) async fn udp(through: &Through, vip: SocketAddr) -> io::Result<UdpSocket> {
    let (socket, _) = through.socket(vip.ip(), Type::DGRAM, Protocol::UDP).await?;
    socket.connect(&vip.into())?;
    UdpSocket::from_std(socket.into())
}
