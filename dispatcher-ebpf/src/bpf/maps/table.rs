//! Words of the connection table, the overflow map and the map of fragments.

use core::{array, mem::offset_of};

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use dispatcher_common::{
    connection::{Bucket, EXPIRY_CLASSES, FINGERPRINT, WAYS, Way},
    flow::Flow,
    fragment::{Followed, FragmentKey},
    settings::Settings,
    shared::cast,
};
use dispatcher_ebpf::barrier::hide;

use super::{CONNECTIONS, FLOWS, FRAGMENTS, OVERFLOW, RESET_DUE, SETTINGS};
use crate::bpf::shared_word::Word;

/// Eight ways of the connection table.
#[derive(Clone, Copy)]
pub(crate) struct Ways(*mut Bucket);

impl Ways {
    /// The word of a way.
    #[inline(always)]
    pub(crate) fn word(self, number: usize) -> Word {
        // The mask keeps the number within the bucket's ways.
        word!(self.0.cast::<u64>().wrapping_add(number & (WAYS - 1)))
    }

    /// A way.
    #[inline(always)]
    pub(crate) fn way(self, number: usize) -> Way {
        Way(self.word(number).load())
    }

    /// The way that may be the flow's, with its number.
    #[inline(always)]
    pub(crate) fn find(self, hash: u64) -> Option<(usize, Way)> {
        let mut number = 0;
        while number < WAYS {
            let difference = self.way(number).0 ^ hash;
            if difference & FINGERPRINT == 0 {
                // Optimiser: otherwise LLVM may compute an address in every round, and keep the word in addition to the difference. The
                // record does not grow without them: it has no figure for the instructions of a round.
                return Some((hide(number as u64) as usize, Way(hide(difference) ^ hash)));
            }
            number += 1;
        }
        None
    }

    /// Makes the processor fetch the bucket's cache line, without waiting for it.
    #[inline(always)]
    pub(crate) fn touch(self) {
        let _ = self.word(0).load();
    }
}

/// A bucket of the connection table.
#[inline(always)]
pub(crate) fn ways(bucket: u32) -> Option<Ways> {
    CONNECTIONS.get_ptr_mut(bucket).map(Ways)
}

/// The flow record of a way.
#[derive(Clone, Copy)]
pub(crate) struct Record(*mut [u64; FLOW_WORDS]);

const FLOW_WORDS: usize = size_of::<Flow>() / 8;

impl Record {
    /// Writes the record. Not atomic: readers check it against the way.
    #[inline(always)]
    pub(crate) fn store(self, flow: Flow) {
        let words: [u64; FLOW_WORDS] = cast(flow);
        for (number, word) in words.into_iter().enumerate() {
            word!(self.0, [number]).store(word);
        }
    }

    /// Reads the record.
    #[inline(always)]
    pub(crate) fn load(self) -> Flow {
        cast(array::from_fn::<u64, FLOW_WORDS, _>(|number| word!(self.0, [number]).load()))
    }
}

/// The flow record of a way.
#[inline(always)]
pub(crate) fn record(bucket: u32, number: usize) -> Option<Record> {
    // The bucket has `WAYS` records of `FLOW_WORDS` words, and the mask keeps the number within them.
    let records = FLOWS.get_ptr_mut(bucket)?.cast::<[u64; FLOW_WORDS]>();
    Some(Record(records.wrapping_add(number & (WAYS - 1))))
}

/// Idle ticks after which a way of each class is free.
#[derive(Clone, Copy)]
pub(crate) struct Expiry(*mut [u64; EXPIRY_CLASSES]);

impl Expiry {
    /// Idle ticks of one class.
    #[inline(always)]
    pub(crate) fn ticks(self, class: usize) -> u64 {
        // Verifier of kernel 6.1: LLVM knows that no class needs the bound, and this verifier loses the bound when bits are combined.
        // Without, the stack of `dispatcher_enter` grows from 96 to 112 bytes.
        let class = hide(class as u64) as usize & (EXPIRY_CLASSES - 1);
        word!(self.0, [class]).load()
    }
}

/// The table's expiry times.
#[inline(always)]
pub(crate) fn expiry() -> Option<Expiry> {
    let settings = SETTINGS.get_ptr_mut(0)?;
    Some(Expiry(settings.wrapping_byte_add(offset_of!(Settings, expiry_ticks)).cast()))
}

/// Nanoseconds between two RSTs of a CPU.
#[inline(always)]
pub(crate) fn reset_interval() -> Option<Word> {
    SETTINGS.get_ptr_mut(0).map(|settings| word!(settings, .reset_interval))
}

/// When this CPU's next RST is due.
#[inline(always)]
pub(crate) fn reset_due() -> Option<Word> {
    RESET_DUE.get_ptr_mut(0).map(|due| word!(due))
}

/// The number of connections in the overflow map.
#[inline(always)]
pub(crate) fn overflow_entries() -> Option<Word> {
    SETTINGS.get_ptr_mut(0).map(|settings| word!(settings, .overflow_entries))
}

/// Whether the overflow map has entries: else it is not searched.
#[inline(always)]
pub(crate) fn overflows() -> bool {
    overflow_entries().is_some_and(|entries| entries.load() != 0)
}

/// The word of a connection in the overflow map.
#[inline(always)]
pub(crate) fn overflow(hash: u64) -> Option<Word> {
    OVERFLOW.get_ptr_mut(&hash).map(|way| word!(way))
}

/// Puts a connection into the overflow map.
///
/// # Errors
/// The kernel's: `-EEXIST`, or `-E2BIG` when it is full.
#[inline(always)]
pub(crate) fn insert_overflow(hash: u64, way: Way) -> Result<(), i32> {
    OVERFLOW.insert(&hash, &way.0, u64::from(BPF_NOEXIST))
}

/// Stores where a first fragment went.
#[inline(always)]
pub(crate) fn remember_fragment(key: &FragmentKey, followed: Followed) {
    // Fails if there is no free entry, which happens to an LRU map in a race: the datagram is then lost.
    let _ = FRAGMENTS.insert(key, &followed.0, u64::from(BPF_ANY));
}

/// Where the first fragment of a datagram went.
#[inline(always)]
pub(crate) fn followed(key: &FragmentKey) -> Option<Followed> {
    // If the element is reused meanwhile, the word is another datagram's: this fragment then goes to the wrong backend, and the
    // datagram is lost.
    FRAGMENTS.get_ptr(key).map(|followed| Followed(read!(followed)))
}
