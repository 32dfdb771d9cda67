//! Checks single values.

use std::net::{IpAddr, Ipv4Addr};

use crate::{
    model::Mac,
    settings::show::{LONGEST_NAME, is_name, quoted},
};

/// Longest name of a NIC: IFNAMSIZ − 1. Alternative names may be longer (ALTIFNAMSIZ), but a longer name is usually a mistake.
pub(super) const LONGEST_INTERFACE: usize = 15;

/// Checks a weight.
///
/// # Errors
/// The message if it is above the bound.
pub fn weight(weight: u32, weight_bound: u32) -> Result<(), String> {
    if weight <= weight_bound {
        return Ok(());
    }
    Err(format!(
        "weight {weight} is above weight_bound {weight_bound}, expected 0..={weight_bound}"
    ))
}

pub(super) fn name(name: &str) -> Result<(), String> {
    if is_name(name) {
        return Ok(());
    }
    let but = if matches!(name, "." | "..") { ", but not \".\" or \"..\"" } else { "" };
    Err(format!(
        "name {} is not valid, expected 1 to {LONGEST_NAME} of A-Z a-z 0-9 '_' '.' '-'{but}",
        quoted(name)
    ))
}

pub(super) fn is_interface(name: &str) -> bool {
    let is_part = |c: char| c != '/' && c != ':' && !c.is_whitespace() && !c.is_control();
    (1..=LONGEST_INTERFACE).contains(&name.len())
        && name.chars().all(is_part)
        && !matches!(name, "." | "..")
}

pub(super) fn vip(vip: IpAddr) -> Result<(), String> {
    // 0.0.0.0 and :: mean any address.
    unicast_address("vip", vip)?;
    if vip.is_loopback() {
        return Err(format!("vip {vip} is a loopback address, expected one that clients reach"));
    }
    Ok(())
}

pub(super) fn address(address: IpAddr, local: bool) -> Result<(), String> {
    if address.is_unspecified() {
        return Err(format!("address {address} is unspecified, expected the backend's own"));
    }
    unicast_address("address", address)?;
    if address.is_loopback() && !local {
        return Err(format!(
            "address {address} is a loopback address, expected one on a NIC's link"
        ));
    }
    Ok(())
}

fn unicast_address(key: &str, address: IpAddr) -> Result<(), String> {
    if address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(format!("{key} {address} is a multicast address, expected a unicast one"));
    }
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        return Err(format!("{key} {address} is an IPv4-mapped IPv6 address, expected {v4}"));
    }
    Ok(())
}

pub(super) fn unicast(mac: Mac) -> Result<(), String> {
    if mac.is_unicast() {
        return Ok(());
    }
    let kind = if mac.0 == [0; 6] { "all zero" } else { "multicast" };
    Err(format!("mac {mac} is {kind}, expected a unicast one"))
}
