//! A program under test, the datapath or a floor: runs packets through it and reads its counters.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use aya::{TestRun as _, TestRunOptions, programs::ProgramFd};
use dispatcher_common::reason::Reason;
use dispatcher_tests::{
    datapath::{Counts, Datapath, Run, World},
    packet_builder::NIC_MAC,
};

use crate::floor::Floor;

/// The datapath or a floor, loaded and filled.
pub enum Subject {
    /// The datapath, and the slots of its backends.
    Datapath(Box<Datapath>, Vec<u16>),
    /// A floor.
    Floor(Floor),
}

/// The counters of a subject at one moment.
pub struct Counted {
    reasons: Option<Counts>,
    connections: u64,
}

impl Subject {
    /// Loads the datapath, or takes one that was handed over for reuse.
    ///
    /// # Errors
    /// When the kernel refuses a call.
    pub fn datapath(world: &World) -> Result<Self> {
        let slots = world.backends.iter().map(|backend| backend.slot).collect();
        Ok(Self::Datapath(Box::new(Datapath::lend(world)?), slots))
    }

    /// Hands the datapath over for reuse.
    pub fn give_up(self) {
        if let Self::Datapath(datapath, _) = self {
            datapath.give_back();
        }
    }

    /// Loads a floor.
    ///
    /// # Errors
    /// When the kernel refuses a call.
    pub fn floor(program: &'static str, ways: u32) -> Result<Self> {
        Ok(Self::Floor(Floor::load(program, ways)?))
    }

    /// The program.
    ///
    /// # Errors
    /// When the program is not loaded.
    pub fn program(&self) -> Result<&ProgramFd> {
        match self {
            Self::Datapath(datapath, _) => datapath.program(),
            Self::Floor(floor) => floor.program(),
        }
    }

    /// Runs one packet without the driver.
    ///
    /// # Errors
    /// When the kernel refuses a call.
    pub fn run(&self, frame: &[u8]) -> Result<Run> {
        let floor = match self {
            Self::Datapath(datapath, _) => return datapath.run(frame),
            Self::Floor(floor) => floor,
        };
        let mut bytes = vec![0; frame.len()];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut bytes),
            ..TestRunOptions::new()
        };
        let result = floor.xdp()?.test_run(options)?;
        Ok(Run { action: result.return_value, bytes })
    }

    /// Its counters now.
    ///
    /// # Errors
    /// Errors of the map.
    pub fn counted(&self) -> Result<Counted> {
        match self {
            Self::Datapath(datapath, slots) => {
                let mut connections = 0;
                for slot in slots {
                    connections += datapath.backend_counts(*slot)?.connections;
                }
                Ok(Counted { reasons: Some(datapath.counts()?), connections })
            }
            Self::Floor(floor) => Ok(Counted { reasons: None, connections: floor.connections()? }),
        }
    }

    /// Checks that a forwarded frame only changed its MAC addresses: to one of the backends, from the NIC.
    ///
    /// # Errors
    /// Says what is wrong with the frame.
    pub fn forwarded(&self, before: &[u8], after: &[u8]) -> Result<()> {
        ensure!(before.len() == after.len(), "{} bytes became {}", before.len(), after.len());
        ensure!(before[12..] == after[12..], "more than the addresses was changed");
        ensure!(after[6..12] == NIC_MAC, "not from the NIC");
        let is_backend = match self {
            // The MACs are those that `usable` makes.
            Self::Datapath(_, slots) => {
                after[..4] == [2, 0, 0, 0xbe]
                    && slots.contains(&u16::from_be_bytes([after[4], after[5]]))
            }
            Self::Floor(_) => after[..5] == [2, 0, 0, 0, 0xbe],
        };
        ensure!(is_backend, "to {:x?}, which is no backend", &after[..6]);
        Ok(())
    }
}

impl Counted {
    /// Connections opened so far.
    #[must_use]
    pub const fn connections(&self) -> u64 {
        self.connections
    }

    /// Connections opened since `before`.
    #[must_use]
    pub const fn connections_since(&self, earlier: &Self) -> u64 {
        self.connections - earlier.connections
    }

    /// Packets counted since `before`, by reason; none where the program counts no reasons.
    #[must_use]
    pub fn reasons_since(&self, earlier: &Self) -> Option<BTreeMap<Reason, u64>> {
        let (now, then) = (self.reasons.as_ref()?, earlier.reasons.as_ref()?);
        Some(now.since(then).into_iter().map(|(reason, packets, _)| (reason, packets)).collect())
    }
}
