//! ICMP messages to a VIP: an error goes to the backend of the connection that it quotes, the rest to the kernel.

use dispatcher_common::reason::Reason;
use dispatcher_ebpf::{
    frame::Frame,
    outcome::Exit,
    parse::{self, Contents, Tcp},
};

use super::{classify, context::Context, forward, global::global, packet::Packet, table::lookup};

global! {
    /// Forwards an ICMP error, or lets the packet leave.
    pub(crate) fn forward(ctx: Context, packet: &mut Packet, contents: Contents) -> u32
    as dispatcher_icmp {
        let slot = slot(ctx.frame(), packet, contents.offset());
        forward::finish(ctx, packet, slot)
    }
}

/// The slot of the quoted connection, which stays as it is: a forged error keeps no connection alive.
#[inline(always)]
fn slot(frame: Frame, packet: &mut Packet, at: u32) -> Result<u32, Exit> {
    let network = parse::network(frame, &mut packet.flow)?;
    if parse::quoted(frame, network, at, &mut packet.flow) {
        packet.complete(network.is_v4, Tcp::default(), 0);
        if let Some(slot) = lookup::peek(packet) {
            return Ok(slot);
        }
    }
    Err(classify::if_vip(Reason::Icmp, &packet.flow))
}
