//! The arithmetic of acknowledgements: computes how many bytes a client received.

/// A client acknowledges at most what fits its window (RFC 7323 §2.3: 2³⁰ bytes): a greater step is a step back, or forged.
const LARGEST_STEP: u32 = 1 << 30;

/// Bytes that an acknowledgement covers beyond the last one; 0 if it is not later.
#[inline(always)]
#[must_use]
pub const fn step(acknowledged: u32, acknowledgement: u32) -> u32 {
    let step = acknowledgement.wrapping_sub(acknowledged);
    if step > LARGEST_STEP { 0 } else { step }
}

/// [`dispatcher_common::measure::Exchange::base`] after a step from an acknowledged number.
#[inline(always)]
#[must_use]
pub const fn base(base: u64, acknowledged: u32, step: u32) -> u64 {
    let delivered = acknowledged.wrapping_sub(base as u32).wrapping_sub(1);
    if delivered.checked_add(step).is_none() { base.wrapping_add(1 << 32) } else { base }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_steps_forward_count() {
        for (from, to, want) in [
            (1, 1, 0),
            (1, 1461, 1460),
            (1461, 1, 0),
            (u32::MAX, 9, 10),
            (0, 1 << 30, 1 << 30),
            (0, (1 << 30) + 1, 0),
        ] {
            assert_eq!(step(from, to), want, "{from} {to}");
        }
    }

    #[test]
    fn the_base_counts_the_wraps_of_the_number() {
        let isn = 4_000_000_000_u32;
        let (mut now, mut kept) = (isn.wrapping_add(1), u64::from(isn));
        for _ in 0..9 {
            kept = base(kept, now, 1 << 30);
            now = now.wrapping_add(1 << 30);
        }
        assert_eq!((kept as u32, kept >> 32), (isn, 2));
    }
}
