//! One load of all cases: loads every program and its maps again, then measures each case once per round.
//!
//! Chance decides where a table lies in memory and which of its places the flows use, and this stays the same while the table
//! is loaded. So a measurement takes several loads, each with its own keys, client addresses and order of loading.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use rand::{Rng as _, rngs::SmallRng, seq::SliceRandom as _};

use crate::{
    cases::{Case, Flows},
    driver::{Driven, Driver, IN_ORDER, Layout},
    subject::Subject,
    worlds::Keys,
};

mod judge;
mod measured;
mod memory;
mod quiet;

use judge::{Sent, judge};
use measured::{Chunk, SPAN};
pub use measured::{Figure, Measured};
use memory::Memory;
pub use quiet::Quiet;

/// Packets timed in one chunk, before the next check for disturbance; the empty program gets the same number.
const CHUNK: u32 = 1 << 15;
/// Packets sent before the timed ones if a round visits no more flows than this: they replace what the case before left in the
/// caches.
const WARM: u32 = 1 << 16;
/// Runs of the empty program before the first round, to learn how long it takes undisturbed.
const LISTEN: u32 = 16;
/// Connections that may be half-open at the same time during opening: in a full bucket, a half-open one gives way to another.
const HALF_OPEN: u32 = 1 << 15;
/// If others disturb, at most this many times the requested packets are sent.
const ATTEMPTS: usize = 4;
/// Client addresses begin at most this far behind the cases' own.
const CLIENTS: u32 = 1 << 20;

/// Cases whose programs are loaded and whose flows are open.
pub struct Loaded<'a> {
    driver: &'a mut Driver,
    cases: &'a mut [Measured],
    subjects: BTreeMap<String, Subject>,
    empty: Subject,
    keys: Keys,
    quiet: &'a mut Quiet,
    memory: Memory,
}

impl<'a> Loaded<'a> {
    /// Loads what the cases measure, in random order, opens their flows, and checks the outcome of some of their packets.
    ///
    /// # Errors
    /// When the kernel refuses a call, or a packet has another outcome than expected.
    pub fn new(
        driver: &'a mut Driver,
        cases: &'a mut [Measured],
        quiet: &'a mut Quiet,
        random: &mut SmallRng,
    ) -> Result<Self> {
        let memory = Memory::now();
        let (empty, keys) = (Subject::floor("pass", 4)?, Keys::draw(random));
        let subjects = BTreeMap::new();
        let mut loaded = Self { driver, cases, subjects, empty, keys, quiet, memory };
        let clients = random.random_range(0..CLIENTS);
        for number in loaded.by_subject(random) {
            loaded.cases[number].begin(clients);
            let name = loaded.cases[number].case.name.clone();
            loaded.prepare(number).with_context(|| format!("case {name}"))?;
        }
        Ok(loaded)
    }

