//! The short way: packets whose headers are plain.
//!
//! Those of established connections to backends that are up, and what is not ours, are done with here. The others'
//! connections are found or made by the stages of [`super::full_path`]. Whatever is out of the ordinary takes the whole
//! way there: tags, options, extension headers, fragments, what is cut short.
//!
//! How many packets' cold lines the processor waits for at once depends on how few instructions are between two of them. So what
//! the packet says is read again where it is needed, instead of being kept on the stack.

use aya_ebpf::{
    bindings::{xdp_action::XDP_DROP, xdp_md},
    programs::XdpContext,
};
use dispatcher_common::{
    backend::{Forward, LOCAL, UP, USABLE},
    connection::{State, WAYS, Way},
    reason::Reason,
};
use dispatcher_ebpf::{
    barrier::compute,
    measure::Segment,
    outcome::Exit,
    parse::{IPV4, IPV6, Plain, PlainV4, PlainV6},
    table::tracking::{FIN, RST, SYN},
};

use super::{
    clock::tick,
    config, filter,
    forward::{self, Size},
    full_path, loops,
    maps::{self, Ways},
    measure,
    packet::{self, Packet},
    table::position::{Position, first_bucket, second_bucket},
    too_big, verdict,
};

/// The action for a packet with plain headers, none for one that must take the whole way.
#[inline(always)]
pub(crate) fn forward(ctx: &XdpContext) -> Option<u32> {
    let frame = packet::frame(ctx);
    let head = frame.head::<54>()?;
    match head.u16::<12>() {
        IPV4 => plain(ctx, PlainV4(head), dispatcher_fill_v4),
        IPV6 => plain(ctx, PlainV6(frame.head::<74>()?), dispatcher_fill_v6),
        _ => None,
    }
}

/// [`fill`] of a family.
type Fill = extern "C" fn(*mut xdp_md, *mut Packet, u64, u64, u64) -> u64;

#[inline(always)]
fn plain(ctx: &XdpContext, head: impl Plain, fill: Fill) -> Option<u32> {
    if !head.has_form() {
        return None;
    }
    if !filter::may_be_vip(head.filter_bit()) {
        return Some(verdict::leave(Exit::new(Reason::NotOurs), head.bytes()));
    }
    if !head.agrees(packet::frame(ctx).length()) {
        return None;
    }
    let hash = compute(head.again().hash(config::hash_key));
    let head = head.again();
    let own = maps::own_address(config::interface());
    if !filter::is_for_us(head.ethernet(), own.0) {
        return Some(verdict::leave(Exit::new(Reason::NotOurs), head.bytes()));
    }
    let now = tick();
    // Computed where they are known, or they would be kept on the stack from early on.
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
    Some(go_on(ctx, hash, now, is_to_be_found, fill))
}

/// Hands the packet to the stages of the whole way.
#[inline(always)]
fn go_on(ctx: &XdpContext, hash: u64, now: u64, is_to_be_found: u64, fill: Fill) -> u32 {
    let Some(packet) = maps::packet() else { return XDP_DROP };
    if fill(ctx.ctx, packet, hash, now, is_to_be_found) == 0 {
        return verdict::leave(Exit::new(Reason::NotOurs), bytes(packet));
    }
    full_path::dispatcher_dispatch(ctx.ctx, packet)
}

/// L3 bytes of a packet that was filled in.
#[inline(always)]
fn bytes(packet: *mut Packet) -> u32 {
    // SAFETY: the pointer comes from a lookup.
    unsafe { (*packet).bytes }
}

/// Fills in the packet from plain headers of IPv4; yields 0 if it is not ours after all. A global function: what it needs of the
/// headers would else be kept on the stack by every packet.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_fill_v4(
    ctx: *mut xdp_md,
    packet: *mut Packet,
    hash: u64,
    tick: u64,
    is_to_be_found: u64,
) -> u64 {
    let head = packet::frame(&XdpContext::new(ctx)).head().map(PlainV4);
    fill(head, packet, hash, tick, is_to_be_found)
}

/// As [`dispatcher_fill_v4`], of IPv6.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_fill_v6(
    ctx: *mut xdp_md,
    packet: *mut Packet,
    hash: u64,
    tick: u64,
    is_to_be_found: u64,
) -> u64 {
    let head = packet::frame(&XdpContext::new(ctx)).head().map(PlainV6);
    fill(head, packet, hash, tick, is_to_be_found)
}

#[inline(always)]
fn fill<P: Plain>(
    head: Option<P>,
    packet: *mut Packet,
    hash: u64,
    tick: u64,
    is_to_be_found: u64,
) -> u64 {
    // SAFETY: `go_on` passes this CPU's packet; the verifier insists on the check for null.
    let (Some(head), Some(packet)) = (head, unsafe { packet.as_mut() }) else { return 0 };
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
    // An IPv4 address in mapped form has no business on the wire, and would be taken for the IPv4 VIP.
    u64::from(P::IS_V4 || !packet.flow.has_mapped_vip())
}

/// Forwards the packet of an established connection; none if there is more to it.
#[inline(always)]
fn follow(
    ctx: &XdpContext,
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
    if forward.flags() & (USABLE | UP | LOCAL) != USABLE | UP {
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
        // Fails if somebody else touched it, which is as good. Neither state nor slot changes, so no count does.
        let _ = ways.word(number).replace(way.0, moved.touched(now).0);
    }
    if forward.is_measured() && way.is_tcp() {
        let bucket = if number < WAYS { first_bucket(hash) } else { second_bucket(hash) };
        let (position, head) = (Position::new(bucket, number), head.again());
        measure::learn(position, hash, way.slot(), head.flags(), head.segment());
    }
    let head = head.again();
    match forward::send(head.ethernet(), forward, own, way.slot(), Size::plain(head.bytes())) {
        Ok(action) => Some(action),
        Err(Exit { reason: Reason::TooBig, .. }) => {
            Some(too_big::dispatcher_too_big(ctx.ctx, u64::from(way.slot())))
        }
        Err(exit) => Some(verdict::leave(exit, head.bytes())),
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
