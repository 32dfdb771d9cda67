//! Reads the costs of the programs from the kernel: verification, instructions and compiled bytes, by function. aya's
//! `ProgramInfo` lacks function lengths, so this asks bpf(2) with the generated types of aya-obj.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{SchedClassifier, TracePoint, Xdp};
use aya_obj::generated::{
    bpf_attr, bpf_btf_info,
    bpf_cmd::{BPF_BTF_GET_FD_BY_ID, BPF_OBJ_GET_INFO_BY_FD},
    bpf_prog_info,
};

use super::Datapath;

/// The costs of one program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// Instructions that the verifier walked.
    pub verified: u32,
    /// Its instructions after verification, including those that the kernel added.
    pub whole: Size,
    /// Its functions by name; together they are the whole program.
    pub functions: BTreeMap<String, Size>,
}

/// The size of a program or function in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Instructions after verification.
    pub instructions: u32,
    /// Bytes of machine code.
    pub compiled: u32,
}

impl Datapath {
    /// The costs of each program of the object; loads all of them.
    ///
    /// # Errors
    ///
    /// When the kernel refuses: it hides machine code from processes that may not see its addresses.
    pub fn costs(&mut self) -> Result<BTreeMap<String, Costs>> {
        self.load_probes()?;
        for (_, program) in self.ebpf.programs_mut() {
            if let Ok(program) = <&mut TracePoint>::try_from(program)
                && program.fd().is_err()
            {
                program.load()?;
            }
        }
        let mut costs = BTreeMap::new();
        for (name, program) in self.ebpf.programs() {
            let own = if let Ok(program) = <&Xdp>::try_from(program) {
                of(program.fd()?.as_fd())
            } else if let Ok(program) = <&TracePoint>::try_from(program) {
                of(program.fd()?.as_fd())
            } else {
                of(<&SchedClassifier>::try_from(program)?.fd()?.as_fd())
            };
            costs.insert(name.to_owned(), own.with_context(|| format!("program {name}"))?);
        }
        Ok(costs)
    }
}

/// One element of a program's `func_info`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Function {
    instruction: u32,
    type_id: u32,
}

fn of(program: BorrowedFd<'_>) -> Result<Costs> {
    // SAFETY: the record contains no pointers.
    let sizes: bpf_prog_info = unsafe { info(program, no_buffers()) }?;
    let count = sizes.nr_func_info as usize;
    ensure!(count > 0, "no function has a type");
    ensure!(sizes.nr_jited_func_lens as usize == count, "types and machine code do not match");
    let (mut functions, mut lengths) = (vec![Function::default(); count], vec![0_u32; count]);
    let mut wanted = no_buffers();
    wanted.nr_func_info = sizes.nr_func_info;
    wanted.func_info_rec_size = size_of::<Function>() as u32;
    wanted.func_info = functions.as_mut_ptr() as u64;
    wanted.nr_jited_func_lens = sizes.nr_func_info;
    wanted.jited_func_lens = lengths.as_mut_ptr() as u64;
    // SAFETY: both vectors live through the call and have as many elements as the record says.
    let got: bpf_prog_info = unsafe { info(program, wanted) }?;
    ensure!(got.func_info_rec_size as usize == size_of::<Function>(), "other records of functions");
    let names = names(sizes.btf_id)?;
    let instructions = sizes.xlated_prog_len / 8;
    let ends = functions.iter().skip(1).map(|function| function.instruction).chain([instructions]);
    let mut costs = Costs {
        verified: sizes.verified_insns,
        whole: Size { instructions, compiled: sizes.jited_prog_len },
        functions: BTreeMap::new(),
    };
    for ((function, end), compiled) in functions.iter().zip(ends).zip(lengths) {
        let name = names.get(&function.type_id).context("a function has no name")?;
        let size = Size { instructions: end - function.instruction, compiled };
        costs.functions.insert(name.clone(), size);
    }
    Ok(costs)
}

