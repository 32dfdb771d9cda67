//! The dispatcher's datapath: pure stages, built for BPF and for the host.
#![cfg_attr(target_arch = "bpf", no_std)]
