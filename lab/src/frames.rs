//! Sends raw frames, and captures frames with tcpdump.

use std::{
    fs, io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::{
    signal::Signal,
    socket::{AddressFamily, SockFlag, SockType, socket},
};

use super::{Node, Process, eventually};

impl Node {
    /// Sends frames out of a NIC unchanged.
    ///
    /// # Errors
    /// When a frame cannot be sent.
    pub fn send_frames(&self, nic: &str, frames: &[Vec<u8>]) -> Result<()> {
        let ifindex = i32::try_from(self.ifindex(nic)?)?;
        self.enter(|| {
            let socket =
                socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
            for frame in frames {
                send(&socket, ifindex, frame)?;
            }
            Ok(())
        })
    }

    /// Captures the frames on a NIC, in both directions, that match tcpdump's `filter`, until [`Capture::stop`].
    ///
    /// # Errors
    /// When tcpdump does not start.
    pub fn capture(&self, nic: &str, filter: &str) -> Result<Capture> {
        let file = self.directory().join(format!("{nic}-{:?}.pcap", std::thread::current().id()));
        let log = format!("tcpdump-{nic}");
        // Output of an earlier capture would be mistaken for this one's.
        let _ = fs::remove_file(self.directory().join(format!("{log}.log")));
        let mut command = self.command("tcpdump");
        command.args(["-Z", "root", "-U", "--immediate-mode", "-s", "0", "-i", nic, "-w"]);
        command.arg(&file).arg(filter);
        let process = self.spawn_command(&log, command)?;
        eventually(Duration::from_secs(10), "start of tcpdump", || {
            Ok(process.log().contains("listening on"))
        })
        .with_context(|| process.log())?;
        Ok(Capture { process, file })
    }
}

fn send(socket: &OwnedFd, ifindex: i32, frame: &[u8]) -> io::Result<()> {
    // SAFETY: `sockaddr_ll` consists of integers, for which all-zero is a valid value.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as libc::sa_family_t;
    to.sll_ifindex = ifindex;
    // SAFETY: `frame` and `to` live through the call, the lengths passed are their lengths, and the kernel only reads them.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
}

impl Capture {
    /// Frames captured so far; the last ones may be missing for a moment.
    ///
    /// # Errors
    /// When the file is not tcpdump's.
    pub fn frames(&self) -> Result<Vec<Vec<u8>>> {
        Ok(self.timed()?.into_iter().map(|captured| captured.frame).collect())
    }

    /// As [`Self::frames`], with the frames' times.
    ///
    /// # Errors
    /// As [`Self::frames`].
    pub fn timed(&self) -> Result<Vec<Captured>> {
        parse(&fs::read(&self.file).with_context(|| format!("read {}", self.file.display()))?)
    }

    /// Waits for this many frames, then stops the capture and returns them.
    ///
    /// # Errors
    /// When fewer arrive within 5 s.
    pub fn frames_at_least(self, number: usize) -> Result<Vec<Vec<u8>>> {
        let enough = eventually(Duration::from_secs(5), &format!("{number} frames"), || {
            Ok(self.frames()?.len() >= number)
        });
        let frames = self.stop()?;
        enough.with_context(|| format!("{} frames were captured", frames.len()))?;
        Ok(frames)
    }

    /// Stops the capture and returns the frames.
    ///
    /// # Errors
    /// When tcpdump does not end, or its file is broken.
    pub fn stop(self) -> Result<Vec<Vec<u8>>> {
        Ok(self.stop_timed()?.into_iter().map(|captured| captured.frame).collect())
    }

    /// As [`Self::stop`], with the frames' times.
    ///
    /// # Errors
    /// As [`Self::stop`].
    pub fn stop_timed(mut self) -> Result<Vec<Captured>> {
        // Wait for frames that are still on their way through the kernel.
        std::thread::sleep(Duration::from_millis(200));
        self.process.signal(Signal::SIGINT)?;
        self.process.wait(Duration::from_secs(5))?;
        self.timed()
    }
}

/// A captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Its time since the epoch, to the microsecond.
    pub time: Duration,
    /// The frame.
    pub frame: Vec<u8>,
}

/// Frames of a pcap file in host byte order; an incomplete record at the end is left out.
fn parse(file: &[u8]) -> Result<Vec<Captured>> {
    if file.is_empty() {
        return Ok(Vec::new());
    }
    let magic = file.get(..4).context("the capture is cut short")?;
    ensure!(magic == 0xa1b2_c3d4_u32.to_ne_bytes(), "the capture is no pcap file: {magic:02x?}");
    let mut frames = Vec::new();
    let mut rest = file.get(24..).unwrap_or_default();
    while let Some(header) = rest.first_chunk::<16>() {
        let word = |at: usize| {
            let bytes = header[at..].first_chunk().copied().unwrap_or_default();
            u32::from_ne_bytes(bytes)
        };
        let length = word(8) as usize;
        let Some(frame) = rest.get(16..16 + length) else { break };
        let time = Duration::new(word(0).into(), word(4) * 1000);
        frames.push(Captured { time, frame: frame.to_vec() });
        rest = &rest[16 + length..];
    }
    Ok(frames)
}
