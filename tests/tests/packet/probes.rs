//! Probes of VIPs: to the backend that the source port encodes, and their answers back. All other packets are left
//! alone or dropped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, ensure};
use dispatcher_common::{
    backend::{LOCAL, NO_MAC, PRESENT},
    probe,
};
use dispatcher_tests::{
    datapath::{self, Datapath, ProbeProgram, VIP, VIP6, World, tc_action, usable},
    packet_builder::{ACK, Mac, NIC_MAC, PacketBuilder, SYN, eth},
};

/// The dispatcher's own addresses, from which it probes.
const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The prober's end of the veth.
const PROBER: Mac = [0x02, 0, 0, 0x99, 0, 1];
/// The loopback interface, which exists in every namespace.
const IFINDEX: u32 = 1;
/// Slots of the standard world's services on TCP port 80.
const SLOTS: [u16; 2] = [12, 22];

/// A family's packets with probes.
struct Probes {
    out: fn() -> PacketBuilder,
    back: fn() -> PacketBuilder,
    own: IpAddr,
    slot: u16,
}

fn families() -> [Probes; 2] {
    [
        Probes {
            out: || eth().ipv4(OWN, VIP),
            back: || eth().ipv4(VIP, OWN),
            own: OWN.into(),
            slot: SLOTS[0],
        },
        Probes {
            out: || eth().ipv6(OWN6, VIP6),
            back: || eth().ipv6(VIP6, OWN6),
            own: OWN6.into(),
            slot: SLOTS[1],
        },
    ]
}

fn load(change: impl Fn(World) -> World) -> Result<Option<Datapath>> {
    if !datapath::available() {
        return Ok(None);
    }
    let mut world = World::standard();
    world.interfaces[0].ifindex = IFINDEX;
    let mut datapath = Datapath::load(&change(world))?;
    datapath.load_probes()?;
    Ok(Some(datapath))
}

fn port(slot: u16) -> Result<u16> {
    probe::port(slot.into(), 1).context("a port")
}

/// Returns the program's action; the frame must be unchanged.
fn is_left(datapath: &Datapath, program: ProbeProgram, packet: PacketBuilder) -> Result<u32> {
    let frame = packet.build().bytes;
    let run = datapath.probe(program, &frame)?;
    ensure!(run.bytes == frame, "changed: {:02x?} to {:02x?}", frame, run.bytes);
    Ok(run.action)
}

/// Requires that it is redirected with these MACs, and otherwise unchanged.
fn is_carried(
    datapath: &Datapath,
    program: ProbeProgram,
    packet: PacketBuilder,
    macs: &[u8],
) -> Result<()> {
    let frame = packet.build().bytes;
    let run = datapath.probe(program, &frame)?;
    ensure!(run.action == tc_action::REDIRECT, "action {}", run.action);
    let want = [macs, &frame[macs.len()..]].concat();
    ensure!(run.bytes == want, "{:02x?}, expected {want:02x?}", run.bytes);
    Ok(())
}

/// Bound of verified instructions of either program: their only loop is over extension headers.
const VERIFIED: u32 = 20_000;

#[test]
fn both_programs_are_quickly_verified() -> Result<()> {
    if !datapath::available() {
        return Ok(());
    }
    for program in Datapath::load(&World::standard())?.load_probes()? {
        let name = program.name_as_str().context("a name")?.to_owned();
        let verified = program.verified_instruction_count().context("a count")?;
        println!("{name}: {verified} instructions verified");
        ensure!(verified < VERIFIED, "{name}: {verified}, expected less than {VERIFIED}");
    }
    Ok(())
}

#[test]
fn a_probe_goes_to_the_backend_of_its_port_whatever_the_scheduler_thinks() -> Result<()> {
    // Neither up, nor usable, nor accepting new connections.
    let down = |world: World| {
        SLOTS.iter().fold(world, |world, slot| world.backend(*slot, |b| b.flags = PRESENT))
    };
    let Some(datapath) = load(down)? else { return Ok(()) };
    for Probes { out, slot, .. } in families() {
        let macs = [usable(slot, 0).mac, NIC_MAC].concat();
        let port = port(slot)?;
        for packet in [out().tcp(port, 80, SYN), out().tcp(port, 80, ACK), out().udp(port, 53)] {
            is_carried(&datapath, ProbeProgram::Out, packet, &macs)?;
        }
    }
    Ok(())
}

#[test]
fn what_is_no_probe_goes_nowhere() -> Result<()> {
    let without = |flag: u8| {
        move |world: World| {
            SLOTS.iter().fold(world, |world, slot| world.backend(*slot, |b| b.flags |= flag))
        }
    };
    let Some(datapath) = load(|world| world)? else { return Ok(()) };
    let shot = |datapath: &Datapath, packet| -> Result<()> {
        let action = is_left(datapath, ProbeProgram::Out, packet)?;
        ensure!(action == tc_action::SHOT, "action {action}");
        Ok(())
    };
    for Probes { out, slot, .. } in families() {
        shot(&datapath, out().tcp(probe::FIRST_PORT - 1, 80, SYN))?;
        // A slot without a backend.
        shot(&datapath, out().tcp(port(9)?, 80, SYN))?;
        shot(&datapath, out().protocol(89))?;
        for flag in [LOCAL, NO_MAC] {
            let Some(datapath) = load(without(flag))? else { return Ok(()) };
            shot(&datapath, out().tcp(port(slot)?, 80, SYN))?;
        }
    }
    // To an address that is no VIP.
    shot(&datapath, eth().ipv4(OWN, Ipv4Addr::new(192, 0, 2, 81)).tcp(port(SLOTS[0])?, 80, SYN))?;
    shot(&datapath, eth().ethertype(0x0806))
}

#[test]
fn answers_go_to_the_prober_and_everything_else_its_own_way() -> Result<()> {
    let Some(mut datapath) = load(|world| world)? else { return Ok(()) };
    let unspec = |datapath: &Datapath, packet| -> Result<()> {
        let action = is_left(datapath, ProbeProgram::In, packet)?;
        ensure!(action == tc_action::UNSPEC, "action {action}");
        Ok(())
    };
    for Probes { back, own, slot, .. } in families() {
        let port = port(slot)?;
        unspec(&datapath, back().tcp(80, port, SYN | ACK))?;
        datapath.set_probe_end(own, IFINDEX, PROBER)?;
        is_carried(&datapath, ProbeProgram::In, back().tcp(80, port, SYN | ACK), &PROBER)?;
        is_carried(&datapath, ProbeProgram::In, back().udp(53, port), &PROBER)?;
        // A connection of the host's own, a slot without a backend, other protocols.
        unspec(&datapath, back().tcp(80, probe::FIRST_PORT - 1, ACK))?;
        unspec(&datapath, back().tcp(80, self::port(9)?, ACK))?;
        unspec(&datapath, back().protocol(89))?;
    }
    // From an address that is no VIP, and to another of the host's addresses.
    let port = port(SLOTS[0])?;
    unspec(&datapath, eth().ipv4(Ipv4Addr::new(192, 0, 2, 81), OWN).tcp(80, port, ACK))?;
    unspec(&datapath, eth().ipv4(VIP, Ipv4Addr::new(192, 0, 2, 2)).tcp(80, port, ACK))
}
