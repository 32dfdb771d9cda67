//! Opens the sockets of all kinds of probes.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpStream, UdpSocket};

use super::{Fault, Target, vip};
use crate::{network::has_neighbour_room, standstill::within};

/// Opens a connection to the target.
///
/// # Errors
/// It is refused, not established within `patience`, or there is no route to the target.
pub(super) async fn tcp(target: &Target, patience: Duration) -> Result<TcpStream, Fault> {
    let address = target.address;
    if let Some(through) = &target.through {
        return vip::tcp(through, address, patience).await;
    }
    match within(patience, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Fault::reaching(address, &error)),
        Err(_) if !has_neighbour_room(address.ip()).await => {
            Err(Fault::of(&io::Error::from_raw_os_error(libc::ENOBUFS)))
        }
        Err(_) => Err(Fault::Backend(format!("{address}: no connection within {patience:?}"))),
    }
}

/// Opens a UDP socket that is connected to the target; an ICMP error becomes an error of `recv`.
///
/// # Errors
/// There is no route to the target.
pub(super) async fn udp(target: &Target) -> Result<UdpSocket, Fault> {
    let address = target.address;
    let open = async {
        if let Some(through) = &target.through {
            return vip::udp(through, address).await;
        }
        let socket = UdpSocket::bind(unspecified(address)).await?;
        socket.connect(address).await?;
        Ok(socket)
    };
    open.await.map_err(|error| unsent(address, &error))
}

/// Opens a raw ICMP or ICMPv6 socket that is connected to the target, and returns the echo identifier that it must use,
/// if it is not free to choose. What it receives begins with the IP header for an IPv4 target, and with the ICMP header
/// otherwise.
///
/// # Errors
/// There is no route to the target, or this process may not open raw sockets.
pub(super) async fn icmp(target: &Target) -> Result<(UdpSocket, Option<u16>), Fault> {
    let (domain, protocol) = match target.address {
        SocketAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        SocketAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let open = async {
        let (socket, identifier) = if let Some(through) = &target.through {
            let made = through.socket(target.address.ip(), Type::RAW, protocol).await;
            made.map(|(socket, port)| (socket, Some(port)))?
        } else {
            (Socket::new(domain, Type::RAW, Some(protocol))?, None)
        };
        socket.set_nonblocking(true)?;
        // Raw sockets have no ports.
        socket.connect(&SocketAddr::new(target.address.ip(), 0).into())?;
        // tokio has no raw sockets; `send` and `recv` of a UDP socket do the same.
        UdpSocket::from_std(socket.into()).map(|socket| (socket, identifier))
    };
    open.await.map_err(|error| unsent(target.address, &error))
}

fn unspecified(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// An error before anything was sent: always this host's fault.
fn unsent(address: SocketAddr, error: &io::Error) -> Fault {
    Fault::Here(Fault::of(error).with_address(address).to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::{super::reason, *};

    fn target(address: &str) -> Target {
        Target {
            address: address.parse().unwrap(),
            host: String::new(),
            protocol: crate::model::Protocol::Udp,
            service: String::new(),
            backend: String::new(),
            through: None,
        }
    }

    #[tokio::test]
    async fn a_closed_udp_port_says_so() {
        // A port that was free a moment ago.
        for loopback in ["127.0.0.1:0", "[::1]:0"] {
            let free = UdpSocket::bind(loopback).await.unwrap().local_addr().unwrap();
            let socket = udp(&target(&free.to_string())).await.unwrap();
            socket.send(b"anyone?").await.unwrap();
            let error = timeout(Duration::from_secs(2), socket.recv(&mut [0; 9])).await.unwrap();
            assert_eq!(reason(&error.unwrap_err()), "connection refused");
        }
    }
}
