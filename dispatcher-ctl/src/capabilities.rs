//! The capabilities that this process lacks. They are checked before anything is done, because the kernel's later errors do not name
//! them.

use std::fs;

/// A capability, by the kernel's number (include/uapi/linux/capability.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Capability {
    /// Programs and maps.
    Bpf = 39,
    /// NICs, addresses, XDP.
    NetAdmin = 12,
    /// Packet and raw sockets.
    NetRaw = 13,
    /// Programs that handle packets by pointers.
    Perfmon = 38,
    /// Namespaces and mounts; includes `CAP_BPF` and `CAP_PERFMON`.
    SysAdmin = 21,
}

impl Capability {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bpf => "CAP_BPF",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetRaw => "CAP_NET_RAW",
            Self::Perfmon => "CAP_PERFMON",
            Self::SysAdmin => "CAP_SYS_ADMIN",
        }
    }

    /// Whether it is in a set, as the kernel shows sets.
    const fn is_in(self, set: u64) -> bool {
        let own = set & 1 << self as u32 != 0;
        let by_admin = matches!(self, Self::Bpf | Self::Perfmon);
        own || (by_admin && set & 1 << Self::SysAdmin as u32 != 0)
    }
}

/// A capability, and what it is needed for.
pub type Need = (Capability, &'static str);

/// Capabilities that are needed and missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What is missing, and what for.
    pub error: String,
    /// How to get it.
    pub hint: String,
}

/// Which of these capabilities this process lacks; none if it has all, or if the kernel does not say.
#[must_use]
pub fn missing(needs: &[Need]) -> Option<Missing> {
    let held = effective()?;
    if is_confined(&fs::read_to_string("/proc/self/uid_map").unwrap_or_default()) {
        let lost = [Capability::Bpf, Capability::Perfmon, Capability::SysAdmin];
        let held = lost.iter().fold(held, |held, capability| held & !(1 << *capability as u32));
        const HINT: &str = "this is root of a user namespace (a rootless container), whose capabilities do not count for BPF: \
                            run it outside, or in a privileged container";
        return missing_of(held, needs).map(|missing| Missing { hint: HINT.to_owned(), ..missing });
    }
    missing_of(held, needs)
}

/// Whether a process with this map of users is in a user namespace other than the first.
fn is_confined(uid_map: &str) -> bool {
    let ranges: Vec<_> = uid_map.split_whitespace().collect();
    !ranges.is_empty() && ranges != ["0", "0", "4294967295"]
}

/// The effective capabilities of this process.
fn effective() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

fn missing_of(held: u64, needs: &[Need]) -> Option<Missing> {
    let missing: Vec<_> = needs.iter().filter(|(capability, _)| !capability.is_in(held)).collect();
    let names: Vec<_> = missing.iter().map(|(capability, _)| capability.name()).collect();
    let error = match missing.as_slice() {
        [] => return None,
        [(capability, what)] => {
            format!("capability {} is missing: it is needed to {what}", capability.name())
        }
        several => {
            let whats: Vec<_> =
                several.iter().map(|(c, what)| format!("{} to {what}", c.name())).collect();
            format!("capabilities are missing: {}", whats.join(", "))
        }
    };
    let (all, lower) = (names.join(" "), names.join(",").to_lowercase());
    let program = std::env::current_exe();
    let program =
        program.map_or_else(|_| "dispatcher".to_owned(), |path| path.display().to_string());
    let hint = format!(
        "run it as root with {all} in its bounding set (systemd: CapabilityBoundingSet), or grant it: \
         AmbientCapabilities={all} in the systemd unit, or setcap {lower}+ep {program}"
    );
    Some(Missing { error, hint })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: [Need; 3] = [
        (Capability::Bpf, "load the datapath"),
        (Capability::NetAdmin, "attach it"),
        (Capability::Perfmon, "have it accepted"),
    ];

    #[test]
    fn only_a_part_of_all_users_is_another_namespace() {
        assert!(!is_confined("         0          0 4294967295\n") && !is_confined(""));
        assert!(is_confined("         0       1000          1\n"));
    }

    #[test]
    fn what_is_missing_is_named_with_what_it_is_for() {
        let net_admin = 1 << 12;
        assert_eq!(missing_of(u64::MAX, &NEEDS), None);
        assert_eq!(missing_of(net_admin | 1 << 21, &NEEDS), None, "CAP_SYS_ADMIN holds the others");
        let one = missing_of(net_admin | 1 << 38, &NEEDS).unwrap();
        assert_eq!(one.error, "capability CAP_BPF is missing: it is needed to load the datapath");
        assert!(one.hint.contains("AmbientCapabilities=CAP_BPF in"), "{}", one.hint);
        let all = missing_of(0, &NEEDS).unwrap();
        assert_eq!(
            all.error,
            "capabilities are missing: CAP_BPF to load the datapath, CAP_NET_ADMIN to attach it, \
             CAP_PERFMON to have it accepted"
        );
        assert!(all.hint.contains("setcap cap_bpf,cap_net_admin,cap_perfmon+ep "), "{}", all.hint);
    }
}
