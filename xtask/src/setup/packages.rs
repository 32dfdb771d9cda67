//! Lists the Debian packages of the programs that tasks need.

use std::path::Path;

use super::Need;
use crate::workspace;

/// A file of a package. It shows without dpkg whether the package is installed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tool {
    /// A program of the search path; if it starts with a slash, a file.
    probe: &'static str,
    /// The package that contains it.
    pub(super) package: &'static str,
}

impl Tool {
    const fn new(probe: &'static str, package: &'static str) -> Self {
        Self { probe, package }
    }

    /// Whether it is there.
    pub(super) fn is_present(&self) -> bool {
        if self.probe.starts_with('/') {
            Path::new(self.probe).exists()
        } else {
            workspace::find_program(self.probe).is_some()
        }
    }
}

/// For demo and tests. The BPF toolchain and LLVM have their own rules: see their modules.
const RUN: [Tool; 17] = [
    Tool::new("nginx", "nginx"),
    Tool::new("curl", "curl"),
    Tool::new("wrk", "wrk"),
    Tool::new("dig", "dnsutils"),
    Tool::new("ip", "iproute2"),
    Tool::new("ethtool", "ethtool"),
    Tool::new("tcpdump", "tcpdump"),
    Tool::new("ping", "iputils-ping"),
    Tool::new("socat", "socat"),
    Tool::new("bpftool", "bpftool"),
    Tool::new("ps", "procps"),
    Tool::new("promtool", "prometheus"),
    Tool::new("nsenter", "util-linux"),
    Tool::new("strace", "strace"),
    Tool::new("mount", "mount"),
    Tool::new("vsftpd", "vsftpd"),
    Tool::new("lftp", "lftp"),
];

/// Servers that only tests probe.
const TEST: [Tool; 9] = [
    Tool::new("dovecot", "dovecot-core"),
    Tool::new("/usr/lib/dovecot/imap", "dovecot-imapd"),
    Tool::new("/usr/lib/dovecot/pop3", "dovecot-pop3d"),
    Tool::new("smtpd", "opensmtpd"),
    Tool::new("dnsmasq", "dnsmasq"),
    Tool::new("slapd", "slapd"),
    Tool::new("kamailio", "kamailio"),
    Tool::new("snntpd", "sn"),
    Tool::new("openssl", "openssl"),
];

/// For booting a Debian kernel under qemu.
const VM: [Tool; 6] = [
    Tool::new("qemu-system-x86_64", "qemu-system-x86"),
    Tool::new("busybox", "busybox-static"),
    Tool::new("cpio", "cpio"),
    Tool::new("depmod", "kmod"),
    Tool::new("xz", "xz-utils"),
    Tool::new("dpkg-deb", "dpkg"),
];

/// For measuring IPVS in such a kernel.
const IPVS: [Tool; 4] = [
    Tool::new("ipvsadm", "ipvsadm"),
    Tool::new("ethtool", "ethtool"),
    Tool::new("tc", "iproute2"),
    Tool::new("nsenter", "util-linux"),
];

/// For building the C harness.
const BENCH: [Tool; 4] = [
    Tool::new("clang-19", "clang-19"),
    Tool::new("gcc", "gcc"),
    Tool::new("make", "make"),
    Tool::new("/usr/include/bpf/libbpf.h", "libbpf-dev"),
];

/// Programs that a task needs in addition to those that build the product.
pub(super) fn of(need: Need) -> Vec<Tool> {
    match need {
        Need::Build | Need::Check => Vec::new(),
        Need::Run => RUN.to_vec(),
        Need::Test => [&RUN[..], &TEST].concat(),
        Need::Vm => VM.to_vec(),
        Need::Ipvs => [&VM[..], &IPVS].concat(),
        Need::Bench => BENCH.to_vec(),
    }
}
