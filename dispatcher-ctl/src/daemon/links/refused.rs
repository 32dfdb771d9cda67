//! Redirects that a NIC refuses: which NIC, how many packets, why, and how to mend it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::nics::Nics;
use crate::{
    api::types::RefusedCount,
    daemon::clock,
    datapath::{Datapath, Refused, RefusedRedirects},
};

/// How long a NIC's note mentions the last refused packet.
const RECENT: Duration = Duration::from_secs(60);

/// What is known of refused redirects.
#[derive(Debug, Default)]
pub(super) struct RefusedPackets {
    watch: Option<RefusedRedirects>,
    /// Whether it was asked for already: it is not tried again if it fails.
    is_tried: bool,
    /// By ifindex that they came by, ifindex that refused them, and errno.
    seen: BTreeMap<(u32, u32, i32), Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    packets: u64,
    /// When there were last more.
    last: Instant,
}

impl RefusedPackets {
    /// Counts what NICs have refused, and logs when that begins.
    pub(super) fn count(&mut self, datapath: &Datapath, nics: &Nics) {
        self.begin(datapath, nics);
        let Some(watch) = &self.watch else { return };
        let ifindexes: Vec<u32> = nics.present().map(|link| link.ifindex).collect();
        let counts = watch.read(&ifindexes);
        for refused in self.add(counts, clock::now()) {
            let name = nics.name(refused.to).unwrap_or_default();
            tracing::warn!("{name}: refuses redirected packets: {}", mend(refused.errno));
        }
    }

    /// Begins to count once there are two NICs: with one, nothing is redirected.
    fn begin(&mut self, datapath: &Datapath, nics: &Nics) {
        if self.is_tried || nics.count() < 2 {
            return;
        }
        self.is_tried = true;
        match datapath.refused_redirects() {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => {
                tracing::info!("packets that a nic refuses are not counted: {error}");
            }
        }
    }

    /// Adds what was counted; yields what is new, or new after a pause.
    fn add(&mut self, counts: Vec<Refused>, now: Instant) -> Vec<Refused> {
        let mut news = Vec::new();
        for refused in counts {
            let key = (refused.from, refused.to, refused.errno);
            let before = self.seen.get(&key).copied();
            if before.is_some_and(|seen| seen.packets == refused.packets) {
                continue;
            }
            if before.is_none_or(|seen| now.duration_since(seen.last) > RECENT) {
                news.push(refused);
            }
            self.seen.insert(key, Seen { packets: refused.packets, last: now });
        }
        news
    }

    /// What a NIC has refused, by the names of the NICs by which it came.
    pub(super) fn of(
        &self,
        ifindex: u32,
        name: impl Fn(u32) -> Option<String>,
    ) -> Vec<RefusedCount> {
        let mut counts: Vec<RefusedCount> = Vec::new();
        for ((from, _, errno), seen) in self.seen.iter().filter(|((_, to, _), _)| *to == ifindex) {
            let (Some(from), cause) = (name(*from), cause(*errno)) else { continue };
            match counts.iter_mut().find(|c| c.from == from && c.cause == cause) {
                Some(count) => count.packets += seen.packets,
                None => {
                    counts.push(RefusedCount { from, cause: cause.into(), packets: seen.packets });
                }
            }
        }
        counts
    }

    /// What an operator should know of a NIC that has refused packets lately.
    pub(super) fn note(&self, ifindex: u32) -> Option<String> {
        self.note_at(ifindex, clock::now())
    }

    fn note_at(&self, ifindex: u32, now: Instant) -> Option<String> {
        let recent = self
            .seen
            .iter()
            .filter(|((_, to, _), seen)| *to == ifindex && now.duration_since(seen.last) <= RECENT);
        let ((_, _, errno), _) = recent.max_by_key(|(_, seen)| seen.packets)?;
        Some(format!("refuses redirected packets: {}", mend(*errno)))
    }
}

/// The label of a cause.
const fn cause(errno: i32) -> &'static str {
    match errno {
        0 | libc::ENOSPC | libc::EBUSY => "full",
        libc::EOPNOTSUPP => "unsupported",
        libc::ENXIO => "no_receiver",
        libc::ENETDOWN => "down",
        libc::EMSGSIZE => "too_big",
        _ => "other",
    }
}

/// What is wrong, and what mends it.
fn mend(errno: i32) -> String {
    match cause(errno) {
        "full" => "its queue is full".to_owned(),
        "unsupported" => {
            "its driver sends no redirected packets (xdp feature ndo-xmit); of a veth, \
                          the other end needs an XDP program or `ethtool -K DEV gro on`"
                .to_owned()
        }
        "no_receiver" => {
            "the other end of the veth does not receive them: it needs an XDP program \
                          or `ethtool -K DEV gro on`"
                .to_owned()
        }
        "down" => "its link is down".to_owned(),
        "too_big" => "they are larger than its mtu".to_owned(),
        _ => format!("{}", std::io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_until_it_has_been_quiet() {
        let mut packets = RefusedPackets::default();
        let refused = |packets| Refused { from: 2, to: 3, errno: libc::ENXIO, packets };
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(packets.add(vec![refused(1)], at(0)), [refused(1)]);
        assert!(packets.add(vec![refused(5)], at(1)).is_empty(), "it goes on");
        assert!(packets.add(vec![refused(5)], at(90)).is_empty(), "nothing new");
        let note = packets.note_at(3, at(2)).unwrap();
        assert!(
            note.starts_with("refuses redirected packets: the other end of the veth"),
            "{note}"
        );
        assert_eq!((packets.note_at(3, at(90)), packets.note_at(2, at(2))), (None, None));
        assert_eq!(packets.add(vec![refused(6)], at(91)), [refused(6)], "again");
        let name = |ifindex: u32| Some(format!("eth{ifindex}"));
        let expected =
            RefusedCount { from: "eth2".into(), cause: "no_receiver".into(), packets: 6 };
        assert_eq!(packets.of(3, name), [expected]);
        assert!(packets.of(2, name).is_empty());
    }
}
