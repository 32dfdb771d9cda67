//! The driver: in each repetition of a test run it restores the frame, changes it to the next flow and jumps into the program
//! under test. There is one program for each location of client address and port.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod bpf {
    use core::ptr;

    use aya_ebpf::{
        bindings::xdp_action::XDP_ABORTED,
        macros::{map, xdp},
        maps::{Array, ProgramArray},
        programs::XdpContext,
    };
    use dispatcher_lab_ebpf::Plan;

    #[map]
    static PLAN: Array<Plan> = Array::with_max_entries(1, 0);
    #[map]
    static TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);

    /// IPv4, TCP or UDP.
    #[xdp]
    fn ipv4(ctx: XdpContext) -> u32 {
        drive::<26, 34>(&ctx)
    }

    /// IPv6, TCP or UDP: the client's last four bytes.
    #[xdp]
    fn ipv6(ctx: XdpContext) -> u32 {
        drive::<34, 54>(&ctx)
    }

    /// IPv4 behind one VLAN tag.
    #[xdp]
    fn vlan(ctx: XdpContext) -> u32 {
        drive::<30, 38>(&ctx)
    }

    /// Fragments of IPv4: instead of the port, the identification.
    #[xdp]
    fn fragment(ctx: XdpContext) -> u32 {
        drive::<26, 18>(&ctx)
    }

    /// An ICMP error of IPv4 that quotes a packet to the client.
    #[xdp]
    fn icmp(ctx: XdpContext) -> u32 {
        drive::<58, 62>(&ctx)
    }

    /// Does not return if a program under test is set.
    #[inline(always)]
    fn drive<const ADDRESS: usize, const PORTS: usize>(ctx: &XdpContext) -> u32 {
        let Some(plan) = PLAN.get_ptr_mut(0) else { return XDP_ABORTED };
        let start = ctx.data();
        if start + max(ADDRESS + 8, PORTS + 4) > ctx.data_end() {
            return XDP_ABORTED;
        }
        // SAFETY: the pointer comes from a lookup, and only this program, on one CPU, uses the element while it runs. The
        // check above ensures that the written bytes are in the frame. Each store is at least as wide as a parser's load of
        // the same bytes, so that the processor can forward it; volatile keeps LLVM from splitting it.
        unsafe {
            let packet = (*plan).next;
            (*plan).next = packet + 1;
            // Without a branch, so that the time does not depend on the packet's outcome: adding 2³² − 1 carries if they
            // differ.
            let differs = ptr::read_volatile((start + 8) as *const u32) ^ (*plan).mac_tail;
            (*plan).changed += (u64::from(differs) + u64::from(u32::MAX)) >> 32;
            let flow = (*plan).flow(packet);
            *((start) as *mut u64) = (*plan).mac_head;
            *((start + 8) as *mut u32) = (*plan).mac_tail;
            *((start + 12) as *mut u16) = (*plan).ethertype as u16;
            *((start + ADDRESS) as *mut u64) = (*plan).address_of(flow);
            *((start + PORTS) as *mut u32) = (*plan).ports_of(flow);
            TARGET.tail_call(ctx, 0);
        }
        XDP_ABORTED
    }

    const fn max(a: usize, b: usize) -> usize {
        if a > b { a } else { b }
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
