//! The driver in the kernel: sends packets of many flows into one program.

use std::fs::File;

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, TestRun as _, TestRunOptions,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, Xdp},
};
use dispatcher_lab::objects;
use dispatcher_lab_ebpf::Plan;

mod hold;

use hold::hold;

/// Step that spreads the flows over a round: the golden ratio in 32 bits, odd.
pub const SCRAMBLED: u32 = 0x9E37_79B1;
/// Step that visits the flows one after the other.
pub const IN_ORDER: u32 = 1;

/// Where a frame has the fields that identify its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// IPv4's client address and port.
    Ipv4,
    /// The end of IPv6's client address, and the port.
    Ipv6,
    /// As [`Self::Ipv4`], behind a VLAN tag.
    Vlan,
    /// IPv4's client address and identification.
    Fragment,
    /// Client address and port in the packet that an ICMP error quotes.
    Icmp,
}

impl Layout {
    /// The driver's program.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Vlan => "vlan",
            Self::Fragment => "fragment",
            Self::Icmp => "icmp",
        }
    }

    /// Offset of the address, offset of the word with the port, and the port's shift in that word.
    const fn places(self) -> (usize, usize, u32) {
        match self {
            Self::Ipv4 => (26, 34, 0),
            Self::Ipv6 => (34, 54, 0),
            Self::Vlan => (30, 38, 0),
            Self::Fragment => (26, 18, 0),
            Self::Icmp => (58, 62, 16),
        }
    }

    /// How the driver turns this frame into one of any flow, in order; the frame must be that of flow 0.
    ///
    /// # Errors
    /// The frame is too short.
    pub fn plan(self, frame: &[u8]) -> Result<Plan> {
        let (address, ports, shift) = self.places();
        let short = || format!("{} bytes are too short for {}", frame.len(), self.program());
        let word = |at: usize| -> Result<u32> {
            let bytes = frame.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            Ok(u32::from_ne_bytes(bytes.with_context(short)?))
        };
        Ok(Plan {
            mac_head: u64::from(word(0)?) | u64::from(word(4)?) << 32,
            mac_tail: word(8)?,
            ethertype: word(12)? & 0xffff,
            vip: u32::from_be(word(address + 4)?),
            ports: word(ports)? & 0xffff_0000_u32.rotate_left(shift),
            shift,
            address: u32::from_be(word(address)?),
            multiplier: IN_ORDER,
            mask: u32::MAX,
            ..Plan::default()
        })
    }

    /// The frame as the driver changes it for one of the flows.
    ///
    /// # Errors
    /// The frame is too short.
    pub fn frame(self, frame: &[u8], plan: &Plan, flow: u32) -> Result<Vec<u8>> {
        let (address, ports, _) = self.places();
        let is_long = frame.len() >= (address + 8).max(ports + 4);
        ensure!(is_long, "{} bytes are too short for {}", frame.len(), self.program());
        let mut frame = frame.to_vec();
        frame[address..address + 8].copy_from_slice(&plan.address_of(flow).to_ne_bytes());
        frame[ports..ports + 4].copy_from_slice(&plan.ports_of(flow).to_ne_bytes());
        Ok(frame)
    }
}

/// The driver's object, loaded.
pub struct Driver {
    ebpf: Ebpf,
    /// Namespaces in which its programs are attached. Dropped after the programs.
    _namespaces: Vec<File>,
}

/// The result of a run.
#[derive(Clone, Copy, Debug)]
pub struct Driven {
    /// Nanoseconds per packet, of this thread's own CPU time.
    pub ns: f64,
    /// Number of packets that the program rewrote, without the run's last one.
    pub changed: u64,
}

