//! Reads the kernel's count of jiffies, which only a program can. The controller makes the kernel run it once on a frame; it is
//! never attached.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod bpf {
    use aya_ebpf::{
        bindings::xdp_action::{XDP_ABORTED, XDP_PASS},
        helpers::generated::bpf_jiffies64,
        macros::xdp,
        programs::XdpContext,
    };

    /// Writes the count over the first eight bytes of the frame.
    #[xdp]
    fn jiffies(ctx: XdpContext) -> u32 {
        if ctx.data() + size_of::<u64>() > ctx.data_end() {
            return XDP_ABORTED;
        }
        // SAFETY: the bytes are in the frame by the check above; the helper takes nothing and changes nothing.
        unsafe { (ctx.data() as *mut u64).write_unaligned(bpf_jiffies64()) };
        XDP_PASS
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 4] = *b"GPL\0";
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
