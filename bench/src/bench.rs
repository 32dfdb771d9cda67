//! Rounds: every case once in each, in random order, and each packet's fate checked.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use dispatcher_bench_ebpf::Plan;
use dispatcher_common::reason::Reason;
use dispatcher_tests::datapath::action;
use rand::{rngs::SmallRng, seq::SliceRandom as _};

use crate::{
    cases::{Case, Fate, Flows},
    driver::{Driver, IN_ORDER, Layout, SCRAMBLED},
    subject::{Counted, Subject},
};

/// Flows whose packets are looked at one by one.
const SAMPLE: u32 = 64;
/// Flows a round visits at most: with more of them, each round visits others.
const SPAN: u32 = 1 << 20;
/// Packets before those that are timed: they find what the case before left in the caches.
const WARM: u32 = 1 << 16;
/// Packets of a probe.
const PROBE: u32 = 1 << 15;
/// So many times the quietest probe is quiet enough.
const QUIET: f64 = 1.15;
/// Connections that are half-open at once while they are opened: in a full bucket one makes room for another.
const HALF_OPEN: u32 = 1 << 15;
/// How often a disturbed measurement is made, at most.
const ATTEMPTS: usize = 8;
/// Of 1,000 packets of known connections, so many may open one: of a floor, whose lines overflow, and of the product.
const STRAYS: (u64, u64) = (150, 1);

/// The cases, ready to be measured.
pub struct Bench {
    driver: Driver,
    empty: Subject,
    /// The least that a packet took in the empty program, nanoseconds.
    quietest: f64,
    subjects: BTreeMap<String, Subject>,
    cases: Vec<Measured>,
}

/// A case and its figures.
pub struct Measured {
    /// The case.
    pub case: Case,
    /// Nanoseconds a packet, driver and all, by round.
    pub figures: Vec<f64>,
    /// Number of the next packet.
    next: u64,
}

impl Bench {
    /// Loads the driver and an empty program.
    ///
    /// # Errors
    /// Whatever the kernel refuses.
    pub fn new() -> Result<Self> {
        let (driver, empty) = (Driver::load()?, Subject::floor("pass", 4)?);
        let (subjects, cases) = (BTreeMap::new(), Vec::new());
        Ok(Self { driver, empty, quietest: f64::INFINITY, subjects, cases })
    }

    /// Loads what a case measures, opens its flows, and looks at what becomes of some of them.
    ///
    /// # Errors
    /// Whatever the kernel refuses; packets that meet another fate than they should.
    pub fn add(&mut self, case: Case) -> Result<()> {
        let name = case.name.clone();
        self.prepare(case).with_context(|| format!("case {name}"))
    }

    fn prepare(&mut self, case: Case) -> Result<()> {
        if !self.subjects.contains_key(&case.subject) {
            self.subjects.insert(case.subject.clone(), (case.load)()?);
        }
        let mut measured = Measured { case, figures: Vec::new(), next: 0 };
        self.open(&measured.case)?;
        let subject = &self.subjects[&measured.case.subject];
        if let Flows::New(packets) = measured.case.flows {
            self.driver.aim(subject.program()?)?;
            let plan = measured.plan()?;
            self.driver.run(measured.case.layout, &measured.case.frame, plan, packets)?;
            measured.next += u64::from(packets);
        }
        measured.look(subject)?;
        self.cases.push(measured);
        Ok(())
    }

    /// Sends the frames that open a case's flows.
    fn open(&mut self, case: &Case) -> Result<()> {
        let Flows::Of(flows) = case.flows else { return Ok(()) };
        self.driver.aim(self.subjects[&case.subject].program()?)?;
        for first in (0..flows).step_by(HALF_OPEN as usize) {
            for (layout, frame) in &case.opening {
                let mut plan = layout.plan(frame)?;
                (plan.vip_mask, plan.multiplier, plan.next) =
                    (case.vip_mask, IN_ORDER, first.into());
                self.driver.run(*layout, frame, plan, HALF_OPEN.min(flows - first))?;
            }
        }
        Ok(())
    }

