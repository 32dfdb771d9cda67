//! The whole way of a packet, stage after stage. Each yields what the next one needs, or the packet's exit.

use aya_ebpf::{
    bindings::xdp_md, helpers::generated::bpf_ktime_get_coarse_ns, programs::XdpContext,
};
use dispatcher_common::{
    connection::TICK_SHIFT,
    flow::{flow_hash, table_hash},
    net::TCP,
    reason::Reason,
};
use dispatcher_ebpf::{
    exit::Exit,
    frame::Frame,
    parse::{self, FlowWords},
    tracking::{self, Event},
};

use super::{classify, config, connection, filter, forward, place, verdict};

/// A TCP or UDP packet to an address that may be a VIP. Without padding, since it is passed to global functions.
#[repr(C)]
pub(super) struct Packet {
    /// Its flow.
    pub(super) flow: FlowWords,
    /// The flow's hash in the connection table.
    pub(super) hash: u64,
    /// When it came.
    pub(super) tick: u64,
    /// TCP flags.
    pub(super) flags: u64,
}

impl Packet {
    /// Whether it is TCP.
    #[inline(always)]
    pub(super) const fn is_tcp(&self) -> bool {
        self.hash >> 63 != 0
    }

    /// What it means to its connection.
    #[inline(always)]
    pub(super) const fn event(&self) -> Event {
        tracking::event(self.flow.protocol as u8, self.flags as u8)
    }
}

/// The monotonic clock in ticks of 2³² ns, from the clock's last update: reading it costs 2 ns.
#[inline(always)]
pub(super) fn tick() -> u64 {
    // SAFETY: the helper takes nothing and changes nothing.
    unsafe { bpf_ktime_get_coarse_ns() >> TICK_SHIFT }
}

/// The frame of a context.
#[inline(always)]
pub(super) fn frame(ctx: &XdpContext) -> Frame {
    // SAFETY: the kernel keeps the frame from `data` to `data_end` for the program's run, and the program changes neither.
    unsafe { Frame::new(ctx.data(), ctx.data_end()) }
}

/// Takes a packet through all stages and yields its XDP action.
#[inline(always)]
pub(super) fn walk(ctx: &XdpContext) -> u32 {
    dispatcher_walk(ctx.ctx)
}

/// As [`walk`]. A global function, so that the verifier checks it apart from the short way.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn dispatcher_walk(ctx: *mut xdp_md) -> u32 {
    let frame = frame(&XdpContext::new(ctx));
    let mut bytes = frame.length().saturating_sub(parse::ETHERNET);
    match stages(frame, &mut bytes) {
        Ok(action) => action,
        Err(exit) => verdict::leave(exit, bytes),
    }
}

#[inline(always)]
fn stages(frame: Frame, bytes: &mut u32) -> Result<u32, Exit> {
    let head = frame.head::<14>().ok_or(Reason::NotIp)?;
    let mut network = parse::network(frame)?;
    *bytes = network.bytes;
    filter::admit(head, &network)?;
    let flags = parse::transport(frame, &mut network)
        .map_err(|reason| classify::if_vip(reason, &network.flow))?;
    let packet = packet(network.flow, network.is_v4, flags);
    let slot = match connection::resume(&packet)? {
        Some(slot) => slot,
        None => place::enter(&packet, place::choose(&packet)?)?,
    };
    forward::deliver(head, slot, *bytes).map_err(|exit| still_vip(exit, &packet.flow))
}

#[inline(always)]
fn packet(flow: FlowWords, is_v4: bool, flags: u8) -> Packet {
    let (c, v) = (flow.client, flow.vip);
    let (ports, protocol) = (flow.ports, flow.protocol);
    let hash = if is_v4 {
        flow_hash([c[3], v[3], ports, protocol], config::hash_key)
    } else {
        let words = [c[0], c[1], c[2], c[3], v[0], v[1], v[2], v[3], ports, protocol];
        flow_hash(words, config::hash_key)
    };
    let is_tcp = protocol == u32::from(TCP);
    Packet { flow, hash: table_hash(hash, is_tcp), tick: tick(), flags: u64::from(flags) }
}

/// A connection may outlive its service: the packet is dropped only while its destination is a VIP.
#[inline(always)]
fn still_vip(exit: Exit, flow: &FlowWords) -> Exit {
    if classify::if_vip(exit.reason, flow).reason == Reason::NotOurs {
        Exit::new(Reason::NotOurs)
    } else {
        exit
    }
}
