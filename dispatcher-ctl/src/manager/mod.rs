//! The manager: computes weights from what is known about backends.
//!
//! [`formula`] combines the four inputs; [`Weights`] keeps a service's weights from one interval to the next and
//! decides when they are published; [`Sampler`] computes inputs from counters. There is no I/O and no clock here: the
//! daemon supplies both.

mod formula;
mod sample;
mod weights;

pub use sample::{Sampled, Sampler};
pub use weights::{Cycle, Input, WeightResult, Weights};
