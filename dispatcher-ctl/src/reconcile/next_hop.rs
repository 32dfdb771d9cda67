//! The next hop to a backend: its MAC and its NIC, or why they are not known.

use std::net::IpAddr;

use crate::{
    model::{Backend, BackendConfig, Mac},
    network::Resolution,
};

/// An attached NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Its number in the datapath.
    pub index: u8,
    /// Its name.
    pub name: String,
    /// The kernel's index.
    pub ifindex: u32,
    /// Its own MAC.
    pub mac: Mac,
    /// Its MTU in bytes of L3; 0 if unknown.
    pub mtu: u32,
}

/// Where packets for a backend are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop<'n> {
    /// The backend's MAC.
    pub mac: Mac,
    /// The NIC that leads to it.
    pub nic: &'n Nic,
}

/// The next hop to a backend that is not on this host. A configured MAC wins over a resolved one, but only resolution knows the NIC;
/// if it does not, the only attached NIC is taken.
///
/// # Errors
/// Why it is not known.
pub fn next_hop<'n>(
    backend: &BackendConfig,
    nics: &'n [Nic],
    resolve: &dyn Fn(IpAddr) -> Resolution,
) -> Result<NextHop<'n>, String> {
    let address = backend.address;
    let (mac, nic) = match (resolve(address), backend.mac) {
        (Resolution::Resolved { ifindex, mac }, configured) => {
            let nic = nics.iter().find(|nic| nic.ifindex == ifindex);
            let nic = nic.ok_or_else(|| {
                format!("{address} is behind a NIC that is not attached (ifindex {ifindex})")
            })?;
            (configured.unwrap_or(mac), nic)
        }
        (Resolution::Unresolved(_), Some(mac)) => (mac, only(nics, address)?),
        (Resolution::Unresolved(why), None) => return Err(why),
    };
    if !mac.is_unicast() {
        return Err(format!("{mac} is not a unicast address"));
    }
    if let Some(own) = nics.iter().find(|nic| nic.mac == mac) {
        return Err(format!("{mac} is this host's own ({}); local = true?", own.name));
    }
    Ok(NextHop { mac, nic })
}

/// All reasons why a backend gets no new connections; `None` if it gets them. `advised`: what is wrong according to advisors, if
/// they have taken it down.
#[must_use]
pub fn idle_reason(
    backend: &Backend,
    advised: Option<&str>,
    nics: &[Nic],
    resolve: &dyn Fn(IpAddr) -> Resolution,
) -> Option<String> {
    let mut reasons: Vec<_> = down_reason(backend, advised, nics, resolve).into_iter().collect();
    if backend.quiesced {
        let how = if backend.quiesced_now { "quiesced, clients moved" } else { "quiesced" };
        reasons.push(how.to_owned());
    }
    if backend.config.weight == 0 {
        reasons.push("weight 0".to_owned());
    }
    if backend.config.sorry {
        reasons.push("sorry: stands by until no other backend is up".to_owned());
    }
    if reasons.is_empty() { None } else { Some(reasons.join("; ")) }
}

/// All reasons why a backend is down, in addition to `advised`; `None` if it is up (it may be quiesced).
#[must_use]
pub fn down_reason(
    backend: &Backend,
    advised: Option<&str>,
    nics: &[Nic],
    resolve: &dyn Fn(IpAddr) -> Resolution,
) -> Option<String> {
    let mut reasons = Vec::new();
    if !backend.config.local
        && let Err(why) = next_hop(&backend.config, nics, resolve)
    {
        reasons.push(format!("no mac: {why}"));
    }
    if backend.down {
        reasons.push("down by hand".to_owned());
    }
    if let Some(why) = advised {
        reasons.push(format!("down: {why}"));
    }
    if reasons.is_empty() { None } else { Some(reasons.join("; ")) }
}

