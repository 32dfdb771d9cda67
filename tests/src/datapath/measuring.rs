//! The memory of measurement, and the values that the datapath left in it.

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData, PerCpuArray, of_maps::ArrayOfMaps};
use dispatcher_common::{
    connection::WAYS,
    counts::ActiveCount,
    limits::MAX_SLOTS,
    maps,
    measure::{Exchange, MeasureWindow, ResponseCounts, window},
};

use super::{Datapath, Place};

/// `BPF_F_MMAPABLE` and `BPF_F_INNER_MAP`.
pub(super) const FLAGS: u32 = 1 << 10 | 1 << 12;

/// The arrays for measurement.
pub(super) struct Measuring {
    exchanges: Array<MapData, Exchange>,
    responses: PerCpuArray<MapData, ResponseCounts>,
}

impl Datapath {
    /// Gives the datapath fresh memory to measure with.
    pub(super) fn start_measuring(&mut self) -> Result<()> {
        let ways = (self.config.bucket_mask + 1) * WAYS as u32;
        let exchanges = Array::<_, Exchange>::create(ways, FLAGS)?;
        let responses = PerCpuArray::<_, ResponseCounts>::create(MAX_SLOTS, 0)?;
        let map = self.ebpf.map_mut(maps::RESPONSES).context("no map RESPONSES")?;
        ArrayOfMaps::try_from(map)?.set(0, &responses, 0)?;
        let map = self.ebpf.map_mut(maps::EXCHANGES).context("no map EXCHANGES")?;
        ArrayOfMaps::try_from(map)?.set(0, &exchanges, 0)?;
        self.measuring = Some(Measuring { exchanges, responses });
        Ok(())
    }

    /// The measured state of a way's connection.
    ///
    /// # Errors
    ///
    /// Errors of the map; also when nothing is measured.
    pub fn exchange(&self, place: Place) -> Result<Exchange> {
        let number = place.bucket * WAYS as u32 + place.way as u32;
        let measuring = self.measuring.as_ref().context("nothing is measured")?;
        Ok(measuring.exchanges.get(&number, 0)?)
    }

    /// The measurements of a backend, summed over CPUs.
    ///
    /// # Errors
    ///
    /// Errors of the map; also when nothing is measured.
    pub fn responses(&self, slot: u16) -> Result<ResponseCounts> {
        let measuring = self.measuring.as_ref().context("nothing is measured")?;
        let mut sum = ResponseCounts::ZERO;
        for counts in measuring.responses.get(&slot.into(), 0)?.iter() {
            sum.delivered += counts.delivered;
            sum.micros += counts.micros;
            for (sum, count) in sum.buckets.iter_mut().zip(counts.buckets) {
                *sum += count;
            }
        }
        Ok(sum)
    }

    /// The measurements of a backend in its last window.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn window(&self, slot: u16) -> Result<MeasureWindow> {
        Ok(self.array(maps::WINDOWS)?.get(&slot.into(), 0)?)
    }

    /// Sets the measurements of a backend in its last window.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn set_window(&mut self, slot: u16, window: MeasureWindow) -> Result<()> {
        Ok(self.array_mut(maps::WINDOWS)?.set(slot.into(), window, 0)?)
    }

    /// Sets the connection count of a backend, whatever the table contains.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn set_active_count(&mut self, slot: u16, count: ActiveCount) -> Result<()> {
        Ok(self.array_mut(maps::ACTIVE_COUNTS)?.set(slot.into(), count.0, 0)?)
    }
}

/// The number of the current averaging window.
#[must_use]
pub fn this_window() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec, to the reference that is passed.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    window(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
}
