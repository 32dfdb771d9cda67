//! Whose is an ICMP message to a VIP? An error goes to the backend of the connection that it quotes; the rest is the
//! kernel's.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use dispatcher_common::reason::Reason;
use dispatcher_ebpf::{
    frame::Frame,
    outcome::Exit,
    parse::{self, Contents, Tcp},
};

use super::{
    classify, full_path,
    packet::{Packet, frame},
    table::lookup,
};

/// Sends an ICMP message on its way; `contents` are [`Contents`]. A global function: see [`super::full_path`].
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn dispatcher_icmp(
    ctx: *mut xdp_md,
    packet: *mut Packet,
    contents: u64,
) -> u32 {
    // SAFETY: `dispatcher_walk` passes its own packet; the verifier insists on the check for null.
    let Some(packet) = (unsafe { packet.as_mut() }) else { return 0 };
    let ctx = XdpContext::new(ctx);
    let slot = slot(frame(&ctx), packet, Contents(contents).offset());
    full_path::end(&ctx, packet, slot)
}

/// The slot of the quoted connection, which stays as it is: whoever forges an error can keep none alive.
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
