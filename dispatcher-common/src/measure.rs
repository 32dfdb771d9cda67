//! Measurements of servers from the acknowledgements of their clients, since the datapath never sees the servers' replies.
//!
//! Per connection: the server's initial sequence number, the time of the handshake, how far the client has acknowledged, and
//! when a request that is not answered yet was seen. Per backend: delivered bytes, a histogram of response times, and both
//! again for the current averaging window, which `rtt` and `xmitbyte` use to choose. Only backends with
//! [`crate::backend::Forward::is_measured`] are measured; the first two maps have memory only while there are such.

/// Number of the averaging window at a time of the monotonic clock in nanoseconds. Windows last 1 s, within 3 × 10⁻⁸: a
/// multiplication takes a tenth of the time of a division. It is correct for 18 years of uptime.
#[inline(always)]
#[must_use]
pub const fn window(nanoseconds: u64) -> u64 {
    // 2⁵⁴ / 10⁹
    (nanoseconds >> 20).wrapping_mul(18_014_399) >> 34
}

/// Upper bounds of the response histogram, in microseconds; the last bucket has none.
pub const RESPONSE_BOUNDS: [u64; 13] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// Buckets of the response histogram.
pub const RESPONSE_BUCKETS: usize = RESPONSE_BOUNDS.len() + 1;

shared! {
    /// An element of `EXCHANGES`: the measurements of a way's connection, at bucket × 8 + way.
    pub struct Exchange [32] {
        /// A [`Progress`] word.
        pub progress: u64,
        /// A [`Pending`] word.
        pub pending: u64,
        /// Microseconds: handshake in bits 0–31, 0 if it was not seen; last response in bits 32–63, 0 if there was none.
        pub times: u64,
        /// The server's initial sequence number in bits 0–31; in bits 32–63 how often 2³² bytes were delivered.
        pub base: u64,
    }
}

/// How far a client has acknowledged: the number (host order) in bits 0–31, and bits 32–63 of the flow's hash in 32–63, so that
/// values of an earlier connection are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Progress(pub u64);

impl Progress {
    /// Acknowledged so far by the flow with this hash.
    #[inline(always)]
    #[must_use]
    pub const fn new(hash: u64, acknowledged: u32) -> Self {
        Self(hash >> 32 << 32 | acknowledged as u64)
    }

    /// Whether it belongs to the flow with this hash.
    #[inline(always)]
    #[must_use]
    pub const fn is_of(self, hash: u64) -> bool {
        (self.0 ^ hash) >> 32 == 0
    }

    /// The number.
    #[inline(always)]
    #[must_use]
    pub const fn acknowledged(self) -> u32 {
        self.0 as u32
    }
}

/// The answer that a client waits for, and since when: kind in bits 0–1, the rest: nanoseconds of the monotonic clock. 0: none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Pending(pub u64);

impl Pending {
    /// The answer to its SYN.
    pub const SYN: u64 = 1;
    /// The answer to a request.
    pub const REQUEST: u64 = 2;

    /// Waiting for an answer of a kind since a time.
    #[inline(always)]
    #[must_use]
    pub const fn new(kind: u64, since: u64) -> Self {
        Self(since & !3 | kind)
    }

    /// The kind of answer.
    #[inline(always)]
    #[must_use]
    pub const fn kind(self) -> u64 {
        self.0 & 3
    }

    /// Start of the wait.
    #[inline(always)]
    #[must_use]
    pub const fn since(self) -> u64 {
        self.0 & !3
    }
}

impl Exchange {
    /// Bytes that the client has acknowledged; none if the handshake was not seen, or the flow has another hash.
    #[must_use]
    pub const fn delivered(&self, hash: u64) -> Option<u64> {
        let progress = Progress(self.progress);
        if !progress.is_of(hash) || self.times as u32 == 0 {
            return None;
        }
        let low = progress.acknowledged().wrapping_sub(self.base as u32).wrapping_sub(1);
        Some(self.base >> 32 << 32 | low as u64)
    }

    /// Microseconds of the last response; none if there was no response, or the flow has another hash.
    #[must_use]
    pub const fn response(&self, hash: u64) -> Option<u64> {
        let micros = self.times >> 32;
        if Progress(self.progress).is_of(hash) && micros != 0 { Some(micros) } else { None }
    }
}

shared! {
    /// An element of `RESPONSES`, by slot, for each CPU.
    pub struct ResponseCounts [128] {
        /// Bytes that clients acknowledged.
        pub delivered: u64,
        /// Sum of all response times, in microseconds.
        pub micros: u64,
        /// Responses by [`RESPONSE_BOUNDS`]: those above the previous bound, and not above this one.
        pub buckets: [u64; RESPONSE_BUCKETS],
    }
}

shared! {
    /// A record of `WINDOWS`, by slot, shared by all CPUs.
    pub struct MeasureWindow [16] {
        /// A [`ResponseWindow`] word.
        pub responses: u64,
        /// A [`ByteWindow`] word.
        pub bytes: u64,
    }
}

/// Bits of a window's number that are kept: the numbers repeat after 12 days.
const NUMBER_BITS: u32 = 20;
const NUMBER: u64 = (1 << NUMBER_BITS) - 1;

/// Response times in one averaging window. Bits 0–31: sum in microseconds; 32–43: responses; 44–63: the window's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ResponseWindow(pub u64);

impl ResponseWindow {
    const MOST: u64 = (1 << 12) - 1;

