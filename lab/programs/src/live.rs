//! Programs for both ends of a veth with real frames: the generator makes them, and the sink counts those that come back. They
//! handle TCP over IPv4 without options.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod bpf {
    use aya_ebpf::{
        bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX},
        btf_maps::{Array, PerCpuArray},
        macros::{btf_map, xdp},
        programs::XdpContext,
    };
    use dispatcher_lab_ebpf::Plan;

    #[btf_map]
    static PLAN: Array<Plan, 1> = Array::new();
    /// Number of frames that reached the sink.
    #[btf_map]
    static SUNK: PerCpuArray<u64, 1> = PerCpuArray::new();

    /// Length of Ethernet header, IPv4 header and ports.
    const HEADERS: usize = 38;
    /// TTL 64, TCP, and no checksum yet, in the frame's byte order.
    const FRESH: u32 = u32::from_ne_bytes([64, 6, 0, 0]);

    /// Changes a frame to the next flow and sends it out of the NIC on which it seems to arrive. Frames come back changed, so
    /// this writes addresses, TTL and checksum again.
    #[xdp]
    fn generate(ctx: XdpContext) -> u32 {
        let Some(plan) = PLAN.get_ptr_mut(0) else { return XDP_ABORTED };
        let start = ctx.data();
        if start + HEADERS > ctx.data_end() {
            return XDP_ABORTED;
        }
        // SAFETY: the pointer comes from a lookup, and only this program, on one CPU, uses the element while it runs. The
        // check above ensures that the bytes are in the frame.
        unsafe {
            let packet = (*plan).next;
            (*plan).next = packet + 1;
            let flow = (*plan).flow(packet);
            *(start as *mut u64) = (*plan).mac_head;
            *((start + 8) as *mut u32) = (*plan).mac_tail;
            *((start + 12) as *mut u16) = (*plan).ethertype as u16;
            *((start + 22) as *mut u32) = FRESH;
            *((start + 26) as *mut u64) = (*plan).address_of(flow);
            *((start + 34) as *mut u32) = (*plan).ports_of(flow);
            let word = |at: usize| u64::from(*((start + 14 + at) as *const u32));
            let sum = word(0) + word(4) + word(8) + word(12) + word(16);
            // Folded from 35 bits to 16: RFC 1071.
            let sum = (sum >> 32) + (sum & 0xffff_ffff);
            let sum = (sum >> 32) + (sum & 0xffff_ffff);
            let sum = (sum >> 16) + (sum & 0xffff);
            let sum = (sum >> 16) + (sum & 0xffff);
            *((start + 24) as *mut u16) = !(sum as u16);
        }
        XDP_TX
    }

    /// Counts frames and discards them.
    #[xdp]
    fn sink(_ctx: XdpContext) -> u32 {
        if let Some(sunk) = SUNK.get_ptr_mut(0) {
            // SAFETY: the pointer comes from a lookup, and the element is this CPU's.
            unsafe { *sunk += 1 };
        }
        XDP_DROP
    }

    /// The least work at the far end: sends the frame out of the NIC on which it arrived.
    #[xdp]
    fn bounce(_ctx: XdpContext) -> u32 {
        XDP_TX
    }

    /// Passes frames to the kernel.
    #[xdp]
    fn leave(_ctx: XdpContext) -> u32 {
        XDP_PASS
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
