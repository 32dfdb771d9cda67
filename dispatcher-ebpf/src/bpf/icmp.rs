//! Whose is an ICMP message to a VIP? An error goes to the backend of the connection that it quotes; the rest is the
//! kernel's.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use dispatcher_common::reason::Reason;
use dispatcher_ebpf::{
    exit::Exit,
    frame::Frame,
    parse::{self, Contents, Tcp},
};

use super::{
    classify, connection,
    pipeline::{self, Packet, frame},
};

/// Sends an ICMP message on its way; `contents` are [`Contents`]. A global function: see [`super::pipeline`].
#[inline(never)]
#[unsafe(no_mangle)]
pub(super) extern "C" fn dispatcher_icmp(
    ctx: *mut xdp_md,
    packet: *mut Packet,
    contents: u64,
) -> u32 {
    // SAFETY: `dispatcher_walk` passes its own packet; the verifier insists on the check for null.
    let Some(packet) = (unsafe { packet.as_mut() }) else { return 0 };
    let ctx = XdpContext::new(ctx);
    let slot = slot(frame(&ctx), packet, Contents(contents).offset());
    pipeline::end(&ctx, packet, slot)
}

/// The slot of the quoted connection, which stays as it is: whoever forges an error can keep none alive.
#[inline(always)]
fn slot(frame: Frame, packet: &mut Packet, at: u32) -> Result<u32, Exit> {
    let network = parse::network(frame, &mut packet.flow)?;
    if parse::quoted(frame, network, at, &mut packet.flow) {
        packet.complete(network.is_v4, Tcp::default(), 0);
        if let Some(slot) = connection::peek(packet) {
            return Ok(slot);
        }
    }
    Err(classify::if_vip(Reason::Icmp, &packet.flow))
}
