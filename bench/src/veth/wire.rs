//! The veth with a generator and a sink at its near end.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, TestRun as _, TestRunAttrs, TestRunOptions,
    maps::{Array, PerCpuArray},
    programs::{ProgramFd, Xdp},
};
use dispatcher_lab::{Node, Pair, objects, xdp};
use dispatcher_lab_ebpf::Plan;
use dispatcher_tests::packet_builder::NIC_MAC;

use super::busy::Busy;
use crate::driver::Record;

/// Frames that the kernel sends before it makes the next ones: its default, and what a NIC passes on in one batch.
const BATCH: u32 = 64;

/// Both ends of the veth, and the programs at the near one.
pub struct Wire {
    ebpf: Ebpf,
    pair: Pair,
    near: u32,
}

/// The result of sending frames.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Nanoseconds of CPU work per frame.
    pub ns: f64,
    /// Frames that reached the sink.
    pub sunk: u64,
}

impl Wire {
    /// Makes the namespaces and loads the programs; the far end passes all frames to the kernel.
    ///
    /// # Errors
    /// When a command fails, or the kernel refuses a call.
    pub fn new() -> Result<Self> {
        let mut ebpf = Ebpf::load(objects::LIVE).context("cannot load the generator")?;
        for (name, program) in ebpf.programs_mut() {
            let program: &mut Xdp = program.try_into()?;
            program.load().with_context(|| format!("program {name}"))?;
        }
        let pair = Pair::new("bench")?;
        let [a, b, c, d, e, f] = NIC_MAC;
        let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
        pair.far.ip(&format!("link set eth0 address {mac}"))?;
        let near = pair.near.ifindex("eth0")?;
        let wire = Self { ebpf, pair, near };
        xdp::put(&wire.pair.near, "eth0", wire.program("sink")?.fd()?.as_fd())?;
        wire.leave()?;
        Ok(wire)
    }

    /// The host at the far end.
    #[must_use]
    pub const fn far(&self) -> &Node {
        &self.pair.far
    }

    /// Puts a program at the far end from now on.
    ///
    /// # Errors
    /// Errors of the kernel.
    pub fn put(&self, program: &ProgramFd) -> Result<()> {
        xdp::put(&self.pair.far, "eth0", program.as_fd())
    }

    /// Makes the far end send all frames back from now on, without reading them.
    ///
    /// # Errors
    /// Errors of the kernel.
    pub fn bounce(&self) -> Result<()> {
        self.put(self.program("bounce")?.fd()?)
    }

    /// Makes the far end pass all frames to the kernel from now on.
    ///
    /// # Errors
    /// Errors of the kernel.
    pub fn leave(&self) -> Result<()> {
        self.put(self.program("leave")?.fd()?)
    }

    /// Sends this many frames, made from `frame` as the plan says.
    ///
    /// # Errors
    /// Errors of the kernel; also when a frame was not made.
    pub fn send(&mut self, frame: &[u8], plan: Plan, frames: u32) -> Result<Sent> {
        let map = self.ebpf.map_mut("PLAN").context("no map PLAN")?;
        Array::try_from(map)?.set(0, Record(plan), 0)?;
        let before = self.sunk()?;
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, frame.len() as u32, 0, self.near, 0, 0].map(u32::to_ne_bytes);
        let (program, near) = (self.program("generate")?, &self.pair.near);
        let ns = near.enter(|| {
            let options = TestRunOptions {
                data_in: Some(frame),
                ctx_in: Some(context.as_flattened()),
                repeat: frames,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::new()
            };
            let busy = Busy::start()?;
            program.test_run(options)?;
            Ok(busy.elapsed())
        })?;
        let map = self.ebpf.map("PLAN").context("no map PLAN")?;
        let made = Array::<_, Record>::try_from(map)?.get(&0, 0)?.0.next - plan.next;
        ensure!(made == u64::from(frames), "{made} frames of {frames} were made");
        Ok(Sent { ns: ns / f64::from(frames), sunk: self.sunk()? - before })
    }

    fn sunk(&self) -> Result<u64> {
        let map = self.ebpf.map("SUNK").context("no map SUNK")?;
        Ok(PerCpuArray::<_, u64>::try_from(map)?.get(&0, 0)?.iter().sum())
    }

    fn program(&self, name: &str) -> Result<&Xdp> {
        Ok(self.ebpf.program(name).with_context(|| format!("no program {name}"))?.try_into()?)
    }
}
