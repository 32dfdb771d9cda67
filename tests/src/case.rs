//! Packet cases as data: packets in, and the expected outcome of each.
//!
//! A [`Case`] has a name, a [`World`] and steps. For every packet the runner checks the verdict and the frame byte for byte
//! (forwarding changes only the two MAC addresses). It checks that exactly one reason was counted, with the packet's L3 bytes.
//! It also checks that the counters of backends and services moved as the step says, and in no other way.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use dispatcher_common::{
    connection::State,
    counts::BackendCounts,
    reason::{REASONS, Reason, Verdict},
};

use crate::{
    datapath::{Datapath, World, action},
    packet_builder::{Packet, PacketBuilder},
};

/// A named sequence of packets and their expected outcomes.
pub struct Case {
    name: String,
    world: World,
    steps: Vec<Step>,
}

enum Step {
    Packet(Packet, Expect),
    Table(Vec<(State, u16)>),
    Do(Box<Action>),
}

type Action = dyn Fn(&mut Datapath) -> Result<()>;

/// The expected outcome of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expect {
    reason: Reason,
    /// Slot of the backend that gets it.
    slot: Option<u16>,
    /// Slot of the backend on which a connection is placed.
    places: Option<u16>,
    /// Whether it is counted as a repeated SYN.
    repeats: bool,
    /// The service that counts its early exit.
    service: Option<u32>,
    /// The frame that is sent back.
    answer: Option<Vec<u8>>,
}

impl Expect {
    const fn of(reason: Reason) -> Self {
        Self { reason, slot: None, places: None, repeats: false, service: None, answer: None }
    }
}

impl Case {
    /// A case in this world, without steps.
    #[must_use]
    pub fn new(name: impl Into<String>, world: World) -> Self {
        Self { name: name.into(), world, steps: Vec::new() }
    }

    /// The packet is the first of a connection, and goes to the backend in this slot.
    #[must_use]
    pub fn opens(self, packet: PacketBuilder, slot: u16) -> Self {
        self.goes(packet, slot, |expect| expect.places = Some(slot))
    }

    /// The packet goes to the backend of its connection.
    #[must_use]
    pub fn follows(self, packet: PacketBuilder, slot: u16) -> Self {
        self.goes(packet, slot, |_| {})
    }

    /// The packet is the repeated SYN of a half-open connection.
    #[must_use]
    pub fn repeats(self, packet: PacketBuilder, slot: u16) -> Self {
        self.goes(packet, slot, |expect| expect.repeats = true)
    }

    /// The packet leaves the path early, unchanged.
    #[must_use]
    pub fn leaves(mut self, packet: PacketBuilder, reason: Reason) -> Self {
        self.steps.push(Step::Packet(packet.build(), Expect::of(reason)));
        self
    }

    /// The packet is answered with an RST: this frame.
    #[must_use]
    pub fn resets(self, packet: PacketBuilder, answer: PacketBuilder) -> Self {
        self.answers(packet, answer, Reason::Reset)
    }

    /// The packet is answered with this frame.
    #[must_use]
    pub fn answers(mut self, packet: PacketBuilder, answer: PacketBuilder, reason: Reason) -> Self {
        let answer = Some(answer.build().bytes);
        let expect = Expect { answer, ..Expect::of(reason) };
        self.steps.push(Step::Packet(packet.build(), expect));
        self
    }

    /// The last packet goes to its backend with another reason than [`Reason::Forwarded`].
    #[must_use]
    pub fn by(self, reason: Reason) -> Self {
        self.last(|expect| expect.reason = reason)
    }

    /// The last packet's early exit is counted by this service.
    #[must_use]
    pub fn of_service(self, service: u32) -> Self {
        self.last(|expect| expect.service = Some(service))
    }

    /// The last packet opens a connection on the backend in this slot, although it does not reach the backend.
    #[must_use]
    pub fn places(self, slot: u16) -> Self {
        self.last(|expect| expect.places = Some(slot))
    }