    /// All cases: those of one program next to each other and in order, the programs in random order.
    fn by_subject(&self, random: &mut SmallRng) -> Vec<usize> {
        let mut subjects: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, Measured { case, .. }) in self.cases.iter().enumerate() {
            subjects.entry(&case.subject).or_default().push(number);
        }
        shuffled(subjects, random).concat()
    }

    fn prepare(&mut self, number: usize) -> Result<()> {
        let case = self.cases[number].case.clone();
        if !self.subjects.contains_key(&case.subject) {
            self.subjects.insert(case.subject.clone(), (case.load)(&self.keys)?);
        }
        self.open(number)?;
        if let Flows::New(packets) = case.flows {
            self.drive(number, packets)?;
        }
        self.cases[number].look(&self.subjects[&case.subject])
    }

    /// Sends the frames that open a case's flows.
    fn open(&mut self, number: usize) -> Result<()> {
        let measured = &self.cases[number];
        let case = &measured.case;
        let Flows::Of(flows) = case.flows else { return Ok(()) };
        self.driver.aim(self.subjects[&case.subject].program()?)?;
        for first in (0..flows).step_by(HALF_OPEN as usize) {
            for (layout, frame) in &case.opening {
                let mut plan = measured.every(*layout, frame)?;
                (plan.multiplier, plan.next) = (IN_ORDER, first.into());
                self.driver.run(*layout, frame, plan, HALF_OPEN.min(flows - first))?;
            }
        }
        Ok(())
    }

    /// Measures every case once, in random order; cases that are compared follow each other directly.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn round(&mut self, random: &mut SmallRng, load: usize, packets: u32) -> Result<()> {
        let layouts: Vec<Layout> = self.cases.iter().map(|measured| measured.case.layout).collect();
        for layout in layouts {
            if self.quiet.is_unknown(layout) {
                (0..LISTEN).try_for_each(|_| self.probe(layout).map(drop))?;
            }
        }
        for number in order(self.cases, random) {
            let name = self.cases[number].case.name.clone();
            let figure = self.measure(number, load, packets);
            self.cases[number].figures.push(figure.with_context(|| format!("case {name}"))?);
        }
        Ok(())
    }

    /// Sends packets of every case in order, even if others disturb, and checks their outcome.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn try_out(&mut self, packets: u32) -> Result<()> {
        for number in 0..self.cases.len() {
            let case = self.cases[number].case.clone();
            let name = || format!("case {}", case.name);
            self.tried_out(number, &case, packets).with_context(name)?;
        }
        Ok(())
    }

    fn tried_out(&mut self, number: usize, case: &Case, packets: u32) -> Result<()> {
        if case.reopens {
            self.open(number)?;
        }
        let subject = &self.subjects[&case.subject];
        let before = subject.counted()?;
        let mut sent = Sent::default();
        sent.add(packets, self.drive(number, packets)?);
        let subject = &self.subjects[&case.subject];
        judge(case, subject, sent, (&before, &subject.counted()?))
    }

    /// Times a case's packets chunk by chunk until enough chunks were undisturbed; only the least disturbed chunks count.
    fn measure(&mut self, number: usize, load: usize, packets: u32) -> Result<Figure> {
        let case = self.cases[number].case.clone();
        if case.reopens {
            self.open(number)?;
        }
        let before = self.subjects[&case.subject].counted()?;
        let mut sent = Sent::default();
        let (warm, packets) = match case.flows {
            Flows::Of(flows) if flows <= SPAN => (WARM.max(flows), packets.max(flows)),
            Flows::Of(_) => (WARM, packets.max(SPAN)),
            Flows::New(_) => (WARM, packets),
        };
        sent.add(warm, self.drive(number, warm)?);
        let wanted = packets.div_ceil(CHUNK) as usize;
        let (mut chunks, mut quiet) = (Vec::new(), 0);
        let mut earlier = self.probe(case.layout)?;
        while quiet < wanted && chunks.len() < wanted * ATTEMPTS {
            let driven = self.drive(number, CHUNK)?;
            sent.add(CHUNK, driven);
            let later = self.probe(case.layout)?;
            let chunk = Chunk { gross: driven.ns, empty: [earlier, later] };
            quiet += usize::from(self.quiet.is_quiet(case.layout, chunk.slowest()));
            chunks.push(chunk);
            earlier = later;
        }
        self.cases[number].turn += 1;
        let subject = &self.subjects[&case.subject];
        judge(&case, subject, sent, (&before, &subject.counted()?))?;
        Figure::of(chunks, wanted, load).context("no chunk was sent")
    }

    /// Time of an empty program right now: it rises while another thread shares this core.
    fn probe(&mut self, layout: Layout) -> Result<f64> {
        self.driver.aim(self.empty.program()?)?;
        let frame = [0; 128];
        let ns = self.driver.run(layout, &frame, layout.plan(&frame)?, CHUNK)?.ns;
        self.quiet.heard(layout, ns);
        Ok(ns)
    }

    /// Sends this many of a case's packets.
    fn drive(&mut self, number: usize, packets: u32) -> Result<Driven> {
        let measured = &mut self.cases[number];
        let case = &measured.case;
        self.driver.aim(self.subjects[&case.subject].program()?)?;
        let driven = self.driver.run(case.layout, &case.frame, measured.plan()?, packets)?;
        measured.next += u64::from(packets);
        Ok(driven)
    }

    /// Frees everything that was loaded, and waits until the kernel has its memory back.
    pub fn free(self) {
        let memory = self.memory;
        drop(self.subjects);
        memory.wait();
    }

    /// Hands the loaded programs over for reuse: where only outcomes are checked, the verifier takes most of the time.
    pub fn give_up(self) {
        self.subjects.into_values().for_each(Subject::give_up);
    }
}

/// All cases in random order, except that cases compared with the same floor stay together: a disturbance then hits all of
/// them.
fn order(cases: &[Measured], random: &mut SmallRng) -> Vec<usize> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, Measured { case, .. }) in cases.iter().enumerate() {
        groups.entry(case.floor.as_ref().unwrap_or(&case.name)).or_default().push(number);
    }
    let mut groups = shuffled(groups, random);
    groups.iter_mut().for_each(|group| group.shuffle(random));
    groups.concat()
}

fn shuffled<T>(groups: BTreeMap<&str, T>, random: &mut SmallRng) -> Vec<T> {
    let mut groups: Vec<T> = groups.into_values().collect();
    groups.shuffle(random);
    groups
}
