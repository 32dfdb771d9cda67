//! Attaches XDP programs to the NICs of hosts, in native mode.
//!
//! A veth accepts frames that XDP sends from its other end only if it runs XDP as well. Programs are attached by netlink, so
//! that they stay until the NIC goes. aya attaches by links, which end with their process or need a pin.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use anyhow::{Context as _, Result, bail};
use aya::{Ebpf, programs::Xdp};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage, LinkXdp},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::{Node, objects};

/// `XDP_FLAGS_DRV_MODE`.
const NATIVE: u32 = 1 << 2;

/// Makes a node's NIC pass all incoming frames to the kernel.
///
/// # Errors
/// When the kernel refuses.
pub fn pass(node: &Node, nic: &str) -> Result<()> {
    attach(node, nic, "pass")
}

/// Makes a node's NIC discard all incoming frames before the kernel sees them.
///
/// # Errors
/// When the kernel refuses.
pub fn swallow(node: &Node, nic: &str) -> Result<()> {
    attach(node, nic, "swallow")
}

fn attach(node: &Node, nic: &str, name: &str) -> Result<()> {
    let mut ebpf = Ebpf::load(objects::TRAFFIC)?;
    let program: &mut Xdp = ebpf.program_mut(name).context("no such program")?.try_into()?;
    program.load()?;
    put(node, nic, program.fd()?.as_fd())
}

/// Attaches a loaded program to a node's NIC, and replaces the present one.
///
/// # Errors
/// When the kernel refuses.
pub fn put(node: &Node, nic: &str, program: BorrowedFd<'_>) -> Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = node.ifindex(nic)?;
    let xdp = vec![LinkXdp::Fd(program.as_raw_fd()), LinkXdp::Flags(NATIVE)];
    link.attributes.push(LinkAttribute::Xdp(xdp));
    let payload = NetlinkPayload::from(RouteNetlinkMessage::SetLink(link));
    let mut request = NetlinkMessage::new(NetlinkHeader::default(), payload);
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    node.enter(|| {
        let socket = Socket::new(NETLINK_ROUTE)?;
        socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        let (answer, _) = socket.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)?.payload;
        let NetlinkPayload::Error(answer) = answer else { bail!("netlink answers {answer:?}") };
        if answer.code.is_some() { Err(answer.to_io().into()) } else { Ok(()) }
    })
    .with_context(|| format!("{}: attach a program to {nic}", node.name()))
}
