//! The fast path: packets whose headers are plain.
//!
//! Packets of established connections to backends that are up leave here, and so do packets that are not ours. For other
//! packets with plain headers, the stages of [`super::full_path`] find or make the connection. Anything else takes the full path
//! from its start: tags, options, extension headers, fragments, packets that are cut short.
//!
//! The fewer instructions there are between two packets' cold cache lines, the more of them the processor fetches at once. So the
//! packet's fields are read again where they are needed, instead of being kept on the stack.

use aya_ebpf::bindings::xdp_action::XDP_DROP;
use dispatcher_common::{
    backend::Forward,
    connection::{State, WAYS, Way},
    reason::Reason,
};
use dispatcher_ebpf::{
    barrier::compute,
    outcome::Exit,
    parse::{FIN, IPV4, IPV6, Plain, PlainV4, PlainV6, RST, SYN, Segment},
};

use super::{
    clock::tick,
    config,
    context::Context,
    filter,
    forward::{self, Size},
    full_path,
    global::global,
    loops,
    maps::{self, Ways},
    measure,
    packet::Packet,
    table::position::{Position, first_bucket, second_bucket},
    verdict,
};

/// The action for a packet with plain headers; none if it must take the full path.
#[inline(always)]
pub(crate) fn forward(ctx: Context) -> Option<u32> {
    let frame = ctx.frame();
    let head = frame.head::<54>()?;
    match head.u16::<12>() {
        IPV4 => plain(ctx, PlainV4(head), fill_v4),
        IPV6 => plain(ctx, PlainV6(frame.head::<74>()?), fill_v6),
        _ => None,
    }
}

#[inline(always)]
fn plain(ctx: Context, head: impl Plain, fill: Fill) -> Option<u32> {
    if !head.has_form() {
        return None;
    }
    if !filter::may_be_vip(head.filter_bit()) {
        return Some(verdict::leave(Exit::new(Reason::NotOurs), head.bytes()));
    }
    if !head.agrees(ctx.frame().length()) {
        return None;
    }
    // Optimiser: otherwise the words of the key stay on the stack until the lookup (stack: 40 bytes become 248).
    let hash = compute(head.again().hash(config::hash_key));
    let head = head.again();
    let own = maps::own_address(config::interface());
    if !filter::is_for_us(head.ethernet(), own.0) {
        return Some(verdict::leave(Exit::new(Reason::NotOurs), head.bytes()));
    }
    let now = tick();
    // Optimiser: otherwise these constants are stored on the stack early (seven more stack accesses, in fewer instructions).
    let mut is_to_be_found = compute(1);
    if !Way(hash).is_tcp() || head.flags() & (FIN | SYN | RST) == 0 {
        is_to_be_found = match find(hash) {
            Some(found) => match follow(ctx, head, hash, found, own, now) {
                Some(action) => return Some(action),
                None => compute(1),
            },
            None => compute(0),
        };
    }
    Some(hand_over(ctx, hash, now, is_to_be_found, fill))
}

/// Hands the packet to the stages of the full path.
#[inline(always)]
fn hand_over(ctx: Context, hash: u64, now: u64, is_to_be_found: u64, fill: Fill) -> u32 {
    let Some(packet) = maps::packet() else { return XDP_DROP };
    if !fill(ctx, packet, hash, now, is_to_be_found) {
        return verdict::leave(Exit::new(Reason::NotOurs), packet.bytes);
    }
    full_path::whole(ctx, packet)
}

/// Fills in the packet from plain headers of a family; false if it is not ours.
type Fill = fn(Context, &mut Packet, u64, u64, u64) -> bool;

global! {
    /// Fills in the packet from plain headers of IPv4. If this were inlined, the path of every packet would keep the headers on
    /// the stack for it.
    fn fill_v4(
        ctx: Context, packet: &mut Packet, hash: u64, tick: u64, is_to_be_found: u64,
    ) -> bool as dispatcher_fill_v4 {
        fill(ctx.frame().head().map(PlainV4), packet, hash, tick, is_to_be_found)
    }

    /// As [`fill_v4`], of IPv6.
    fn fill_v6(
        ctx: Context, packet: &mut Packet, hash: u64, tick: u64, is_to_be_found: u64,
    ) -> bool as dispatcher_fill_v6 {
        fill(ctx.frame().head().map(PlainV6), packet, hash, tick, is_to_be_found)
    }
}

#[inline(always)]
fn fill<P: Plain>(
    head: Option<P>,
    packet: &mut Packet,
    hash: u64,
    tick: u64,
    is_to_be_found: u64,
) -> bool {
    let Some(head) = head else { return false };
    head.write_flow(&mut packet.flow);
    (packet.hash, packet.tick, packet.is_to_be_found) = (hash, tick, is_to_be_found);
    packet.source = loops::source(head.ethernet());
    packet.bytes = head.bytes();
    packet.flags = u32::from(head.tos()) << 8;
    packet.segment = Segment(0);
    if Way(hash).is_tcp() {
        packet.flags |= u32::from(head.flags());
        packet.segment = head.segment();
    }
    // An IPv4 address in mapped form must not be on the wire, and would match the IPv4 VIP.
    P::IS_V4 || !packet.flow.has_mapped_vip()
}

/// Forwards the packet of an established connection; none if it needs more than that.
#[inline(always)]
fn follow(
    ctx: Context,
    head: impl Plain,
    hash: u64,
    found: Found,
    own: Forward,
    now: u64,
) -> Option<u32> {
    let Found { ways, way, number } = found;
    if way.state() != State::Established {
        return None;
    }
    let forward = maps::forward(way.slot());
    if !forward.is_plain() {
        return None;
    }
    if loops::is_back(loops::source(head.ethernet()), forward) {
        return None;
    }
    let mut moved = way;
    if way.is_unproven() && head.again().segment().payload() != 0 {
        moved = way.marked();
    }
    if moved != way || way.age(now) != 0 {
        // If this fails, another CPU touched it, which is enough. Neither state nor slot changes, so no count changes.
        let _ = ways.word(number).replace(way.0, moved.touched(now).0);
    }
    if forward.is_measured() && way.is_tcp() {
        let bucket = if number < WAYS { first_bucket(hash) } else { second_bucket(hash) };
        let (position, head) = (Position::new(bucket, number), head.again());
        measure::learn(position, hash, way.slot(), head.flags(), head.segment());
    }
    let head = head.again();
    let size = Size::plain(head.bytes());
    match forward::by_mac(ctx, head.ethernet(), forward, own, way.slot(), size) {
        Ok(action) => Some(action),
        Err(exit) => Some(verdict::leave(exit, size.bytes())),
    }
}

/// One of the flow's ways.
struct Found {
    ways: Ways,
    way: Way,
    /// Its number in the first bucket, or [`WAYS`] and that in the second.
    number: usize,
}

/// One of the flow's ways: usually the first bucket's cache line is all that is touched.
#[inline(always)]
fn find(hash: u64) -> Option<Found> {
    in_bucket(first_bucket(hash), hash, 0).or_else(|| in_bucket(second_bucket(hash), hash, WAYS))
}

#[inline(always)]
fn in_bucket(bucket: u32, hash: u64, offset: usize) -> Option<Found> {
    let ways = maps::ways(bucket)?;
    let (number, way) = ways.find(hash)?;
    Some(Found { ways, way, number: number + offset })
}