    /// The table now holds these ways, in any order.
    #[must_use]
    pub fn table(mut self, ways: &[(State, u16)]) -> Self {
        let mut ways = ways.to_vec();
        ways.sort_unstable();
        self.steps.push(Step::Table(ways));
        self
    }

    /// Changes or checks something.
    #[must_use]
    pub fn then(mut self, action: impl Fn(&mut Datapath) -> Result<()> + 'static) -> Self {
        self.steps.push(Step::Do(Box::new(action)));
        self
    }

    /// The reasons that the case meets.
    pub fn reasons(&self) -> impl Iterator<Item = Reason> {
        self.steps.iter().filter_map(|step| match step {
            Step::Packet(_, expect) => Some(expect.reason),
            Step::Table(_) | Step::Do(_) => None,
        })
    }

    /// Runs the case.
    ///
    /// # Errors
    ///
    /// The first step whose outcome differs.
    pub fn run(&self) -> Result<()> {
        Datapath::with(&self.world, |datapath| {
            for (i, step) in self.steps.iter().enumerate() {
                let result = match step {
                    Step::Packet(packet, expect) => self.check(datapath, packet, expect),
                    Step::Table(ways) => check_table(datapath, ways),
                    Step::Do(change) => change(datapath),
                };
                result.with_context(|| format!("step {}", i + 1))?;
            }
            Ok(())
        })
        .with_context(|| self.name.clone())
    }

    fn goes(mut self, packet: PacketBuilder, slot: u16, change: impl FnOnce(&mut Expect)) -> Self {
        let mut expect = Expect { slot: Some(slot), ..Expect::of(Reason::Forwarded) };
        change(&mut expect);
        self.steps.push(Step::Packet(packet.build(), expect));
        self
    }

    fn last(mut self, change: impl FnOnce(&mut Expect)) -> Self {
        if let Some(Step::Packet(_, expect)) = self.steps.last_mut() {
            change(expect);
        }
        self
    }

    fn check(&self, datapath: &Datapath, packet: &Packet, expect: &Expect) -> Result<()> {
        let before = self.snapshot(datapath)?;
        let run = datapath.run(&packet.bytes)?;
        let after = self.snapshot(datapath)?;
        let bytes = l3_bytes(packet);

        let reasons = after.reasons.since(&before.reasons);
        ensure!(
            reasons == [(expect.reason, 1, bytes)],
            "counted {reasons:?}, expected ({:?}, 1, {bytes})",
            expect.reason
        );
        let verdict = expect.reason.verdict();
        ensure!(run.action == action_of(verdict), "action {}, expected {verdict:?}", run.action);
        let expected = self.output(packet, expect)?;
        ensure!(run.bytes == expected, "frame\n  {:02x?}, expected\n  {expected:02x?}", run.bytes);

        let mut backends = before.backends;
        if let Some(counts) = expect.slot.and_then(|slot| backends.get_mut(&slot)) {
            counts.packets += 1;
            counts.bytes += bytes;
            counts.retransmissions += u64::from(expect.repeats);
        }
        if let Some(counts) = expect.places.and_then(|slot| backends.get_mut(&slot)) {
            counts.connections += 1;
        }
        ensure!(after.backends == backends, "backends {:?}, expected {backends:?}", after.backends);
        let mut services = before.services;
        if let Some(counts) = expect.service.and_then(|service| services.get_mut(&service)) {
            counts[expect.reason as usize] += 1;
        }
        for (service, expected) in services {
            let counted = after.services[&service];
            ensure!(counted == expected, "service {service}: {counted:?}, expected {expected:?}");
        }
        Ok(())
    }

