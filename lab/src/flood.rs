//! A flood of SYNs from spoofed addresses, made by a BPF program in live frames: `BPF_PROG_TEST_RUN` sends what the program
//! writes out of a NIC, a million frames a second and more from one CPU. Without a compiler, as [`super::xdp_pass`].

use std::{
    io,
    net::SocketAddrV4,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};

use super::{
    Node,
    xdp_pass::{self, TestRun, test_run},
};

/// First byte of the senders' addresses: 100.0.0.0/8.
const SPOOFED: u8 = 100;
/// The network that the senders' addresses are of.
pub const SPOOFED_NET: &str = "100.0.0.0/8";
/// Frames of one call where there is no limit: a call costs some milliseconds.
const MOST: u32 = 200_000;
/// How often a limited flood sends its share.
const PERIOD: Duration = Duration::from_millis(100);
/// Bytes of a frame: Ethernet, IPv4 and TCP headers.
const FRAME: usize = 14 + 20 + 20;

/// A flood that is going on; it ends with the value.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    sender: Option<JoinHandle<Result<()>>>,
}

impl Node {
    /// Sends SYNs to `to`, in frames to the MAC `at`, out of a NIC whose other end runs XDP: so many a second, or as many as
    /// one CPU makes.
    ///
    /// # Errors
    /// When the program is refused.
    pub fn flood(
        &self,
        nic: &str,
        at: [u8; 6],
        to: SocketAddrV4,
        rate: Option<u32>,
    ) -> Result<Flood> {
        let program = xdp_pass::load_instructions(&program(at, to)).context("load the flood")?;
        let ifindex = self.ifindex(nic)?;
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let node = self.clone();
        let sender = std::thread::spawn({
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            move || node.enter(|| send(&program, ifindex, rate, &stop, &sent))
        });
        Ok(Flood { stop, sent, sender: Some(sender) })
    }
}

impl Flood {
    /// SYNs sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it, and returns how many SYNs were sent.
    ///
    /// # Errors
    /// When sending had failed.
    pub fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            sender.join().map_err(|_| anyhow!("the flood panicked"))??;
        }
        Ok(self.sent())
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            // Who drops it asks for no result.
            let _ = sender.join();
        }
    }
}

