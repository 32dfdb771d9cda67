//! Words of measurements.

use dispatcher_common::{
    connection::WAYS,
    measure::{RESPONSE_BUCKETS, ResponseCounts},
};
use dispatcher_ebpf::barrier::hide;

use super::{EXCHANGES, RESPONSES, WINDOWS};
use crate::bpf::shared_word::Word;

/// The measurements of a way's connection.
#[derive(Clone, Copy)]
pub(crate) struct ExchangeWords {
    /// How far its client has acknowledged.
    pub(crate) progress: Word,
    /// The answer for which its client waits.
    pub(crate) pending: Word,
    /// Times of handshake and last response.
    pub(crate) times: Word,
    /// The number from which delivered bytes count.
    pub(crate) base: Word,
}

/// The measurements of a way's connection; none while nothing is measured.
#[inline(always)]
pub(crate) fn exchange(bucket: u32, number: usize) -> Option<ExchangeWords> {
    let way = bucket * WAYS as u32 + (number & (WAYS - 1)) as u32;
    let value = EXCHANGES.get_value_ptr_mut(0, &way)?;
    Some(ExchangeWords {
        progress: word!(value, .progress),
        pending: word!(value, .pending),
        times: word!(value, .times),
        base: word!(value, .base),
    })
}

/// This CPU's counts of a measured backend.
#[derive(Clone, Copy)]
pub(crate) struct ResponseWords {
    /// Bytes delivered.
    pub(crate) delivered: Word,
    /// Sum of response times.
    pub(crate) micros: Word,
    value: *mut ResponseCounts,
}

impl ResponseWords {
    /// Responses in a bucket of the histogram.
    #[inline(always)]
    pub(crate) fn bucket(self, number: usize) -> Word {
        // Verifier: LLVM knows that no bucket needs the bound, the verifier does not. Without, the stack of `dispatcher_measure`
        // grows from 48 to 88 bytes.
        let number = hide(number as u64) as usize & 15;
        let number = if number < RESPONSE_BUCKETS { number } else { 0 };
        word!(self.value, .buckets[number])
    }
}

/// This CPU's counts of a measured backend; none while nothing is measured.
#[inline(always)]
pub(crate) fn response_counts(slot: u32) -> Option<ResponseWords> {
    let value = RESPONSES.get_value_ptr_mut(0, &slot)?;
    Some(ResponseWords {
        delivered: word!(value, .delivered),
        micros: word!(value, .micros),
        value,
    })
}

/// Response times of a backend in its last window.
#[inline(always)]
pub(crate) fn response_window(slot: u32) -> Option<Word> {
    WINDOWS.get_ptr_mut(slot).map(|window| word!(window, .responses))
}

/// Bytes that a backend delivered in its last window.
#[inline(always)]
pub(crate) fn byte_window(slot: u32) -> Option<Word> {
    WINDOWS.get_ptr_mut(slot).map(|window| word!(window, .bytes))
}
