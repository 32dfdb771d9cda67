//! Rules as the datapath sees them: conditions under which new connections use only some of their service's backends.
//!
//! A service's rules lie one after the other in `CONDITIONS`, in ascending priority; a rule with several ranges of clients has
//! as many conditions in a row. The controller checks what is not in a packet (time, rates, counts) and writes it to the rule.

/// Index into `RULES`.
pub type RuleId = u32;

shared! {
    /// A record of `CONDITIONS`, which a packet must meet. The controller writes it to unused space and never changes it.
    pub struct Condition [64] {
        /// Lowest client address: the [`crate::net::Address`] as a number, upper half first.
        pub first: [u64; 2],
        /// Highest client address, likewise.
        pub last: [u64; 2],
        /// Lowest client port in bits 0–15, highest in 16–31.
        pub ports: u32,
        /// Required value of TOS or traffic class in bits 0–7, under the mask in bits 8–15.
        pub tos: u32,
        /// The [`RuleId`] that it leads to.
        pub rule: RuleId,
        /// Zero.
        pub _reserved: u32,
        /// Zero.
        pub _reserved_words: [u64; 2],
    }
}

impl Condition {
    /// A rule's condition that every packet meets.
    #[must_use]
    pub const fn any(rule: RuleId) -> Self {
        Self { last: [u64::MAX; 2], ports: 0xffff_0000, rule, ..Self::ZERO }
    }
}

shared! {
    /// A record of `RULES`, by rule: a cache line of its own. The controller writes the first three words, each by one
    /// store, the datapath the others.
    pub struct Rule [64] {
        /// A [`crate::service::Schedule`] descriptor, of the rule's backends only.
        pub schedule: u64,
        /// 1 while all conditions hold that are not in a packet, else 0.
        pub active: u64,
        /// The rule's [`crate::service::ServiceId`] + 1; 0: the record is not in use.
        pub owner: u64,
        /// As [`crate::service::ServiceState::cursor`].
        pub cursor: u64,
        /// Connections whose backend it chose.
        pub connections: u64,
        /// Zero.
        pub _reserved: [u64; 3],
    }
}

/// Position of a service's conditions in `CONDITIONS`: offset and number in one word, so that a swap is one store; 0: it has no
/// rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RuleSet(pub u64);

impl RuleSet {
    /// Packs offset and number, both in records.
    #[must_use]
    pub const fn new(offset: u32, count: u32) -> Self {
        Self((offset as u64) << 32 | count as u64)
    }

    /// First condition in the pool.
    #[inline(always)]
    #[must_use]
    pub const fn offset(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The number of conditions.
    #[inline(always)]
    #[must_use]
    pub const fn count(self) -> u32 {
        self.0 as u32
    }
}

/// The halves of an address as a number, as in a [`Condition`].
#[must_use]
pub const fn halves(address: crate::net::Address) -> [u64; 2] {
    let number = u128::from_be_bytes(address);
    [(number >> 64) as u64, number as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_give_back_their_parts() {
        let set = RuleSet::new(0xffff_0000, 64);
        assert_eq!((set.offset(), set.count()), (0xffff_0000, 64));
        let mut address = [0; 16];
        (address[0], address[15]) = (0x20, 7);
        assert_eq!(halves(address), [0x2000_0000_0000_0000, 7]);
    }
}
