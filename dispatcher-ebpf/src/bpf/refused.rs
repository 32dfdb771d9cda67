//! Redirects that a device refused after the program had returned: the kernel tells of them by tracepoints, and nobody else does.

use aya_ebpf::{EbpfContext as _, programs::TracePointContext};
use dispatcher_common::refused::RefusedKey;

use super::maps;

/// `xdp:xdp_redirect_err`: the target was refused at once, one packet.
#[inline(always)]
pub(crate) fn at_once(ctx: &TracePointContext) -> u32 {
    let key = RefusedKey {
        map_id: field::<28>(ctx),
        from: field::<16>(ctx),
        to: field::<24>(ctx),
        error: field::<20>(ctx) as i32,
    };
    maps::refuse(&key, 1);
    0
}

/// `xdp:xdp_devmap_xmit`: the driver took only some of the packets that were gathered for it.
#[inline(always)]
pub(crate) fn when_sent(ctx: &TracePointContext) -> u32 {
    let refused = field::<20>(ctx);
    if refused != 0 {
        let (from, to) = (field::<8>(ctx), field::<16>(ctx));
        let key = RefusedKey { map_id: 0, from, to, error: field::<28>(ctx) as i32 };
        maps::refuse(&key, u64::from(refused));
    }
    0
}

/// The word at an offset of the tracepoint's record; the controller compares the offsets with the kernel's.
#[inline(always)]
fn field<const AT: usize>(ctx: &TracePointContext) -> u32 {
    // SAFETY: the kernel attaches no program that reads beyond the record.
    unsafe { ctx.as_ptr().cast::<u8>().add(AT).cast::<u32>().read() }
}
