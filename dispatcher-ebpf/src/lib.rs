//! The dispatcher's datapath: the pure stages, built for BPF and, with their unit tests, for the host.
//!
//! What touches maps and helpers is in the program (`main.rs` and the modules it names). The walk of a packet, in
//! order: [`parse`] → filter → classify and connection ([`tracking`], [`occupancy`]) → [`rules`] → schedule → [`rewrite`] →
//! forward; a packet that leaves early does so with an [`exit::Exit`].
#![cfg_attr(target_arch = "bpf", no_std, feature(asm_experimental_arch))]

pub mod affinity;
pub mod barrier;
pub mod exchange;
pub mod exit;
pub mod frame;
pub mod occupancy;
pub mod parse;
pub mod pick;
pub mod probe;
pub mod rewrite;
pub mod rules;
pub mod schedule;
pub mod tracking;
