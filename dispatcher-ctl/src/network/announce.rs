//! Announces that a VIP is at this host now: gratuitous ARP (RFC 5227) and unsolicited neighbour advertisements (RFC
//! 4861), sent from a packet socket.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use etherparse::{ArpEthIpv4Packet, ArpOperation, PacketBuilder};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use tokio::task::AbortHandle;

use super::NetworkError;
use crate::model::Mac;

/// Pauses before the repeated announcements: neighbours may miss the first.
const REPEATS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// Bytes of the shortest frame of Ethernet.
const SHORTEST: usize = 60;
const BROADCAST: [u8; 6] = [0xff; 6];
/// ff02::1, all nodes, and the MAC it maps to (RFC 2464 §7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// Sends announcements and their repetitions.
#[derive(Clone, Debug, Default)]
pub(super) struct Announcer {
    /// One socket for all, opened when needed: the kernel takes 6 ms to close a packet socket.
    socket: Arc<Mutex<Option<Arc<OwnedFd>>>>,
    repeating: Arc<Mutex<HashMap<(u32, IpAddr), AbortHandle>>>,
}

impl Announcer {
    /// Announces a VIP now, and again after each of [`REPEATS`].
    pub(super) fn announce(&self, ifindex: u32, mac: Mac, vip: IpAddr) -> Result<(), NetworkError> {
        self.stop(ifindex, vip);
        let refused = |source| NetworkError::Refused {
            what: format!("announce vip {vip} on ifindex {ifindex}"),
            source,
        };
        let socket = self.socket().map_err(refused)?;
        send_all(&socket, ifindex, mac, vip).map_err(refused)?;
        let repeating = tokio::spawn(async move {
            for pause in REPEATS {
                tokio::time::sleep(pause).await;
                if let Err(error) = send_all(&socket, ifindex, mac, vip) {
                    tracing::debug!(%vip, ifindex, %error, "announcement not repeated");
                    return;
                }
            }
        });
        self.lock().insert((ifindex, vip), repeating.abort_handle());
        Ok(())
    }

    /// Stops the repetitions for a VIP that is being removed.
    pub(super) fn stop(&self, ifindex: u32, vip: IpAddr) {
        let mut repeating = self.lock();
        repeating.retain(|_, task| !task.is_finished());
        if let Some(task) = repeating.remove(&(ifindex, vip)) {
            task.abort();
        }
    }

    fn socket(&self) -> io::Result<Arc<OwnedFd>> {
        let mut held = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = &*held {
            return Ok(Arc::clone(socket));
        }
        let socket = Arc::new(packet_socket()?);
        *held = Some(Arc::clone(&socket));
        Ok(socket)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(u32, IpAddr), AbortHandle>> {
        self.repeating.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn packet_socket() -> io::Result<OwnedFd> {
    // Protocol 0: the socket receives nothing.
    Ok(socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?)
}

fn send_all(socket: &OwnedFd, ifindex: u32, mac: Mac, vip: IpAddr) -> io::Result<()> {
    match vip {
        IpAddr::V4(v4) => {
            // Some hosts learn only from requests, others only from replies.
            send(socket, ifindex, &gratuitous_arp(mac, v4, ArpOperation::REQUEST)?)?;
            send(socket, ifindex, &gratuitous_arp(mac, v4, ArpOperation::REPLY)?)
        }
        IpAddr::V6(v6) => send(socket, ifindex, &neighbour_advertisement(mac, v6)?),
    }
}

fn send(socket: &OwnedFd, ifindex: u32, frame: &[u8]) -> io::Result<()> {
    let ifindex = i32::try_from(ifindex).map_err(io::Error::other)?;
    // SAFETY: `sockaddr_ll` consists of integers, for which all-zero is valid.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as libc::sa_family_t;
    to.sll_ifindex = ifindex;
    // SAFETY: `frame` and `to` are live during the call and their lengths are correct; the kernel only reads them.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A gratuitous ARP frame: sender and target are the VIP.
fn gratuitous_arp(mac: Mac, vip: Ipv4Addr, operation: ArpOperation) -> io::Result<Vec<u8>> {
    let arp = ArpEthIpv4Packet {
        operation,
        sender_mac: mac.0,
        sender_ipv4: vip.octets(),
        target_mac: if operation == ArpOperation::REPLY { mac.0 } else { [0; 6] },
        target_ipv4: vip.octets(),
    };
    let mut frame = Vec::with_capacity(SHORTEST);
    let builder = PacketBuilder::ethernet2(mac.0, BROADCAST).arp(arp.into());
    builder.write(&mut frame).map_err(io::Error::other)?;
    frame.resize(SHORTEST, 0);
    Ok(frame)
}

/// An unsolicited neighbour advertisement to all nodes, with the override flag.
fn neighbour_advertisement(mac: Mac, vip: Ipv6Addr) -> io::Result<Vec<u8>> {
    // The option: target link-layer address, one unit of eight bytes.
    let message = [&vip.octets()[..], &[2, 1], &mac.0].concat();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(mac.0, ALL_NODES_MAC)
        .ipv6(vip.octets(), ALL_NODES.octets(), 255)
        .icmpv6_raw(136, 0, [0x20, 0, 0, 0])
        .write(&mut frame, &message)
        .map_err(io::Error::other)?;
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn a_gratuitous_arp_names_the_vip_twice() {
        let frame =
            gratuitous_arp(MAC, Ipv4Addr::new(192, 0, 2, 80), ArpOperation::REQUEST).unwrap();
        assert_eq!(frame.len(), 60);
        assert_eq!(&frame[..14], [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6]);
        assert_eq!(&frame[14..22], [0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(&frame[22..28], MAC.0);
        assert_eq!(&frame[28..32], [192, 0, 2, 80]);
        assert_eq!(&frame[38..42], [192, 0, 2, 80]);
    }

    #[test]
    fn an_advertisement_s_checksum_proves_right() {
        let vip = "2001:db8::80".parse().unwrap();
        let frame = neighbour_advertisement(MAC, vip).unwrap();
        assert_eq!(frame.len(), 14 + 40 + 32);
        assert_eq!(&frame[..14], [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd]);
        assert_eq!(&frame[14..22], [0x60, 0, 0, 0, 0, 32, 58, 255]);
        let (header, message) = (&frame[14..54], &frame[54..]);
        assert_eq!((&message[..2], &message[4..8]), (&[136, 0][..], &[0x20, 0, 0, 0][..]));
        assert_eq!((&message[8..24], &message[24..26]), (&header[8..24], &[2, 1][..]));
        assert_eq!(message[26..], MAC.0);
        let covered = [&header[8..40], &[0, 0, 0, 32, 0, 0, 0, 58], message].concat();
        let words = covered.as_chunks().0.iter().map(|word| u32::from(u16::from_be_bytes(*word)));
        assert_eq!(words.sum::<u32>() % 0xffff, 0, "sum with the checksum in it");
    }
}
