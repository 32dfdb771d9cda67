//! The frame in memory: the only place that reads or writes packet bytes.
//!
//! A [`Window`] is a run of bytes whose presence was checked. The compiler checks that reads lie within the window. So the
//! verifier sees one comparison per window.

use crate::barrier::hide_address;

/// Offsets never exceed this: two VLAN tags, an IPv6 header and eight extension headers of 2 KiB need 16,462. The packet that an
/// ICMP error quotes needs about as much again (the error's offset is bounded for that).
const MAX_OFFSET: u32 = 0x7fff;

/// A received frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    start: usize,
    end: usize,
}

impl Frame {
    /// The frame from `start` to `end`.
    ///
    /// # Safety
    /// The bytes from `start` to `end` must be readable and writable as long as the frame and its windows are used.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// Bytes from the Ethernet header on.
    #[inline(always)]
    #[must_use]
    pub const fn length(self) -> u32 {
        (self.end - self.start) as u32
    }

    /// The first `N` bytes, if the frame has them.
    #[inline(always)]
    #[must_use]
    pub const fn head<const N: usize>(self) -> Option<Window<N>> {
        if self.start + N > self.end { None } else { Some(Window(self.start)) }
    }

    /// `N` bytes at an offset, if the frame has them.
    #[inline(always)]
    #[must_use]
    pub fn window<const N: usize>(self, offset: u32) -> Option<Window<N>> {
        let offset = offset as usize & MAX_OFFSET as usize;
        // Verifier: the pointer that is compared is the one that is read from. Without this barrier and those of `Least::or` and
        // `ipv6::length`, 199,000 instructions are walked instead of 189,000.
        let at = hide_address(self.start + offset);
        if at + N > self.end { None } else { Some(Window(at)) }
    }
}

/// `N` bytes of a frame, whose presence was checked.
#[derive(Clone, Copy, Debug)]
pub struct Window<const N: usize>(usize);

macro_rules! reads {
    ($($name:ident: $type:ty),+) => { $(
        /// The integer at an offset within the window, in the packet's byte order.
        #[inline(always)]
        #[must_use]
        pub fn $name<const AT: usize>(self) -> $type {
            const { assert!(AT + size_of::<$type>() <= N) };
            let at = (self.0 + AT) as *const $type;
            // SAFETY: the window's bytes are in the frame, and the bytes read are in the window. On BPF the load is a plain
            // one although packets are not aligned: LLVM would otherwise split it into bytes, and the machines that BPF is
            // compiled for here load unaligned words.
            unsafe {
                #[cfg(target_arch = "bpf")]
                return *at;
                #[cfg(not(target_arch = "bpf"))]
                return at.read_unaligned();
            }
        }
    )+ };
}

macro_rules! writes {
    ($($name:ident: $type:ty),+) => { $(
        /// Overwrites the integer at an offset within the window; it is in the packet's byte order.
        #[inline(always)]
        pub fn $name<const AT: usize>(self, value: $type) {
            const { assert!(AT + size_of::<$type>() <= N) };
            let at = (self.0 + AT) as *mut $type;
            // SAFETY: as for reads; the bytes of a frame are writable.
            unsafe {
                #[cfg(target_arch = "bpf")]
                {
                    *at = value;
                }
                #[cfg(not(target_arch = "bpf"))]
                at.write_unaligned(value);
            }
        }
    )+ };
}

impl<const N: usize> Window<N> {
    reads!(u8: u8, u16: u16, u32: u32, u64: u64);

    /// The `u32` at an offset, as [`Window::u32`], loaded where this is called, and not long before; 0 beyond the window.
    #[inline(always)]
    #[must_use]
    pub fn word(self, at: usize) -> u32 {
        if at + 4 > N {
            return 0;
        }
        let at = (self.0 + at) as *const u32;
        // SAFETY: as for the other reads.
        unsafe {
            #[cfg(target_arch = "bpf")]
            return at.read_volatile();
            #[cfg(not(target_arch = "bpf"))]
            at.read_unaligned()
        }
    }

    /// Its address, for helpers that read the window's bytes.
    #[inline(always)]
    #[must_use]
    pub const fn address(self) -> usize {
        self.0
    }

    /// The first `M` bytes.
    #[inline(always)]
    #[must_use]
    pub const fn first<const M: usize>(self) -> Window<M> {
        const { assert!(M <= N) };
        Window(self.0)
    }

    /// The same window, for the optimiser another one: what is read again is loaded again, and not kept on the stack until then.
    #[inline(always)]
    #[must_use]
    pub fn again(self) -> Self {
        Self(hide_address(self.0))
    }

    writes!(set_u16: u16, set_u32: u32, set_u64: u64);

    /// Overwrites the twelve bytes of both Ethernet addresses: destination, then source.
    #[inline(always)]
    pub fn set_addresses(self, words: (u64, u32)) {
        const { assert!(N >= 12) };
        let (first, second) = (self.0 as *mut u64, (self.0 + 8) as *mut u32);
        // SAFETY: the window has at least twelve bytes, and those of a frame are writable. Alignment as for reads.
        unsafe {
            #[cfg(target_arch = "bpf")]
            {
                *first = words.0;
                *second = words.1;
            }
            #[cfg(not(target_arch = "bpf"))]
            {
                first.write_unaligned(words.0);
                second.write_unaligned(words.1);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A frame over bytes, for tests.
    pub(crate) fn frame(bytes: &mut [u8]) -> Frame {
        let range = bytes.as_mut_ptr_range();
        // SAFETY: tests use the frame while the bytes live.
        unsafe { Frame::new(range.start as usize, range.end as usize) }
    }

    #[test]
    fn a_window_lies_within_the_frame() {
        let mut bytes: [u8; 16] = core::array::from_fn(|i| i as u8);
        let frame = frame(&mut bytes);
        assert_eq!(frame.length(), 16);
        assert!(frame.head::<16>().is_some() && frame.head::<17>().is_none());
        assert!(frame.window::<4>(12).is_some() && frame.window::<4>(13).is_none());
        let window = frame.window::<8>(5).unwrap();
        assert_eq!(window.u8::<1>(), 6);
        assert_eq!(window.u32::<3>().to_ne_bytes(), [8, 9, 10, 11]);
    }

    #[test]
    fn only_the_addresses_are_overwritten() {
        let mut bytes = [9; 16];
        frame(&mut bytes).head::<12>().unwrap().set_addresses((0, 0));
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9]);
    }
}
