//! IPv6 (RFC 8200): a bounded walk over extension headers.

use dispatcher_common::{
    limits::MAX_IPV6_EXT_HEADERS,
    net::{ICMPV6, TCP, UDP},
    reason::Reason,
};

use super::{Contents, FlowWords, IPV6_HEADER, Network, Payload};
use crate::{barrier::hide, frame::Frame};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
/// Offset and more-fragments bits of a fragment header; all zero in an atomic fragment (RFC 6946).
const FRAGMENTED: u16 = 0xfff9_u16.to_be();
/// Offset bits of a fragment header.
const FRAGMENT_OFFSET: u16 = 0xfff8_u16.to_be();

/// The header at an offset.
#[inline(always)]
pub(super) fn network(frame: Frame, offset: u32, flow: &mut FlowWords) -> Result<Network, Reason> {
    let Some(header) = frame.window::<40>(offset) else { return Err(Reason::NotIp) };
    if header.u8::<0>() >> 4 != 6 {
        return Err(Reason::NotIp);
    }
    flow.client = [header.u32::<8>(), header.u32::<12>(), header.u32::<16>(), header.u32::<20>()];
    flow.vip = [header.u32::<24>(), header.u32::<28>(), header.u32::<32>(), header.u32::<36>()];
    let bytes = u32::from(u16::from_be(header.u16::<4>())) + IPV6_HEADER;
    let tos = (u16::from_be(header.u16::<0>()) >> 4) as u8;
    Ok(Network { offset, is_v4: false, tos, bytes })
}

/// The payload behind the extension headers; `end` is where the packet ends.
#[inline(always)]
pub(super) fn payload(frame: Frame, offset: u32, end: u32) -> Result<Payload, Reason> {
    let Some(header) = frame.window::<40>(offset) else { return Err(Reason::Malformed) };
    let (mut at, mut next) = (offset + IPV6_HEADER, header.u8::<6>());
    let (mut walked, mut contents) = (0, Contents::WHOLE);
    loop {
        if !is_extension(next) {
            break;
        }
        if walked == MAX_IPV6_EXT_HEADERS {
            return Err(Reason::ExtensionHeaders);
        }
        // Verifier of kernel 6.1: it refuses a loop whose body falls into its head. Hidden, the loop ends with a jump (`object`
        // fails without).
        walked = hide(u64::from(walked) + 1) as u32;
        let Some(extension) = frame.window::<8>(at) else { return Err(Reason::Malformed) };
        // What follows the packet in the frame is padding.
        if at + 8 > end {
            return Err(Reason::Malformed);
        }
        let kind = next;
        next = extension.u8::<0>();
        at += length(kind, extension.u8::<1>());
        if at > end {
            return Err(Reason::Malformed);
        }
        if kind == FRAGMENT && extension.u16::<2>() & FRAGMENTED != 0 {
            if !contents.is_whole() {
                return Err(Reason::Malformed);
            }
            let id = extension.u32::<4>();
            if extension.u16::<2>() & FRAGMENT_OFFSET != 0 {
                return later(at, next, id);
            }
            contents = Contents::first(id);
        }
    }
    match next {
        TCP | UDP => Ok(Payload { offset: at, protocol: next, contents }),
        ICMPV6 if contents.is_whole() => {
            Ok(Payload { offset: at, protocol: next, contents: Contents::icmp(at) })
        }
        ICMPV6 => Err(Reason::Icmp),
        _ => Err(Reason::OtherProtocol),
    }
}

/// Bytes of an extension header, by its kind and its length field. The field counts units of 8 bytes after the first; in an
/// authentication header, units of 4 bytes after the first two (RFC 4302 §2.2). A fragment header has no such field.
#[inline(always)]
fn length(kind: u8, field: u8) -> u32 {
    // Verifier: it would walk a branch once per kind, in every round (figure: see `Frame::window`).
    let is = |other: u8| hide(u64::from(kind ^ other)).wrapping_sub(1) >> 63;
    let (is_fragment, is_authentication) = (is(FRAGMENT), is(AUTHENTICATION));
    let units = u64::from(field) & is_fragment.wrapping_sub(1);
    ((units + 1 + is_authentication) << (3 - is_authentication)) as u32 & 0xfff
}

#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION)
}

/// A later fragment. If another extension header follows, not every fragment has the protocol: it then counts as TCP or UDP.
#[inline(always)]
const fn later(offset: u32, next: u8, id: u32) -> Result<Payload, Reason> {
    match next {
        ICMPV6 => Err(Reason::Icmp),
        _ if matches!(next, TCP | UDP) || is_extension(next) => {
            Ok(Payload { offset, protocol: next, contents: Contents::later(id) })
        }
        _ => Err(Reason::OtherProtocol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_header_is_as_long_as_its_kind_says() {
        for (kind, field, want) in [
            (HOP_BY_HOP, 0, 8),
            (DESTINATION, 255, 2048),
            (ROUTING, 2, 24),
            (FRAGMENT, 255, 8),
            (AUTHENTICATION, 1, 12),
            (AUTHENTICATION, 255, 1028),
        ] {
            assert_eq!(length(kind, field), want, "{kind} {field}");
        }
    }
}
