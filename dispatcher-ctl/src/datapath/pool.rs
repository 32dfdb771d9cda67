//! The schedule pool: which part of `SCHEDULES` belongs to which schedule, and which part may be written.
//!
//! Space that a schedule leaves may still be read by a packet that took the descriptor before the swap. It rests until
//! [`REST`] has passed or the caller has waited for all readers, whichever comes first. Pure: callers pass the time.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// How long freed space rests: a packet's way through the program takes microseconds.
pub(super) const REST: Duration = Duration::from_secs(1);

/// A piece of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// First ring slot.
    pub offset: u32,
    /// Ring slots.
    pub length: u32,
}

/// Free and resting space of a pool, in ring slots.
#[derive(Debug)]
pub(super) struct Pool {
    size: u32,
    /// Length by offset; neighbours are merged.
    free: BTreeMap<u32, u32>,
    resting: VecDeque<(Instant, Space)>,
}

impl Pool {
    /// A pool in which `held` is taken. All other space rests from `now` on, because packets may still read it.
    pub(super) fn resume(size: u32, held: impl IntoIterator<Item = Space>, now: Instant) -> Self {
        let mut pool = Self { size, free: BTreeMap::new(), resting: VecDeque::new() };
        let mut used: Vec<_> = held.into_iter().filter(|held| held.length > 0).collect();
        used.sort_by_key(|held| held.offset);
        let mut end = 0;
        for held in used {
            if held.offset > end {
                pool.resting.push_back((now, Space { offset: end, length: held.offset - end }));
            }
            end = end.max(held.offset.saturating_add(held.length));
        }
        if end < size {
            pool.resting.push_back((now, Space { offset: end, length: size - end }));
        }
        pool
    }

    /// Takes this much space; `None` if no free piece is long enough.
    pub(super) fn take(&mut self, length: u32, now: Instant) -> Option<Space> {
        while let Some(&(since, space)) = self.resting.front() {
            if now.saturating_duration_since(since) < REST {
                break;
            }
            self.resting.pop_front();
            self.release(space);
        }
        // Best fit: large pieces are kept for large schedules.
        let fitting = self.free.iter().filter(|&(_, &piece)| piece >= length);
        let (&offset, &piece) = fitting.min_by_key(|&(_, &piece)| piece)?;
        self.free.remove(&offset);
        if piece > length {
            self.free.insert(offset + length, piece - length);
        }
        Some(Space { offset, length })
    }

    /// Gives back space that no descriptor names any more.
    pub(super) fn leave(&mut self, space: Space, now: Instant) {
        if space.length > 0 {
            self.resting.push_back((now, space));
        }
    }

    /// Ends all rest: the caller has waited for all readers.
    pub(super) fn rested(&mut self) {
        while let Some((_, space)) = self.resting.pop_front() {
            self.release(space);
        }
    }

    /// Slots that are free or resting.
    pub(super) fn available(&self) -> u32 {
        self.free.values().sum::<u32>()
            + self.resting.iter().map(|(_, space)| space.length).sum::<u32>()
    }

    /// All slots of the pool.
    pub(super) const fn size(&self) -> u32 {
        self.size
    }

    fn release(&mut self, space: Space) {
        let (mut offset, mut length) = (space.offset, space.length);
        if let Some((&before, &piece)) = self.free.range(..offset).next_back()
            && before + piece == offset
        {
            self.free.remove(&before);
            (offset, length) = (before, piece + length);
        }
        if let Some(piece) = self.free.remove(&(offset + length)) {
            length += piece;
        }
        self.free.insert(offset, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_space_rests_before_it_is_taken_again() {
        let start = Instant::now();
        let mut pool = Pool::resume(100, [], start);
        assert_eq!(pool.take(60, start), None);
        let later = start + REST;
        let ring = pool.take(60, later).unwrap();
        assert_eq!(pool.take(60, later), None);
        pool.leave(ring, later);
        assert_eq!(pool.take(60, later + REST / 2), None);
        assert_eq!((pool.available(), pool.size()), (100, 100));
        assert_eq!(pool.take(100, later + REST), Some(Space { offset: 0, length: 100 }));
    }

    #[test]
    fn what_is_held_keeps_its_place() {
        let start = Instant::now();
        let held = [(50, 10), (10, 10), (0, 0)].map(|(offset, length)| Space { offset, length });
        let mut pool = Pool::resume(100, held, start);
        pool.rested();
        assert_eq!(pool.available(), 80);
        let mut taken: Vec<_> = (0..8).map(|_| pool.take(10, start).unwrap().offset).collect();
        taken.sort_unstable();
        assert_eq!(taken, [0, 20, 30, 40, 60, 70, 80, 90]);
        assert_eq!(pool.take(1, start), None);
    }

    #[test]
    fn neighbours_merge() {
        let start = Instant::now();
        let mut pool = Pool::resume(30, [], start);
        pool.rested();
        let rings: Vec<_> = (0..3).map(|_| pool.take(10, start).unwrap()).collect();
        for i in [0, 2, 1] {
            pool.leave(rings[i], start);
        }
        pool.rested();
        assert_eq!(pool.take(30, start), Some(Space { offset: 0, length: 30 }));
    }
}
