//! Sorts out packets that are not for a VIP: a bit for the destination address, then the frame's own destination.

use dispatcher_common::{
    flow::{filter_bit, fold},
    reason::Reason,
};
use dispatcher_ebpf::{frame::Window, outcome::Exit, parse::FlowWords, rewrite::mac::ADDRESS};

use super::{config, maps};

/// Whether the address with this bit of the filter may be a VIP.
#[inline(always)]
pub(crate) fn may_be_vip(bit: u32) -> bool {
    maps::filter_word(bit / 64) >> (bit % 64) & 1 != 0
}

/// Whether an IPv4 address may be a VIP.
#[inline(always)]
pub(crate) fn may_be_vip_v4(vip: u32) -> bool {
    may_be_vip(filter_bit(vip))
}

/// Whether an IPv6 address may be a VIP.
#[inline(always)]
pub(crate) fn may_be_vip_v6(vip: [u32; 4]) -> bool {
    may_be_vip(filter_bit(fold(vip)))
}

/// Admits a packet if its destination may be a VIP and its frame is addressed to this NIC. A frame that a switch flooded to us is
/// for another host: forwarding it again could create a loop.
#[inline(always)]
pub(crate) fn admit(head: Window<14>, is_v4: bool, flow: &FlowWords) -> Result<(), Exit> {
    let may_be_vip = if is_v4 {
        may_be_vip_v4(flow.vip[3])
    } else {
        // An IPv4 address in mapped form must not be on the wire, and would match the IPv4 VIP.
        may_be_vip_v6(flow.vip) && !flow.has_mapped_vip()
    };
    if may_be_vip && is_for_us(head, maps::own_address(config::interface()).0) {
        Ok(())
    } else {
        Err(Exit::new(Reason::NotOurs))
    }
}

/// Whether a frame is addressed to the NIC with this address (in the lower 48 bits).
#[inline(always)]
pub(crate) fn is_for_us(head: Window<14>, own: u64) -> bool {
    // Two loads, as wide as a driver or generator may have stored the address.
    u64::from(head.u32::<0>()) | u64::from(head.u16::<4>()) << 32 == own & ADDRESS
}
