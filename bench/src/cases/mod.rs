//! What is measured: each case a program, the packets it is given, and what must become of them.

use std::rc::Rc;

use anyhow::Result;
use dispatcher_common::reason::Reason;

use crate::{driver::Layout, subject::Subject, worlds::Keys};

mod floors;
mod hits;
mod new;
mod others;

/// Loads a program, with a load's keys.
pub type Load = dyn Fn(&Keys) -> Result<Subject>;

/// Something measured.
#[derive(Clone)]
pub struct Case {
    /// Its name, parts separated by slashes.
    pub name: String,
    /// What is measured; cases with one name here share one loaded program.
    pub subject: String,
    /// Loads it.
    pub load: Rc<Load>,
    /// Where its frames have what tells their flow.
    pub layout: Layout,
    /// The frames that go through all flows beforehand, one after the other.
    pub opening: Vec<(Layout, Vec<u8>)>,
    /// Whether they do so before each measurement, since the datapath forgets.
    pub reopens: bool,
    /// The frame measured, of flow 0.
    pub frame: Vec<u8>,
    /// VIPs that flows go to by turns − 1.
    pub vip_mask: u32,
    /// How many flows there are.
    pub flows: Flows,
    /// What becomes of its packets.
    pub fate: Fate,
    /// The case of a floor that it is compared with.
    pub floor: Option<String>,
}

/// How many flows there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flows {
    /// So many, visited in scrambled order.
    Of(u32),
    /// Each packet is one never seen. So many packets before the first measurement fill the table.
    New(u32),
}

/// What becomes of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Forwarded, of a known connection.
    Known,
    /// Forwarded, each a connection more.
    Opened,
    /// Forwarded, but no connection is entered.
    Stateless,
    /// Left to the kernel.
    Passed(Reason),
}

/// Bounds of what is measured: none in a measurement, tight ones where only correctness is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Flows of a case, at most: a power of two.
    pub flows: u32,
    /// Ways of a table, at most: a power of two.
    pub ways: u32,
    /// Services, at most: a power of two.
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

    /// Sizes, by their number, that differ within these bounds: the first of those that do not.
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

/// Flow counts, with their names and how many ways the table then has.
const SIZES: [(&str, u32, u32); 4] = [
    ("1k", 1 << 10, 1 << 20),
    ("64k", 1 << 16, 1 << 20),
    ("1M", 1 << 20, 1 << 21),
    // Ten times as many in a table that they fill to 62 %.
    ("10M", 10 << 20, 1 << 24),
];
/// Without the largest one.
const USUAL: usize = 3;
/// Ways of a table that fills with new connections.
const NEW_WAYS: u32 = 1 << 20;

/// Every case, floors and empty programs first.
#[must_use]
pub fn all(scale: Scale) -> Vec<Case> {
    [floors::cases(scale), hits::cases(scale), new::cases(scale), others::cases(scale)].concat()
}

impl Case {
    /// Of a program that is loaded so; its packets are these.
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

    /// The case of an empty program that takes the same packets.
    #[must_use]
    pub fn base(&self) -> String {
        format!("base/{}", self.layout.program())
    }
}
