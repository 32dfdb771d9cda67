//! The programs at the far end of the veth, and the frames that they get.

use anyhow::{Result, ensure};
use dispatcher_ctl::model::Scheduler;
use dispatcher_lab_ebpf::Plan;
use dispatcher_tests::{
    datapath::{CLIENT, VIP},
    packet_builder::{ACK, SYN, eth},
};

use super::{
    ipvs::{self, Seen},
    wire::Wire,
};
use crate::{
    driver::{IN_ORDER, Layout, SCRAMBLED},
    subject::Subject,
    worlds::{self, BACKENDS, PORT},
};

/// Number of ways: the same as in the cases without a veth.
const WAYS: u32 = 1 << 20;
/// Of 1,000 frames, this many may be lost.
const LOST: u64 = 2;

/// The taker: what takes the frames at the far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taker {
    /// A program that only sends them back.
    Bounce,
    /// The floor `service`.
    Floor,
    /// The datapath.
    Datapath,
    /// The kernel, with a rule of traffic control that sends them back.
    Mirror,
    /// The kernel, with IPVS in direct routing.
    Ipvs,
}

/// Frames that are sent to one taker.
pub struct Trial {
    /// Its name.
    pub name: String,
    taker: Taker,
    /// Number of flows; none: each frame belongs to a new one.
    flows: Option<u32>,
    subject: Option<Subject>,
    next: u64,
}

/// All trials; those of the kernel's own forwarding only if IPVS was requested.
#[must_use]
pub fn all(with_ipvs: bool) -> Vec<Trial> {
    let trial = |name: &str, taker, flows| Trial {
        name: name.to_owned(),
        taker,
        flows,
        subject: None,
        // Some takers keep one table for all trials: new flows must differ from the known ones.
        next: if flows.is_some() { 0 } else { 1 << 20 },
    };
    let sizes = |name: &str, taker| {
        let sizes = [("1k", 1 << 10), ("64k", 1 << 16)];
        sizes.map(|(size, flows)| trial(&format!("{name}/{size}"), taker, Some(flows)))
    };
    let mut all = vec![trial("bounce", Taker::Bounce, Some(1 << 10))];
    if with_ipvs {
        all.push(trial("mirror", Taker::Mirror, Some(1 << 10)));
    } else {
        all.extend(sizes("floor/service", Taker::Floor));
    }
    all.extend(sizes("hit", Taker::Datapath));
    all.push(trial("new", Taker::Datapath, None));
    if with_ipvs {
        all.extend(sizes("ipvs/hit", Taker::Ipvs));
        all.push(trial("ipvs/new", Taker::Ipvs, None));
    }
    all
}

impl Trial {
    /// Whether it is the base of other trials.
    #[must_use]
    pub const fn is_base(&self) -> bool {
        matches!(self.taker, Taker::Bounce | Taker::Mirror)
    }

