//! Packets larger than the MTU of the NIC by which they would leave: their senders get an ICMP error.

use anyhow::Result;
use dispatcher_common::{connection::State::HalfOpen, reason::Reason};
use dispatcher_lab::{cpus};
use dispatcher_tests::{case::Case, datapath::{Datapath, Interface, World}, packet_builder::{ACK, At, Mac, PacketBuilder, SYN, eth, protocol::DESTINATION_OPTIONS}};

use crate::flows::Family;

const SECOND_NIC: Mac = [0x02, 0, 0, 0, 0xdd, 0x02];
const MTU: u32 = 1500;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases =
        Family::both(|f| [sizes(f), frames(f), silent(f)].into_iter().flatten().collect());
    cases.extend(of_families());
    cases
}

/// The first backends are behind a NIC with this MTU.
fn world(mtu: u32) -> World {
    let mut world = [1, 2, 3, 4]
        .into_iter()
        .fold(World::standard(), |w, id| w.backend(id * 10 + 1, |backend| backend.interface = 1));
    world.services.iter_mut().for_each(|service| service.ring.truncate(1));
    world.interfaces.push(Interface { index: 1, mac: SECOND_NIC, ifindex: 1, mtu });
    world
}

impl Family {
    /// Length of the L3 and UDP headers.
    fn udp_headers(self) -> usize {
        match self {
            Self::V4 => 28,
            Self::V6 => 48,
        }
    }

    /// A frame's IP header that forbids fragmentation, as IPv6 always does.
    fn whole(self, frame: PacketBuilder) -> PacketBuilder {
        match self {
            Self::V4 => self.on(frame).dont_fragment(),
            Self::V6 => self.on(frame),
        }
    }
}

/// A datagram of this many L3 bytes.
fn datagram(f: Family, frame: PacketBuilder, bytes: usize) -> PacketBuilder {
    f.whole(frame).udp(1001, 53).payload(&vec![b'x'; bytes - f.udp_headers()])
}

/// The error that the sender gets: this MTU, in a frame of the same kind.
fn told(f: Family, frame: PacketBuilder, mtu: u32, about: PacketBuilder) -> PacketBuilder {
    match f {
        Family::V4 => f.reply_in(frame).icmp(3, 4, mtu).quoting(about, 68),
        Family::V6 => f.reply_in(frame).icmp(2, 0, mtu).quoting(about, 1232),
    }
}

/// A case in which the first packet has opened the connection.
fn of(f: Family, name: &str, mtu: u32) -> Case {
    f.case_in(world(mtu), name)
        .opens(datagram(f, eth(), 100), f.dns_slot(1))
        .by(Reason::Redirected)
}

fn sizes(f: Family) -> Vec<Case> {
    let slot = f.dns_slot(1);
    let is_told = |case: Case, packet: PacketBuilder| {
        case.answers(packet.clone(), told(f, eth(), MTU, packet), Reason::TooBigAnswered)
            .of_service(f.dns())
    };
    let fits = of(f, "as large as the mtu: forwarded; a byte more: its sender is told", MTU)
        .follows(datagram(f, eth(), 1500), slot)
        .by(Reason::Redirected);
    let fits = is_told(fits, datagram(f, eth(), 1501));
    let fits = is_told(fits, datagram(f, eth(), 2999));
    let new = f.case_in(world(MTU), "the first packet: the connection is entered, and its sender told");
    let segment = f.whole(eth()).tcp(1001, 80, ACK).payload(&[b'x'; 1600]);
    let established = f
        .case_in(world(MTU), "a known tcp connection")
        .opens(f.tcp(1001, SYN), f.web_slot(1))
        .by(Reason::Redirected)
        .follows(f.tcp(1001, ACK), f.web_slot(1))
        .by(Reason::Redirected)
        .answers(segment.clone(), told(f, eth(), MTU, segment), Reason::TooBigAnswered)
        .of_service(f.web())
        .follows(f.tcp(1001, ACK), f.web_slot(1))
        .by(Reason::Redirected);
    vec![
        fits,
        is_told(new, datagram(f, eth(), 1600)).places(slot).table(&[(HalfOpen, slot)]),
        established,
        of(f, "an mtu that is not known limits nothing", 0)
            .follows(datagram(f, eth(), 2999), slot)
            .by(Reason::Redirected),
        f.case("out of the nic by which it came everything fits")
            .opens(datagram(f, eth(), 2999), f.dns_slot(1)),
    ]
}

