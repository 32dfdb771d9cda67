//! Measures what a packet costs in the loaded datapath.
//!
//! `BPF_PROG_TEST_RUN` repeats one frame and does not undo what a program did to it. So a driver program ([`driver`]) runs
//! first: it restores the frame, turns it into one of the next flow, and jumps into the program under test. That program is
//! the datapath as shipped, with maps filled as by the controller ([`worlds`]), or a floor ([`floor`]): the least work that
//! forwarding by connections needs. [`cases`] lists what is measured. [`mod@bench`] runs it in interleaved rounds and checks that
//! every packet had the expected outcome. [`report`] shows the results. [`veth`] sends real frames instead.

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
