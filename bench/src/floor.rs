//! The floor programs, loaded into the kernel: the least work that forwarding by connections needs.

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, MapData},
    programs::{ProgramFd, Xdp},
};
use dispatcher_lab::objects;
use dispatcher_lab_ebpf::{FLOOR_BACKENDS, FLOOR_WAYS, FloorLine, FloorMacs, FloorService};
use dispatcher_tests::{
    datapath::VIP,
    packet_builder::{NIC_MAC, protocol},
};

/// A floor program, loaded.
pub struct Floor {
    ebpf: Ebpf,
    program: &'static str,
}

impl Floor {
    /// Loads a program of the object, with room for this many connections: a power of two.
    ///
    /// # Errors
    /// When the kernel refuses a call.
    pub fn load(program: &'static str, ways: u32) -> Result<Self> {
        ensure!(ways.is_power_of_two() && ways >= 4, "{ways} ways: expected a power of two");
        let lines = ways / FLOOR_WAYS as u32;
        let (lines, entries) = match program {
            "lru" => (1, ways),
            "pass" => (1, 1),
            _ => (lines, 1),
        };
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("TABLE", lines)
            .map_max_entries("LRU", entries)
            .load(objects::FLOORS)
            .context("cannot load the floors")?;
        let loaded: &mut Xdp = ebpf.program_mut(program).context("no such floor")?.try_into()?;
        loaded.load().with_context(|| format!("floor {program}"))?;
        let mut floor = Self { ebpf, program };
        floor.fill(lines)?;
        Ok(floor)
    }

    fn fill(&mut self, lines: u32) -> Result<()> {
        let [a, b, c, d, e, f] = NIC_MAC;
        let mut backends = self.array_mut::<FloorMacs>("BACKENDS")?;
        for number in 0..FLOOR_BACKENDS {
            let words = [[2, 0, 0, 0], [0xbe, number as u8, a, b], [c, d, e, f]];
            backends.set(number, words.map(u32::from_ne_bytes), 0)?;
        }
        self.array_mut::<[u64; 2]>("STATE")?.set(0, [u64::from(lines) - 1, 0], 0)?;
        let port = u32::from(80_u16.to_be()) | u32::from(protocol::TCP) << 16;
        let key: FloorService = [u32::from_ne_bytes(VIP.octets()), port];
        let services = self.ebpf.map_mut("SERVICES").context("no map SERVICES")?;
        Ok(HashMap::<_, FloorService, u32>::try_from(services)?.insert(key, 1, 0)?)
    }

    /// The program's file descriptor, for a map of programs.
    ///
    /// # Errors
    /// When the program is not loaded.
    pub fn program(&self) -> Result<&ProgramFd> {
        Ok(self.xdp()?.fd()?)
    }

    /// The program itself.
    ///
    /// # Errors
    /// As [`Self::program`].
    pub fn xdp(&self) -> Result<&Xdp> {
        Ok(self.ebpf.program(self.program).context("no such floor")?.try_into()?)
    }

    /// Connections opened so far.
    ///
    /// # Errors
    /// Errors of the map.
    pub fn connections(&self) -> Result<u64> {
        let map = self.ebpf.map("STATE").context("no map STATE")?;
        Ok(Array::<_, [u64; 2]>::try_from(map)?.get(&0, 0)?[1])
    }

    fn array_mut<T: Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, T>> {
        let map = self.ebpf.map_mut(name).with_context(|| format!("no map {name}"))?;
        Array::try_from(map).with_context(|| format!("map {name}"))
    }
}

/// The floors rely on this size of a line.
const _: () = assert!(size_of::<FloorLine>() == 64);
