//! The short way, for packets of established connections to backends that are up, and for what is not ours.
//!
//! It may do only what the whole way ([`super::pipeline`]) does with the same packet, and leaves to it whatever is out
//! of the ordinary: tags, options, extension headers, fragments, what is cut short, what changes a connection's state.

use aya_ebpf::programs::XdpContext;
use dispatcher_common::{
    backend::{LOCAL, UP, USABLE},
    connection::{State, WAYS, Way},
    flow::{first_bucket, flow_hash, second_bucket, table_hash},
    net::{TCP, UDP},
    reason::Reason,
};
use dispatcher_ebpf::{
    exit::Exit,
    frame::{Frame, Window},
    parse::{
        ETHERNET, IPV4, IPV4_FRAGMENT, IPV4_HEADER, IPV6, IPV6_HEADER, tcp_agrees, udp_agrees,
    },
    tracking::{Event, event},
};

use super::{
    config, filter, forward, maps,
    pipeline::{self, tick},
    verdict,
    word::Word,
};

/// What the short way must know of a packet.
struct Glance {
    hash: u64,
    bytes: u32,
}

/// The action for a packet that is done with, none for one that must take the whole way.
#[inline(always)]
pub(super) fn forward(ctx: &XdpContext) -> Option<u32> {
    let frame = pipeline::frame(ctx);
    let head = frame.head::<54>()?;
    let glance = match head.u16::<12>() {
        IPV4 => v4(frame, head),
        IPV6 => v6(frame),
        _ => None,
    };
    match glance? {
        Ok(glance) => follow(head, &glance),
        Err(bytes) => Some(verdict::leave(Exit::new(Reason::NotOurs), bytes)),
    }
}

/// IPv4 without options and whole; the error is the L3 bytes of a packet to somebody else.
#[inline(always)]
fn v4(frame: Frame, head: Window<54>) -> Option<Result<Glance, u32>> {
    if head.u8::<14>() != 0x45 {
        return None;
    }
    let (vip, bytes) = (head.u32::<30>(), u32::from(u16::from_be(head.u16::<16>())));
    if !filter::may_be_vip_v4(vip) {
        return Some(Err(bytes));
    }
    let protocol = head.u8::<23>();
    let available = bytes.wrapping_sub(IPV4_HEADER);
    let agrees = match protocol {
        TCP => tcp_agrees(head.u8::<46>(), available) && is_data(head.u8::<47>()),
        UDP => udp_agrees(head.u16::<38>(), available),
        _ => false,
    };
    let is_whole = head.u16::<20>() & IPV4_FRAGMENT == 0
        && bytes >= IPV4_HEADER
        && ETHERNET + bytes <= frame.length();
    if !agrees || !is_whole {
        return None;
    }
    let words = [head.u32::<26>(), vip, head.u32::<34>(), u32::from(protocol)];
    let hash = table_hash(flow_hash(words, config::hash_key), protocol == TCP);
    Some(Ok(Glance { hash, bytes }))
}

/// IPv6 without extension headers.
#[inline(always)]
fn v6(frame: Frame) -> Option<Result<Glance, u32>> {
    let head = frame.head::<74>()?;
    if head.u8::<14>() >> 4 != 6 {
        return None;
    }
    let vip = [head.u32::<38>(), head.u32::<42>(), head.u32::<46>(), head.u32::<50>()];
    let available = u32::from(u16::from_be(head.u16::<18>()));
    let bytes = available + IPV6_HEADER;
    if !filter::may_be_vip_v6(vip) {
        return Some(Err(bytes));
    }
    let protocol = head.u8::<20>();
    let agrees = match protocol {
        TCP => tcp_agrees(head.u8::<66>(), available) && is_data(head.u8::<67>()),
        UDP => udp_agrees(head.u16::<58>(), available),
        _ => false,
    };
    if !agrees || ETHERNET + bytes > frame.length() {
        return None;
    }
    let [v0, v1, v2, v3] = vip;
    let (c0, c1) = (head.u32::<22>(), head.u32::<26>());
    let (c2, c3) = (head.u32::<30>(), head.u32::<34>());
    let words = [c0, c1, c2, c3, v0, v1, v2, v3, head.u32::<54>(), u32::from(protocol)];
    let hash = table_hash(flow_hash(words, config::hash_key), protocol == TCP);
    Some(Ok(Glance { hash, bytes }))
}

#[inline(always)]
fn is_data(flags: u8) -> bool {
    event(TCP, flags) == Event::Data
}

/// Forwards the packet of an established connection.
#[inline(always)]
fn follow(head: Window<54>, glance: &Glance) -> Option<u32> {
    let (word, way) = find(glance.hash)?;
    if way.state() != State::Established {
        return None;
    }
    let forward = maps::forward(way.slot());
    let own = maps::own_address(config::interface());
    if forward.flags() & (USABLE | UP | LOCAL) != USABLE | UP || !filter::is_for_us(head, own.0) {
        return None;
    }
    let now = tick();
    if way.age(now) != 0 {
        // Fails if somebody else touched it, which is as good.
        let _ = word.replace(way.0, Way::new(glance.hash, now, way.state(), way.slot()).0);
    }
    match forward::send(head, forward, way.slot(), glance.bytes) {
        Ok(action) => Some(action),
        Err(exit) => Some(verdict::leave(exit, glance.bytes)),
    }
}

/// One of the flow's ways: usually the first bucket's cache line is all that is touched.
#[inline(always)]
fn find(hash: u64) -> Option<(Word, Way)> {
    let mask = config::bucket_mask();
    in_bucket(first_bucket(hash, mask), hash).or_else(|| in_bucket(second_bucket(hash, mask), hash))
}

#[inline(always)]
fn in_bucket(bucket: u32, hash: u64) -> Option<(Word, Way)> {
    let ways = maps::ways(bucket)?;
    let mut number = 0;
    while number < WAYS {
        let word = ways.word(number);
        let way = Way(word.load());
        if way.matches(hash) {
            return Some((word, way));
        }
        number += 1;
    }
    None
}
