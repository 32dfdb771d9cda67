//! The types of single values: how each is written as text, and its schema on the API. They know nothing of settings.

mod advisor;
mod as_text;
mod choice;
mod choices;
pub mod duration;
mod mac;
mod object;
mod range;
pub mod report_timeout;
mod request;
pub(crate) mod schema;
mod seconds;

pub use advisor::{AdvisorKind, Target, Transport};
pub use choice::Choice;
use choice::choice;
pub use choices::{Evaluate, ForwardMode, OnDown, Orphan, Protocol, Scheduler, Share, XdpMode};
pub use mac::{Mac, ParseMacError};
pub(crate) use object::Object;
pub use range::{ClientRange, Day, PortRange, TimeRange, Tos};
pub use request::{Hex, Method, QueryType, Rcode, Statuses};
pub use seconds::Seconds;
