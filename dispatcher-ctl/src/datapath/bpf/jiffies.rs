//! The kernel's count of jiffies, which only a program can read.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use super::call::{Command, call, descriptor};

/// `BPF_PROG_TYPE_SYSCALL` (Linux 5.14): a program that is run by system call, on memory of the caller's.
const PROGRAM_TYPE: u32 = 31;
/// `BPF_F_SLEEPABLE`: programs of this type must be.
const SLEEPABLE: u32 = 1 << 4;

/// One instruction (`struct bpf_insn`): operation, registers (destination in the lower half), offset, immediate.
#[repr(C)]
struct Instruction(u8, u8, i16, i32);

/// Writes the count (helper 118, `bpf_jiffies64`) to where its context points.
const PROGRAM: [Instruction; 5] = [
    Instruction(0xbf, 0x16, 0, 0),   // r6 = r1
    Instruction(0x85, 0x00, 0, 118), // r0 = jiffies
    Instruction(0x7b, 0x06, 0, 0),   // *(u64 *)r6 = r0
    Instruction(0xb7, 0x00, 0, 0),   // r0 = 0
    Instruction(0x95, 0x00, 0, 0),   // return
];

#[repr(C)]
#[derive(Default)]
struct LoadAttr {
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

#[repr(C)]
#[derive(Default)]
struct RunAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
}

/// How many jiffies the kernel has counted, from below 0 at boot: modulo 2⁶⁴.
///
/// # Errors
/// As bpf(2).
pub(in crate::datapath) fn jiffies() -> io::Result<u64> {
    let program = load()?;
    let mut count = 0_u64;
    let attr = RunAttr {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        ctx_size_in: size_of::<u64>() as u32,
        ctx_in: (&raw mut count) as u64,
        ..RunAttr::default()
    };
    // SAFETY: the kernel copies the context of `ctx_size_in` bytes from `count` and back.
    unsafe { call(Command::Run, &attr)? };
    // SAFETY: it lives; the kernel wrote to it, which the compiler does not know.
    Ok(unsafe { std::ptr::read_volatile(&raw const count) })
}

fn load() -> io::Result<OwnedFd> {
    let attr = LoadAttr {
        prog_type: PROGRAM_TYPE,
        insn_cnt: PROGRAM.len() as u32,
        insns: PROGRAM.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        prog_flags: SLEEPABLE,
        ..LoadAttr::default()
    };
    // SAFETY: the kernel reads `insn_cnt` instructions and a C string, which live through the call, and makes a descriptor.
    unsafe { descriptor(Command::Load, &attr) }
}
