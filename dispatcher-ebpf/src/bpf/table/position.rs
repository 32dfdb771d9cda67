//! The position of an entry in the connection table.

use dispatcher_common::{connection::WAYS, flow};

use crate::bpf::{config, global::registers};

/// Bucket and number of a way in one word, as global functions take and return it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Position(u64);

/// Mark of a position: its way is free.
const FREE: u64 = 1 << 62;
/// Mark of a position: its entry gives way only as a last resort.
const LAST_RESORT: u64 = 1 << 61;

impl Position {
    /// No way of the table.
    pub(crate) const NOWHERE: Self = Self(u64::MAX);

    /// A way of a bucket.
    #[inline(always)]
    pub(crate) const fn new(bucket: u32, number: usize) -> Self {
        Self((bucket as u64) << 8 | number as u64)
    }

    /// The same, for a way that was free when read.
    #[inline(always)]
    pub(crate) const fn free(self) -> Self {
        Self(self.0 | FREE)
    }

    /// Whether its way was free when read.
    #[inline(always)]
    pub(crate) const fn is_free(self) -> bool {
        self.0 & FREE != 0
    }

    /// The same, for a way that a flow may take only as a last resort.
    #[inline(always)]
    pub(crate) const fn last_resort(self) -> Self {
        Self(self.0 | LAST_RESORT)
    }

    /// Whether a flow may take its way only as a last resort.
    #[inline(always)]
    pub(crate) const fn is_last_resort(self) -> bool {
        self.0 & LAST_RESORT != 0
    }

    /// The bucket.
    #[inline(always)]
    pub(crate) const fn bucket(self) -> u32 {
        (self.0 >> 8) as u32
    }

    /// Number of the way in its bucket.
    #[inline(always)]
    pub(crate) const fn number(self) -> usize {
        self.0 as usize & (WAYS - 1)
    }
}

registers! {
    Position: |position| position.0, |word| Position(word);
}

/// The first bucket of a flow's hash.
#[inline(always)]
pub(crate) fn first_bucket(hash: u64) -> u32 {
    flow::first_bucket(hash, config::bucket_mask())
}

/// The second, which may be the first.
#[inline(always)]
pub(crate) fn second_bucket(hash: u64) -> u32 {
    flow::second_bucket(hash, config::bucket_mask())
}

/// Both.
#[inline(always)]
pub(crate) fn buckets(hash: u64) -> [u32; 2] {
    [first_bucket(hash), second_bucket(hash)]
}
