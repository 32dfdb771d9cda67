//! bpf(2): maps and links as owned descriptors, every call checked against what the kernel says of the object.
//!
//! aya loads the object and its program; this is what it does not offer: links without its fallback to netlink (which
//! leaves nothing to pin) and with the NIC they belong to, batches over per-CPU arrays, and values whose size is known only
//! at runtime. `call` is the system call and what all objects have in common, `map` and `link` the objects, `jiffies` and `system` what
//! else is asked of the kernel. This folder and `mapped.rs` are the only places with `unsafe` in them.

mod call;
mod jiffies;
mod link;
mod map;
mod system;

pub(super) use jiffies::jiffies;
pub(super) use link::{Link, LinkInfo, XDP_GENERIC, XDP_NATIVE};
pub(super) use map::{ARRAY, MMAPABLE, Map};
pub(super) use system::{netns_cookie, wait_for_readers};
