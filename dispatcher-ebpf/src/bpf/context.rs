//! The contexts that the kernel calls the programs with: the only way to a packet's frame.

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_md,
    helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::{TcContext, TracePointContext, XdpContext},
};
use dispatcher_ebpf::frame::Frame;

/// The context of the XDP program.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Context(*mut xdp_md);

impl Context {
    /// The context that the kernel called the program with.
    #[inline(always)]
    pub(crate) const fn of(ctx: &XdpContext) -> Self {
        Self(ctx.ctx)
    }

    /// The context at an address.
    ///
    /// # Safety
    /// The address must be that of the context that the kernel called the program with.
    #[inline(always)]
    pub(crate) const unsafe fn new(raw: *mut xdp_md) -> Self {
        Self(raw)
    }

    /// Its address.
    #[inline(always)]
    pub(crate) const fn raw(self) -> *mut xdp_md {
        self.0
    }

    /// The frame, as it is now. [`Self::move_head`] and [`Self::move_tail`] void it.
    #[inline(always)]
    pub(crate) fn frame(self) -> Frame {
        let ctx = XdpContext::new(self.0);
        // SAFETY: the kernel keeps the bytes from `data` to `data_end` readable and writable until the frame is voided.
        unsafe { Frame::new(ctx.data(), ctx.data_end()) }
    }

    /// Moves the start of the frame, and returns the new frame; negative bytes make room before it. None if the kernel refuses.
    #[inline(always)]
    pub(crate) fn move_head(self, bytes: i32) -> Option<Frame> {
        // SAFETY: the context is the program's; the verifier refuses a program that uses the frame from before.
        (unsafe { bpf_xdp_adjust_head(self.0, bytes) } == 0).then(|| self.frame())
    }

    /// Moves the end of the frame, and returns the new frame; negative bytes cut it. None if the kernel refuses.
    #[inline(always)]
    pub(crate) fn move_tail(self, bytes: i32) -> Option<Frame> {
        // SAFETY: as for the head.
        (unsafe { bpf_xdp_adjust_tail(self.0, bytes) } == 0).then(|| self.frame())
    }
}

/// The frame of a TC program's packet. Its first `head` bytes, or all if it is shorter, are contiguous.
#[inline(always)]
pub(crate) fn skb_frame(ctx: &TcContext, head: u32) -> Frame {
    let wanted = if ctx.len() < head { ctx.len() } else { head };
    if ctx.data() + wanted as usize > ctx.data_end() {
        let _short = ctx.pull_data(wanted);
    }
    // SAFETY: the kernel lets programs of this type read and write the bytes between the two.
    unsafe { Frame::new(ctx.data(), ctx.data_end()) }
}

/// Whether the NIC removed a VLAN tag from a TC program's packet.
#[inline(always)]
pub(crate) fn had_tag(ctx: &TcContext) -> bool {
    // SAFETY: the kernel called the program with this context.
    unsafe { (*ctx.skb.skb).vlan_present != 0 }
}

/// The word at an offset of a tracepoint's record; the controller compares the offsets with the kernel's.
#[inline(always)]
pub(crate) fn record_field<const AT: usize>(ctx: &TracePointContext) -> u32 {
    // SAFETY: the kernel attaches no program that reads beyond the record.
    unsafe { ctx.as_ptr().cast::<u8>().add(AT).cast::<u32>().read() }
}
