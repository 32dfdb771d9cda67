//! Counts the connections that find both their buckets full in a table at the recommended fill. It uses the hash, the buckets
//! and the choice of the datapath, in steady churn: for each connection that comes, one goes at random.

use dispatcher_common::{
    connection::{State, WAYS, Way},
    flow::{Flow, HASH_KEYS, first_bucket, second_bucket},
    limits::RECOMMENDED_FILL_PERCENT,
    net,
};
use dispatcher_ebpf::table::insert::{Choice, choose, free};

const BUCKETS: usize = 1 << 13;
/// Connections at any time.
const LIVE: usize = BUCKETS * WAYS * RECOMMENDED_FILL_PERCENT as usize / 100;
/// Connections that come before counting starts: churn spreads connections differently from a first fill.
const WARM_UP: usize = 5 * LIVE;
/// Connections that come while counting.
const COUNTED: usize = 1_000_000;

/// A pseudo-random sequence of numbers, the same in every run (SplitMix64).
fn scrambled(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

struct Table {
    ways: Vec<[Way; WAYS]>,
    /// The places of connections; none for a connection that is in neither bucket.
    places: Vec<Option<(usize, usize)>>,
}

impl Table {
    /// Enters a flow; none if both buckets are full.
    fn enter(&mut self, hash: u64) -> Option<(usize, usize)> {
        let mask = BUCKETS as u32 - 1;
        let buckets = [first_bucket(hash, mask) as usize, second_bucket(hash, mask) as usize];
        let free_of = |bucket: usize| free(|way| self.ways[bucket][way]);
        let (choice, way) = choose(free_of(buckets[0]), || free_of(buckets[1]))?;
        let bucket = match choice {
            Choice::First => buckets[0],
            Choice::Second => buckets[1],
        };
        assert_eq!(self.ways[bucket][way].0, 0, "it was free");
        self.ways[bucket][way] = Way::new(hash, 1, State::Established, 1);
        Some((bucket, way))
    }

    /// Makes connections come and go, and returns how many found no free way.
    fn churn(&mut self, hash: impl Fn(u64) -> u64) -> usize {
        let mut full = 0;
        for number in 0..(LIVE + WARM_UP + COUNTED) as u64 {
            if self.places.len() == LIVE {
                let at = scrambled(!number) as usize % LIVE;
                if let Some((bucket, way)) = self.places.swap_remove(at) {
                    self.ways[bucket][way] = Way(0);
                }
            }
            let place = self.enter(hash(number));
            full += usize::from(place.is_none() && number >= (LIVE + WARM_UP) as u64);
            self.places.push(place);
        }
        full
    }
}

fn flow(client: net::Address, client_port: u64) -> Flow {
    Flow {
        client,
        vip: net::address([192, 0, 2, 80].into()),
        client_port: (client_port as u16).to_be_bytes(),
        vip_port: 443_u16.to_be_bytes(),
        born_and_protocol: u32::from(net::TCP),
    }
}

/// A few clients with all their ports, one port after the other.
fn few_clients(number: u64) -> Flow {
    flow(net::address([10, 0, 0, (number % 64) as u8].into()), number / 64)
}

fn clients_at_random(number: u64) -> Flow {
    let random = scrambled(number);
    flow(net::address((random as u32).to_be_bytes().into()), random >> 32)
}

fn ipv6_clients(number: u64) -> Flow {
    let mut client = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    client[8..].copy_from_slice(&(number / 1000).to_be_bytes());
    flow(client, 1024 + number % 1000)
}

/// Yields the flow of a number.
type Flows = fn(u64) -> Flow;

#[test]
fn hardly_any_connection_meets_full_buckets_at_the_recommended_fill() {
    let flows: [(&str, Flows); 3] =
        [("few clients", few_clients), ("any clients", clients_at_random), ("ipv6", ipv6_clients)];
    for (seed, (name, flow)) in (1..).zip(flows) {
        let keys: [u64; HASH_KEYS] = std::array::from_fn(|i| scrambled(seed << 8 | i as u64));
        let mut table = Table { ways: vec![[Way(0); WAYS]; BUCKETS], places: Vec::new() };
        let full = table.churn(|number| flow(number).hash(&keys));
        println!("{name}: {full} of {COUNTED} met full buckets");
        assert!(full < COUNTED / 10_000, "{name}: {full} of {COUNTED}");
        // The table is full enough that some do: the count measures something.
        assert!(full > 0, "{name}");
    }
}