    /// Adds a response in the window with this number, which may be a new window. If a field would overflow, half of the earlier
    /// responses remain, at their mean.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, number: u64, micros: u64) -> Self {
        let (mut count, mut sum) =
            if self.is(number) { (self.count(), self.sum()) } else { (0, 0) };
        let micros = if micros > u32::MAX as u64 { u32::MAX as u64 } else { micros };
        if count == Self::MOST || sum + micros > u32::MAX as u64 {
            let half = count / 2;
            (count, sum) = match sum.checked_div(count) {
                Some(mean) => (half, mean * half),
                None => (0, 0),
            };
        }
        // If even half of the earlier responses and this one are too much, only this one remains.
        if sum + micros > u32::MAX as u64 {
            (count, sum) = (0, 0);
        }
        Self((number & NUMBER) << 44 | (count + 1) << 32 | (sum + micros))
    }

    /// Mean in microseconds of the window with this number; none if it has no response.
    #[inline(always)]
    #[must_use]
    pub const fn mean(self, number: u64) -> Option<u64> {
        let count = self.count();
        if count == 0 || !self.is(number) { None } else { Some(self.sum() / count) }
    }

    #[inline(always)]
    const fn is(self, number: u64) -> bool {
        self.0 >> 44 == number & NUMBER
    }

    #[inline(always)]
    const fn count(self) -> u64 {
        self.0 >> 32 & Self::MOST
    }

    #[inline(always)]
    const fn sum(self) -> u64 {
        self.0 & 0xffff_ffff
    }
}

/// Bytes delivered in one averaging window. Bits 0–43: bytes; 44–63: the window's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ByteWindow(pub u64);

impl ByteWindow {
    /// The first bytes of the window with this number.
    #[inline(always)]
    #[must_use]
    pub const fn new(number: u64, bytes: u64) -> Self {
        Self((number & NUMBER) << 44 | bytes)
    }

    /// Bytes in the window with this number.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(self, number: u64) -> u64 {
        if self.is(number) { self.0 & ((1 << 44) - 1) } else { 0 }
    }

    /// Whether it is the window with this number.
    #[inline(always)]
    #[must_use]
    pub const fn is(self, number: u64) -> bool {
        self.0 >> 44 == number & NUMBER
    }
}

/// The bucket of the histogram for a response time.
#[inline(always)]
#[must_use]
pub const fn bucket(micros: u64) -> usize {
    let (mut bucket, mut bound) = (0, 0);
    while bound < RESPONSE_BOUNDS.len() {
        bucket += (micros > RESPONSE_BOUNDS[bound]) as usize;
        bound += 1;
    }
    bucket
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: u64 = 0xfeed_beef_1234_5678;

    #[test]
    fn an_exchange_tells_what_its_own_flow_was_given() {
        let mut exchange = Exchange {
            progress: Progress::new(HASH, 5).0,
            pending: 0,
            times: 7 << 32 | 3,
            base: u64::from(u32::MAX - 10),
        };
        assert_eq!(exchange.delivered(HASH), Some(15));
        assert_eq!(exchange.response(HASH), Some(7));
        exchange.base |= 2 << 32;
        assert_eq!(exchange.delivered(HASH), Some((2 << 32) + 15));
        assert_eq!((exchange.delivered(!HASH), exchange.response(!HASH)), (None, None));
        exchange.times = 0;
        assert_eq!((exchange.delivered(HASH), exchange.response(HASH)), (None, None));
    }

    #[test]
    fn a_window_has_its_own_responses_only() {
        let window = ResponseWindow::default().with(9, 10).with(9, 21);
        assert_eq!(window.mean(9), Some(15));
        assert_eq!(window.mean(10), None);
        assert_eq!(window.with(10, 4).mean(10), Some(4));
        assert_eq!(ResponseWindow::default().mean(0), None);
        assert_eq!(ResponseWindow(0).with(1 << 20, 3).mean(1 << 20), Some(3));
    }

    #[test]
    fn a_full_window_keeps_its_mean() {
        let many = (0..100_000).fold(ResponseWindow::default(), |w, _| w.with(1, 50));
        assert_eq!(many.mean(1), Some(50));
        let slow = (0..9).fold(ResponseWindow::default(), |w, _| w.with(1, 1 << 31));
        assert!(slow.mean(1).is_some_and(|mean| mean.abs_diff(1 << 31) < 1 << 30), "{slow:?}");
    }

    #[test]
    fn bytes_are_of_their_window() {
        let window = ByteWindow::new(3, 1000);
        assert_eq!((window.bytes(3), window.bytes(4)), (1000, 0));
        assert!(window.is(3) && !window.is(2));
    }

    #[test]
    fn responses_are_sorted_by_bound() {
        for (micros, want) in [(0, 0), (1_000, 0), (1_001, 1), (10_000_000, 12), (u64::MAX, 13)] {
            assert_eq!(bucket(micros), want, "{micros}");
        }
    }

    #[test]
    fn a_window_lasts_a_second() {
        for seconds in [0, 1, 59, 86_400, 18 * 366 * 86_400] {
            let started = seconds * 1_000_000_000;
            let lasted = window(started + 1_000_000_000_000) - window(started);
            assert!((999..=1001).contains(&lasted), "{seconds}: {lasted}");
        }
        assert_eq!((window(0), window(900_000_000), window(1_100_000_000)), (0, 0, 1));
    }

    #[test]
    fn what_is_pending_gives_back_its_parts() {
        let pending = Pending::new(Pending::REQUEST, 1003);
        assert_eq!((pending.kind(), pending.since()), (Pending::REQUEST, 1000));
        assert_eq!(Pending::default().kind(), 0);
    }
}
