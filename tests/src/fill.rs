//! Fills a connection table through the memory of the pinned maps: a million real connections would take too long.

use std::{
    fs,
    net::Ipv4Addr,
    os::fd::{AsFd as _, AsRawFd as _},
    path::PathBuf,
    sync::atomic::Ordering,
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapData;
use dispatcher_common::{
    connection::{State, WAYS, Way},
    counts::ActiveCount,
    flow::{Flow, HASH_KEYS, first_bucket, second_bucket},
    limits::MAX_SLOTS,
    maps, net,
    settings::Settings,
};

use dispatcher_lab::Lab;

use crate::datapath::mapped::{self, Mapped};

/// Enters established connections to a VIP's port, spread evenly over these slots, into the maps of this laboratory's daemon.
/// Client addresses start at 10.128.0.0; each has 1,000 connections.
///
/// # Errors
/// When a map cannot be mapped.
pub fn fill_table(lab: &Lab, vip: Ipv4Addr, port: u16, slots: &[u32], number: u32) -> Result<()> {
    let settings = pinned(lab, maps::SETTINGS, size_of::<Settings>() / 8)?;
    let word = |offset: usize| settings.words()[offset / 8].load(Ordering::Acquire);
    let keys: [u64; HASH_KEYS] =
        std::array::from_fn(|i| word(std::mem::offset_of!(Settings, hash_keys) + i * 8));
    let buckets = word(std::mem::offset_of!(Settings, buckets)) as usize;
    let ways = pinned(lab, maps::CONNECTIONS, buckets * WAYS)?;
    let flows = pinned(lab, maps::FLOWS, buckets * WAYS * FLOW_WORDS)?;
    let active = pinned(lab, maps::ACTIVE_COUNTS, MAX_SLOTS as usize)?;
    let now = mapped::now();
    for n in 0..number {
        let slot = slots[n as usize % slots.len()];
        let flow = flow(vip, port, n, now);
        let hash = flow.hash(&keys);
        let mask = buckets as u32 - 1;
        // Use the emptier bucket, as the datapath does, so that a full table is evenly full.
        let free = [first_bucket(hash, mask), second_bucket(hash, mask)].map(|bucket| {
            let places = (0..WAYS).map(|way| bucket as usize * WAYS + way);
            let is_free = |place: &usize| ways.words()[*place].load(Ordering::Relaxed) == 0;
            places.filter(is_free).collect::<Vec<_>>()
        });
        let [first, second] = &free;
        let emptier = if second.len() > first.len() { second } else { first };
        let Some(place) = emptier.first().copied() else { continue };
        for (word, from) in flows.words()[place * FLOW_WORDS..].iter().zip(words(&flow)) {
            word.store(from, Ordering::Relaxed);
        }
        active.words()[slot as usize].fetch_add(ActiveCount::ACTIVE, Ordering::Relaxed);
        let way = Way::new(hash, now, State::Established, slot).marked();
        ways.words()[place].store(way.0, Ordering::Release);
    }
    Ok(())
}

/// Makes the maps of this laboratory's daemon, which must not run, look like those of the previous layout: by their version,
/// and by the bit of TCP connections that is now the mark and had no meaning there. Returns the number of TCP connections.
///
/// # Errors
/// When the maps cannot be mapped.
pub fn make_layout_before(lab: &Lab) -> Result<usize> {
    let settings = pinned(lab, maps::SETTINGS, size_of::<Settings>() / 8)?;
    let word = |offset: usize| &settings.words()[offset / 8];
    let buckets = word(std::mem::offset_of!(Settings, buckets)).load(Ordering::Acquire);
    let ways = pinned(lab, maps::CONNECTIONS, buckets as usize * WAYS)?;
    let mut number = 0;
    for place in ways.words() {
        // The datapath continues meanwhile, and changes ways, too.
        let scrambled = place.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let way = Way(word);
            // The previous layout has no aborted connections. Neither aborted nor closing ones count as active.
            let is_aborted = way.state() == State::Aborted;
            let state = if is_aborted { State::Closing } else { way.state() };
            way.is_tcp().then(|| way.staged(state as u64 | rand::random::<u64>() & 4).0)
        });
        number += usize::from(scrambled.is_ok());
    }
    word(std::mem::offset_of!(Settings, layout_version))
        .store(maps::LAYOUT_BEFORE, Ordering::Release);
    Ok(number)
}

/// The bytes of each pinned map, as the kernel accounts for them.
///
/// # Errors
/// When a map cannot be opened.
pub fn map_memory(lab: &Lab) -> Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    for name in maps::ALL {
        let data = MapData::from_pin(pin_of(lab, name)?)?;
        let fd = data.fd().as_fd().as_raw_fd();
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
        let line = info.lines().find_map(|line| line.strip_prefix("memlock:"));
        found.push((name.to_owned(), line.context("memlock")?.trim().parse()?));
    }
    Ok(found)
}

fn pin_of(lab: &Lab, name: &str) -> Result<PathBuf> {
    let mut directories = fs::read_dir(lab.pin_dir())?.flatten().map(|entry| entry.path());
    let is_ours = |path: &PathBuf| path.join(name).exists();
    let directory = directories.find(is_ours).with_context(|| format!("map {name}"))?;
    Ok(directory.join(name))
}

fn pinned(lab: &Lab, name: &str, words: usize) -> Result<Mapped> {
    let data = MapData::from_pin(pin_of(lab, name)?)?;
    ensure!(words > 0, "map {name} is empty");
    Mapped::new(&data, name, words)
}

const FLOW_WORDS: usize = size_of::<Flow>() / 8;

fn flow(vip: Ipv4Addr, port: u16, number: u32, now: u64) -> Flow {
    let client = Ipv4Addr::from(0x0a80_0000 + number / 1000);
    Flow {
        client: net::address(client.into()),
        vip: net::address(vip.into()),
        client_port: (10_000 + (number % 1000) as u16).to_be_bytes(),
        vip_port: port.to_be_bytes(),
        born_and_protocol: (now as u32) << 8 | u32::from(net::TCP),
    }
}

fn words(flow: &Flow) -> [u64; FLOW_WORDS] {
    // SAFETY: a `Flow` consists of integers without padding, and is `FLOW_WORDS` words long.
    unsafe { std::mem::transmute::<Flow, [u64; FLOW_WORDS]>(*flow) }
}
