//! The dispatcher's datapath: the pure stages, built for BPF and, with their unit tests, for the host.
//!
//! What touches maps and helpers is in the program (`main.rs` and the modules it names). The stages, in
//! order: [`parse`] → filter → connection ([`table`]) → on a miss, service and backend ([`choose`]) → forward
//! ([`rewrite`]); a packet that leaves early does so with an [`outcome::Exit`].
#![cfg_attr(target_arch = "bpf", no_std, feature(asm_experimental_arch))]

pub mod barrier;
pub mod choose;
pub mod frame;
pub mod measure;
pub mod outcome;
pub mod parse;
pub mod probe;
pub mod rewrite;
pub mod table;
