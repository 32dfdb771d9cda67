//! Advisors: tasks that probe whether each backend is well and how long it takes to answer.
//!
//! One loop per question ([`loops`], [`question`]) makes a probe ([`probe`]) and sends its outcome to every service
//! that asks the same. [`Health`] turns outcomes into up or down. The daemon acts on that. `lanes` and `pace` keep dead
//! backends from delaying probes of backends that are up.

pub mod disturbance;
mod health;
mod lanes;
mod lateness;
mod loops;
mod pace;
pub mod probe;
mod question;

pub use health::Health;
pub use lateness::Lateness;
pub use loops::{Advisors, ProbeOutcome};
pub use question::Subject;
