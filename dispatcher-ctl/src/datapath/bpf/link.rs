//! XDP links: made, opened, pinned, given another program, detached.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use super::call::{Command, Info, call, descriptor, info, open_pin, pin};

/// `XDP_FLAGS_SKB_MODE`: in the network stack.
pub(in crate::datapath) const XDP_GENERIC: u32 = 1 << 1;
/// `XDP_FLAGS_DRV_MODE`: in the driver.
pub(in crate::datapath) const XDP_NATIVE: u32 = 1 << 2;
/// `BPF_XDP`, the attach type.
const ATTACH_XDP: u32 = 37;
/// `BPF_LINK_TYPE_XDP`.
const LINK_TYPE_XDP: u32 = 6;

#[repr(C)]
#[derive(Default)]
struct LinkCreateAttr {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdateAttr {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkDetachAttr {
    link_fd: u32,
}

/// What the kernel says of an XDP link (the head of `struct bpf_link_info`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::datapath) struct LinkInfo {
    link_type: u32,
    /// The link's id, as `bpftool link` shows it.
    pub(in crate::datapath) id: u32,
    /// The id of the program it runs.
    pub(in crate::datapath) program_id: u32,
    _pad: u32,
    /// The NIC's ifindex; 0 once the NIC is gone.
    pub(in crate::datapath) ifindex: u32,
    _rest: u32,
}

// SAFETY: six integers of four bytes.
unsafe impl Info for LinkInfo {}

/// An XDP link: the attachment of a program to a NIC.
#[derive(Debug)]
pub(in crate::datapath) struct Link {
    fd: OwnedFd,
}

impl Link {
    /// Attaches a program to a NIC; `mode` is [`XDP_NATIVE`] or [`XDP_GENERIC`].
    ///
    /// # Errors
    /// As bpf(2): `EOPNOTSUPP` and others from the driver, `EBUSY` or `EEXIST` where a program is attached already.
    pub(in crate::datapath) fn create(
        program: BorrowedFd<'_>,
        ifindex: u32,
        mode: u32,
    ) -> io::Result<Self> {
        let attr = LinkCreateAttr {
            prog_fd: program.as_raw_fd().cast_unsigned(),
            target_ifindex: ifindex,
            attach_type: ATTACH_XDP,
            flags: mode,
        };
        // SAFETY: the attribute holds no pointers.
        Ok(Self { fd: unsafe { descriptor(Command::LinkCreate, &attr)? } })
    }

    /// Opens a pinned link.
    ///
    /// # Errors
    /// As bpf(2); `EINVAL` where the pin is no XDP link.
    pub(in crate::datapath) fn open(path: &Path) -> io::Result<Self> {
        let link = Self { fd: open_pin(path)? };
        if link.info()?.link_type == LINK_TYPE_XDP {
            Ok(link)
        } else {
            Err(io::Error::from_raw_os_error(libc::EINVAL))
        }
    }

    /// What the kernel says of it.
    ///
    /// # Errors
    /// As bpf(2).
    pub(in crate::datapath) fn info(&self) -> io::Result<LinkInfo> {
        info(self.fd.as_fd())
    }

    /// Pins the link; the path must not exist.
    ///
    /// # Errors
    /// As bpf(2).
    pub(in crate::datapath) fn pin(&self, path: &Path) -> io::Result<()> {
        pin(self.fd.as_fd(), path)
    }

    /// Replaces the program without a packet passing by: each sees either the old one or the new one.
    ///
    /// # Errors
    /// As bpf(2); `ENOLINK` once the NIC is gone.
    pub(in crate::datapath) fn update(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let attr = LinkUpdateAttr {
            link_fd: self.fd.as_raw_fd().cast_unsigned(),
            new_prog_fd: program.as_raw_fd().cast_unsigned(),
            ..LinkUpdateAttr::default()
        };
        // SAFETY: the attribute holds no pointers.
        unsafe { call(Command::LinkUpdate, &attr) }.map(drop)
    }

    /// Detaches the program now, whoever else holds the link.
    ///
    /// # Errors
    /// As bpf(2).
    pub(in crate::datapath) fn detach(&self) -> io::Result<()> {
        let attr = LinkDetachAttr { link_fd: self.fd.as_raw_fd().cast_unsigned() };
        // SAFETY: the attribute holds no pointers.
        unsafe { call(Command::LinkDetach, &attr) }.map(drop)
    }
}
