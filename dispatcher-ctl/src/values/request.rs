//! Requests of probes and their expected answers: statuses, codes, bytes.

use std::fmt;

use super::{as_text::as_text, choice};

choice! {
    /// A request's method (`http`, `https`).
    #[derive(Default)]
    pub enum Method {
        /// The resource.
        #[default]
        Get = "GET",
        /// Only its headers: the answer has no body.
        Head = "HEAD",
        /// What may be done with it.
        Options = "OPTIONS",
    }
}

choice! {
    /// What is asked of a name (`dns`).
    #[derive(Default)]
    pub enum QueryType {
        /// IPv4 addresses.
        #[default]
        A = "a",
        /// IPv6 addresses.
        Aaaa = "aaaa",
        /// Another name.
        Cname = "cname",
        /// Mail servers.
        Mx = "mx",
        /// Name servers.
        Ns = "ns",
        /// A name of an address.
        Ptr = "ptr",
        /// The zone's start of authority.
        Soa = "soa",
        /// Servers of a service.
        Srv = "srv",
        /// Texts.
        Txt = "txt",
    }
}

impl QueryType {
    /// Its number (RFC 1035, RFC 2782, RFC 3596).
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Ns => 2,
            Self::Cname => 5,
            Self::Soa => 6,
            Self::Ptr => 12,
            Self::Mx => 15,
            Self::Txt => 16,
            Self::Aaaa => 28,
            Self::Srv => 33,
        }
    }
}

choice! {
    /// The result that a name server reports (`dns`); in the order of their numbers (RFC 1035).
    #[derive(Default)]
    pub enum Rcode {
        /// The name is there.
        #[default]
        Noerror = "noerror",
        /// The query is not understood.
        Formerr = "formerr",
        /// The server has a problem.
        Servfail = "servfail",
        /// There is no such name.
        Nxdomain = "nxdomain",
        /// The server does not do that.
        Notimp = "notimp",
        /// The server does not do that for this client.
        Refused = "refused",
    }
}

/// Bytes, written in hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Hex(pub Vec<u8>);

impl Hex {
    /// What a configuration may say.
    pub const EXPECTED: &'static str = "bytes in hexadecimal digits such as \"0001ff\"";
}

impl std::str::FromStr for Hex {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits: Option<Vec<u8>> = text
            .chars()
            .filter(|c| *c != ' ')
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        let bytes = |digits: Vec<u8>| {
            let pairs = digits.chunks_exact(2);
            pairs.remainder().is_empty().then(|| pairs.map(|d| d[0] << 4 | d[1]).collect())
        };
        let bytes = digits.and_then(bytes);
        bytes.map(Self).ok_or_else(|| format!("{text:?} is not {}", Self::EXPECTED))
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A set of HTTP or SIP statuses, as ranges: `200-399`, `200,204,301-302`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Statuses(pub Vec<(u16, u16)>);

impl Statuses {
    /// What a configuration may say.
    pub const EXPECTED: &'static str =
        "statuses from 100 to 599 such as \"200-399\" or \"200,204\"";

    /// Whether it contains a status.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

impl std::str::FromStr for Statuses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (100 <= first && first <= last && last <= 599).then_some((first, last))
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        ranges.map(Self).ok_or_else(|| format!("{text:?} is no set of {}", Self::EXPECTED))
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

as_text!(Hex, Statuses);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_as_they_are_written() {
        for text in ["200-399", "200,204,301-302", "599"] {
            assert_eq!(text.parse::<Statuses>().unwrap().to_string(), text);
        }
        let statuses: Statuses = "200,301-302".parse().unwrap();
        let held = [199, 200, 201, 300, 301, 302, 303].map(|status| statuses.contains(status));
        assert_eq!(held, [false, true, false, false, true, true, false]);
        for wrong in ["", "20", "200-", "399-200", "600", "2xx", "200;204"] {
            assert!(wrong.parse::<Statuses>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_are_read_as_they_are_written() {
        for (text, bytes) in [("", &[][..]), ("00ff0a", &[0, 255, 10]), ("dead", &[0xde, 0xad])] {
            let hex: Hex = text.parse().unwrap();
            assert_eq!((hex.0.as_slice(), hex.to_string().as_str()), (bytes, text));
        }
        assert_eq!("00 FF 0a".parse::<Hex>().unwrap().to_string(), "00ff0a");
        for wrong in ["0", "0x", "zz", "00f"] {
            assert!(wrong.parse::<Hex>().is_err(), "{wrong}");
        }
    }
}
