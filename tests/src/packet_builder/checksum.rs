//! The Internet checksum (RFC 1071).

/// The checksum of several pieces, in the order of a header's bytes. All pieces except the last must have an even length.
#[must_use]
pub fn of(pieces: &[&[u8]]) -> [u8; 2] {
    let mut sum = 0u32;
    for piece in pieces {
        for pair in piece.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}
