//! bpf(2) by hand, where aya has no function for it. This is what aya 0.14 lacks:
//!
//! - `link`: [`FdLink`](aya::programs::links::FdLink) gives neither its descriptor nor its NIC, and cannot detach. `Xdp::attach` tries
//!   netlink after `EINVAL`, which leaves nothing to pin.
//! - `map`: `MapData::create` takes no inner map. Typed maps know a value's size when they are compiled; here it is the
//!   kernel's (per-CPU values, maps of another layout). There are no batches.
//! - `call`: pins and records, which links need without aya, so maps use the same.
//! - `system`: two calls that are not bpf(2).
//!
//! The structures are those that aya generated from the kernel's header.

mod call;
mod link;
mod map;
mod system;

pub(super) use link::{Link, LinkInfo};
pub(super) use map::Map;
pub(super) use system::{netns_cookie, wait_for_readers};
