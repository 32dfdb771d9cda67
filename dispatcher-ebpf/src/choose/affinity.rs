//! The client of a flow for affinity: its address, cut to a service's mask.

use dispatcher_common::service::Affinity;

use crate::parse::FlowWords;

/// The client's address, cut to the leading bits that count.
#[inline(always)]
#[must_use]
pub const fn client(flow: &FlowWords, affinity: Affinity) -> [u32; 4] {
    let [a, b, c, d] = flow.client;
    if flow.has_mapped_client() {
        return [a, b, c, d & leading(affinity.mask_v4(), 0)];
    }
    let bits = affinity.mask_v6();
    [a & leading(bits, 0), b & leading(bits, 32), c & leading(bits, 64), d & leading(bits, 96)]
}

/// The mask of the leading bits that lie in the 32-bit word at an offset, in the packet's byte order.
#[inline(always)]
const fn leading(bits: u32, offset: u32) -> u32 {
    if bits <= offset {
        return 0;
    }
    let bits = bits - offset;
    if bits >= 32 { u32::MAX } else { (u32::MAX << (32 - bits)).to_be() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_its_leading_bits() {
        assert_eq!(leading(0, 0), 0);
        assert_eq!(leading(24, 0).to_ne_bytes(), [255, 255, 255, 0]);
        assert_eq!(leading(32, 0), u32::MAX);
        assert_eq!(leading(64, 32), u32::MAX);
        assert_eq!(leading(64, 64), 0);
        assert_eq!(leading(70, 64).to_ne_bytes(), [0xfc, 0, 0, 0]);
        assert_eq!(leading(128, 96), u32::MAX);
    }

    #[test]
    fn each_family_has_its_mask() {
        let affinity = Affinity::new(1, 1, 24, 48);
        let word = u32::from_ne_bytes;
        let v4 = FlowWords::v4(word([198, 51, 100, 7]), 0, 0, 6);
        assert_eq!(client(&v4, affinity)[3].to_ne_bytes(), [198, 51, 100, 0]);
        assert_eq!(client(&v4, affinity)[2], v4.client[2]);
        let net = word([0x20, 1, 0xd, 0xb8]);
        let v6 = FlowWords { client: [net, word([1, 2, 3, 4]), 5, 6], ..v4 };
        assert_eq!(client(&v6, affinity), [net, word([1, 2, 0, 0]), 0, 0]);
    }
}
