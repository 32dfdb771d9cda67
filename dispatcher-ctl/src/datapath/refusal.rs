//! Finds out why a program was not attached. bpf(2) returns only a number. Netlink runs the same checks of kernel and driver,
//! and names the one that failed ("Peer MTU is too large to set XDP"): so a refused program is attached once more by netlink.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage, LinkXdp},
};
use rtnetlink::{
    packet_core::{ErrorMessage, NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};

use crate::network::{Link, extack};

/// `XDP_FLAGS_UPDATE_IF_NOEXIST`: only if no program is attached.
const IF_NONE: u32 = 1 << 0;
/// `XDP_FLAGS_REPLACE`: only if this program is attached.
const IF_THIS: u32 = 1 << 4;
/// Longest answer.
const ANSWER: usize = 1 << 16;

/// What is known about a refusal besides its error number.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    /// The kernel's or the driver's text.
    pub(super) words: Option<String>,
    /// The NIC's MTU.
    pub(super) mtu: Option<u32>,
}

/// Finds out why a program is not attached to a NIC in this mode (`XDP_FLAGS_…`).
pub(super) fn explain(program: BorrowedFd<'_>, ifindex: u32, mode: u32) -> Refusal {
    ask(program, ifindex, mode).unwrap_or_else(|error| {
        tracing::debug!(%error, "the kernel was not asked why it refuses");
        Refusal::default()
    })
}

fn ask(program: BorrowedFd<'_>, ifindex: u32, mode: u32) -> io::Result<Refusal> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.set_ext_ack(true)?;
    let fd = program.as_raw_fd();
    let set = |xdp| RouteNetlinkMessage::SetLink(message(ifindex, Some(xdp)));
    let wanted = vec![LinkXdp::Fd(fd), LinkXdp::Flags(mode | IF_NONE)];
    let words = match request(&socket, set(wanted))? {
        Answer::Refused(error) => extack::words(&error.header),
        Answer::Done | Answer::Link(_) => {
            // The obstacle is gone. A program that is attached by netlink has no link, so it is detached again.
            let this = LinkXdp::ExpectedFd(fd.cast_unsigned());
            let off = vec![LinkXdp::Fd(-1), LinkXdp::Flags(mode | IF_THIS), this];
            request(&socket, set(off))?;
            None
        }
    };
    let get = RouteNetlinkMessage::GetLink(message(ifindex, None));
    let mtu = match request(&socket, get)? {
        Answer::Link(link) => Link::parse(&link).map(|link| link.mtu),
        Answer::Done | Answer::Refused(_) => None,
    };
    Ok(Refusal { words, mtu })
}

fn message(ifindex: u32, xdp: Option<Vec<LinkXdp>>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    message.attributes.extend(xdp.map(LinkAttribute::Xdp));
    message
}

enum Answer {
    Done,
    Link(LinkMessage),
    Refused(ErrorMessage),
}

/// Makes a request and waits for its answer, which the kernel gives at once.
fn request(socket: &Socket, message: RouteNetlinkMessage) -> io::Result<Answer> {
    let is_question = matches!(message, RouteNetlinkMessage::GetLink(_));
    let mut message = NetlinkMessage::from(message);
    message.header.flags = if is_question { NLM_F_REQUEST } else { NLM_F_REQUEST | NLM_F_ACK };
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut answer = Vec::with_capacity(ANSWER);
    socket.recv(&mut answer, 0)?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer);
    let answer = answer.map_err(|error| io::Error::other(error.to_string()))?;
    if let NetlinkPayload::Error(error) = answer.payload {
        return Ok(if error.code.is_some() { Answer::Refused(error) } else { Answer::Done });
    }
    if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = answer.payload {
        return Ok(Answer::Link(link));
    }
    Err(io::Error::other("an answer of another kind"))
}
