//! End-to-end tests: the real binary in a laboratory of network namespaces, with real servers and clients.
//!
//! `DISPATCHER_BIN` selects the binary; the default is the newer one of target/release and target/debug. Without root,
//! tests are skipped with a message, unless `DISPATCHER_REQUIRE_BPF=1`.

mod advisor_kinds;
mod advisors;
mod affinity;
mod api;
mod common;
mod detach;
mod errors;
mod events;
mod exits;
mod files;
mod flood;
mod fragments;
mod ftp;
mod layout;
mod loops;
mod manager;
mod measure;
mod modes;
mod mtu;
mod names;
mod neighbours;
mod orphans;
mod own_host;
mod passive;
mod privileges;
mod probing;
mod quiesce;
mod redirect;
mod reload;
mod resets;
mod rules;
mod runtime;
mod scale;
mod schedulers;
mod schema;
mod shares;
mod takeover;
mod too_big;
mod transfers;
mod udp;
mod vip_kinds;
mod vip_probes;
mod vips;
mod wildcards;
mod wire;
