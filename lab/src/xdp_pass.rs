//! A program of two instructions, `return XDP_PASS`, on a NIC: what makes a veth accept frames that XDP sends from its
//! other end. Without a compiler, and without a file: one bpf(2) call, and one netlink message.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use super::Node;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TYPE_XDP: u32 = 6;

const BPF_PROG_TEST_RUN: libc::c_long = 10;

/// The attributes of `BPF_PROG_TEST_RUN` (`union bpf_attr`).
#[repr(C)]
#[derive(Default)]
pub(super) struct TestRun {
    pub(super) prog_fd: i32,
    pub(super) retval: u32,
    pub(super) data_size_in: u32,
    pub(super) data_size_out: u32,
    pub(super) data_in: u64,
    pub(super) data_out: u64,
    pub(super) repeat: u32,
    pub(super) duration: u32,
    pub(super) ctx_size_in: u32,
    pub(super) ctx_size_out: u32,
    pub(super) ctx_in: u64,
    pub(super) ctx_out: u64,
    pub(super) flags: u32,
    pub(super) cpu: u32,
    pub(super) batch_size: u32,
    pub(super) _pad: u32,
}

/// The attributes of `BPF_PROG_LOAD` that are used (`union bpf_attr`).
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// Attaches the program to a NIC of a node, natively. It stays until the NIC goes.
///
/// # Errors
/// As the kernel.
pub fn attach(node: &Node, nic: &str) -> Result<()> {
    let program = load().context("load a pass program (bpf(2))")?;
    let ifindex = node.ifindex(nic)?;
    node.enter(|| set(ifindex, program.as_raw_fd()))
        .with_context(|| format!("{}: attach a pass program to {nic}", node.name()))
}

/// Attaches a program that is loaded to a NIC of a node, natively, in place of the one that is there. It stays until the NIC
/// goes.
///
/// # Errors
/// What the kernel refuses.
pub fn put(node: &Node, nic: &str, program: BorrowedFd<'_>) -> Result<()> {
    let ifindex = node.ifindex(nic)?;
    node.enter(|| set(ifindex, program.as_raw_fd()))
        .with_context(|| format!("{}: attach a program to {nic}", node.name()))
}

/// Makes a NIC of a node swallow all that comes, natively, as early as can be.
///
/// # Errors
/// What the kernel refuses.
pub fn swallow(node: &Node, nic: &str) -> Result<()> {
    // mov r0, 1 (XDP_DROP); exit
    let program = load_instructions(&[0x0000_0001_0000_00b7, 0x95])?;
    let ifindex = node.ifindex(nic)?;
    node.enter(|| set(ifindex, program.as_raw_fd()))
}

/// Loads the program.
///
/// # Errors
/// What the kernel refuses.
pub fn load() -> io::Result<OwnedFd> {
    // mov r0, 2 (XDP_PASS); exit
    load_instructions(&[0x0000_0002_0000_00b7, 0x95])
}

/// Loads an XDP program, given as its instructions.
pub(super) fn load_instructions(instructions: &[u64]) -> io::Result<OwnedFd> {
    let license = c"GPL";
    let attributes = ProgLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        insns: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    // SAFETY: `attributes` and what it points to live through the call, and its size is given as it is; the kernel only
    // reads them.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attributes, size_of::<ProgLoad>())
    };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs the program on a frame, again and again, by `BPF_PROG_TEST_RUN`, and returns its return value.
///
/// # Errors
/// What the kernel refuses.
pub fn run(program: &OwnedFd, frame: &[u8], repeat: u32) -> io::Result<u32> {
    let mut attributes = TestRun {
        prog_fd: program.as_raw_fd(),
        data_size_in: u32::try_from(frame.len()).map_err(io::Error::other)?,
        data_in: frame.as_ptr() as u64,
        repeat,
        ..TestRun::default()
    };
    // SAFETY: the frame lives through the call, and is as long as it says; nothing is to be written but attributes.
    unsafe { test_run(&mut attributes) }?;
    Ok(attributes.retval)
}

/// `BPF_PROG_TEST_RUN`.
///
/// # Safety
/// What the attributes point to must live through the call, and be as long as they say.
pub(super) unsafe fn test_run(attributes: &mut TestRun) -> io::Result<()> {
    // SAFETY: the attributes' size is given as it is, and the caller answers for what they point to.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut *attributes, size_of::<TestRun>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `RTM_SETLINK` with `IFLA_XDP { IFLA_XDP_FD, IFLA_XDP_FLAGS = XDP_FLAGS_DRV_MODE }`.
fn set(ifindex: u32, program: i32) -> Result<()> {
    const RTM_SETLINK: u16 = 19;
    const NLM_F_REQUEST_ACK: u16 = 5;
    const NLA_F_NESTED_IFLA_XDP: u16 = 0x8000 | 43;
    let mut message = Vec::new();
    let length: u32 = 16 + 16 + 4 + 8 + 8;
    message.extend(length.to_ne_bytes());
    message.extend(RTM_SETLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    // Sequence and sender.
    message.extend([0; 8]);
    // struct ifinfomsg: family and type, index, flags, change.
    message.extend([0; 4]);
    message.extend(ifindex.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(20_u16.to_ne_bytes());
    message.extend(NLA_F_NESTED_IFLA_XDP.to_ne_bytes());
    for (kind, value) in [(1_u16, program.to_ne_bytes()), (3, 4_u32.to_ne_bytes())] {
        message.extend(8_u16.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(value);
    }
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    sendto(netlink.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 256];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    ensure!(length >= 20, "netlink answered {length} bytes");
    let error = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    if error != 0 {
        return Err(io::Error::from_raw_os_error(-error).into());
    }
    Ok(())
}
