//! The cases: each has a program, the packets it gets, and their expected outcome.

use std::rc::Rc;

use anyhow::Result;
use dispatcher_common::reason::Reason;

use crate::{driver::Layout, subject::Subject, worlds::Keys};

mod floors;
mod hits;
mod new;
mod others;

/// Loads a program with the keys of a load.
pub type Load = dyn Fn(&Keys) -> Result<Subject>;

/// One measured case.
#[derive(Clone)]
pub struct Case {
    /// Its name, parts separated by slashes.
    pub name: String,
    /// The program under test; cases with the same name here share one loaded program.
    pub subject: String,
    /// Loads the program.
    pub load: Rc<Load>,
    /// Where its frames have the fields that identify their flow.
    pub layout: Layout,
    /// The frames that open the connections: each goes through all flows beforehand, one after the other.
    pub opening: Vec<(Layout, Vec<u8>)>,
    /// Whether they are sent again before each measurement, because the datapath forgets.
    pub reopens: bool,
    /// The measured frame, as flow 0 has it.
    pub frame: Vec<u8>,
    /// Number of VIPs that the flows take in turn, minus 1.
    pub vip_mask: u32,
    /// Its number of flows.
    pub flows: Flows,
    /// The expected outcome of its packets.
    pub fate: Fate,
    /// Name of the floor's case that it is compared with.
    pub floor: Option<String>,
}

/// The number of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flows {
    /// This many, visited in scrambled order.
    Of(u32),
    /// Each packet belongs to a new flow. This many packets before the first measurement fill the table.
    New(u32),
}

/// The expected outcome of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Forwarded, as part of a known connection.
    Known,
    /// Forwarded; each packet opens a connection.
    Opened,
    /// Forwarded, but no connection is entered in the table.
    Stateless,
    /// Passed to the kernel.
    Passed(Reason),
}

/// Bounds of the cases' sizes: none in a measurement, small ones where only correctness is checked.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Greatest number of flows per case: a power of two.
    pub flows: u32,
    /// Greatest number of ways per table: a power of two.
    pub ways: u32,
    /// Greatest number of services: a power of two.
    pub services: u32,
}

impl Scale {
    /// No bounds.
    pub const FULL: Self = Self { flows: u32::MAX, ways: u32::MAX, services: u32::MAX };
    /// For a quick look.
    pub const SMALL: Self = Self { flows: 1 << 10, ways: 1 << 13, services: 1 << 5 };

    const fn flows(self, flows: u32) -> u32 {
        if flows < self.flows { flows } else { self.flows }
    }

    const fn ways(self, ways: u32) -> u32 {
        if ways < self.ways { ways } else { self.ways }
    }

    /// Indices of the sizes that differ within these bounds; of equal ones only the first.
    fn sizes(self, sizes: usize) -> impl Iterator<Item = usize> {
        (0..sizes).filter(move |size| {
            let flows = |size: usize| self.flows(SIZES[size].1);
            *size == 0 || flows(*size) != flows(*size - 1)
        })
    }

    const fn services(self, services: u32) -> u32 {
        if services < self.services { services } else { self.services }
    }
}

/// Flow counts, with their names and the number of ways of the table.
const SIZES: [(&str, u32, u32); 4] = [
    ("1k", 1 << 10, 1 << 20),
    ("64k", 1 << 16, 1 << 20),
    ("1M", 1 << 20, 1 << 21),
    // Ten times as many flows, in a table that they fill to 62 %.
    ("10M", 10 << 20, 1 << 24),
];
/// Number of sizes without the largest one.
const USUAL: usize = 3;
/// Ways of a table that fills with new connections.
const NEW_WAYS: u32 = 1 << 20;

/// Every case, floors and empty programs first.
#[must_use]
pub fn all(scale: Scale) -> Vec<Case> {
    [floors::cases(scale), hits::cases(scale), new::cases(scale), others::cases(scale)].concat()
}

impl Case {
    /// A case of the program that `load` loads, with these packets.
    fn new(
        name: impl Into<String>,
        subject: impl Into<String>,
        load: impl Fn(&Keys) -> Result<Subject> + 'static,
        packets: (Layout, Vec<u8>),
    ) -> Self {
        Self {
            name: name.into(),
            subject: subject.into(),
            load: Rc::new(load),
            layout: packets.0,
            opening: Vec::new(),
            reopens: false,
            frame: packets.1,
            vip_mask: 0,
            flows: Flows::Of(1 << 10),
            fate: Fate::Known,
            floor: None,
        }
    }

    fn opening(mut self, frames: Vec<(Layout, Vec<u8>)>) -> Self {
        self.opening = frames;
        self
    }

    const fn flows(mut self, flows: Flows) -> Self {
        self.flows = flows;
        self
    }

    const fn fate(mut self, fate: Fate) -> Self {
        self.fate = fate;
        self
    }

    fn floor(mut self, name: impl Into<String>) -> Self {
        self.floor = Some(name.into());
        self
    }

    /// The case of an empty program that gets the same packets.
    #[must_use]
    pub fn base(&self) -> String {
        format!("base/{}", self.layout.program())
    }
}
