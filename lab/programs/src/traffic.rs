//! Programs that laboratories attach to the NICs of their hosts, and a flood of SYNs.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod bpf {
    use core::ptr;

    use aya_ebpf::{
        bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
        helpers::bpf_get_prandom_u32,
        macros::xdp,
        programs::XdpContext,
    };
    use dispatcher_lab_ebpf::{SPOOFED, SYN_WORDS};

    /// The SYN to send, without source, port, sequence number and checksums. User space writes it before it loads the program.
    #[unsafe(no_mangle)]
    static TEMPLATE: [u16; SYN_WORDS] = [0; SYN_WORDS];

    /// What the checksum of TCP covers in addition to the segment and the addresses: protocol 6, and 20 bytes (RFC 9293 §3.1).
    const PSEUDO: u32 = (6_u16.to_be() + 20_u16.to_be()) as u32;

    /// Passes frames to the kernel.
    #[xdp]
    fn pass(_ctx: XdpContext) -> u32 {
        XDP_PASS
    }

    /// Discards frames.
    #[xdp]
    fn swallow(_ctx: XdpContext) -> u32 {
        XDP_DROP
    }

    /// Turns a frame into a SYN from a random address and port, and sends it. Writes the whole frame, because pages come back
    /// as the receiver left them.
    #[xdp]
    fn flood(ctx: XdpContext) -> u32 {
        let start = ctx.data();
        if start + size_of_val(&TEMPLATE) > ctx.data_end() {
            return XDP_DROP;
        }
        // SAFETY: the static is valid; the read is volatile because user space has changed the value that the compiler sees.
        let mut syn = unsafe { ptr::read_volatile(&raw const TEMPLATE) };
        let [source, sequence, port] = [random(), random(), random()];
        syn[13] = source as u16 & 0xff00 | SPOOFED as u16;
        syn[14] = (source >> 16) as u16 & 0x7fff;
        syn[17] = port as u16 | 4;
        syn[19] = sequence as u16;
        syn[20] = (sequence >> 16) as u16;
        syn[12] = checksum(0, &syn[7..17]);
        syn[25] = checksum(PSEUDO, &syn[13..27]);
        // SAFETY: the check above ensures that these bytes are in the frame, and packets start at an even address.
        unsafe { *(start as *mut [u16; SYN_WORDS]) = syn };
        XDP_TX
    }

    #[inline(always)]
    fn random() -> u32 {
        // SAFETY: the helper takes no arguments and may be called anywhere.
        unsafe { bpf_get_prandom_u32() }
    }

    /// The checksum of words in packet order; the byte order in which they are summed does not matter (RFC 1071 §2).
    #[inline(always)]
    fn checksum(base: u32, words: &[u16]) -> u16 {
        let sum: u32 = words.iter().fold(base, |sum, word| sum + u32::from(*word));
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        !(sum as u16)
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
