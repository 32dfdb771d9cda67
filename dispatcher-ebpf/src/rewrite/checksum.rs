//! The Internet checksum (RFC 1071), over native words in any order.

use crate::parse::FlowWords;

/// The sum of the pseudo-header: both addresses, protocol and length, in any order of words (RFC 1071 §2).
#[inline(always)]
pub(crate) fn pseudo(flow: &FlowWords, is_v4: bool, protocol: u8, payload: u16) -> u64 {
    let [high, low] = payload.to_be_bytes();
    let fixed = u64::from(u32::from_ne_bytes([0, protocol, high, low]));
    if is_v4 {
        fixed + u64::from(flow.vip[3]) + u64::from(flow.client[3])
    } else {
        fixed + sum(flow.vip) + sum(flow.client)
    }
}

/// The sum of four words, which cannot overflow.
#[inline(always)]
pub(crate) fn sum(words: [u32; 4]) -> u64 {
    let [a, b, c, d] = words;
    u64::from(a) + u64::from(b) + u64::from(c) + u64::from(d)
}

/// The Internet checksum (RFC 1071) by the sum of native words, as it is stored.
#[inline(always)]
pub(crate) const fn checksum(sum: u64) -> u16 {
    let mut sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_rfcs() {
        // The example of RFC 1071 §3: 0001 f203 f4f5 f6f7 add up to ddf2.
        let words = [[0x00, 0x01, 0xf2, 0x03], [0xf4, 0xf5, 0xf6, 0xf7]].map(u32::from_ne_bytes);
        let found = checksum(sum([words[0], words[1], 0, 0]));
        assert_eq!(found.to_ne_bytes(), (!0xddf2_u16).to_be_bytes());
        assert_eq!(checksum(0xffff_ffff * 8), 0);
    }
}
