//! The dispatcher's datapath: the pure stages, built for BPF and, with their unit tests, for the host.
//!
//! Code that uses maps or helpers is in the program (`main.rs` and its modules). The stages, in order: [`parse`] → filter →
//! connection ([`table`]) → on a miss, service and backend ([`choose`]) → forward ([`rewrite`]). A packet that leaves early has
//! an [`outcome::Exit`].
#![cfg_attr(target_arch = "bpf", no_std, feature(asm_experimental_arch))]

// The stages, in the order of the path.
pub mod frame;
pub mod parse;

pub mod table;

pub mod choose;

pub mod measure;

pub mod rewrite;

// The base of the stages.
pub mod barrier;
pub mod outcome;

// The other programs.
pub mod probe;