/// Tags are returned, and two of them take room.
fn frames(f: Family) -> Vec<Case> {
    let slot = f.dns_slot(1);
    let (one, two) = (|| eth().vlan(7), || eth().tag(0x88a8, 7).vlan(8));
    let big = |frame: PacketBuilder, bytes| datagram(f, frame, bytes);
    vec![
        of(f, "behind a tag", MTU)
            .follows(big(one(), 1500), slot)
            .by(Reason::Redirected)
            .answers(big(one(), 1501), told(f, one(), MTU, big(one(), 1501)), Reason::TooBigAnswered)
            .of_service(f.dns()),
        of(f, "behind two tags: four bytes fewer fit", MTU)
            .follows(big(two(), 1496), slot)
            .by(Reason::Redirected)
            .answers(
                big(two(), 1497),
                told(f, two(), MTU - 4, big(two(), 1497)),
                Reason::TooBigAnswered,
            )
            .of_service(f.dns()),
    ]
}

/// Senders that get no error.
fn silent(f: Family) -> Vec<Case> {
    let of = |name: &str| of(f, name, MTU);
    let drops = |case: Case, packet| case.leaves(packet, Reason::TooBig).of_service(f.dns());
    let answer = f.reply().udp(53, 1001).payload(&[b'x'; 1900]);
    let error = match f {
        Family::V4 => f.whole(eth()).icmp(3, 4, 1400).quoting(answer, 1900),
        Family::V6 => f.whole(eth()).icmp(2, 0, 1400).quoting(answer, 1900),
    };
    let first = f.ip().fragment(0, true).id(7).udp(1001, 53).payload(&[7; 64]);
    let later = f.ip().fragment(9, false).id(7).protocol(17).payload(&[7; 1600]);
    let limited = |interval| {
        let mut world = world(MTU);
        world.reset_interval = interval;
        world
    };
    let big = || datagram(f, eth(), 1501);
    let one_cpu = |_: &mut Datapath| -> Result<()> {
        cpus::available()?.first().map_or(Ok(()), |cpu| cpus::pin(*cpu))
    };
    let two = f
        .case_in(limited(3_600_000_000_000), "one an hour: the second is dropped")
        .then(one_cpu)
        .answers(big(), told(f, eth(), MTU, big()), Reason::TooBigAnswered)
        .of_service(f.dns())
        .places(f.dns_slot(1));
    vec![
        drops(of("icmp errors are not answered"), error),
        drops(
            of("later fragments are not answered")
                .follows(first.patch(At::L4, 4, &[7, 0]), f.dns_slot(1))
                .by(Reason::Redirected),
            later,
        ),
        drops(two, big()),
        drops(f.case_in(limited(0), "none at all"), big()).places(f.dns_slot(1)),
    ]
}

fn of_families() -> Vec<Case> {
    let (v4, v6) = (Family::V4, Family::V6);
    let options = || v4.ip().options(&[1; 40]).dont_fragment().udp(1001, 53).payload(&[b'x'; 1500]);
    let extended = || {
        v6.ip().extension(DESTINATION_OPTIONS, 16).udp(1001, 53).payload(&[b'x'; 1500])
    };
    let nobody = |last: [u8; 4]| {
        eth().ipv4(last.into(), dispatcher_tests::datapath::VIP).dont_fragment()
    };
    vec![
        of(v4, "what may be fragmented is dropped: nobody here fragments it", MTU)
            .leaves(v4.udp(1001).payload(&[b'x'; 1600]), Reason::TooBig)
            .of_service(v4.dns()),
        of(v4, "options are quoted", MTU)
            .answers(options(), told(v4, eth(), MTU, options()), Reason::TooBigAnswered)
            .of_service(v4.dns()),
        of(v6, "extension headers are quoted", MTU)
            .answers(extended(), told(v6, eth(), MTU, extended()), Reason::TooBigAnswered)
            .of_service(v6.dns()),
        v4.case_in(world(68), "the least mtu of ipv4")
            .answers(
                datagram(v4, eth(), 69),
                told(v4, eth(), 68, datagram(v4, eth(), 69)),
                Reason::TooBigAnswered,
            )
            .of_service(v4.dns())
            .places(v4.dns_slot(1)),
        v6.case_in(world(1279), "an mtu that no ipv6 sender heeds")
            .leaves(datagram(v6, eth(), 1400), Reason::TooBig)
            .of_service(v6.dns())
            .places(v6.dns_slot(1)),
        v4.case_in(world(MTU), "an address that is no single host's is not answered")
            .leaves(nobody([224, 0, 0, 9]).udp(1001, 53).payload(&[b'x'; 1600]), Reason::TooBig)
            .of_service(v4.dns())
            .places(v4.dns_slot(1)),
    ]
}
