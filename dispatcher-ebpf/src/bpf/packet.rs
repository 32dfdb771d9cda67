//! The packet, as the stages see it.

use dispatcher_common::{
    connection::Way,
    flow::{WORDS_V4, WORDS_V6, flow_hash, table_hash},
};
use dispatcher_ebpf::{
    parse::{FlowWords, Segment, Tcp},
    table::tracking::{self, Event},
};

use super::{clock::tick, config};

/// A TCP or UDP packet to an address that may be a VIP. Without padding, since it is passed to global functions.
#[repr(C)]
pub(crate) struct Packet {
    /// Its flow.
    pub(crate) flow: FlowWords,
    /// The flow's hash in the connection table.
    pub(crate) hash: u64,
    /// The tick at which it arrived.
    pub(crate) tick: u64,
    /// Its frame's source address, as [`super::loops::source`] reads it.
    pub(crate) source: u64,
    /// 0 if the table was searched and has no entry for it.
    pub(crate) is_to_be_found: u64,
    /// TCP flags in bits 0–7, TOS or traffic class in 8–15.
    pub(crate) flags: u32,
    /// L3 bytes.
    pub(crate) bytes: u32,
    /// Acknowledgement number and payload of TCP.
    pub(crate) segment: Segment,
}

impl Packet {
    /// Adds the values that follow from the flow, and the remaining ones.
    #[inline(always)]
    pub(crate) fn complete(&mut self, is_v4: bool, tcp: Tcp, tos: u8) {
        let FlowWords { client, vip, ports, protocol } = self.flow;
        let hash = if is_v4 {
            let words = [client[3], vip[3], ports, protocol];
            flow_hash::<WORDS_V4>(|i| words[i], config::hash_key)
        } else {
            let words = self.flow.words();
            flow_hash::<WORDS_V6>(|i| words[i], config::hash_key)
        };
        self.hash = table_hash(hash, protocol as u8);
        self.tick = tick();
        self.is_to_be_found = 1;
        self.flags = u32::from(tcp.flags) | u32::from(tos) << 8;
        self.segment = tcp.segment;
    }

    /// TOS or traffic class.
    #[inline(always)]
    pub(crate) const fn tos(&self) -> u8 {
        (self.flags >> 8) as u8
    }

    /// Whether it is TCP.
    #[inline(always)]
    pub(crate) const fn is_tcp(&self) -> bool {
        Way(self.hash).is_tcp()
    }

    /// Its effect on its connection.
    #[inline(always)]
    pub(crate) const fn event(&self) -> Event {
        tracking::event(self.flow.protocol as u8, self.flags as u8, self.segment.payload())
    }
}
