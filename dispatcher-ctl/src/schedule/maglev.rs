//! `maglev`, `sh`: a lookup table that changes little when backends do (Eisenbud et al., NSDI 2016, section 3.4).
//!
//! Every backend has a permutation of the table's places, from a hash of its address; in turns each takes the next place of
//! its own that is still free. A weight is how often a backend's turn comes. The table's size hangs on how many backends
//! there are, available or not: another size is another table, so it is not to change when a backend goes down.
//!
//! The hash has keys of its own and backends take their turns in the order of their addresses: two dispatchers with the same
//! configuration make the same table, whatever the order in the file, the slots and the keys of the datapath.

use dispatcher_common::{
    flow::schedule_hash,
    net::{self, Address},
};

use super::Taker;

/// Sizes of tables: primes, each about four times the one before, so that backends come and go with the same table.
const SIZES: [usize; 6] = [251, 1021, 4093, 16_381, 65_521, 131_071];
/// Places of a backend: shares are then true to about 1 %.
const PLACES: usize = 100;
/// Keys of the hashes by which backends choose places: any will do, but never others.
const FIRST_PLACE: [u64; 2] = [0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7345];
/// As [`FIRST_PLACE`], for the distance from one place to the next.
const DISTANCE: [u64; 2] = [0xA409_3822_299F_31D1, 0x082E_FA98_EC4E_6C89];

/// The size of the table for this many backends.
pub(super) fn length(backends: usize) -> usize {
    let fitting = SIZES.into_iter().find(|size| *size >= backends * PLACES);
    fitting.unwrap_or(SIZES[SIZES.len() - 1])
}

/// The table of a service with this many backends, of which `takers` take new connections.
pub(super) fn ring(takers: &[Taker], backends: usize) -> Vec<u16> {
    let mut takers: Vec<_> = takers.iter().filter(|taker| taker.weight > 0).collect();
    takers.sort_by_key(|taker| net::address(taker.address));
    let Some(greatest) = takers.iter().map(|taker| taker.weight).max() else { return Vec::new() };
    let length = length(backends.max(takers.len()));
    let mut ring = vec![FREE; length];
    let mut preferences: Vec<_> =
        takers.iter().map(|taker| Preference::new(&net::address(taker.address), length)).collect();
    let mut credits = vec![0; takers.len()];
    let mut free = length;
    loop {
        for ((taker, preference), credit) in takers.iter().zip(&mut preferences).zip(&mut credits) {
            *credit += taker.weight;
            if *credit < greatest {
                continue;
            }
            *credit -= greatest;
            let place = preference.find(|place| ring[*place] == FREE);
            // A permutation has every place: there is one while any is free.
            if let Some(place) = place {
                ring[place] = taker.slot;
                free -= 1;
            }
            if free == 0 {
                return ring;
            }
        }
    }
}

/// Slot 0 belongs to nobody.
const FREE: u16 = 0;

/// Places in the order in which a backend likes them, over and over again.
struct Preference {
    next: usize,
    distance: usize,
    length: usize,
}

impl Preference {
    fn new(address: &Address, length: usize) -> Self {
        let hash = |keys| schedule_hash(words(address), keys);
        let length_64 = length as u64;
        Self {
            next: (hash(FIRST_PLACE) % length_64) as usize,
            distance: (hash(DISTANCE) % (length_64 - 1) + 1) as usize,
            length,
        }
    }
}

impl Iterator for Preference {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let place = self.next;
        self.next = (place + self.distance) % self.length;
        Some(place)
    }
}

