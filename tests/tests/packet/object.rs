//! Requirements of older kernels, checked on the object's instructions, and the cost of verification on this kernel.
//!
//! Kernel 6.1 rounds the stack of each function up to 32 bytes when it adds up a chain of calls, allows eight functions
//! in a chain (`check_max_stack_depth`), and refuses a loop whose body falls into its head (`check_cfg`). LLVM does not
//! know these rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use anyhow::{Context as _, Result, ensure};
use dispatcher_tests::datapath::{self, Datapath, World};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SymbolKind};

/// Bytes of stack over the deepest chain of calls (`MAX_BPF_STACK`).
const STACK: u32 = 512;
/// Functions in a chain of calls (`MAX_CALL_FRAMES`).
const FRAMES: u32 = 8;
/// Our bound of instructions walked at verification; the kernel's limit is 1,000,000.
const VERIFIED: u32 = 300_000;

/// A function of the object: its instructions and the functions that it calls.
#[derive(Default)]
pub(crate) struct Function {
    code: Vec<Instruction>,
    calls: BTreeSet<String>,
}

#[derive(Clone, Copy)]
struct Instruction {
    opcode: u8,
    destination: u8,
    source: u8,
    offset: i16,
    immediate: i32,
}

const FRAME_POINTER: u8 = 10;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const MOVE: u8 = 0xbf;
const ADD: u8 = 0x07;
const WIDE: u8 = 0x18;

impl Instruction {
    fn of(bytes: &[u8; 8]) -> Self {
        let [opcode, registers, low, high, immediate @ ..] = *bytes;
        Self {
            opcode,
            destination: registers & 15,
            source: registers >> 4,
            offset: i16::from_le_bytes([low, high]),
            immediate: i32::from_le_bytes(immediate),
        }
    }

    /// Whether it is a jump within its function, and if so whether a conditional one.
    fn jump(self) -> Option<bool> {
        match (self.opcode & 7, self.opcode >> 4) {
            (5 | 6, 0) => Some(false),
            (5 | 6, 8 | 9) => None,
            (5 | 6, _) => Some(true),
            _ => None,
        }
    }

    /// Bytes below the frame pointer that it accesses; `before` is the instruction before it.
    fn depth(self, before: Option<Self>) -> u32 {
        let is_memory = matches!(self.opcode & 7, 1..=3);
        let base = if self.opcode & 7 == 1 { self.source } else { self.destination };
        if is_memory && base == FRAME_POINTER && self.offset < 0 {
            return u32::from(self.offset.unsigned_abs());
        }
        let is_copy = |i: Self| i.opcode == MOVE && i.source == FRAME_POINTER;
        let is_address = self.opcode == ADD
            && self.immediate < 0
            && before.is_some_and(|b| is_copy(b) && b.destination == self.destination);
        if is_address { self.immediate.unsigned_abs() } else { 0 }
    }
}

impl Function {
    /// Bytes of stack that it uses.
    pub(crate) fn stack(&self) -> u32 {
        let before = std::iter::once(None).chain(self.code.iter().copied().map(Some));
        self.code.iter().zip(before).map(|(i, before)| i.depth(before)).max().unwrap_or(0)
    }

    /// Successors of an instruction, each with whether a jump leads to it.
    fn next(&self, at: usize) -> Vec<(usize, bool)> {
        let i = self.code[at];
        let target = (at as i64 + 1 + i64::from(i.offset)) as usize;
        match i.jump() {
            _ if i.opcode == EXIT => vec![],
            Some(false) => vec![(target, true)],
            Some(true) => vec![(at + 1, true), (target, true)],
            None => vec![(at + if i.opcode == WIDE { 2 } else { 1 }, false)],
        }
    }

    /// The first instruction that falls into the head of a loop that contains it.
    fn falls_back(&self) -> Option<usize> {
        // 0: not seen, 1: on the path from the entry, 2: done.
        let mut seen = vec![0_u8; self.code.len()];
        let mut way = vec![(0, self.next(0))];
        seen[0] = 1;
        while let Some((at, rest)) = way.last_mut() {
            let Some((to, is_jump)) = (!rest.is_empty()).then(|| rest.remove(0)) else {
                seen[*at] = 2;
                way.pop();
                continue;
            };
            match seen.get(to) {
                Some(1) if !is_jump => return Some(*at),
                Some(0) => {
                    seen[to] = 1;
                    way.push((to, self.next(to)));
                }
                _ => {}
            }
        }
        None
    }
}

