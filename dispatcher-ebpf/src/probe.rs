//! Recognises the packets of probes of VIPs, and the backend that each probes.
//!
//! Probes have their slot's source port ([`dispatcher_common::probe`]). They have neither VLAN tags nor extension headers. If one
//! is in fragments, only the first has ports.

use dispatcher_common::{
    net::{ICMP, ICMPV6, TCP, UDP, icmp, icmpv6},
    probe,
};

use crate::{
    barrier::hide,
    frame::Frame,
    parse::{
        ETHERNET, FlowWords, ICMP_HEADER, IPV4, IPV4_FRAGMENT_OFFSET, IPV6, IPV6_HEADER, is_error,
    },
};

/// A packet of a probe, in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its client is the prober, its VIP the probed address. Ports and protocol are not set.
    pub flow: FlowWords,
    /// Slot of the backend that is probed.
    pub slot: u32,
}

/// Fields of an IP header.
#[derive(Clone, Copy)]
struct Header {
    /// Source as the client, destination as the VIP.
    flow: FlowWords,
    protocol: u8,
    /// Bytes of the frame before the payload.
    payload: u32,
}

/// The probe that a packet from the prober belongs to.
#[inline(always)]
#[must_use]
pub fn sent(frame: Frame) -> Option<Probe> {
    let header = first(frame)?;
    Some(Probe { flow: header.flow, slot: slot(source(frame, header)?)? })
}

/// The probe that a packet to the prober answers, with a reply or an error.
#[inline(always)]
#[must_use]
pub fn answered(frame: Frame) -> Option<Probe> {
    let header = first(frame)?;
    let FlowWords { client, vip, .. } = header.flow;
    let port = match header.protocol {
        // The upper half of the word is the destination port.
        TCP | UDP => u16::from_be(frame.window::<4>(header.payload)?.u16::<2>()),
        ICMP | ICMPV6 => {
            let kind = frame.window::<8>(header.payload)?.u8::<0>();
            if is_error(kind, header.protocol == ICMP) {
                return quoted(frame, header);
            }
            echo(frame, header, ECHO_REPLY)?
        }
        _ => return None,
    };
    let flow = FlowWords { client: vip, vip: client, ..header.flow };
    Some(Probe { flow, slot: slot(port)? })
}

/// The slot of a probe's port.
#[inline(always)]
fn slot(port: u16) -> Option<u32> {
    // Verifier of kernel 6.1, which refuses it without ("invalid access to map value"): LLVM knows that a third of all ports is at
    // most the number of slots, this verifier does not.
    probe::slot(port).map(|slot| hide(u64::from(slot)) as u32)
}

/// The probe that an error quotes, if the probe's source is the error's destination.
#[inline(always)]
fn quoted(frame: Frame, error: Header) -> Option<Probe> {
    let is_v4 = error.protocol == ICMP;
    let header = header(frame, error.payload + ICMP_HEADER, is_v4)?;
    let (a, b) = (header.flow.client, error.flow.vip);
    if (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) != 0 {
        return None;
    }
    Some(Probe { flow: header.flow, slot: slot(source(frame, header)?)? })
}

/// Source port, or echo identifier, of a packet that the prober sent.
#[inline(always)]
fn source(frame: Frame, header: Header) -> Option<u16> {
    match header.protocol {
        TCP | UDP => Some(u16::from_be(frame.window::<4>(header.payload)?.u16::<0>())),
        ICMP | ICMPV6 => echo(frame, header, ECHO_REQUEST),
        _ => None,
    }
}

/// Types of echo requests, of ICMP and ICMPv6.
const ECHO_REQUEST: (u8, u8) = (icmp::ECHO_REQUEST, icmpv6::ECHO_REQUEST);
/// Types of echo replies.
const ECHO_REPLY: (u8, u8) = (icmp::ECHO_REPLY, icmpv6::ECHO_REPLY);

/// The identifier of an echo message of this type.
#[inline(always)]
fn echo(frame: Frame, header: Header, kinds: (u8, u8)) -> Option<u16> {
    let icmp = frame.window::<8>(header.payload)?;
    let kind = if header.protocol == ICMP { kinds.0 } else { kinds.1 };
    if icmp.u8::<0>() == kind { Some(u16::from_be(icmp.u16::<4>())) } else { None }
}

/// The IP header of the frame.
#[inline(always)]
fn first(frame: Frame) -> Option<Header> {
    match frame.head::<14>()?.u16::<12>() {
        IPV4 => header(frame, ETHERNET, true),
        IPV6 => header(frame, ETHERNET, false),
        _ => None,
    }
}