/// An address as [`schedule_hash`] takes it.
fn words(address: &Address) -> [u32; 10] {
    let mut words = [0; 10];
    for (word, bytes) in words.iter_mut().zip(address.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Backends 10.0.x.y with these weights, in slots 1, 2, ….
    fn takers(weights: &[u32]) -> Vec<Taker> {
        let address = |slot: u16| [[10, 0], slot.to_be_bytes()].concat();
        (1..)
            .zip(weights)
            .map(|(slot, weight)| {
                let bytes: [u8; 4] = address(slot).try_into().unwrap();
                Taker { slot, weight: *weight, address: bytes.into() }
            })
            .collect()
    }

    fn share(ring: &[u16], slot: u16) -> f64 {
        ring.iter().filter(|held| **held == slot).count() as f64 / ring.len() as f64
    }

    #[test]
    fn sizes_are_primes_with_room_for_every_backend() {
        let is_prime = |n: &usize| (2..).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
        assert!(SIZES.iter().all(is_prime));
        let most = dispatcher_common::limits::MAX_BACKENDS_PER_SERVICE;
        assert!((1..=most).all(|n| length(n) >= n * PLACES && length(n) >= 251));
        assert_eq!([1, 2, 3, 10, 11].map(length), [251, 251, 1021, 1021, 4093]);
    }

    /// How much moves when one of these backends goes, beside what it had itself.
    fn moved_beside(weights: &[u32], gone: usize) -> f64 {
        let all = takers(weights);
        let mut rest = all.clone();
        let gone = rest.remove(gone);
        let (before, after) = (ring(&all, all.len()), ring(&rest, all.len()));
        assert_eq!(before.len(), after.len());
        let moved = before.iter().zip(&after).filter(|(b, a)| b != a && **b != gone.slot);
        moved.count() as f64 / before.len() as f64
    }

    #[test]
    fn one_of_n_that_goes_moves_little_but_its_own() {
        for n in [2_usize, 3, 5, 10, 50, 200] {
            let mean = (0..n.min(10)).map(|gone| moved_beside(&vec![10; n], gone)).sum::<f64>()
                / n.min(10) as f64;
            println!("{n} backends: {:.2} % beside 1/{n}", mean * 100.0);
            assert!(mean < 0.25 / n as f64 + 0.02, "{n} backends: {mean}");
        }
        for gone in 0..4 {
            let moved = moved_beside(&[10, 5, 20, 1], gone);
            assert!(moved < 0.15, "of 10:5:20:1 the one at {gone}: {moved}");
        }
    }

    #[test]
    fn weights_are_honoured() {
        for weights in [&[10, 10, 10][..], &[3, 2, 1], &[20, 1], &[1; 100], &[100, 50, 25, 1, 7]] {
            let ring = ring(&takers(weights), weights.len());
            let sum: u32 = weights.iter().sum();
            for (slot, weight) in (1..).zip(weights) {
                let (got, want) = (share(&ring, slot), f64::from(*weight) / f64::from(sum));
                assert!((got - want).abs() < 0.02 * want + 0.005, "{weights:?}: {got} of {want}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_order_of_the_file_and_the_slots_do_not_matter(
            weights in prop::collection::vec(0_u32..=20, 1..12),
            (a, b) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        ) {
            let all = takers(&weights);
            let mut others = all.clone();
            others.swap(a.index(all.len()), b.index(all.len()));
            others.iter_mut().for_each(|taker| taker.slot += 100);
            let ours = ring(&all, all.len());
            let theirs: Vec<_> =
                ring(&others, all.len()).iter().map(|slot| slot - 100).collect();
            prop_assert_eq!(&ours, &theirs);
            let some = weights.iter().any(|weight| *weight > 0);
            prop_assert_eq!(ours.len(), if some { length(all.len()) } else { 0 });
            prop_assert!(!ours.contains(&FREE));
        }
    }

    #[test]
    fn the_largest_table_is_made_quickly() {
        let all = takers(&vec![7; 1024]);
        let begin = std::time::Instant::now();
        let ring = ring(&all, all.len());
        println!("131071 places for 1024 backends in {:?}", begin.elapsed());
        assert!((1..=1024).all(|slot| share(&ring, slot) > 0.0009));
    }
}