/// The object's functions by name.
pub(crate) fn functions() -> Result<BTreeMap<String, Function>> {
    let bytes = datapath::object()?;
    let file = object::File::parse(&*bytes)?;
    let symbols: Vec<_> = file
        .symbols()
        .filter(|s| s.kind() == SymbolKind::Text && s.size() > 0)
        .filter_map(|s| {
            Some((s.section_index()?, s.address(), s.size(), s.name().ok()?.to_owned()))
        })
        .collect();
    let mut functions = BTreeMap::new();
    for (section, address, size, name) in &symbols {
        let section_data = file.section_by_index(*section)?;
        let data = section_data.data()?;
        let code = data.get(*address as usize..(address + size) as usize).context("cut short")?;
        let (chunks, []) = code.as_chunks::<8>() else { anyhow::bail!("{name}: cut short") };
        let mut function =
            Function { code: chunks.iter().map(Instruction::of).collect(), ..Function::default() };
        for (at, relocation) in section_data.relocations() {
            let RelocationTarget::Symbol(symbol) = relocation.target() else { continue };
            let within = at.checked_sub(*address).map(|at| at as usize / 8);
            let Some(call) = within.and_then(|i| function.code.get(i)).filter(|i| i.opcode == CALL)
            else {
                continue;
            };
            let symbol = file.symbol_by_index(symbol)?;
            // The immediate counts instructions from the one after the symbol's.
            let target = symbol.address() as i64 + (i64::from(call.immediate) + 1) * 8;
            let called = symbols.iter().find(|(section, address, ..)| {
                Some(*section) == symbol.section_index() && *address as i64 == target
            });
            function.calls.extend(called.map(|(.., name)| name.clone()));
        }
        functions.insert(name.clone(), function);
    }
    Ok(functions)
}

/// The chain of calls from here with the largest sum of `own`, and that sum.
pub(crate) fn deepest(
    functions: &BTreeMap<String, Function>,
    name: &str,
    own: fn(&Function) -> u32,
) -> (u32, String) {
    let function = &functions[name];
    let below = function.calls.iter().map(|called| deepest(functions, called, own));
    let (sum, path) = below.max().unwrap_or_default();
    let own = own(function);
    (own + sum, format!("{name} {own} {path}"))
}

#[test]
fn kernel_6_1_takes_the_stack_and_the_loops() {
    let functions = functions().unwrap();
    assert!(functions.len() > 10, "{} functions were found", functions.len());
    let calls: usize = functions.values().map(|f| f.calls.len()).sum();
    assert!(calls > 10, "{calls} calls were found");
    let mut problems = String::new();
    let rounded = |function: &Function| function.stack().max(1).next_multiple_of(32);
    let (stack, path) = deepest(&functions, "dispatcher", rounded);
    println!("deepest stack: {stack} bytes: {path}");
    if stack > STACK {
        let _infallible = writeln!(problems, "{stack} bytes: {path}");
    }
    let (frames, path) = deepest(&functions, "dispatcher", |_| 1);
    println!("longest chain of calls: {frames} functions: {path}");
    if frames > FRAMES {
        let _infallible = writeln!(problems, "{frames} functions: {path}");
    }
    for (name, function) in &functions {
        if let Some(at) = function.falls_back() {
            let _infallible = writeln!(problems, "{name}: instruction {at} falls into its loop");
        }
    }
    assert!(problems.is_empty(), "kernel 6.1 would refuse\n{problems}");
}

#[test]
fn the_program_is_verified_within_bounds() {
    if !datapath::available() {
        return;
    }
    Datapath::with(&World::standard(), |datapath| {
        let info = datapath.program_info()?;
        let verified = info.verified_instruction_count().context("no verified_insns")?;
        let translated = info.size_translated().unwrap_or(0) / 8;
        println!(
            "{verified} instructions verified, {translated} translated, {} bytes compiled",
            info.size_jitted()
        );
        ensure!(verified < VERIFIED, "{verified} instructions verified, below {VERIFIED} expected");
        Ok(())
    })
    .unwrap();
}

/// The checks find what they are for.
#[test]
fn a_loop_that_falls_into_its_head_is_seen() {
    let i =
        |opcode, offset| Instruction { opcode, destination: 1, source: 2, offset, immediate: 0 };
    let (jump, branch, add, exit) = (0x05, 0x15, 0x07, EXIT);
    // goto head; body: add; head: if … goto body; exit
    let falls = [i(jump, 1), i(add, 0), i(branch, -2), i(exit, 0)];
    // head: if … goto end; add; goto head; end: exit
    let jumps = [i(branch, 2), i(add, 0), i(jump, -3), i(exit, 0)];
    let function = |code: &[Instruction]| Function { code: code.to_vec(), calls: BTreeSet::new() };
    assert_eq!(function(&falls).falls_back(), Some(1));
    assert_eq!(function(&jumps).falls_back(), None);
    let store = Instruction { destination: FRAME_POINTER, ..i(0x7b, -40) };
    let copy = Instruction { source: FRAME_POINTER, ..i(MOVE, 0) };
    let address = Instruction { immediate: -56, ..i(ADD, 0) };
    assert_eq!(function(&[store]).stack(), 40);
    assert_eq!(function(&[copy, address]).stack(), 56);
}
