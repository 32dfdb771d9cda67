//! The manager: what weights follow from what is known of backends?
//!
//! [`formula`] says what four inputs come to; [`Weights`] remembers a service's weights from one interval to the next and
//! says when they are to be published; [`Sampler`] makes inputs of counters. No I/O and no clock: the daemon brings both.

mod formula;
mod sample;
mod weights;

pub use sample::{Sampler, Seen};
pub use weights::{Cycle, Input, Weighed, Weights};