/// The NIC, if there is only one.
fn only(nics: &[Nic], address: IpAddr) -> Result<&Nic, String> {
    match nics {
        [nic] => Ok(nic),
        [] => Err("no NIC is attached".to_owned()),
        _ => Err(format!("it is unknown which of the attached NICs leads to {address}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::testing::{backend, nic};

    const ETH0: u32 = 2;

    fn resolved(ifindex: u32, mac: &str) -> Resolution {
        Resolution::Resolved { ifindex, mac: mac.parse().unwrap() }
    }

    fn unresolved() -> Resolution {
        Resolution::Unresolved("10.0.0.1 does not answer".to_owned())
    }

    #[track_caller]
    fn check(config: &BackendConfig, nics: &[Nic], found: Resolution, want: Result<&str, &str>) {
        let got = next_hop(config, nics, &|_| found.clone());
        let got = got.map(|NextHop { mac, nic }| format!("{mac} {}", nic.name));
        assert_eq!(got.as_deref().map_err(String::as_str), want);
    }

    #[test]
    fn a_next_hop_needs_a_mac_and_an_attached_nic() {
        let nics = [nic(0, "eth0", ETH0), nic(1, "eth1", 3)];
        let plain = backend("b", "10.0.0.1").config;
        let fixed =
            BackendConfig { mac: Some("02:00:00:00:00:99".parse().unwrap()), ..plain.clone() };
        let here = resolved(ETH0, "02:00:00:00:00:01");
        check(&plain, &nics, here, Ok("02:00:00:00:00:01 eth0"));
        check(&plain, &nics, unresolved(), Err("10.0.0.1 does not answer"));
        check(
            &plain,
            &nics,
            resolved(7, "02:00:00:00:00:01"),
            Err("10.0.0.1 is behind a NIC that is not attached (ifindex 7)"),
        );
        // A configured MAC wins, at the NIC that resolution knows.
        check(&fixed, &nics, resolved(3, "02:00:00:00:00:01"), Ok("02:00:00:00:00:99 eth1"));
        check(&fixed, &nics[..1], unresolved(), Ok("02:00:00:00:00:99 eth0"));
        check(&fixed, &[], unresolved(), Err("no NIC is attached"));
        check(
            &fixed,
            &nics,
            unresolved(),
            Err("it is unknown which of the attached NICs leads to 10.0.0.1"),
        );
    }

    #[test]
    fn our_own_and_multicast_macs_are_no_next_hop() {
        let nics = [nic(0, "eth0", ETH0), nic(1, "eth1", 3)];
        let plain = backend("b", "10.0.0.1").config;
        let own = format!("{}", nics[1].mac);
        let want = format!("{own} is this host's own (eth1); local = true?");
        check(&plain, &nics, resolved(ETH0, &own), Err(&want));
        check(
            &plain,
            &nics,
            resolved(ETH0, "03:00:00:00:00:01"),
            Err("03:00:00:00:00:01 is not a unicast address"),
        );
        check(
            &plain,
            &nics,
            resolved(ETH0, "00:00:00:00:00:00"),
            Err("00:00:00:00:00:00 is not a unicast address"),
        );
    }

    #[test]
    fn every_reason_is_said() {
        let nics = [nic(0, "eth0", ETH0)];
        let mut backend = backend("b", "10.0.0.1");
        let reason =
            |b: &Backend, found: Resolution| idle_reason(b, None, &nics, &|_| found.clone());
        assert_eq!(reason(&backend, resolved(ETH0, "02:00:00:00:00:01")), None);
        assert_eq!(reason(&backend, unresolved()).unwrap(), "no mac: 10.0.0.1 does not answer");
        (backend.down, backend.quiesced, backend.config.weight) = (true, true, 0);
        assert_eq!(
            reason(&backend, unresolved()).unwrap(),
            "no mac: 10.0.0.1 does not answer; down by hand; quiesced; weight 0"
        );
        backend.config.local = true;
        assert_eq!(reason(&backend, unresolved()).unwrap(), "down by hand; quiesced; weight 0");
    }
}
