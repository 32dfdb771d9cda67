//! The whole way of a packet, stage after stage. Each yields what the next one needs, or the packet's exit.

use aya_ebpf::{
    bindings::{xdp_action::XDP_DROP, xdp_md},
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns},
    programs::XdpContext,
};
use dispatcher_common::{
    connection::TICK_SHIFT,
    flow::{WORDS_V4, WORDS_V6, flow_hash, table_hash},
    reason::Reason,
};
use dispatcher_ebpf::{
    frame::Frame,
    measure::Segment,
    outcome::{Exit, Outcome},
    parse::{self, Contents, FlowWords, Tcp},
    table::tracking::{self, Event},
};

use super::{
    choose::new_connection,
    classify, config, filter,
    forward::{self, Size},
    fragment, icmp, loops, maps, measure, reset,
    table::lookup::{self, Found},
    too_big, verdict,
};

/// A TCP or UDP packet to an address that may be a VIP. Without padding, since it is passed to global functions.
#[repr(C)]
pub(crate) struct Packet {
    /// Its flow.
    pub(crate) flow: FlowWords,
    /// The flow's hash in the connection table.
    pub(crate) hash: u64,
    /// When it came.
    pub(crate) tick: u64,
    /// Its frame's source address, as [`super::loops::source`] reads it.
    pub(crate) source: u64,
    /// 0 if the table has been searched in vain.
    pub(crate) is_to_be_found: u64,
    /// TCP flags in bits 0–7, TOS or traffic class in 8–15.
    pub(crate) flags: u32,
    /// L3 bytes.
    pub(crate) bytes: u32,
    /// Acknowledgement number and payload of TCP.
    pub(crate) segment: Segment,
}

impl Packet {
    /// Adds what follows from the flow, and what else there is to know.
    #[inline(always)]
    pub(crate) fn complete(&mut self, is_v4: bool, tcp: Tcp, tos: u8) {
        let FlowWords { client, vip, ports, protocol } = self.flow;
        let hash = if is_v4 {
            let words = [client[3], vip[3], ports, protocol];
            flow_hash::<WORDS_V4>(|i| words[i], config::hash_key)
        } else {
            let words = self.flow.words();
            flow_hash::<WORDS_V6>(|i| words[i], config::hash_key)
        };
        self.hash = table_hash(hash, protocol as u8);
        self.tick = tick();
        self.is_to_be_found = 1;
        self.flags = u32::from(tcp.flags) | u32::from(tos) << 8;
        self.segment = tcp.segment;
    }

    /// TOS or traffic class.
    #[inline(always)]
    pub(crate) const fn tos(&self) -> u8 {
        (self.flags >> 8) as u8
    }

    /// Whether it is TCP.
    #[inline(always)]
    pub(crate) const fn is_tcp(&self) -> bool {
        self.hash >> 63 != 0
    }

    /// What it means to its connection.
    #[inline(always)]
    pub(crate) const fn event(&self) -> Event {
        tracking::event(self.flow.protocol as u8, self.flags as u8, self.segment.payload())
    }
}

/// The monotonic clock in nanoseconds, from its last update: reading it costs 2 ns.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper takes nothing and changes nothing.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// The same clock in ticks of 2³² ns, from the jiffies that the kernel counts by it: two instructions instead of a call. It may be
/// a jiffy or two from [`now`], and that from the controller's, so stamps may lie a tick ahead of who looks at them.
#[inline(always)]
pub(crate) fn tick() -> u64 {
    // SAFETY: the helper takes nothing and changes nothing.
    config::monotonic_ns(unsafe { bpf_jiffies64() }) >> TICK_SHIFT
}

/// The frame of a context.
#[inline(always)]
pub(crate) fn frame(ctx: &XdpContext) -> Frame {
    // SAFETY: the kernel keeps the frame from `data` to `data_end`. Only the answer to a client cuts it, and ends with that.
    unsafe { Frame::new(ctx.data(), ctx.data_end()) }
}

/// Takes a packet through all stages and yields its XDP action.
#[inline(always)]
pub(crate) fn walk(ctx: &XdpContext) -> u32 {
    dispatcher_walk(ctx.ctx)
}

