//! The ranges in the conditions of rules, and their syntax.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use super::{Choice as _, as_text::as_text, choice};

/// Client addresses from the first to the last, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRange {
    /// The lowest.
    pub first: IpAddr,
    /// The highest.
    pub last: IpAddr,
}

/// Ports from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

/// A period of the day; it spans midnight if it begins later than it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// When it begins, in seconds since midnight.
    pub start: u32,
    /// When it ends, in seconds since midnight; at most a full day.
    pub end: u32,
}

/// TOS or traffic class under a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tos {
    /// The value after masking.
    pub value: u8,
    /// The mask: the bits that are compared.
    pub mask: u8,
}

choice! {
    /// A day of the week.
    pub enum Day {
        /// Monday.
        Mon = "mon",
        /// Tuesday.
        Tue = "tue",
        /// Wednesday.
        Wed = "wed",
        /// Thursday.
        Thu = "thu",
        /// Friday.
        Fri = "fri",
        /// Saturday.
        Sat = "sat",
        /// Sunday.
        Sun = "sun",
    }
}

/// A text that is not a valid range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no such range")]
pub struct ParseRangeError(String);

/// Seconds of a day.
const DAY: u32 = 24 * 3600;

impl Day {
    /// The day before.
    #[must_use]
    pub fn before(self) -> Self {
        Self::ALL[(self as usize + Self::ALL.len() - 1) % Self::ALL.len()]
    }
}

impl TimeRange {
    /// A whole day.
    pub const WHOLE_DAY: Self = Self { start: 0, end: DAY };

    /// Whether it contains a time of day; if it does, whether it began the day before.
    #[must_use]
    pub const fn holds(self, second: u32) -> Option<bool> {
        let is_over_midnight = self.end <= self.start;
        if self.start <= second && (second < self.end || is_over_midnight) {
            Some(false)
        } else if is_over_midnight && second < self.end {
            Some(true)
        } else {
            None
        }
    }
}

impl ClientRange {
    /// The prefix length, if it is a network or one address.
    fn prefix(self) -> Option<u32> {
        let (first, last, bits) = match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                (u128::from(first.to_bits()), u128::from(last.to_bits()), 32)
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits(), last.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
        };
        let free = (first ^ last).checked_ilog2().map_or(0, |bit| bit + 1);
        let rest = if free == 128 { u128::MAX } else { (1 << free) - 1 };
        (first & rest == 0 && last & rest == rest).then_some(bits - free)
    }

    fn network(address: IpAddr, length: u32) -> Option<Self> {
        let (number, bits) = match address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
            IpAddr::V6(v6) => (v6.to_bits(), 128),
        };
        let free = 128 - (128 - bits) - length.min(bits);
        let rest = if free == 128 { u128::MAX } else { (1 << free) - 1 };
        // Bits beyond the length are most likely a typing error.
        if length > bits || number & rest != 0 {
            return None;
        }
        let last = match address {
            IpAddr::V4(v4) => IpAddr::from((v4.to_bits() | rest as u32).to_be_bytes()),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(number | rest)),
        };
        Some(Self { first: address, last })
    }
}

impl FromStr for ClientRange {
    type Err = ParseRangeError;

    /// `198.51.100.7`, `198.51.100.0/24`, `198.51.100.10-198.51.100.20`.
    fn from_str(text: &str) -> Result<Self, ParseRangeError> {
        let parsed = if let Some((address, length)) = text.split_once('/') {
            let length = number(length).filter(|_| !length.starts_with('+'));
            address.parse().ok().zip(length).and_then(|(a, length)| Self::network(a, length))
        } else if let Some((first, last)) = text.split_once('-') {
            match (first.trim().parse(), last.trim().parse()) {
                (Ok(first), Ok(last)) => Some(Self { first, last }),
                _ => None,
            }
        } else {
            text.parse().ok().map(|only| Self { first: only, last: only })
        };
        let is_right = |r: &Self| r.first.is_ipv4() == r.last.is_ipv4() && r.first <= r.last;
        parsed.filter(is_right).ok_or_else(|| ParseRangeError(text.to_owned()))
    }
}

impl fmt::Display for ClientRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix() {
            _ if self.first == self.last => write!(f, "{}", self.first),
            Some(length) => write!(f, "{}/{length}", self.first),
            None => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl FromStr for PortRange {
    type Err = ParseRangeError;

    /// `1024-2047`, `53`.
    fn from_str(text: &str) -> Result<Self, ParseRangeError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let parsed = number(first).zip(number(last)).filter(|(first, last)| first <= last);
        parsed
            .map(|(first, last)| Self { first, last })
            .ok_or_else(|| ParseRangeError(text.to_owned()))
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "{}", self.first);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for TimeRange {
    type Err = ParseRangeError;

    /// `08:00-18:00`, `22:30:15-06:00`; `24:00` ends a day.
    fn from_str(text: &str) -> Result<Self, ParseRangeError> {
        let parsed = text.split_once('-').and_then(|(start, end)| {
            let (start, end) = (seconds(start)?, seconds(end)?);
            (start < DAY && start != end).then_some(Self { start, end })
        });
        parsed.ok_or_else(|| ParseRangeError(text.to_owned()))
    }
}

impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (second, separator) in [(self.start, "-"), (self.end, "")] {
            write!(f, "{:02}:{:02}", second / 3600, second / 60 % 60)?;
            if second % 60 != 0 {
                write!(f, ":{:02}", second % 60)?;
            }
            f.write_str(separator)?;
        }
        Ok(())
    }
}