/// The IP header at an offset.
#[inline(always)]
fn header(frame: Frame, at: u32, is_v4: bool) -> Option<Header> {
    if is_v4 {
        let ip = frame.window::<20>(at)?;
        let first = ip.u8::<0>();
        if first >> 4 != 4 || ip.u16::<6>() & IPV4_FRAGMENT_OFFSET != 0 {
            return None;
        }
        let flow = FlowWords::v4(ip.u32::<12>(), ip.u32::<16>(), 0, 0);
        Some(Header { flow, protocol: ip.u8::<9>(), payload: at + u32::from(first & 15) * 4 })
    } else {
        let ip = frame.window::<40>(at)?;
        if ip.u8::<0>() >> 4 != 6 {
            return None;
        }
        let flow = FlowWords {
            client: [ip.u32::<8>(), ip.u32::<12>(), ip.u32::<16>(), ip.u32::<20>()],
            vip: [ip.u32::<24>(), ip.u32::<28>(), ip.u32::<32>(), ip.u32::<36>()],
            ports: 0,
            protocol: 0,
        };
        Some(Header { flow, protocol: ip.u8::<6>(), payload: at + IPV6_HEADER })
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr};

    use dispatcher_common::net::ip;

    use super::*;
    use crate::frame::tests::frame;

    const OWN: [u8; 4] = [10, 0, 0, 1];
    const VIP: [u8; 4] = [10, 0, 0, 80];
    /// The second port of slot 5.
    const PORT: u16 = probe::FIRST_PORT + 5 * probe::PORTS + 1;

    /// An Ethernet frame around an IP packet.
    fn ethernet(ethertype: u16, packet: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 12];
        bytes.extend(ethertype.to_be_bytes());
        bytes.extend(packet);
        bytes
    }

    fn v4(protocol: u8, from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
        bytes.extend(from);
        bytes.extend(to);
        bytes.extend(payload);
        bytes
    }

    fn v6(protocol: u8, from: u8, to: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
        for last in [from, to] {
            bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        bytes.extend(payload);
        bytes
    }

    fn ports(from: u16, to: u16) -> Vec<u8> {
        let mut bytes = from.to_be_bytes().to_vec();
        bytes.extend(to.to_be_bytes());
        bytes.extend([0; 16]);
        bytes
    }

    fn message(kind: u8, id: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend(id.to_be_bytes());
        bytes.extend([0, 1]);
        bytes.extend(rest);
        bytes
    }

    /// Prober's address, VIP and slot.
    fn parts(probe: Option<Probe>) -> Option<(IpAddr, IpAddr, u32)> {
        probe.map(|p| (ip(&p.flow.client()), ip(&p.flow.vip()), p.slot))
    }

    fn is(slot: u32) -> Option<(IpAddr, IpAddr, u32)> {
        Some((Ipv4Addr::from(OWN).into(), Ipv4Addr::from(VIP).into(), slot))
    }

    #[test]
    fn a_probe_is_known_by_its_source_port() {
        for protocol in [TCP, UDP] {
            let mut bytes = ethernet(0x0800, &v4(protocol, OWN, VIP, &ports(PORT, 80)));
            assert_eq!(parts(sent(frame(&mut bytes))), is(5));
            assert_eq!(answered(frame(&mut bytes)), None, "a probe is not its own answer");
        }
        let mut bytes = ethernet(0x0800, &v4(TCP, OWN, VIP, &ports(80, PORT)));
        assert_eq!(sent(frame(&mut bytes)), None);
        let mut bytes = ethernet(0x0800, &v4(1, OWN, VIP, &message(8, PORT, &[])));
        assert_eq!(parts(sent(frame(&mut bytes))), is(5));
    }

    #[test]
    fn an_answer_is_known_by_its_destination_port() {
        for (protocol, payload) in
            [(TCP, ports(80, PORT)), (UDP, ports(53, PORT)), (1, message(0, PORT, &[]))]
        {
            let mut bytes = ethernet(0x0800, &v4(protocol, VIP, OWN, &payload));
            assert_eq!(parts(answered(frame(&mut bytes))), is(5), "protocol {protocol}");
        }
        for payload in [ports(80, probe::FIRST_PORT - 1), ports(PORT, 80), vec![0; 3]] {
            let mut bytes = ethernet(0x0800, &v4(TCP, VIP, OWN, &payload));
            assert_eq!(answered(frame(&mut bytes)), None);
        }
        let mut later = v4(UDP, VIP, OWN, &ports(53, PORT));
        later[7] = 1;
        assert_eq!(answered(frame(&mut ethernet(0x0800, &later))), None, "a later fragment");
    }

    #[test]
    fn an_error_is_known_by_the_packet_it_quotes() {
        let probe = v4(TCP, OWN, VIP, &ports(PORT, 80));
        // The error may come from any address, also from the backend's own.
        for from in [VIP, [10, 0, 0, 11]] {
            for kind in [3, 11, 12] {
                let mut bytes = ethernet(0x0800, &v4(1, from, OWN, &message(kind, 0, &probe)));
                assert_eq!(parts(answered(frame(&mut bytes))), is(5), "type {kind}");
            }
        }
        let others = v4(TCP, [10, 0, 0, 2], VIP, &ports(PORT, 80));
        for (kind, quoted) in [(5, &probe), (3, &others)] {
            let mut bytes = ethernet(0x0800, &v4(1, VIP, OWN, &message(kind, 0, quoted)));
            assert_eq!(answered(frame(&mut bytes)), None);
        }
    }

    #[test]
    fn ipv6_is_no_different() {
        let probe = v6(TCP, 1, 0x80, &ports(PORT, 80));
        let found = parts(sent(frame(&mut ethernet(0x86dd, &probe))));
        let expected = Some(("fd00::1".parse().unwrap(), "fd00::80".parse().unwrap(), 5));
        assert_eq!(found, expected);
        for packet in [
            v6(TCP, 0x80, 1, &ports(80, PORT)),
            v6(58, 0x80, 1, &message(129, PORT, &[])),
            v6(58, 0x11, 1, &message(3, 0, &probe)),
        ] {
            assert_eq!(parts(answered(frame(&mut ethernet(0x86dd, &packet)))), expected);
        }
        // A neighbour solicitation is not a probe.
        let solicitation = v6(58, 0x80, 1, &message(135, PORT, &[0; 16]));
        assert_eq!(answered(frame(&mut ethernet(0x86dd, &solicitation))), None);
        assert_eq!(sent(frame(&mut ethernet(0x86dd, &solicitation))), None);
    }
}
