//! The short way: packets whose headers are plain.
//!
//! Those of established connections to backends that are up, and what is not ours, are done with here. The others'
//! connections are found or made by the stages of [`super::pipeline`]. Whatever is out of the ordinary takes the whole
//! way there: tags, options, extension headers, fragments, what is cut short.

use aya_ebpf::programs::XdpContext;
use dispatcher_common::{
    backend::{Forward, LOCAL, UP, USABLE},
    connection::{State, Way},
    flow::{flow_hash, table_hash},
    net::{TCP, UDP},
    reason::Reason,
};
use dispatcher_ebpf::{
    barrier::compute,
    exchange::Segment,
    exit::Exit,
    frame::{Frame, Window},
    parse::{
        ETHERNET, FlowWords, IPV4, IPV4_FRAGMENT, IPV4_HEADER, IPV6, IPV6_HEADER, tcp_agrees,
        udp_agrees,
    },
    tracking::{FIN, RST, SYN},
};

use super::{
    config, filter, forward, maps, measure,
    pipeline::{self, Packet, tick},
    position::{Position, buckets},
    verdict,
    word::Word,
};

/// What the short way must know of a packet.
struct Glance {
    hash: u64,
    bytes: u32,
    /// TCP's; none of UDP.
    flags: u8,
}

/// The action for a packet with plain headers, none for one that must take the whole way.
#[inline(always)]
pub(super) fn forward(ctx: &XdpContext) -> Option<u32> {
    let frame = pipeline::frame(ctx);
    let head = frame.head::<54>()?;
    match head.u16::<12>() {
        IPV4 => v4(ctx, frame, head),
        IPV6 => v6(ctx, frame),
        _ => None,
    }
}

/// IPv4 without options and whole.
#[inline(always)]
fn v4(ctx: &XdpContext, frame: Frame, head: Window<54>) -> Option<u32> {
    if head.u8::<14>() != 0x45 {
        return None;
    }
    let (vip, bytes) = (head.u32::<30>(), u32::from(u16::from_be(head.u16::<16>())));
    if !filter::may_be_vip_v4(vip) {
        return Some(verdict::leave(Exit::new(Reason::NotOurs), bytes));
    }
    let protocol = head.u8::<23>();
    let available = bytes.wrapping_sub(IPV4_HEADER);
    let is_fragment = head.u16::<20>() & IPV4_FRAGMENT != 0;
    if is_fragment || bytes < IPV4_HEADER || ETHERNET + bytes > frame.length() {
        return None;
    }
    let (agrees, flags) = match protocol {
        TCP => (tcp_agrees(head.u8::<46>(), available), head.u8::<47>()),
        UDP => (udp_agrees(head.u16::<38>(), available), 0),
        _ => (false, 0),
    };
    if !agrees {
        return None;
    }
    let words = [head.u32::<26>(), vip, head.u32::<34>(), u32::from(protocol)];
    let hash = compute(table_hash(flow_hash(words, config::hash_key), protocol == TCP));
    let glance = Glance { hash, bytes, flags };
    let flow = |head: Window<54>| {
        FlowWords::v4(head.u32::<26>(), head.u32::<30>(), head.u32::<34>(), u32::from(protocol))
    };
    let segment =
        |head: Window<54>| Segment::new(head.u32::<42>(), head.u8::<46>(), bytes - IPV4_HEADER);
    Some(done(ctx, head, &glance, flow, segment))
}

/// IPv6 without extension headers.
#[inline(always)]
fn v6(ctx: &XdpContext, frame: Frame) -> Option<u32> {
    let head = frame.head::<74>()?;
    if head.u8::<14>() >> 4 != 6 {
        return None;
    }
    let vip = [head.u32::<38>(), head.u32::<42>(), head.u32::<46>(), head.u32::<50>()];
    let available = u32::from(u16::from_be(head.u16::<18>()));
    let bytes = available + IPV6_HEADER;
    if !filter::may_be_vip_v6(vip) {
        return Some(verdict::leave(Exit::new(Reason::NotOurs), bytes));
    }
    let protocol = head.u8::<20>();
    let (agrees, flags) = match protocol {
        TCP => (tcp_agrees(head.u8::<66>(), available), head.u8::<67>()),
        UDP => (udp_agrees(head.u16::<58>(), available), 0),
        _ => (false, 0),
    };
    if !agrees || ETHERNET + bytes > frame.length() {
        return None;
    }
    let flow = |head: Window<74>| FlowWords {
        client: [head.u32::<22>(), head.u32::<26>(), head.u32::<30>(), head.u32::<34>()],
        vip: [head.u32::<38>(), head.u32::<42>(), head.u32::<46>(), head.u32::<50>()],
        ports: head.u32::<54>(),
        protocol: u32::from(protocol),
    };
    let words = flow(head).words();
    let hash = compute(table_hash(flow_hash(words, config::hash_key), protocol == TCP));
    let segment = |head: Window<74>| Segment::new(head.u32::<62>(), head.u8::<66>(), available);
    Some(done(ctx, head, &Glance { hash, bytes, flags }, flow, segment))
}

