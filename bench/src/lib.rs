//! Measures what a packet costs in the loaded datapath.
//!
//! `BPF_PROG_TEST_RUN` repeats one frame and does not undo what a program did to it. A driver program ([`driver`]) stands in
//! between: it restores the frame, makes it one of the next flow, and jumps into the program under test. That is the
//! datapath as shipped, its maps filled as the controller would ([`worlds`]), or a floor ([`floor`]): the least that
//! forwarding by connections takes. [`cases`] lists what is measured, [`bench`] runs it in interleaved rounds and checks
//! that every packet met the fate it was meant to, [`report`] shows it. [`veth`] sends real frames instead.

pub mod bench;
pub mod cases;
pub mod driver;
pub mod floor;
mod median;
pub mod options;
pub mod report;
pub mod subject;
pub mod veth;
pub mod worlds;