fn send(
    program: &OwnedFd,
    ifindex: u32,
    rate: Option<u32>,
    stop: &AtomicBool,
    sent: &AtomicU64,
) -> Result<()> {
    let share = rate.map_or(MOST, |rate| rate / (1000 / PERIOD.as_millis() as u32));
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        live(program, ifindex, share).context("send live frames")?;
        sent.fetch_add(share.into(), Ordering::Relaxed);
        if rate.is_some() {
            due += PERIOD;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    Ok(())
}

/// Runs the program on so many frames that really leave.
fn live(program: &OwnedFd, ifindex: u32, frames: u32) -> io::Result<()> {
    const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 2;
    let frame = [0_u8; FRAME];
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context = [0, FRAME as u32, 0, ifindex, 0, 0];
    let mut attributes = TestRun {
        prog_fd: program.as_raw_fd(),
        data_size_in: FRAME as u32,
        data_in: frame.as_ptr() as u64,
        repeat: frames,
        ctx_size_in: size_of_val(&context) as u32,
        ctx_in: context.as_ptr() as u64,
        flags: BPF_F_TEST_XDP_LIVE_FRAMES,
        ..TestRun::default()
    };
    // SAFETY: frame and context live through the call, and are as long as it says; nothing is to be written but attributes.
    unsafe { test_run(&mut attributes) }
}

/// One instruction.
const fn op(code: u8, to: u8, from: u8, offset: i16, value: u32) -> u64 {
    code as u64
        | (to as u64) << 8
        | (from as u64) << 12
        | (offset as u16 as u64) << 16
        | (value as u64) << 32
}

const MOV: u8 = 0xbf;
const MOV_VALUE: u8 = 0xb7;
const ADD: u8 = 0x0f;
const ADD_VALUE: u8 = 0x07;
const AND_VALUE: u8 = 0x57;
const OR_VALUE: u8 = 0x47;
const XOR_VALUE: u8 = 0xa7;
const SHIFT_RIGHT: u8 = 0x77;
const LOAD_32: u8 = 0x61;
const STORE_32: u8 = 0x63;
const STORE_16: u8 = 0x6b;
const STORE_VALUE_32: u8 = 0x62;
const STORE_VALUE_16: u8 = 0x6a;
const JUMP_GREATER: u8 = 0x2d;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// Helper `bpf_get_prandom_u32`.
const RANDOM: u32 = 7;
const XDP_DROP: u32 = 1;
const XDP_TX: u32 = 3;

/// The program: writes the whole frame, since pages come back as the receiver left them, with a random source address (r7),
/// sequence number (r8) and port (r9), and checksums that are right; r6 is the frame.
fn program(at: [u8; 6], to: SocketAddrV4) -> Vec<u64> {
    let frame = template(at, to);
    let mut p = vec![
        op(LOAD_32, 6, 1, 0, 0),
        op(LOAD_32, 2, 1, 4, 0),
        op(MOV, 3, 6, 0, 0),
        op(ADD_VALUE, 3, 0, 0, FRAME as u32),
    ];
    let at_bound = p.len();
    p.push(0);
    for (i, word) in frame.chunks(4).enumerate() {
        let offset = (i * 4) as i16;
        p.push(match *word {
            [a, b, c, d] => op(STORE_VALUE_32, 6, 0, offset, u32::from_ne_bytes([a, b, c, d])),
            [a, b, ..] => op(STORE_VALUE_16, 6, 0, offset, u16::from_ne_bytes([a, b]).into()),
            _ => unreachable!("a frame is an even number of bytes"),
        });
    }
    for register in [7, 8, 9] {
        p.extend([op(CALL, 0, 0, 0, RANDOM), op(MOV, register, 0, 0, 0)]);
    }
    p.extend([
        op(AND_VALUE, 7, 0, 0, 0x7fff_ff00),
        op(OR_VALUE, 7, 0, 0, SPOOFED.into()),
        op(STORE_32, 6, 7, 26, 0),
        op(STORE_32, 6, 8, 38, 0),
        op(AND_VALUE, 9, 0, 0, 0xffff),
        op(OR_VALUE, 9, 0, 0, 4),
        op(STORE_16, 6, 9, 34, 0),
    ]);
    // What the template lacks of each sum.
    sum(&mut p, checksum(&frame[14..34]), &[7]);
    p.push(op(STORE_16, 6, 1, 24, 0));
    let pseudo = [&frame[26..34], &[0, 6, 0, 20]].concat();
    sum(&mut p, checksum(&[&pseudo, &frame[34..]].concat()), &[7, 8, 9]);
    p.push(op(STORE_16, 6, 1, 50, 0));
    p.extend([op(MOV_VALUE, 0, 0, 0, XDP_TX), op(EXIT, 0, 0, 0, 0)]);
    p[at_bound] = op(JUMP_GREATER, 3, 2, (p.len() - at_bound - 1) as i16, 0);
    p.extend([op(MOV_VALUE, 0, 0, 0, XDP_DROP), op(EXIT, 0, 0, 0, 0)]);
    p
}

/// Leaves in r1 the checksum of what has the sum `base`, and of the halves of registers.
fn sum(p: &mut Vec<u64>, base: u32, registers: &[u8]) {
    p.push(op(MOV_VALUE, 1, 0, 0, base));
    for register in registers {
        p.extend([
            op(MOV, 2, *register, 0, 0),
            op(AND_VALUE, 2, 0, 0, 0xffff),
            op(ADD, 1, 2, 0, 0),
            op(MOV, 2, *register, 0, 0),
            op(SHIFT_RIGHT, 2, 0, 0, 16),
            op(ADD, 1, 2, 0, 0),
        ]);
    }
    for _ in 0..2 {
        p.extend([
            op(MOV, 2, 1, 0, 0),
            op(SHIFT_RIGHT, 2, 0, 0, 16),
            op(AND_VALUE, 1, 0, 0, 0xffff),
            op(ADD, 1, 2, 0, 0),
        ]);
    }
    p.push(op(XOR_VALUE, 1, 0, 0, 0xffff));
}

/// The sum of native 16-bit words: in which byte order they are summed does not matter (RFC 1071 §2).
fn checksum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|b| u32::from(u16::from_ne_bytes([b[0], b[1]]))).sum()
}

/// A SYN whose source, port, sequence number and checksums are zero.
fn template(at: [u8; 6], to: SocketAddrV4) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    frame[..6].copy_from_slice(&at);
    frame[6..14].copy_from_slice(&[0x02, 0, 0, 0, 0xf1, 0x00, 0x08, 0x00]);
    frame[14..18].copy_from_slice(&[0x45, 0, 0, 40]);
    frame[22..24].copy_from_slice(&[64, 6]);
    frame[30..34].copy_from_slice(&to.ip().octets());
    frame[36..38].copy_from_slice(&to.port().to_be_bytes());
    // Data offset, SYN, window.
    frame[46..50].copy_from_slice(&[0x50, 0x02, 0xff, 0xff]);
    frame
}