const fn no_buffers() -> bpf_prog_info {
    // SAFETY: the type consists of integers, for which zero is a valid value.
    unsafe { std::mem::zeroed() }
}

/// Names of the functions in a program's types, by type.
fn names(id: u32) -> Result<BTreeMap<u32, String>> {
    // SAFETY: a union of integers and of records of integers, for which zero is a valid value.
    let mut attributes: bpf_attr = unsafe { std::mem::zeroed() };
    attributes.__bindgen_anon_6.__bindgen_anon_1.btf_id = id;
    // SAFETY: the attributes contain no pointers.
    let types = unsafe { bpf(BPF_BTF_GET_FD_BY_ID as _, &mut attributes) };
    let types = types.context("the program's types")?;
    // SAFETY: the kernel has just made this descriptor, and nothing else uses it.
    let types = unsafe { OwnedFd::from_raw_fd(types) };
    let none = bpf_btf_info { btf: 0, btf_size: 0, id: 0, name: 0, name_len: 0, kernel_btf: 0 };
    // SAFETY: the record contains no pointers.
    let btf_size = unsafe { info(types.as_fd(), none) }?.btf_size;
    let mut bytes = vec![0; btf_size as usize];
    let wanted = bpf_btf_info { btf: bytes.as_mut_ptr() as u64, btf_size, ..none };
    // SAFETY: the vector lives through the call and is as long as the record says.
    unsafe { info(types.as_fd(), wanted) }?;
    functions(&bytes).context("the program's types are cut short")
}

/// The functions in BTF data (kernel documentation, "BPF Type Format"), in this machine's byte order.
fn functions(btf: &[u8]) -> Option<BTreeMap<u32, String>> {
    const FUNC: u32 = 12;
    let word = |at: usize| Some(u32::from_ne_bytes(btf.get(at..at + 4)?.try_into().ok()?));
    let header = word(4)? as usize;
    let (types, strings) = (header + word(8)? as usize, header + word(16)? as usize);
    let end = types + word(12)? as usize;
    let (mut names, mut at, mut id) = (BTreeMap::new(), types, 1);
    while at < end {
        let (name, about) = (word(at)? as usize, word(at + 4)?);
        let (kind, elements) = (about >> 24 & 31, (about & 0xffff) as usize);
        if kind == FUNC {
            let name = btf.get(strings + name..)?.split(|byte| *byte == 0).next()?;
            names.insert(id, String::from_utf8_lossy(name).into_owned());
        }
        // Each type starts with three words. Integers, variables and tags have one more word, and arrays three. Records,
        // sections and 64-bit enumerations have three more words per element; enumerations and prototypes two.
        let words = match kind {
            1 | 14 | 17 => 1,
            3 => 3,
            4 | 5 | 15 | 19 => 3 * elements,
            6 | 13 => 2 * elements,
            _ => 0,
        };
        at += 4 * (3 + words);
        id += 1;
    }
    Some(names)
}

/// Reads the kernel's information about an object into a record. The record says where there is room for more.
///
/// # Safety
/// The buffers to which the record points must be as long as it says: the kernel writes to them.
unsafe fn info<T: Copy>(object: BorrowedFd<'_>, mut record: T) -> io::Result<T> {
    // SAFETY: as in `names`.
    let mut attributes: bpf_attr = unsafe { std::mem::zeroed() };
    attributes.info.bpf_fd = object.as_raw_fd() as u32;
    attributes.info.info_len = size_of::<T>() as u32;
    attributes.info.info = (&raw mut record) as u64;
    // SAFETY: the record lives through the call, the size passed is its size, and the caller vouches for the buffers.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD as _, &mut attributes) }?;
    Ok(record)
}

/// Calls bpf(2).
///
/// # Safety
/// Everything that the attributes point to must live through the call and be as long as they say.
pub(super) unsafe fn bpf(command: libc::c_long, attributes: &mut bpf_attr) -> io::Result<i32> {
    let size = size_of::<bpf_attr>();
    // SAFETY: the size passed is that of the attributes, and the caller vouches for what they point to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
