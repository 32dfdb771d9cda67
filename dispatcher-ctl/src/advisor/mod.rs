//! Advisors: is each backend well, and how long does it take to answer?
//!
//! A loop per question ([`schedule`], [`question`]) makes a probe ([`probe`]) and tells its outcome to whoever asks; [`Health`]
//! makes of outcomes whether the backend is up. What follows from that is the daemon's business. `lanes` and `pace` keep those
//! that are gone from delaying those that are up.

mod health;
mod lanes;
mod lateness;
mod pace;
pub mod probe;
mod question;
mod schedule;
pub mod upheaval;

pub use health::Health;
pub use lateness::Lateness;
pub use schedule::{Advisors, Outcome, Subject};