    /// Measures every case once, in random order.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn round(&mut self, random: &mut SmallRng, packets: u32) -> Result<()> {
        let mut order: Vec<usize> = (0..self.cases.len()).collect();
        order.shuffle(random);
        for number in order {
            let case = self.cases[number].case.clone();
            self.measure(number, packets).with_context(|| format!("case {}", case.name))?;
        }
        Ok(())
    }

    /// Drives every case once without regard to who disturbs, in order: its packets' fate is looked at, its figure is not.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn drive(&mut self, packets: u32) -> Result<()> {
        for number in 0..self.cases.len() {
            let case = self.cases[number].case.clone();
            if case.reopens {
                self.open(&case)?;
            }
            let ns = self.timed(number, packets);
            self.cases[number].figures.push(ns.with_context(|| format!("case {}", case.name))?);
        }
        Ok(())
    }

    /// Measures a case, again while others disturb; the least disturbed figure counts.
    fn measure(&mut self, number: usize, packets: u32) -> Result<()> {
        let case = self.cases[number].case.clone();
        let mut figure = (f64::INFINITY, 0.0);
        for _ in 0..ATTEMPTS {
            if case.reopens {
                self.open(&case)?;
            }
            let before = self.probe()?;
            let ns = self.attempt(number, packets)?;
            let disturbed = before.max(self.probe()?) / self.quietest;
            if disturbed < figure.0 {
                figure = (disturbed, ns);
            }
            if disturbed < QUIET {
                break;
            }
        }
        self.cases[number].figures.push(figure.1);
        Ok(())
    }

    /// What an empty program takes right now: more than it can, where another thread shares this core.
    fn probe(&mut self) -> Result<f64> {
        self.driver.aim(self.empty.program()?)?;
        let frame = [0; 64];
        let plan = Layout::Ipv4.plan(&frame)?;
        let ns = self.driver.run(Layout::Ipv4, &frame, plan, PROBE)?.ns;
        self.quietest = self.quietest.min(ns);
        Ok(ns)
    }

    /// Nanoseconds a packet of a case, after some packets that are not counted.
    fn attempt(&mut self, number: usize, packets: u32) -> Result<f64> {
        let measured = &mut self.cases[number];
        let case = &measured.case;
        let packets = match case.flows {
            Flows::Of(flows) => packets.max(flows.min(SPAN)),
            Flows::New(_) => packets,
        };
        self.driver.aim(self.subjects[&case.subject].program()?)?;
        let warm = packets.min(WARM);
        self.driver.run(case.layout, &case.frame, measured.plan()?, warm)?;
        measured.next += u64::from(warm);
        self.timed(number, packets)
    }

    /// Nanoseconds a packet of so many of a case.
    fn timed(&mut self, number: usize, packets: u32) -> Result<f64> {
        let measured = &mut self.cases[number];
        let subject = &self.subjects[&measured.case.subject];
        self.driver.aim(subject.program()?)?;
        let plan = measured.plan()?;
        let before = subject.counted()?;
        let driven = self.driver.run(measured.case.layout, &measured.case.frame, plan, packets)?;
        let after = subject.counted()?;
        judge(&measured.case, subject, driven.changed, packets, (&before, &after))?;
        measured.next += u64::from(packets);
        Ok(driven.ns)
    }

    /// Gives up all cases, and what they were loaded for to cases to come: where only fates are looked at, the verifier takes
    /// most of the time.
    pub fn clear(&mut self) {
        self.cases.clear();
        std::mem::take(&mut self.subjects).into_values().for_each(Subject::give_up);
    }

    /// The cases with their figures.
    #[must_use]
    pub fn cases(&self) -> &[Measured] {
        &self.cases
    }
}

impl Measured {
    /// What the driver does next.
    fn plan(&self) -> Result<Plan> {
        let mut plan = self.case.layout.plan(&self.case.frame)?;
        plan.vip_mask = self.case.vip_mask;
        plan.multiplier = SCRAMBLED;
        plan.next = self.next;
        if let Flows::Of(flows) = self.case.flows {
            // The largest power of two that divides them.
            let span = (flows & flows.wrapping_neg()).min(SPAN);
            plan.mask = span - 1;
            plan.first = (self.figures.len() as u32 % (flows / span)) * span;
        }
        Ok(plan)
    }

    /// Sends packets of some flows, one by one and twice each, and looks at what comes out.
    fn look(&mut self, subject: &Subject) -> Result<()> {
        let plan = self.plan()?;
        for packet in self.next..self.next + u64::from(SAMPLE) {
            let frame = self.frame(&plan, plan.flow(packet))?;
            let first = subject.run(&frame)?;
            let again = subject.run(&frame)?;
            ensure!(first == again, "the same packet went elsewhere the second time");
            match self.case.fate {
                Fate::Passed(_) => {
                    ensure!(first.action == action::PASS, "action {}: not passed", first.action);
                    ensure!(first.bytes == frame, "a passed frame was changed");
                }
                Fate::Known | Fate::Opened | Fate::Stateless => {
                    ensure!(first.action == action::TX, "action {}: not forwarded", first.action);
                    subject.forwarded(&frame, &first.bytes)?;
                }
            }
        }
        self.next += u64::from(SAMPLE);
        Ok(())
    }

    fn frame(&self, plan: &Plan, flow: u32) -> Result<Vec<u8>> {
        self.case.layout.frame(&self.case.frame, plan, flow)
    }
}

/// Whether all packets of a measurement met their fate.
fn judge(
    case: &Case,
    subject: &Subject,
    changed: u64,
    packets: u32,
    (before, after): (&Counted, &Counted),
) -> Result<()> {
    // What became of the last one the driver does not see.
    let (is_forwarded, reason) = match case.fate {
        Fate::Passed(reason) => (false, reason),
        Fate::Known | Fate::Opened | Fate::Stateless => (true, Reason::Forwarded),
    };
    let rewritten = if is_forwarded { u64::from(packets) - 1 } else { 0 };
    ensure!(changed == rewritten, "{changed} of {packets} packets were rewritten");
    if let Some(reasons) = after.reasons_since(before) {
        let all = BTreeMap::from([(reason, u64::from(packets))]);
        ensure!(reasons == all, "counted {reasons:?}, expected {all:?}");
    }
    let opened = after.connections_since(before);
    let strays = if matches!(subject, Subject::Floor(_)) { STRAYS.0 } else { STRAYS.1 };
    let strays = u64::from(packets) * strays / 1000;
    let is_right = match case.fate {
        Fate::Opened => opened + strays >= u64::from(packets),
        Fate::Known | Fate::Stateless | Fate::Passed(_) => opened <= strays,
    };
    ensure!(is_right, "{packets} packets opened {opened} connections");
    Ok(())
}