/// `HH:MM` or `HH:MM:SS` in seconds, up to 24:00.
fn seconds(text: &str) -> Option<u32> {
    let mut parts = text.trim().split(':').map(|part| number(part).filter(|_| part.len() == 2));
    let (hours, minutes): (u32, u32) = (parts.next()??, parts.next()??);
    let seconds = parts.next().unwrap_or(Some(0))?;
    let whole = hours * 3600 + minutes * 60 + seconds;
    (minutes < 60 && seconds < 60 && whole <= DAY && parts.next().is_none()).then_some(whole)
}

impl FromStr for Tos {
    type Err = ParseRangeError;

    /// `0xb8/0xfc`, value and mask; `0xb8`: all bits count.
    fn from_str(text: &str) -> Result<Self, ParseRangeError> {
        let byte = |text: &str| match text.trim().strip_prefix("0x") {
            Some(hex) if !hex.starts_with('+') => u8::from_str_radix(hex, 16).ok(),
            Some(_) => None,
            None => number(text),
        };
        let (value, mask) = text.split_once('/').unwrap_or((text, "0xff"));
        // Bits outside the mask could never match.
        let parsed =
            byte(value).zip(byte(mask)).filter(|(value, mask)| value & !mask == 0 && *mask != 0);
        parsed
            .map(|(value, mask)| Self { value, mask })
            .ok_or_else(|| ParseRangeError(text.to_owned()))
    }
}

impl fmt::Display for Tos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}/{:#04x}", self.value, self.mask)
    }
}

/// A number in digits, without a sign.
fn number<T: FromStr>(text: &str) -> Option<T> {
    let text = text.trim();
    text.starts_with(|c: char| c.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

as_text!(ClientRange, PortRange, TimeRange, Tos);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads<T: FromStr + fmt::Display + fmt::Debug>(texts: &[(&str, &str)]) {
        for (text, want) in texts {
            let read = text.parse::<T>().ok().map(|range| range.to_string());
            assert_eq!(read.as_deref().unwrap_or("no"), *want, "{text}");
        }
    }

    #[test]
    fn ranges_are_read_as_people_write_them() {
        reads::<ClientRange>(&[
            ("198.51.100.7", "198.51.100.7"),
            ("198.51.100.7/32", "198.51.100.7"),
            ("198.51.100.0/24", "198.51.100.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:db8::/33", "2001:db8::/33"),
            ("198.51.100.0-198.51.100.255", "198.51.100.0/24"),
            ("198.51.100.9 - 198.51.100.20", "198.51.100.9-198.51.100.20"),
            ("2001:db8::1-2001:db8::ffff", "2001:db8::1-2001:db8::ffff"),
            ("198.51.100.7/24", "no"),
            ("198.51.100.0/33", "no"),
            ("198.51.100.0/", "no"),
            ("198.51.100.0/+8", "no"),
            ("198.51.100.20-198.51.100.9", "no"),
            ("198.51.100.20-::1", "no"),
            ("office", "no"),
        ]);
        reads::<PortRange>(&[
            ("1024-2047", "1024-2047"),
            ("53", "53"),
            ("0-65535", "0-65535"),
            ("2047-1024", "no"),
            ("65536", "no"),
            ("-5", "no"),
        ]);
        reads::<TimeRange>(&[
            ("08:00-18:00", "08:00-18:00"),
            ("22:30:15-06:00:00", "22:30:15-06:00"),
            ("00:00-24:00", "00:00-24:00"),
            ("8:00-18:00", "no"),
            ("08:00-08:00", "no"),
            ("24:00-01:00", "no"),
            ("08:00-24:01", "no"),
            ("08:60-09:00", "no"),
            ("08:00", "no"),
        ]);
        reads::<Tos>(&[
            ("0xb8/0xfc", "0xb8/0xfc"),
            ("184", "0xb8/0xff"),
            ("0x00/0xe0", "0x00/0xe0"),
            ("0xb9/0xfc", "no"),
            ("0/0", "no"),
            ("0x100", "no"),
            ("EF", "no"),
        ]);
    }

    #[test]
    fn a_network_has_all_its_addresses() {
        for (text, last) in [
            ("198.51.100.0/22", "198.51.103.255"),
            ("0.0.0.0/0", "255.255.255.255"),
            ("2001:db8::/32", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("::1/128", "::1"),
        ] {
            assert_eq!(text.parse::<ClientRange>().unwrap().last.to_string(), last, "{text}");
        }
    }

    #[test]
    fn a_time_of_day_may_go_over_midnight() {
        let holds =
            |range: &str, at: &str| range.parse::<TimeRange>().unwrap().holds(seconds(at).unwrap());
        assert_eq!(holds("08:00-18:00", "08:00"), Some(false));
        assert_eq!(holds("08:00-18:00", "17:59:59"), Some(false));
        assert_eq!(holds("08:00-18:00", "18:00"), None);
        assert_eq!(holds("08:00-18:00", "07:59"), None);
        assert_eq!(holds("22:00-06:00", "23:00"), Some(false));
        assert_eq!(holds("22:00-06:00", "05:59"), Some(true));
        assert_eq!(holds("22:00-06:00", "06:00"), None);
        assert_eq!(holds("22:00-00:00", "23:59"), Some(false));
        assert_eq!(holds("22:00-00:00", "00:00"), None);
    }
}