/// As [`walk`]. A global function: the verifier checks it once, for any frame, and apart from the short way. So are the
/// functions below and those of [`lookup`], [`new_connection`], [`fragment`], [`icmp`] and [`reset`], each of which the stack
/// would else hold with all others.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_walk(ctx: *mut xdp_md) -> u32 {
    let Some(packet) = maps::packet() else { return XDP_DROP };
    match Outcome(dispatcher_headers(ctx, packet)).contents() {
        Ok(Contents::WHOLE) => dispatcher_dispatch(ctx, packet),
        Ok(contents) if contents.is_icmp() => icmp::dispatcher_icmp(ctx, packet, contents.0),
        Ok(contents) => fragment::dispatcher_fragment(ctx, packet, contents.0),
        // SAFETY: the pointer comes from a lookup; what is not set yet are integers of an earlier packet.
        Err(exit) => verdict::leave(exit, unsafe { (*packet).bytes }),
    }
}

/// As [`dispatch`]. A global function for the same reason as [`dispatcher_walk`].
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn dispatcher_dispatch(ctx: *mut xdp_md, packet: *mut Packet) -> u32 {
    // SAFETY: the callers pass their own packet; the verifier insists on the check for null.
    let Some(packet) = (unsafe { packet.as_mut() }) else { return 0 };
    match stages(&XdpContext::new(ctx), packet) {
        Ok(action) => action,
        Err(exit) if exit.resets => reset::dispatcher_reset(ctx, packet, Outcome::new(Err(exit)).0),
        Err(exit) => verdict::leave(exit, packet.bytes),
    }
}

#[inline(always)]
fn stages(ctx: &XdpContext, packet: &Packet) -> Result<u32, Exit> {
    let slot = slot(packet)?;
    measure::observe(packet, slot);
    deliver(ctx, packet, slot)
}

/// The slot of the packet's connection, which may be a new one.
#[inline(always)]
pub(crate) fn slot(packet: &Packet) -> Result<u32, Exit> {
    match lookup::resume(packet)? {
        Found::Slot(slot) => Ok(slot),
        Found::Nothing => new_connection::place(packet),
        Found::Ended => new_connection::renew(packet),
    }
}

/// Sends the packet to the backend of the slot that was found for it, or lets it leave; yields its XDP action.
#[inline(always)]
pub(crate) fn end(ctx: &XdpContext, packet: &Packet, slot: Result<u32, Exit>) -> u32 {
    match slot.and_then(|slot| deliver(ctx, packet, slot)) {
        Ok(action) => action,
        Err(exit) => verdict::leave(exit, packet.bytes),
    }
}

/// Sends the packet to a slot's backend.
#[inline(always)]
fn deliver(ctx: &XdpContext, packet: &Packet, slot: u32) -> Result<u32, Exit> {
    let frame = frame(ctx);
    let head = frame.head::<14>().ok_or(Reason::NotIp)?;
    let size = Size::of_frame(packet.bytes, frame.length());
    match forward::deliver(head, slot, size) {
        Err(Exit { reason: Reason::TooBig, .. }) => {
            Ok(too_big::dispatcher_too_big(ctx.ctx, u64::from(slot)))
        }
        result => result.map_err(|exit| still_ours(exit, packet)),
    }
}

/// Fills in the packet from its headers, if it is for us; yields what it holds, packed as an [`Outcome`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_headers(ctx: *mut xdp_md, packet: *mut Packet) -> u64 {
    // SAFETY: `dispatcher_walk` passes its own packet; the verifier insists on the check for null.
    let Some(packet) = (unsafe { packet.as_mut() }) else { return 0 };
    Outcome::of_contents(headers(frame(&XdpContext::new(ctx)), packet)).0
}

#[inline(always)]
fn headers(frame: Frame, packet: &mut Packet) -> Result<Contents, Exit> {
    packet.bytes = frame.length().saturating_sub(parse::ETHERNET);
    let head = frame.head::<14>().ok_or(Reason::NotIp)?;
    packet.source = loops::source(head);
    let network = parse::network(frame, &mut packet.flow)?;
    packet.bytes = network.bytes;
    filter::admit(head, network.is_v4, &packet.flow)?;
    let (contents, tcp) = parse::transport(frame, network, &mut packet.flow)
        .map_err(|reason| classify::if_vip(reason, &packet.flow))?;
    if contents.has_ports() {
        packet.complete(network.is_v4, tcp, network.tos);
    }
    Ok(contents)
}

/// A connection may outlive its service: the packet is dropped only while services may take what is sent there.
#[inline(always)]
fn still_ours(exit: Exit, packet: &Packet) -> Exit {
    if classify::is_ours(&packet.flow) { exit } else { Exit::new(Reason::NotOurs) }
}
