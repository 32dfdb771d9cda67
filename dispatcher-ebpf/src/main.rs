//! Entries of the dispatcher's datapath: XDP, and TC for probes of VIPs; elsewhere than on BPF an empty program.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod bpf {
    mod backend;
    mod choose;
    mod classify;
    mod clock;
    mod config;
    mod fast_path;
    mod filter;
    mod forward;
    mod fragment;
    mod full_path;
    mod icmp;
    #[cfg(feature = "log")]
    mod log;
    mod loops;
    mod maps;
    mod measure;
    mod packet;
    mod probe;
    mod refused;
    mod reset;
    mod shared_word;
    mod table;
    mod too_big;
    mod verdict;

    use aya_ebpf::{
        macros::{classifier, tracepoint, xdp},
        programs::{TcContext, TracePointContext, XdpContext},
    };

    /// Every packet of a NIC: known flows by the short way, the others by the whole.
    #[xdp]
    fn dispatcher(ctx: XdpContext) -> u32 {
        match fast_path::forward(&ctx) {
            Some(action) => action,
            None => full_path::walk(&ctx),
        }
    }

    /// Every packet that the prober sends: out of a backend's NIC, or nowhere.
    #[classifier]
    fn probe_out(ctx: TcContext) -> i32 {
        probe::send(&ctx)
    }

    /// Every packet that a NIC leaves to the kernel: to the prober, if it answers a probe.
    #[classifier]
    fn probe_in(ctx: TcContext) -> i32 {
        probe::receive(&ctx)
    }

    /// Every redirect that failed at once.
    #[tracepoint]
    fn redirect_refused(ctx: TracePointContext) -> u32 {
        refused::at_once(&ctx)
    }

    /// Every handful of redirected packets that was given to a driver.
    #[tracepoint]
    fn sending_refused(ctx: TracePointContext) -> u32 {
        refused::when_sent(&ctx)
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
