//! A case with its figures, and the choice of its next packets.

use anyhow::{Result, ensure};
use dispatcher_lab_ebpf::Plan;
use dispatcher_tests::datapath::action;

use crate::{
    cases::{Case, Fate, Flows},
    driver::{Layout, SCRAMBLED},
    median::median,
    subject::Subject,
};

/// A round visits at most this many flows. If a case has more, each round visits other ones.
pub(super) const SPAN: u32 = 1 << 20;
/// Flows whose packets are checked one by one.
const SAMPLE: u32 = 64;

/// A case and its figures from all loads.
pub struct Measured {
    /// The case.
    pub case: Case,
    /// One figure for each round.
    pub figures: Vec<Figure>,
    /// Rounds of this load so far.
    pub(super) turn: u32,
    /// Number of the next packet.
    pub(super) next: u64,
    /// What this load adds to clients' addresses.
    clients: u32,
}

/// The result of one round: nanoseconds per packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// Number of the load, from 0.
    pub load: usize,
    /// The case's time, including the driver's.
    pub gross: f64,
    /// The driver's time with an empty program, measured at the same time.
    pub empty: f64,
    /// As `empty`, but the slower one of the measurements before and after.
    pub slowest: f64,
    /// Whether nothing disturbed the round, judged by all that is known at the end.
    pub is_quiet: bool,
}

/// One timed chunk of packets, in nanoseconds per packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub(super) gross: f64,
    /// Time of the empty program before and after.
    pub(super) empty: [f64; 2],
}

impl Chunk {
    /// Time of the empty program before or after, whichever is longer.
    pub(super) const fn slowest(&self) -> f64 {
        self.empty[0].max(self.empty[1])
    }
}

impl Figure {
    /// A figure from the `wanted` chunks that were least disturbed.
    pub(super) fn of(mut chunks: Vec<Chunk>, wanted: usize, load: usize) -> Option<Self> {
        chunks.sort_by(|a, b| a.slowest().total_cmp(&b.slowest()));
        chunks.truncate(wanted);
        let of = |what: fn(&Chunk) -> f64| median(chunks.iter().map(what));
        Some(Self {
            load,
            gross: of(|chunk| chunk.gross)?,
            empty: of(|chunk| f64::midpoint(chunk.empty[0], chunk.empty[1]))?,
            slowest: of(Chunk::slowest)?,
            is_quiet: true,
        })
    }

    /// The case's time without the driver's.
    #[must_use]
    pub const fn net(&self) -> f64 {
        self.gross - self.empty
    }
}

impl Measured {
    /// A case without figures.
    #[must_use]
    pub const fn new(case: Case) -> Self {
        Self { case, figures: Vec::new(), turn: 0, next: 0, clients: 0 }
    }

    /// Starts a load.
    pub(super) const fn begin(&mut self, clients: u32) {
        (self.turn, self.next, self.clients) = (0, 0, clients);
    }

    /// How the driver turns a frame into one of any flow of the case, in order.
    pub(super) fn every(&self, layout: Layout, frame: &[u8]) -> Result<Plan> {
        let mut plan = layout.plan(frame)?;
        plan.vip_mask = self.case.vip_mask;
        plan.address = plan.address.wrapping_add(self.clients);
        Ok(plan)
    }

    /// What the driver sends next.
    pub(super) fn plan(&self) -> Result<Plan> {
        let mut plan = self.every(self.case.layout, &self.case.frame)?;
        plan.multiplier = SCRAMBLED;
        plan.next = self.next;
        if let Flows::Of(flows) = self.case.flows {
            // The largest power of two that divides the number of flows.
            let span = (flows & flows.wrapping_neg()).min(SPAN);
            plan.mask = span - 1;
            plan.first = (self.turn % (flows / span)) * span;
        }
        Ok(plan)
    }

    /// Sends the packets of some flows one by one, twice each, and checks each result.
    ///
    /// # Errors
    /// Says what is wrong with a packet; when the kernel refuses a call.
    pub(super) fn look(&mut self, subject: &Subject) -> Result<()> {
        let plan = self.plan()?;
        for packet in self.next..self.next + u64::from(SAMPLE) {
            let flow = plan.flow(packet);
            let frame = self.case.layout.frame(&self.case.frame, &plan, flow)?;
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_least_disturbed_counts() {
        let chunk = |gross, after| Chunk { gross, empty: [10.0, after] };
        let chunks =
            vec![chunk(99.0, 20.0), chunk(51.0, 11.0), chunk(50.0, 10.0), chunk(52.0, 12.0)];
        let figure = Figure::of(chunks, 3, 7).unwrap();
        assert_eq!((figure.load, figure.gross, figure.slowest), (7, 51.0, 11.0));
        assert_eq!(figure.net(), 40.5);
        assert_eq!(Figure::of(Vec::new(), 3, 0), None);
    }
}