    /// The expected frame: on its way to a backend, with new MAC addresses and otherwise unchanged.
    fn output(&self, packet: &Packet, expect: &Expect) -> Result<Vec<u8>> {
        if let Some(answer) = &expect.answer {
            return Ok(answer.clone());
        }
        let mut bytes = packet.bytes.clone();
        if !matches!(expect.reason.verdict(), Verdict::Tx | Verdict::Redirect) {
            return Ok(bytes);
        }
        let slot = expect.slot.context("a forwarded packet has a backend")?;
        let Some(backend) = self.world.backends.iter().find(|backend| backend.slot == slot) else {
            bail!("slot {slot}: no such backend in the case's world");
        };
        let index = u32::from(backend.interface);
        let Some(nic) = self.world.interfaces.iter().find(|nic| nic.index == index) else {
            bail!("interface {index}: no such NIC in the case's world");
        };
        bytes[..6].copy_from_slice(&backend.mac);
        bytes[6..12].copy_from_slice(&nic.mac);
        Ok(bytes)
    }

    fn snapshot(&self, datapath: &Datapath) -> Result<Snapshot> {
        let slots = self.world.backends.iter().map(|backend| backend.slot);
        let services = self.world.services.iter().map(|service| service.id);
        Ok(Snapshot {
            reasons: datapath.counts()?,
            backends: slots.map(|s| Ok((s, datapath.backend_counts(s)?))).collect::<Result<_>>()?,
            services: services
                .map(|s| Ok((s, datapath.service_counts(s)?)))
                .collect::<Result<_>>()?,
        })
    }
}

struct Snapshot {
    reasons: crate::datapath::Counts,
    backends: BTreeMap<u16, BackendCounts>,
    services: BTreeMap<u32, [u64; REASONS]>,
}

/// The `xdp_action` of a verdict.
#[must_use]
pub const fn action_of(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Pass => action::PASS,
        Verdict::Tx => action::TX,
        Verdict::Redirect => action::REDIRECT,
        Verdict::Drop => action::DROP,
    }
}

/// Offset of the IP header behind two VLAN tags; the datapath does not search behind more.
const MOST_TAGS: usize = 14 + 2 * 4;

/// L3 bytes as the frame's IP header states them; for other frames, all bytes after the Ethernet header.
fn l3_bytes(packet: &Packet) -> u64 {
    let ethertype = &packet.bytes[packet.l3 - 2..packet.l3];
    let header = packet.bytes.get(packet.l3..).unwrap_or_default();
    let at = |i: usize| u64::from(u16::from_be_bytes([header[i], header[i + 1]]));
    match (ethertype, header.first().map(|byte| byte >> 4)) {
        _ if packet.l3 > MOST_TAGS => packet.bytes.len() as u64 - 14,
        ([0x08, 0x00], Some(4)) if header.len() >= 20 => at(2),
        ([0x86, 0xdd], Some(6)) if header.len() >= 40 => 40 + at(4),
        _ => packet.bytes.len() as u64 - 14,
    }
}

/// Compares the table's ways with the expected ones, and each established way with its flow record.
fn check_table(datapath: &Datapath, expected: &[(State, u16)]) -> Result<()> {
    let found = datapath.ways()?;
    let mut ways: Vec<_> = found.iter().map(|(_, w)| (w.state(), w.slot() as u16)).collect();
    ways.sort_unstable();
    ensure!(ways == expected, "table holds {ways:?}, expected {expected:?}");
    for (place, way) in found {
        let flow = datapath.flow(place)?;
        ensure!(
            way.state() != State::Established || way.matches(flow.hash(datapath.hash_keys())),
            "the flow record at {place:?} is not its way's: {flow:?}"
        );
    }
    Ok(())
}

/// Runs cases, where this is possible, and reports all that fail.
///
/// # Panics
///
/// When a case fails.
pub fn run(cases: &[Case]) {
    if !crate::datapath::available() {
        return;
    }
    let errors = cases.iter().filter_map(|case| case.run().err());
    let failures: Vec<String> = errors.map(|error| format!("{error:#}")).collect();
    let count = failures.len();
    assert!(failures.is_empty(), "{count} of {} cases:\n{}", cases.len(), failures.join("\n"));
}
