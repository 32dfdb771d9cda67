//! Waits until the kernel has freed maps that are no longer in use.
//!
//! It does so later than the last handle is closed, and all tables together may be gigabytes: two loads side by side may not
//! fit.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

/// How often it is looked.
const PAUSE: Duration = Duration::from_millis(20);
/// What is not given back for so long is somebody else's.
const PATIENCE: Duration = Duration::from_secs(1);
/// Less than this many KiB more than before are no table of ours.
const SLACK: u64 = 8 << 10;

/// What the kernel had mapped at a time, KiB: large maps are vmalloc'ed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory(u64);

impl Memory {
    /// Now; 0 where the kernel does not say.
    pub(super) fn now() -> Self {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self(used(&text).unwrap_or(0))
    }

    /// Waits until no more is mapped than then, or it does not get less any more: others map and unmap, too.
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
