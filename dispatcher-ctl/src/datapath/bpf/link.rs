//! XDP links: made, opened, pinned, given another program, detached.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use aya_obj::generated::{
    bpf_attach_type::BPF_XDP, bpf_attr, bpf_cmd, bpf_link_info, bpf_link_type::BPF_LINK_TYPE_XDP,
};

use super::call::{Info, call, descriptor, info, number, open_pin, pin};

// SAFETY: made of integers only.
unsafe impl Info for bpf_link_info {}

/// An XDP link as the kernel describes it.
#[derive(Clone, Copy, Debug)]
pub(in crate::datapath) struct LinkInfo {
    /// The link's id, as `bpftool link` shows it.
    pub(in crate::datapath) id: u32,
    /// The id of the program it runs.
    pub(in crate::datapath) program_id: u32,
    /// The NIC's ifindex; 0 once the NIC is gone.
    pub(in crate::datapath) ifindex: u32,
}

/// An XDP link: the attachment of a program to a NIC.
#[derive(Debug)]
pub(in crate::datapath) struct Link(OwnedFd);

impl Link {
    /// Attaches a program to a NIC; `mode` is `XDP_FLAGS_DRV_MODE` or `XDP_FLAGS_SKB_MODE`.
    ///
    /// # Errors
    /// As bpf(2): `EOPNOTSUPP` and others from the driver, `EBUSY` or `EEXIST` where a program is attached already.
    pub(in crate::datapath) fn create(
        program: BorrowedFd<'_>,
        ifindex: u32,
        mode: u32,
    ) -> io::Result<Self> {
        let fill = |attributes: &mut bpf_attr| {
            attributes.link_create.__bindgen_anon_1.prog_fd = number(program);
            attributes.link_create.__bindgen_anon_2.target_ifindex = ifindex;
            attributes.link_create.attach_type = BPF_XDP as u32;
            attributes.link_create.flags = mode;
        };
        // SAFETY: the attributes hold no pointers, and the command returns a new descriptor.
        unsafe { descriptor(bpf_cmd::BPF_LINK_CREATE, fill) }.map(Self)
    }

    /// Opens a pinned link.
    ///
    /// # Errors
    /// As bpf(2); `EINVAL` where the pin is no XDP link.
    pub(in crate::datapath) fn open(path: &Path) -> io::Result<Self> {
        let link = Self(open_pin(path)?);
        link.info().map(|_| link)
    }

    /// What the kernel says of it.
    ///
    /// # Errors
    /// As bpf(2); `EINVAL` where it is no XDP link.
    pub(in crate::datapath) fn info(&self) -> io::Result<LinkInfo> {
        let info: bpf_link_info = info(self.0.as_fd())?;
        if info.type_ != BPF_LINK_TYPE_XDP as u32 {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: a union of integers; for XDP links the kernel fills in this part.
        let ifindex = unsafe { info.__bindgen_anon_1.xdp.ifindex };
        Ok(LinkInfo { id: info.id, program_id: info.prog_id, ifindex })
    }

    /// Pins the link; the path must not exist.
    ///
    /// # Errors
    /// As bpf(2).
    pub(in crate::datapath) fn pin(&self, path: &Path) -> io::Result<()> {
        pin(self.0.as_fd(), path)
    }

    /// Replaces the program without a packet passing by: each sees either the old one or the new one.
    ///
    /// # Errors
    /// As bpf(2); `ENOLINK` once the NIC is gone.
    pub(in crate::datapath) fn update(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let fill = |attributes: &mut bpf_attr| {
            attributes.link_update.link_fd = number(self.0.as_fd());
            attributes.link_update.__bindgen_anon_1.new_prog_fd = number(program);
        };
        // SAFETY: the attributes hold no pointers.
        unsafe { call(bpf_cmd::BPF_LINK_UPDATE, fill) }.map(drop)
    }

    /// Detaches the program now, whoever else holds the link.
    ///
    /// # Errors
    /// As bpf(2).
    pub(in crate::datapath) fn detach(&self) -> io::Result<()> {
        let fill =
            |attributes: &mut bpf_attr| attributes.link_detach.link_fd = number(self.0.as_fd());
        // SAFETY: the attributes hold no pointers.
        unsafe { call(bpf_cmd::BPF_LINK_DETACH, fill) }.map(drop)
    }
}
