//! Advisors: is each backend well, and how long does it take to answer?
//!
//! A loop per backend ([`schedule`]) makes a probe ([`probe`]) and tells its outcome; [`Health`] makes of outcomes whether the
//! backend is up. What follows from that is the daemon's business.

mod health;
pub mod probe;
mod schedule;

pub use health::Health;
pub use schedule::{Advisors, Outcome, Subject};
