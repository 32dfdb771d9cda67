//! Flows: the table's key, its hash, and the record by which a listing names a connection.

use crate::net::{Address, is_v4};

/// Random 64-bit keys that a flow hash uses.
pub const HASH_KEYS: usize = 12;
/// 32-bit words of an IPv4 flow: client, VIP, both ports, protocol.
pub const WORDS_V4: usize = 4;
/// 32-bit words of an IPv6 flow.
pub const WORDS_V6: usize = 10;

/// Keyed 64-bit hash of a flow: the upper halves of two multilinear hashes over 64-bit random keys, then one
/// multiply-xorshift.
///
/// The multilinear form needs only one multiplication for two words (Lemire and Kaser, "Strongly universal string hashing is
/// fast", 2014, §3). Any two flows share an upper half with a probability of 2⁻³².
///
/// `word(i)` yields the i-th of `N` words, an even number: the flow's bytes as they stand in the packet, read as native 32-bit
/// words, in the order client address, VIP, client port and VIP port (one word), protocol. Each is read once, in this order.
/// `key(i)` yields the i-th of [`HASH_KEYS`] keys.
///
/// The finaliser is not optional: without it some keys overflow buckets badly on consecutive ports.
#[inline(always)]
pub fn flow_hash<const N: usize>(word: impl Fn(usize) -> u32, key: impl Fn(usize) -> u64) -> u64 {
    const { assert!(N.is_multiple_of(2) && N + 2 <= HASH_KEYS) };
    let (mut s, mut t) = (0_u64, 0_u64);
    let mut i = 0;
    while i < N {
        let (a, b) = (u64::from(word(i)), u64::from(word(i + 1)));
        s = s.wrapping_add(key(i).wrapping_add(a).wrapping_mul(key(i + 1).wrapping_add(b)));
        // Each word has another key than above, independent of that one.
        let (c, d) = (key((i + 5) % HASH_KEYS), key((i + 6) % HASH_KEYS));
        t = t.wrapping_add(c.wrapping_add(b).wrapping_mul(d.wrapping_add(a)));
        i += 2;
    }
    (s, t) = (s.wrapping_add(key(10)), t.wrapping_add(key(11)));
    // The upper half of s, and that of s ^ t.
    let h = s & 0xffff_ffff_0000_0000 | (s ^ t) >> 32;
    let h = h.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    h ^ h >> 32
}

/// Keyed hash that places a flow on a schedule, whatever its family: `words` as for [`flow_hash`] in the IPv6 form, an
/// IPv4 address mapped. Its keys are not the table's; two dispatchers with the same keys choose the same backends.
#[inline(always)]
#[must_use]
pub const fn schedule_hash(words: [u32; WORDS_V6], keys: [u64; 2]) -> u64 {
    let (mut h, mut i) = (keys[0], 0);
    while i < WORDS_V6 {
        h = (h ^ (words[i] as u64 | (words[i + 1] as u64) << 32)).wrapping_mul(keys[1] | 1);
        h ^= h >> 32;
        i += 2;
    }
    h = h.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    h ^ h >> 32
}

/// The hash as the table uses it, of a flow of TCP or UDP. Its top bit says whether it is TCP, so that a way shows the protocol.
/// For UDP the next bit is set, so that no flow has the fingerprint of an empty way.
#[inline(always)]
#[must_use]
pub const fn table_hash(hash: u64, protocol: u8) -> u64 {
    // Only UDP's number is odd.
    hash & !(1 << 63) | (1 << 63) >> (protocol & 1)
}

const _: () = assert!(crate::net::TCP & 1 == 0 && crate::net::UDP & 1 == 1);

/// The first bucket of a flow.
#[inline(always)]
#[must_use]
pub const fn first_bucket(hash: u64, mask: u32) -> u32 {
    hash as u32 & mask
}

/// The second bucket: the first XOR bits of the hash, taken over its whole width, so that flows in the same second bucket do not
/// share more of their fingerprint than by chance.
#[inline(always)]
#[must_use]
pub const fn second_bucket(hash: u64, mask: u32) -> u32 {
    (hash ^ hash >> 32) as u32 & mask
}

shared! {
    /// The whole flow of a connection, in `FLOWS` at the way's own number.
    ///
    /// The datapath writes it after the way, without a lock. A reader hashes the record, and accepts it only if the hash agrees
    /// with the way's fingerprint before and after.
    pub struct Flow [40] {
        /// Client address.
        pub client: Address,
        /// Address the client sent to.
        pub vip: Address,
        /// Client port, network order.
        pub client_port: [u8; 2],
        /// Port the client sent to, network order.
        pub vip_port: [u8; 2],
        /// Tick (2³² ns of the monotonic clock) at which the record was written in the upper 24 bits, protocol number in
        /// the lower 8.
        pub born_and_protocol: u32,
    }
}

