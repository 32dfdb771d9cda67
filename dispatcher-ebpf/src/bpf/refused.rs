//! Counts redirects that a device refused after the program had returned. Only the kernel's tracepoints report them.

use aya_ebpf::programs::TracePointContext;
use dispatcher_common::refused::RefusedKey;

use super::{context::record_field, maps};

/// `xdp:xdp_redirect_err`: the kernel refused the target at once, for one packet.
#[inline(always)]
pub(crate) fn at_once(ctx: &TracePointContext) -> u32 {
    let key = RefusedKey {
        map_id: record_field::<28>(ctx),
        from: record_field::<16>(ctx),
        to: record_field::<24>(ctx),
        error: record_field::<20>(ctx) as i32,
    };
    maps::refuse(&key, 1);
    0
}

/// `xdp:xdp_devmap_xmit`: the driver took only some of the packets that were queued for it.
#[inline(always)]
pub(crate) fn when_sent(ctx: &TracePointContext) -> u32 {
    let refused = record_field::<20>(ctx);
    if refused != 0 {
        let (from, to) = (record_field::<8>(ctx), record_field::<16>(ctx));
        let key = RefusedKey { map_id: 0, from, to, error: record_field::<28>(ctx) as i32 };
        maps::refuse(&key, u64::from(refused));
    }
    0
}
