//! The programs that carry probes of VIPs, run on single frames.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use aya::{
    maps::HashMap,
    programs::{ProgramInfo, SchedClassifier, TestRun as _, TestRunOptions},
};
use dispatcher_common::{maps, net, probe::ProbeEnd};

use super::{Datapath, Run};
use crate::packet_builder::Mac;

/// One of the two programs for probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeProgram {
    /// From the prober to backends.
    Out,
    /// From NICs to the prober.
    In,
}

impl ProbeProgram {
    const fn name(self) -> &'static str {
        match self {
            Self::Out => "probe_out",
            Self::In => "probe_in",
        }
    }
}

/// Values that such a program returns (`TC_ACT_…`).
pub mod tc_action {
    /// Left to the next program or the kernel; -1.
    pub const UNSPEC: u32 = u32::MAX;
    /// Discarded.
    pub const SHOT: u32 = 2;
    /// Sent out of the NIC that it chose.
    pub const REDIRECT: u32 = 7;
}

impl Datapath {
    /// Loads both programs; they share the datapath's maps.
    ///
    /// # Errors
    ///
    /// When the verifier refuses; the error contains its log.
    pub fn load_probes(&mut self) -> Result<[ProgramInfo; 2]> {
        let mut load = |program: ProbeProgram| {
            let name = program.name();
            let program = self.ebpf.program_mut(name).with_context(|| format!("no {name}"))?;
            let program: &mut SchedClassifier = program.try_into()?;
            program.load().with_context(|| format!("cannot load {name}"))?;
            Ok::<_, anyhow::Error>(program.info()?)
        };
        Ok([load(ProbeProgram::Out)?, load(ProbeProgram::In)?])
    }

    /// Runs a frame through one of the two programs.
    ///
    /// # Errors
    ///
    /// Errors of the kernel; also when the program is not loaded.
    pub fn probe(&self, program: ProbeProgram, frame: &[u8]) -> Result<Run> {
        let program = self.ebpf.program(program.name()).context("no such program")?;
        let program: &SchedClassifier = program.try_into()?;
        let mut bytes = vec![0; frame.len() + 256];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut bytes),
            ..TestRunOptions::new()
        };
        let result = program.test_run(options)?;
        bytes.truncate(result.data_size_out as usize);
        Ok(Run { action: result.return_value, bytes })
    }

    /// Sets the destination of answers to probes from an address.
    ///
    /// # Errors
    ///
    /// Errors of the map.
    pub fn set_probe_end(&mut self, address: IpAddr, ifindex: u32, mac: Mac) -> Result<()> {
        let map = self.ebpf.map_mut(maps::PROBE_ENDS).context("no map PROBE_ENDS")?;
        let end = ProbeEnd { ifindex, mac, _reserved: [0; 2] };
        Ok(HashMap::<_, net::Address, ProbeEnd>::try_from(map)?.insert(
            net::address(address),
            end,
            0,
        )?)
    }
}
