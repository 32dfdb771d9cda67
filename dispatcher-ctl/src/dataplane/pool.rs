//! The schedule pool: which part of `SCHEDULES` belongs to which ring, and which part may be written.
//!
//! Space that a ring leaves may still be read by a packet that took the descriptor before the swap. It rests until
//! [`REST`] has passed or the caller has waited for all readers, whichever comes first. Pure; time is handed in.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use dispatcher_common::service::Schedule;

/// How long freed space rests: a packet's way through the program takes microseconds.
pub(super) const REST: Duration = Duration::from_secs(1);

/// Free and resting space of a pool, in ring slots.
#[derive(Debug)]
pub(super) struct Pool {
    size: u32,
    /// Length by offset; neighbours are merged.
    free: BTreeMap<u32, u32>,
    resting: VecDeque<(Instant, Schedule)>,
}

impl Pool {
    /// A pool in which these rings lie; all other space rests from `now` on, since it is not known what it was.
    pub(super) fn resume(
        size: u32,
        rings: impl IntoIterator<Item = Schedule>,
        now: Instant,
    ) -> Self {
        let mut pool = Self { size, free: BTreeMap::new(), resting: VecDeque::new() };
        let mut used: Vec<_> = rings.into_iter().filter(|ring| ring.length() > 0).collect();
        used.sort_by_key(|ring| ring.offset());
        let mut end = 0;
        for ring in used {
            if ring.offset() > end {
                pool.resting.push_back((now, Schedule::new(end, ring.offset() - end)));
            }
            end = end.max(ring.offset().saturating_add(ring.length()));
        }
        if end < size {
            pool.resting.push_back((now, Schedule::new(end, size - end)));
        }
        pool
    }

    /// Takes space for a ring of this length; none where no free piece is as long.
    pub(super) fn take(&mut self, length: u32, now: Instant) -> Option<Schedule> {
        while let Some(&(since, space)) = self.resting.front() {
            if now.saturating_duration_since(since) < REST {
                break;
            }
            self.resting.pop_front();
            self.release(space);
        }
        // Best fit: large pieces are kept for large rings.
        let fitting = self.free.iter().filter(|&(_, &piece)| piece >= length);
        let (&offset, &piece) = fitting.min_by_key(|&(_, &piece)| piece)?;
        self.free.remove(&offset);
        if piece > length {
            self.free.insert(offset + length, piece - length);
        }
        Some(Schedule::new(offset, length))
    }

    /// Gives back the space of a ring that no descriptor names any longer.
    pub(super) fn leave(&mut self, ring: Schedule, now: Instant) {
        if ring.length() > 0 {
            self.resting.push_back((now, ring));
        }
    }

    /// All readers were waited for: nothing rests any longer.
    pub(super) fn rested(&mut self) {
        while let Some((_, space)) = self.resting.pop_front() {
            self.release(space);
        }
    }

    /// Slots that are free or resting.
    pub(super) fn available(&self) -> u32 {
        self.free.values().sum::<u32>()
            + self.resting.iter().map(|(_, space)| space.length()).sum::<u32>()
    }

    /// Slots there are.
    pub(super) const fn size(&self) -> u32 {
        self.size
    }

    fn release(&mut self, space: Schedule) {
        let (mut offset, mut length) = (space.offset(), space.length());
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
        assert_eq!(pool.take(100, later + REST), Some(Schedule::new(0, 100)));
    }

    #[test]
    fn rings_found_keep_their_place() {
        let start = Instant::now();
        let rings = [Schedule::new(50, 10), Schedule::new(10, 10), Schedule::new(0, 0)];
        let mut pool = Pool::resume(100, rings, start);
        pool.rested();
        assert_eq!(pool.available(), 80);
        let mut taken: Vec<_> = (0..8).map(|_| pool.take(10, start).unwrap().offset()).collect();
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
        assert_eq!(pool.take(30, start), Some(Schedule::new(0, 30)));
    }
}
