//! Waits until the kernel has freed maps that are no longer in use.
//!
//! The kernel frees them some time after the last handle is closed. All tables together may take gigabytes, so two loads may
//! not fit in memory at the same time.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// Memory that is still mapped after this time belongs to another process.
const PATIENCE: Duration = Duration::from_secs(1);
/// A growth of less than this, in KiB, is not one of our tables.
const SLACK: u64 = 8 << 10;

/// KiB that the kernel had mapped at one moment: it allocates large maps with vmalloc.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory(u64);

impl Memory {
    /// The value now; 0 where the kernel does not say.
    pub(super) fn now() -> Self {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self(used(&text).unwrap_or(0))
    }

    /// Waits until no more than this is mapped, or until the amount stops falling: other processes map and unmap memory, too.
    pub(super) fn wait(self) {
        let (mut least, mut since) = (u64::MAX, Instant::now());
        loop {
            let now = Self::now().0;
            if now < least {
                (least, since) = (now, Instant::now());
            }
            if now <= self.0 + SLACK || since.elapsed() > PATIENCE {
                return;
            }
            thread::sleep(PAUSE);
        }
    }
}

/// `VmallocUsed`.
fn used(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("VmallocUsed:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mapped_is_read() {
        assert_eq!(used("VmallocTotal:   9 kB\nVmallocUsed:   25596 kB\n"), Some(25596));
        assert!(Memory::now().0 > 0);
    }
}
