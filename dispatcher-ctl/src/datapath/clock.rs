//! The datapath's clock: the monotonic clock as of the last timer interrupt, in ticks of 2³² ns.
//!
//! The datapath computes it from the count of jiffies, which advances with it. The controller reads the clock itself, and gives the
//! datapath the length of a jiffy and the clock at jiffy 0 as constants.

use std::{io, time::Duration};

use aya::{
    Ebpf, TestRun as _, TestRunOptions,
    programs::{ProgramError, Xdp},
};
use dispatcher_common::connection::{TICK_NS, TICK_SHIFT};
use nix::time::{ClockId, clock_getres, clock_gettime};

use super::{
    error::DatapathError,
    load::{program, undisturbed},
};

/// The object of the program that reads the count of jiffies.
static READER: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/jiffies.bpf.o"));
/// Attempts to read clock and jiffies in the same jiffy.
const ATTEMPTS: usize = 10;

/// The current tick.
#[must_use]
pub fn now() -> u64 {
    monotonic_ns().map_or(0, |ns| ns >> TICK_SHIFT)
}

/// A timeout in ticks, rounded up.
#[must_use]
pub const fn ticks(timeout: Duration) -> u64 {
    timeout.as_nanos().div_ceil(TICK_NS as u128) as u64
}

/// The relation between the monotonic clock and the count of jiffies. It is constant until the next boot: the kernel counts a
/// jiffy each time the clock has advanced by one (`tick_do_update_jiffies64`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jiffies {
    /// Nanoseconds of a jiffy.
    pub length_ns: u64,
    /// The clock, in nanoseconds, when the count was 0, modulo 2⁶⁴.
    pub epoch_ns: u64,
}

impl Jiffies {
    /// The relation in this kernel, exact to a jiffy.
    ///
    /// # Errors
    /// The kernel refuses the program, or does not run it.
    pub fn of_kernel() -> Result<Self, DatapathError> {
        let mut ebpf = undisturbed(|| Ebpf::load(READER)).map_err(DatapathError::Load)?;
        let reader: &mut Xdp = program(&mut ebpf, "jiffies")?;
        undisturbed(|| reader.load()).map_err(DatapathError::Program)?;
        Self::read(reader).map_err(DatapathError::system("read the kernel's clock"))
    }

    fn read(reader: &Xdp) -> io::Result<Self> {
        let length = Duration::from(clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)?);
        let length_ns = u64::try_from(length.as_nanos()).unwrap_or(0);
        let mut before = monotonic_ns()?;
        for _ in 0..ATTEMPTS {
            let count = count(reader).map_err(io::Error::other)?;
            let after = monotonic_ns()?;
            if before == after {
                let epoch_ns = after.wrapping_sub(count.wrapping_mul(length_ns));
                return Ok(Self { length_ns, epoch_ns });
            }
            before = after;
        }
        Err(io::Error::other("it advances during every reading"))
    }
}

/// The kernel's count of jiffies, modulo 2⁶⁴: at boot it is below 0.
fn count(reader: &Xdp) -> Result<u64, ProgramError> {
    // The program writes the count over the first bytes of the frame.
    let mut frame = [[0; 8]; 8];
    let (data_in, data_out) = (Some(&[0; 64][..]), Some(frame.as_flattened_mut()));
    reader.test_run(TestRunOptions { data_in, data_out, ..TestRunOptions::default() })?;
    Ok(u64::from_ne_bytes(frame[0]))
}

fn monotonic_ns() -> io::Result<u64> {
    let time = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)?);
    u64::try_from(time.as_nanos()).map_err(io::Error::other)
}
