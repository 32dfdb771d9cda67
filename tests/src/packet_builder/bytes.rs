//! Turns headers into bytes, from the inside out: lengths and checksums depend on what follows.

use super::{Network, PacketBuilder, Transport, checksum, protocol};

impl PacketBuilder {
    /// EtherType and IP header, options or extension headers included; `rest` is the length of what follows.
    pub(super) fn network_bytes(&self, rest: usize) -> (u16, Vec<u8>) {
        match &self.network {
            Network::None { ethertype } => (*ethertype, Vec::new()),
            Network::V4 { source, destination, options, id, fragment } => {
                let header = 20 + options.len();
                let mut b = vec![0x40 | (header / 4) as u8, self.tos];
                b.extend(((header + rest) as u16).to_be_bytes());
                b.extend(id.to_be_bytes());
                b.extend(fragment.to_be_bytes());
                b.extend([64, self.protocol_number(), 0, 0]);
                b.extend(source.octets());
                b.extend(destination.octets());
                b.extend(options);
                let sum = checksum::of(&[&b]);
                b[10..12].copy_from_slice(&sum);
                (0x0800, b)
            }
            Network::V6 { source, destination, extensions } => {
                let length: usize = extensions.iter().map(|(_, bytes)| bytes.len()).sum();
                let mut b = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 0];
                b.extend(((length + rest) as u16).to_be_bytes());
                b.extend([self.next_header(0), 64]);
                b.extend(source.octets());
                b.extend(destination.octets());
                for (i, (_, extension)) in extensions.iter().enumerate() {
                    b.push(self.next_header(i + 1));
                    b.extend(&extension[1..]);
                }
                (0x86dd, b)
            }
        }
    }

    /// The value of the next-header field before the i-th extension header.
    fn next_header(&self, i: usize) -> u8 {
        match &self.network {
            Network::V6 { extensions, .. } => {
                extensions.get(i).map_or_else(|| self.protocol_number(), |(kind, _)| *kind)
            }
            Network::None { .. } | Network::V4 { .. } => self.protocol_number(),
        }
    }

    fn protocol_number(&self) -> u8 {
        match (&self.transport, &self.network) {
            (Transport::None { protocol }, _) => *protocol,
            (Transport::Tcp { .. }, _) => protocol::TCP,
            (Transport::Udp { .. }, _) => protocol::UDP,
            (Transport::Echo | Transport::Icmp { .. }, Network::V6 { .. }) => protocol::ICMPV6,
            (Transport::Echo | Transport::Icmp { .. }, _) => protocol::ICMP,
        }
    }

    /// Transport header and payload.
    pub(super) fn transport_bytes(&self) -> Vec<u8> {
        let mut b = Vec::new();
        let checksum_at = match &self.transport {
            Transport::None { .. } => return self.payload.clone(),
            Transport::Tcp { ports, flags, numbers, window, options } => {
                b.extend(ports.0.to_be_bytes());
                b.extend(ports.1.to_be_bytes());
                b.extend(numbers.0.to_be_bytes());
                b.extend(numbers.1.to_be_bytes());
                b.extend([((20 + options.len()) / 4 * 16) as u8, *flags]);
                b.extend(window.to_be_bytes());
                b.extend([0, 0, 0, 0]);
                b.extend(options);
                16
            }
            Transport::Udp { ports } => {
                b.extend(ports.0.to_be_bytes());
                b.extend(ports.1.to_be_bytes());
                b.extend(((8 + self.payload.len()) as u16).to_be_bytes());
                b.extend([0, 0]);
                6
            }
            Transport::Echo => {
                b.extend([if matches!(self.network, Network::V6 { .. }) { 128 } else { 8 }, 0]);
                b.extend([0, 0, 0, 1, 0, 1]);
                2
            }
            Transport::Icmp { kind, code, rest } => {
                b.extend([*kind, *code, 0, 0]);
                b.extend(rest.to_be_bytes());
                2
            }
        };
        b.extend(&self.payload);
        let sum = checksum::of(&[&self.pseudo_header(b.len()), &b]);
        b[checksum_at..checksum_at + 2].copy_from_slice(&sum);
        b
    }

    /// What the transport checksum covers in addition to the segment (RFC 9293 §3.1, RFC 8200 §8.1).
    fn pseudo_header(&self, length: usize) -> Vec<u8> {
        let mut b = match &self.network {
            Network::V4 { .. } if self.protocol_number() == protocol::ICMP => return Vec::new(),
            Network::None { .. } => return Vec::new(),
            Network::V4 { source, destination, .. } => {
                [source.octets(), destination.octets()].concat()
            }
            Network::V6 { source, destination, .. } => {
                [source.octets(), destination.octets()].concat()
            }
        };
        b.extend((length as u32).to_be_bytes());
        b.extend(u32::from(self.protocol_number()).to_be_bytes());
        b
    }
}
