//! The words by which a configuration names its choices (`tcp`, `wrr`, `drop`), in one place for reader and writer.

use std::fmt;

use super::{
    AdvisorKind, Day, Evaluate, ForwardMode, Method, OnDown, Orphan, Protocol, QueryType, Rcode,
    Scheduler, Share, Target, XdpMode,
};

/// A setting that is one of a few words.
pub trait Choice: Copy + PartialEq + 'static {
    /// Every value, in the order in which they are offered.
    const ALL: &'static [Self];

    /// The word in configuration, API and metrics.
    fn word(self) -> &'static str;

    /// The value of a word, if it is one.
    #[must_use]
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.word() == word)
    }

    /// All words, as an expectation is phrased: `a`, `a or b`, `a, b or c`.
    #[must_use]
    fn words() -> String {
        let words: Vec<_> = Self::ALL.iter().map(|value| value.word()).collect();
        match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            Some((only, _)) => (*only).to_owned(),
            None => String::new(),
        }
    }
}

macro_rules! choice {
    ($name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl Choice for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.word())
            }
        }
    };
}

choice!(XdpMode { Native = "native", Generic = "generic" });
choice!(Orphan { Drop = "drop", Schedule = "schedule", Reset = "reset", Pass = "pass" });
choice!(Protocol { Tcp = "tcp", Udp = "udp" });
choice!(Scheduler {
    Rr = "rr",
    Wrr = "wrr",
    Lc = "lc",
    Wlc = "wlc",
    Rtt = "rtt",
    Xmitbyte = "xmitbyte",
    Maglev = "maglev",
    Sh = "sh",
});
choice!(ForwardMode { Mac = "mac" });
choice!(AdvisorKind {
    Connect = "connect",
    Http = "http",
    Https = "https",
    Tls = "tls",
    Dns = "dns",
    Smtp = "smtp",
    Imap = "imap",
    Pop3 = "pop3",
    Ftp = "ftp",
    Ldap = "ldap",
    Nntp = "nntp",
    Sip = "sip",
    Ping = "ping",
    Udp = "udp",
    Exec = "exec",
    Agent = "agent",
});
choice!(Method { Get = "GET", Head = "HEAD", Options = "OPTIONS" });
choice!(QueryType {
    A = "a",
    Aaaa = "aaaa",
    Cname = "cname",
    Mx = "mx",
    Ns = "ns",
    Ptr = "ptr",
    Soa = "soa",
    Srv = "srv",
    Txt = "txt",
});
choice!(Rcode {
    Noerror = "noerror",
    Formerr = "formerr",
    Servfail = "servfail",
    Nxdomain = "nxdomain",
    Notimp = "notimp",
    Refused = "refused",
});
choice!(Target { Vip = "vip", Address = "address" });
choice!(OnDown { Keep = "keep", Drop = "drop", Reset = "reset" });
choice!(Evaluate { Service = "service", Rule = "rule" });
choice!(Share { All = "all", Vip = "vip" });
choice!(Day {
    Mon = "mon",
    Tue = "tue",
    Wed = "wed",
    Thu = "thu",
    Fri = "fri",
    Sat = "sat",
    Sun = "sun",
});

#[cfg(test)]
mod tests {
    use super::*;

    fn words_agree_with_serde<T: Choice + serde::Serialize>() {
        for value in T::ALL {
            assert_eq!(serde_json::to_value(value).unwrap(), value.word());
            assert!(T::from_word(value.word()) == Some(*value));
        }
    }

    #[test]
    fn words_are_those_of_serialisation() {
        words_agree_with_serde::<XdpMode>();
        words_agree_with_serde::<Orphan>();
        words_agree_with_serde::<Protocol>();
        words_agree_with_serde::<Scheduler>();
        words_agree_with_serde::<ForwardMode>();
        words_agree_with_serde::<OnDown>();
        words_agree_with_serde::<Evaluate>();
        words_agree_with_serde::<Share>();
        words_agree_with_serde::<Day>();
        words_agree_with_serde::<AdvisorKind>();
        words_agree_with_serde::<Target>();
        words_agree_with_serde::<Method>();
        words_agree_with_serde::<QueryType>();
        words_agree_with_serde::<Rcode>();
    }

    #[test]
    fn words_are_listed_as_people_list_them() {
        assert_eq!(ForwardMode::words(), "mac");
        assert_eq!(Scheduler::words(), "rr, wrr, lc, wlc, rtt, xmitbyte, maglev or sh");
        assert_eq!(Orphan::words(), "drop, schedule, reset or pass");
    }
}