impl Driver {
    /// Loads the object.
    ///
    /// # Errors
    /// When the kernel refuses a call.
    pub fn load() -> Result<Self> {
        let mut ebpf = Ebpf::load(objects::DRIVER).context("cannot load the driver")?;
        let mut namespaces = Vec::new();
        for (name, program) in ebpf.programs_mut() {
            let program: &mut Xdp = program.try_into()?;
            program.load().with_context(|| format!("driver {name}"))?;
            namespaces.push(hold(program).with_context(|| format!("driver {name}"))?);
        }
        Ok(Self { ebpf, _namespaces: namespaces })
    }

    /// Makes the driver jump into this program from now on.
    ///
    /// # Errors
    /// Errors of the map, for example for a program of another type.
    pub fn aim(&mut self, target: &ProgramFd) -> Result<()> {
        let map = self.ebpf.map_mut("TARGET").context("no map TARGET")?;
        Ok(ProgramArray::try_from(map)?.set(0, target, 0)?)
    }

    /// Runs packets, and returns the time per packet.
    ///
    /// It is this thread's own CPU time: a test run happens in the thread, and the time of other tasks does not count.
    ///
    /// # Errors
    /// Errors of the kernel; also when a packet did not reach the program.
    pub fn run(
        &mut self,
        layout: Layout,
        frame: &[u8],
        plan: Plan,
        packets: u32,
    ) -> Result<Driven> {
        self.plan_mut()?.set(0, Record(plan), 0)?;
        let name = layout.program();
        let program: &Xdp = self.ebpf.program(name).context("no such driver")?.try_into()?;
        let options =
            TestRunOptions { data_in: Some(frame), repeat: packets, ..TestRunOptions::new() };
        let start = thread_time();
        let result = program.test_run(options)?;
        let ns = (thread_time() - start) / f64::from(packets);
        ensure!(result.return_value != 0, "driver {name}: the target was not reached");
        let after = self.plan_mut()?.get(&0, 0)?.0;
        let done = after.next - plan.next;
        ensure!(done == u64::from(packets), "driver {name}: {done} packets of {packets}");
        Ok(Driven { ns, changed: after.changed })
    }

    fn plan_mut(&mut self) -> Result<Array<&mut MapData, Record>> {
        let map = self.ebpf.map_mut("PLAN").context("no map PLAN")?;
        Ok(Array::try_from(map)?)
    }
}

/// [`Plan`] as a map's value.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Record(pub(crate) Plan);

// SAFETY: a plan consists of integers without padding between or after them, and any bytes are a valid plan.
unsafe impl aya::Pod for Record {}

/// Nanoseconds of CPU time that this thread has used.
pub(crate) fn thread_time() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes into `time`, which lives through the call; every thread has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

#[cfg(test)]
mod tests {
    use dispatcher_tests::{
        datapath::{CLIENT, VIP},
        packet_builder::{ACK, eth},
    };

    use super::*;

    #[test]
    fn a_frame_of_a_flow_is_the_packet_of_its_client() {
        let packet = |client, port| eth().ipv4(client, VIP).tcp(port, 80, ACK).build().bytes;
        let template = packet(CLIENT, 1);
        let plan = Layout::Ipv4.plan(&template).unwrap();
        let frame = Layout::Ipv4.frame(&template, &plan, 5 + (1 << 15)).unwrap();
        let expected = packet((u32::from(CLIENT) + 1).into(), 0x8005);
        // Compares everything except the checksums of IPv4 and TCP.
        assert_eq!((&frame[..24], &frame[26..50]), (&expected[..24], &expected[26..50]));
    }

    #[test]
    fn a_quoted_client_is_found() {
        let quoted = |client, port| {
            let answer = eth().ipv4(VIP, client).tcp(80, port, ACK);
            eth().ipv4(CLIENT, VIP).icmp(3, 4, 1400).quoting(answer, 28).build().bytes
        };
        let template = quoted(CLIENT, 1);
        let plan = Layout::Icmp.plan(&template).unwrap();
        let frame = Layout::Icmp.frame(&template, &plan, 7).unwrap();
        assert_eq!(frame[58..66], quoted(CLIENT, 0x8007)[58..66]);
    }
}
