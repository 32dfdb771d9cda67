//! Forwarding mode `mac`: both Ethernet addresses are replaced, nothing above them.

use crate::frame::Window;

/// The lower 48 bits of a `Forward` word: a MAC address in transmission order.
pub const ADDRESS: u64 = (1 << 48) - 1;

/// Writes destination and source address, both given in the lower 48 bits.
///
/// The stores are wide: the NIC's driver, or the next program, reads them back as words.
#[inline(always)]
pub fn rewrite<const N: usize>(window: Window<N>, destination: u64, source: u64) {
    window.set_addresses(addresses(destination, source));
}

/// The frame's first twelve bytes as they are stored.
#[inline(always)]
const fn addresses(destination: u64, source: u64) -> (u64, u32) {
    (destination & ADDRESS | source << 48, (source >> 16) as u32)
}

#[cfg(test)]
mod tests {
    use dispatcher_common::backend::Forward;

    use super::*;
    use crate::frame::tests::frame;

    #[test]
    fn both_addresses_stand_in_transmission_order() {
        let mut bytes = [0xff; 14];
        let destination = Forward::new([2, 0, 0, 0, 0, 1], 0xab, 0xcd);
        let source = Forward::new([6, 7, 8, 9, 10, 11], 0xef, 1);
        rewrite(frame(&mut bytes).head::<14>().unwrap(), destination.0, source.0);
        assert_eq!(bytes, [2, 0, 0, 0, 0, 1, 6, 7, 8, 9, 10, 11, 0xff, 0xff]);
    }
}