impl Flow {
    /// Protocol number.
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        self.born_and_protocol as u8
    }

    /// Tick at which the record was written, modulo 2²⁴.
    #[must_use]
    pub const fn born(&self) -> u32 {
        self.born_and_protocol >> 8
    }

    /// The flow's hash as the datapath computes it, including [`table_hash`].
    #[must_use]
    pub fn hash(&self, keys: &[u64; HASH_KEYS]) -> u64 {
        let key = |i: usize| keys[i];
        let ports = word(&self.client_port, &self.vip_port);
        let protocol = u32::from(self.protocol());
        let hash = if is_v4(&self.client) && is_v4(&self.vip) {
            let words = [at(&self.client, 12), at(&self.vip, 12), ports, protocol];
            flow_hash::<WORDS_V4>(|i| words[i], key)
        } else {
            let (c, v) = (&self.client, &self.vip);
            let words = [
                at(c, 0),
                at(c, 4),
                at(c, 8),
                at(c, 12),
                at(v, 0),
                at(v, 4),
                at(v, 8),
                at(v, 12),
                ports,
                protocol,
            ];
            flow_hash::<WORDS_V6>(|i| words[i], key)
        };
        table_hash(hash, self.protocol())
    }
}

fn at(bytes: &Address, offset: usize) -> u32 {
    u32::from_ne_bytes([bytes[offset], bytes[offset + 1], bytes[offset + 2], bytes[offset + 3]])
}

fn word(a: &[u8; 2], b: &[u8; 2]) -> u32 {
    u32::from_ne_bytes([a[0], a[1], b[0], b[1]])
}

/// Bit of the destination-address filter for an IPv4 address as a native word, or for the result of [`fold`].
#[inline(always)]
#[must_use]
pub const fn filter_bit(folded: u32) -> u32 {
    (folded.wrapping_mul(0x9E37_79B1)) >> 16 & (crate::limits::ADDRESS_FILTER_BITS - 1)
}

/// Folds an IPv6 address, as native words, into the word that [`filter_bit`] takes.
#[inline(always)]
#[must_use]
pub const fn fold([a, b, c, d]: [u32; 4]) -> u32 {
    let x = (a as u64 | (b as u64) << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let y = (c as u64 | (d as u64) << 32) ^ x ^ x >> 29;
    (y ^ y >> 32) as u32
}

/// The filter bit of an address, as the controller computes it.
#[must_use]
pub fn filter_bit_of(address: &Address) -> u32 {
    if is_v4(address) {
        filter_bit(at(address, 12))
    } else {
        filter_bit(fold([at(address, 0), at(address, 4), at(address, 8), at(address, 12)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{TCP, UDP};

    /// Flows of `clients` × 2,048 consecutive ports, IPv4 or IPv6, that find both their buckets full at half the fill.
    fn homeless(keys: &[u64; HASH_KEYS], is_v4: bool) -> u32 {
        const CLIENTS: u32 = 64;
        const PORTS: u32 = 2048;
        let mask = CLIENTS * PORTS / 4 - 1;
        let mut used = vec![0_u8; mask as usize + 1];
        let mut homeless = 0;
        for (client, port) in (0..CLIENTS).flat_map(|c| (0..PORTS).map(move |p| (c, p))) {
            let (client, ports) = ((10 << 24 | client).to_be(), (1024 + port).to_be() | 80 << 8);
            let vip = 0xc000_0250_u32.to_be();
            let hash = if is_v4 {
                flow_hash::<WORDS_V4>(|i| [client, vip, ports, 6][i], |i| keys[i])
            } else {
                let net = 0x2001_0db8_u32.to_be();
                let words = [net, 0, 0, client, net, 0, 0, vip, ports, 6];
                flow_hash::<WORDS_V6>(|i| words[i], |i| keys[i])
            };
            let (one, two) =
                (first_bucket(hash, mask) as usize, second_bucket(hash, mask) as usize);
            let bucket = if used[one] >= 6 && used[two] < used[one] { two } else { one };
            if used[bucket] == 8 { homeless += 1 } else { used[bucket] += 1 }
        }
        homeless
    }

    #[test]
    fn consecutive_ports_spread_over_the_table_whatever_the_keys() {
        let mut x = 0x9E37_79B9_7F4A_7C15_u64;
        for round in 0..20 {
            let keys = core::array::from_fn(|_| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                x.wrapping_mul(0x2545_F491_4F6C_DD1D)
            });
            for is_v4 in [true, false] {
                // The probability is 10⁻⁶: of 131,072 flows usually none, rarely one.
                let homeless = homeless(&keys, is_v4);
                assert!(homeless <= 4, "keys {round}, IPv4 {is_v4}: {homeless}");
            }
        }
    }

    #[test]
    fn no_flow_is_taken_for_an_empty_way() {
        for (hash, protocol) in [(0, UDP), (0, TCP), (u64::MAX, UDP), (1 << 63, UDP)] {
            let hash = table_hash(hash, protocol);
            assert!(!crate::connection::Way(0).matches(hash), "{hash:#x}");
            assert_eq!(hash >> 63 != 0, protocol == TCP);
        }
    }
}
