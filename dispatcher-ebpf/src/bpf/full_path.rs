//! The full path of a packet: the order of its stages. Each returns what the next one needs, or the packet's exit.

use aya_ebpf::bindings::xdp_action::XDP_DROP;
use dispatcher_common::reason::Reason;
use dispatcher_ebpf::{
    outcome::{Answer, Exit},
    parse::{self, Contents},
};

use super::{
    choose::new_connection,
    classify,
    context::Context,
    filter, forward, fragment,
    global::global,
    icmp, loops, maps, measure,
    packet::Packet,
    reset,
    table::tracking::{self, Found},
    verdict,
};

global! {
    /// Takes a packet through all stages, and returns its XDP action.
    pub(crate) fn walk(ctx: Context) -> u32 as dispatcher_walk {
        let Some(packet) = maps::packet() else { return XDP_DROP };
        match headers(ctx, packet) {
            Ok(Contents::WHOLE) => whole(ctx, packet),
            Ok(contents) if contents.is_icmp() => icmp::forward(ctx, packet, contents),
            Ok(contents) => fragment::forward(ctx, packet, contents),
            Err(exit) => verdict::leave(exit, packet.bytes),
        }
    }

    /// Takes a whole segment or datagram, already filled in, through the other stages.
    pub(crate) fn whole(ctx: Context, packet: &mut Packet) -> u32 as dispatcher_dispatch {
        match stages(ctx, packet) {
            Ok(action) => action,
            Err(exit) if exit.answer() == Answer::Reset => reset::answer(ctx, packet, exit),
            Err(exit) => verdict::leave(exit, packet.bytes),
        }
    }

    /// Fills in the packet from its headers, if it is for us; returns its contents.
    fn headers(ctx: Context, packet: &mut Packet) -> Result<Contents, Exit> as dispatcher_headers {
        let frame = ctx.frame();
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
}

#[inline(always)]
fn stages(ctx: Context, packet: &Packet) -> Result<u32, Exit> {
    let slot = slot(packet)?;
    measure::observe(packet, slot);
    forward::forward(ctx, packet, slot)
}

/// The slot of the packet's connection, which may be a new one.
#[inline(always)]
pub(crate) fn slot(packet: &Packet) -> Result<u32, Exit> {
    match tracking::resume(packet)? {
        Found::Slot(slot) => Ok(slot),
        Found::Nothing => new_connection::place(packet),
        Found::Ended => new_connection::renew(packet),
    }
}
