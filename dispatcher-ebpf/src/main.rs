//! Entry points of the datapath: XDP, TC for probes of VIPs, and tracepoints. On other targets than BPF the program is empty.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
#[allow(clippy::needless_borrows_for_generic_args, reason = "a key by value would be copied")]
mod bpf {
    // The two paths, and the data that all stages use.
    mod context;
    mod fast_path;
    mod full_path;
    mod packet;

    // The stages, in the order of the path.
    mod filter;

    mod fragment;
    mod icmp;

    mod table;

    mod classify;

    mod choose;

    mod measure;

    mod loops;

    mod forward;
    mod reset;
    mod too_big;

    #[cfg(feature = "log")]
    mod log;
    mod verdict;

    // The base of the stages.
    mod backend;
    mod clock;
    mod config;
    mod global;
    mod helper;
    mod maps;
    mod shared_word;

    // The other programs.
    mod probe;
    mod refused;

    use aya_ebpf::{
        macros::{classifier, tracepoint, xdp},
        programs::{TcContext, TracePointContext, XdpContext},
    };

    use context::Context;

    /// Handles every packet of a NIC: known flows on the fast path, other packets on the full path.
    #[xdp]
    fn dispatcher(ctx: XdpContext) -> u32 {
        let ctx = Context::of(&ctx);
        match fast_path::forward(ctx) {
            Some(action) => action,
            None => full_path::walk(ctx),
        }
    }

    /// Sends the prober's packets out of a backend's NIC, or drops them.
    #[classifier]
    fn probe_out(ctx: TcContext) -> i32 {
        probe::send(&ctx)
    }

    /// Handles every packet that a NIC leaves to the kernel: sends answers to probes to the prober.
    #[classifier]
    fn probe_in(ctx: TcContext) -> i32 {
        probe::receive(&ctx)
    }

    /// Counts redirects that the kernel refused at once.
    #[tracepoint]
    fn redirect_refused(ctx: TracePointContext) -> u32 {
        refused::at_once(&ctx)
    }

    /// Counts redirected packets that a driver refused.
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
