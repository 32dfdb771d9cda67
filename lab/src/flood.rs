//! A flood of SYNs from spoofed addresses, made by a BPF program in live frames: `BPF_PROG_TEST_RUN` sends the frames that the
//! program writes out of a NIC, a million per second and more from one CPU.

use std::{
    net::SocketAddrV4,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use aya::{Ebpf, EbpfLoader, TestRun as _, TestRunAttrs, TestRunOptions, programs::Xdp};
use dispatcher_lab_ebpf::SYN_WORDS;

use super::{Node, objects};

/// The network of the senders' addresses.
pub const SPOOFED_NET: &str = "100.0.0.0/8";
/// Frames per call when there is no limit: a call costs some milliseconds.
const MOST: u32 = 200_000;
/// How often a limited flood sends its share.
const PERIOD: Duration = Duration::from_millis(100);
/// Frames that the kernel sends before it makes the next ones: its default.
const BATCH: u32 = 64;
/// Bytes of a frame: Ethernet, IPv4 and TCP headers.
const FRAME: usize = 2 * SYN_WORDS;

/// A running flood; it ends when this value is dropped.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    sender: Option<JoinHandle<Result<()>>>,
}

impl Node {
    /// Sends SYNs to `to`, in frames to the MAC `at`, out of a NIC whose other end runs XDP: this many per second, or as many
    /// as one CPU makes.
    ///
    /// # Errors
    /// When the kernel refuses the program.
    pub fn flood(
        &self,
        nic: &str,
        at: [u8; 6],
        to: SocketAddrV4,
        rate: Option<u32>,
    ) -> Result<Flood> {
        let program = load(&template(at, to)).context("load the flood")?;
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

    /// Stops, and returns how many SYNs were sent.
    ///
    /// # Errors
    /// When sending failed.
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
            // A caller who only drops the flood does not need its result.
            let _ = sender.join();
        }
    }
}

fn send(
    ebpf: &Ebpf,
    ifindex: u32,
    rate: Option<u32>,
    stop: &AtomicBool,
    sent: &AtomicU64,
) -> Result<()> {
    let program: &Xdp = ebpf.program("flood").context("no program flood")?.try_into()?;
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

/// Loads the program, which makes its frames from this one.
fn load(template: &[u8; FRAME]) -> Result<Ebpf> {
    let words: [u16; SYN_WORDS] =
        std::array::from_fn(|i| u16::from_ne_bytes([template[2 * i], template[2 * i + 1]]));
    let mut ebpf =
        EbpfLoader::new().override_global("TEMPLATE", &words, true).load(objects::TRAFFIC)?;
    let program: &mut Xdp = ebpf.program_mut("flood").context("no program flood")?.try_into()?;
    program.load()?;
    Ok(ebpf)
}

/// Runs the program on this many frames, which the kernel really sends.
fn live(program: &Xdp, ifindex: u32, frames: u32) -> Result<()> {
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context = [0, FRAME as u32, 0, ifindex, 0, 0].map(u32::to_ne_bytes);
    program.test_run(TestRunOptions {
        data_in: Some(&[0; FRAME]),
        ctx_in: Some(context.as_flattened()),
        repeat: frames,
        attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
        ..TestRunOptions::new()
    })?;
    Ok(())
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