    /// The trial whose time is subtracted from this one's for the net figure.
    #[must_use]
    pub const fn base(&self) -> &'static str {
        match self.taker {
            Taker::Bounce | Taker::Floor | Taker::Datapath => "bounce",
            Taker::Mirror | Taker::Ipvs => "mirror",
        }
    }

    /// The trial that this one is compared with: the floor; for the kernel's own forwarding, the datapath's trial of the same
    /// kind.
    #[must_use]
    pub fn rival(&self) -> Option<String> {
        match self.taker {
            Taker::Bounce | Taker::Mirror | Taker::Floor => None,
            Taker::Datapath => Some(format!("floor/service/{}", self.name.split_once('/')?.1)),
            Taker::Ipvs => Some(self.name.split_once('/')?.1.to_owned()),
        }
    }

    /// Loads the taker, and opens the connections.
    ///
    /// # Errors
    /// When the kernel refuses a call, or frames do not come back.
    pub fn load(&mut self, wire: &mut Wire) -> Result<()> {
        self.subject = match self.taker {
            Taker::Floor => Some(Subject::floor("service", WAYS)?),
            Taker::Datapath => {
                Some(Subject::datapath(&worlds::world(WAYS, Scheduler::Wrr, BACKENDS))?)
            }
            Taker::Bounce | Taker::Mirror | Taker::Ipvs => None,
        };
        if matches!(self.taker, Taker::Mirror | Taker::Ipvs) {
            ipvs::prepare(wire.far())?;
        }
        if self.taker == Taker::Ipvs {
            ipvs::serve(wire.far(), BACKENDS)?;
        }
        self.take(wire)?;
        for flags in [SYN, ACK] {
            let Some(flows) = self.flows else { break };
            let (frame, mut plan) = self.frame(flags)?;
            plan.multiplier = IN_ORDER;
            // Send twice: the first frames through a new program may find no memory yet.
            let _ = wire.send(&frame, plan, flows)?;
            let _ = wire.send(&frame, plan, flows)?;
        }
        self.measure(wire, 1 << 12)?;
        Ok(())
    }

    /// Nanoseconds per frame.
    ///
    /// # Errors
    /// Errors of the kernel; also when frames do not come back.
    pub fn measure(&mut self, wire: &mut Wire, frames: u32) -> Result<f64> {
        self.take(wire)?;
        let (frame, mut plan) = self.frame(if self.flows.is_some() { ACK } else { SYN })?;
        plan.multiplier = SCRAMBLED;
        plan.next = self.next;
        plan.mask = self.flows.map_or(u32::MAX, |flows| flows - 1);
        let before = self.seen(wire)?;
        let sent = wire.send(&frame, plan, frames)?;
        let after = self.seen(wire)?;
        self.next += u64::from(frames);
        self.judge(frames.into(), sent.sunk, (before, after))?;
        Ok(sent.ns * f64::from(frames) / sent.sunk as f64)
    }

    /// Checks that all frames came back, and that the taker counted them as expected.
    fn judge(&self, frames: u64, sunk: u64, (before, after): (Seen, Seen)) -> Result<()> {
        let few = frames * LOST / 1000;
        ensure!(sunk <= frames && sunk + few >= frames, "{sunk} frames of {frames} came back");
        let packets = after.packets.unwrap_or(sunk) - before.packets.unwrap_or(0);
        // The host's own TCP would answer a packet that IPVS does not take, and that answer would come back, too.
        ensure!(packets >= sunk, "IPVS took {packets} frames of {frames}");
        let opened = after.connections - before.connections;
        let is_right = match (self.taker, self.flows) {
            (Taker::Bounce | Taker::Mirror, _) => true,
            (_, Some(_)) => opened <= few,
            (_, None) => opened + few >= sunk,
        };
        ensure!(is_right, "{frames} frames opened {opened} connections");
        Ok(())
    }

    fn seen(&self, wire: &Wire) -> Result<Seen> {
        if self.taker == Taker::Ipvs {
            return ipvs::seen(wire.far());
        }
        let counted = self.subject.as_ref().map(Subject::counted).transpose()?;
        let connections = counted.map_or(0, |counted| counted.connections());
        Ok(Seen { packets: None, connections })
    }

    /// Puts the taker at the far end.
    fn take(&self, wire: &Wire) -> Result<()> {
        match (self.taker, &self.subject) {
            (_, Some(subject)) => wire.put(subject.program()?),
            (Taker::Bounce, _) => wire.bounce(),
            (taker, _) => {
                ipvs::mirror(wire.far(), taker == Taker::Mirror)?;
                wire.leave()
            }
        }
    }

    /// A frame with these TCP flags, and the plan that turns it into frames of other flows.
    ///
    /// # Errors
    /// The frame is too short.
    pub fn frame(&self, flags: u8) -> Result<(Vec<u8>, Plan)> {
        let packet = eth().ipv4(CLIENT, VIP).tcp(0x8000, PORT, flags).payload(&[7; 10]);
        let frame = packet.build().bytes;
        let plan = Layout::Ipv4.plan(&frame)?;
        Ok((frame, plan))
    }
}