/// Sees to a packet of a flow; `segment` is what its bytes say if it is TCP.
#[inline(always)]
fn done<const N: usize>(
    ctx: &XdpContext,
    head: Window<N>,
    glance: &Glance,
    flow: impl FnOnce(Window<N>) -> FlowWords,
    segment: impl Fn(Window<N>) -> Segment,
) -> u32 {
    let own = maps::own_address(config::interface());
    if !filter::is_for_us(head, own.0) {
        return verdict::leave(Exit::new(Reason::NotOurs), glance.bytes);
    }
    let now = tick();
    let mut is_to_be_found = 1;
    if glance.flags & (FIN | SYN | RST) == 0 {
        match find(glance.hash) {
            Some(found) => {
                if let Some(action) = follow(head, glance, found, own, now, &segment) {
                    return action;
                }
            }
            None => is_to_be_found = 0,
        }
    }
    let head = head.again();
    let (flow, tos) = (flow(head), tos(head));
    // An IPv4 address in mapped form has no business on the wire, and would be taken for the IPv4 VIP.
    if N == IPV6_PLAIN && flow.has_mapped_vip() {
        return verdict::leave(Exit::new(Reason::NotOurs), glance.bytes);
    }
    pipeline::dispatch(
        ctx,
        Packet {
            flow,
            hash: glance.hash,
            tick: now,
            is_to_be_found,
            flags: u32::from(glance.flags) | tos,
            bytes: glance.bytes,
            segment: segment(head.again()),
        },
    )
}

/// TOS or traffic class, where [`Packet::flags`] has it.
#[inline(always)]
fn tos<const N: usize>(head: Window<N>) -> u32 {
    if N == IPV6_PLAIN {
        u32::from(u16::from_be(head.u16::<14>()) >> 4 & 0xff) << 8
    } else {
        u32::from(head.u8::<15>()) << 8
    }
}

/// Bytes of the plain headers of an IPv6 packet.
const IPV6_PLAIN: usize = 74;

/// Forwards the packet of an established connection; none if there is more to it.
#[inline(always)]
fn follow<const N: usize>(
    head: Window<N>,
    glance: &Glance,
    Found { word, way, position }: Found,
    own: Forward,
    now: u64,
    segment: impl Fn(Window<N>) -> Segment,
) -> Option<u32> {
    if way.state() != State::Established {
        return None;
    }
    let forward = maps::forward(way.slot());
    if forward.flags() & (USABLE | UP | LOCAL) != USABLE | UP {
        return None;
    }
    if forward.is_measured() {
        measure::learn(position, glance.hash, way.slot(), glance.flags, segment(head.again()));
    }
    if way.age(now) != 0 {
        // Fails if somebody else touched it, which is as good.
        let _ = word.replace(way.0, Way::new(glance.hash, now, way.state(), way.slot()).0);
    }
    match forward::send(head, forward, own, way.slot(), glance.bytes) {
        Ok(action) => Some(action),
        Err(exit) => Some(verdict::leave(exit, glance.bytes)),
    }
}

/// One of the flow's ways.
struct Found {
    word: Word,
    way: Way,
    position: Position,
}

/// One of the flow's ways: usually the first bucket's cache line is all that is touched.
#[inline(always)]
fn find(hash: u64) -> Option<Found> {
    let [first, second] = buckets(hash);
    in_bucket(first, hash).or_else(|| in_bucket(second, hash))
}

#[inline(always)]
fn in_bucket(bucket: u32, hash: u64) -> Option<Found> {
    let ways = maps::ways(bucket)?;
    let (number, way) = ways.find(hash)?;
    Some(Found { word: ways.word(number), way, position: Position::new(bucket, number) })
}
