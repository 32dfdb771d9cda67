//! The host network against a real kernel: neighbours, VIPs and NICs in network namespaces.

#[path = "network_lab/mod.rs"]
mod lab;

use std::{collections::BTreeSet, net::IpAddr, process::Stdio, time::Duration};

use dispatcher_ctl::{
    model::Mac,
    network::{HeldAddress, Network, NetworkEvent, Resolution, VipAdded},
};
use lab::{Lab, becomes, event, mac, run};
use tokio::sync::mpsc::UnboundedReceiver;

const B4: &str = "10.7.0.11";
const B6: &str = "fd07::11";
const B_MAC: &str = "02:00:00:00:00:0b";
const LB_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

fn watch(network: &Network, lab: &Lab, addresses: &[&str]) {
    let addresses: BTreeSet<_> = addresses.iter().map(|a| a.parse().unwrap()).collect();
    network.watch(addresses, vec![(lab.ifindex(), "eth0".to_owned())]);
}

/// The host network, once each of these addresses is resolved or has failed.
async fn watching(lab: &Lab, addresses: &[&str]) -> (Network, UnboundedReceiver<NetworkEvent>) {
    let (network, events) = Network::start().await.unwrap();
    watch(&network, lab, addresses);
    assert!(network.settled(Duration::from_secs(2)).await);
    (network, events)
}

fn why(network: &Network, address: &str) -> String {
    match network.resolution(address.parse().unwrap()) {
        Resolution::Unresolved(why) => why,
        resolved @ Resolution::Resolved { .. } => panic!("{address} is {resolved:?}"),
    }
}

#[test]
fn backends_of_both_families_resolve_without_traffic_to_them() {
    let Some(lab) = Lab::possible() else { return };
    lab.run(|| async {
        let (network, mut events) = watching(&lab, &[B4, B6]).await;
        for address in [B4, B6] {
            let now = network.resolution(address.parse().unwrap());
            assert_eq!(mac(&now).as_deref(), Some(B_MAC), "{address}: {now:?}");
            event(&mut events, |e| {
                matches!(e, NetworkEvent::ResolutionChanged { to: Resolution::Resolved { .. }, .. })
            })
            .await;
        }
        // Only ARP and neighbour discovery reached the backend.
        let b = lab.ns("b");
        let statistics = run(&format!("ip netns exec {b} cat /proc/net/snmp"));
        let ip = statistics.lines().filter(|line| line.starts_with("Ip:")).nth(1).unwrap();
        assert_eq!(ip.split(' ').nth(3), Some("0"), "IPv4 packets received: {ip}");
        watch(&network, &lab, &[B4]);
        assert!(network.settled(Duration::from_secs(1)).await);
        assert!(why(&network, B6).contains("not looked up"));
    });
}

#[test]
fn a_changed_mac_is_followed_without_an_announcement() {
    let Some(lab) = Lab::possible() else { return };
    lab.run(|| async {
        let (network, _events) = watching(&lab, &[B4, B6]).await;
        lab.ip("b", "link set eth0 address 02:00:00:00:00:99");
        for address in [B4, B6] {
            let took = becomes(&network, address, Some("02:00:00:00:00:99"), 12).await;
            println!("{address}: new mac after {took:?}");
        }
    });
}

#[test]
fn a_neighbour_that_leaves_fails_and_comes_back() {
    let Some(lab) = Lab::possible() else { return };
    lab.run(|| async {
        let (network, mut events) = watching(&lab, &[B4, B6]).await;
        lab.ip("b", "link set eth0 down");
        for address in [B4, B6] {
            let took = becomes(&network, address, None, 12).await;
            println!("{address}: given up after {took:?}");
            assert!(why(&network, address).ends_with("does not answer on eth0"));
            event(&mut events, |e| {
                matches!(e, NetworkEvent::ResolutionChanged { to: Resolution::Unresolved(_), .. })
            })
            .await;
        }
        lab.ip("b", "link set eth0 up");
        lab.ip("b", "addr replace fd07::11/64 dev eth0 nodad");
        for address in [B4, B6] {
            let took = becomes(&network, address, Some(B_MAC), 5).await;
            println!("{address}: back after {took:?}");
        }
    });
}

#[test]
fn a_flush_of_the_neighbour_table_loses_nothing() {
    let Some(lab) = Lab::possible() else { return };
    lab.run(|| async {
        let (_network, mut events) = watching(&lab, &[B4, B6]).await;
        while events.try_recv().is_ok() {}
        for pause in [300, 300, 50, 20, 10, 5, 2, 1, 1, 1, 300] {
            lab.ip("lb", "neigh flush all");
            lab.ip("lb", "-6 neigh flush all");
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        assert_eq!(events.try_recv().ok(), None, "no resolution may have changed");
        assert!(lab.ip("lb", "neigh show").contains(B_MAC), "the kernel has resolved anew");
    });
}

#[test]
fn a_deleted_neighbour_that_does_not_come_back_lapses() {
    let Some(lab) = Lab::possible() else { return };
    lab.run(|| async {
        let (network, _events) = watching(&lab, &[B4]).await;
        lab.ip("b", "link set eth0 down");
        lab.ip("lb", "neigh flush all");
        assert!(mac(&network.resolution(B4.parse().unwrap())).is_some());
        let took = becomes(&network, B4, None, 5).await;
        println!("lapsed after {took:?}");
    });
}

#[test]
fn addresses_elsewhere_and_bad_macs_are_unresolved_and_say_why() {
    let Some(lab) = Lab::possible() else { return };
    lab.ip("lb", "route add 203.0.113.0/24 via 10.7.0.254");
    lab.ip("lb", "neigh add 10.7.0.66 lladdr 01:00:5e:00:00:01 nud permanent dev eth0");
    lab.run(|| async {
        let (network, _events) = Network::start().await.unwrap();
        let addresses = ["203.0.113.9", "198.51.100.1", "10.7.0.1", "127.0.0.9", "10.7.0.66"];
        watch(&network, &lab, &addresses);
        assert!(network.settled(Duration::from_secs(2)).await);
        for (address, want) in addresses.iter().zip([
            "203.0.113.9 is not on-link on an attached nic (route via 10.7.0.254)",
            "198.51.100.1 has no route",
            "10.7.0.1 is an address of this host (hint: local = true)",
            "127.0.0.9 is an address of this host (hint: local = true)",
            "10.7.0.66 has mac 01:00:5e:00:00:01 on eth0, which is not unicast",
        ]) {
            assert_eq!(why(&network, address), want);
        }
        network.watch(BTreeSet::from([B4.parse().unwrap()]), vec![]);
        assert!(network.settled(Duration::from_secs(2)).await);
        assert_eq!(
            why(&network, B4),
            "10.7.0.11 is not on-link on an attached nic (it is on eth0)"
        );
        // A route that appears later is used.
        watch(&network, &lab, &[B4, "10.8.0.11"]);
        assert!(network.settled(Duration::from_secs(2)).await);
        assert!(why(&network, "10.8.0.11").contains("no route"));
        lab.ip("b", "addr add 10.8.0.11/24 dev eth0");
        lab.ip("lb", "addr add 10.8.0.1/24 dev eth0");
        becomes(&network, "10.8.0.11", Some(B_MAC), 3).await;
    });
}

#[test]
fn vips_come_and_go_as_often_as_asked_and_answer_pings() {
    let Some(lab) = Lab::possible() else { return };
    lab.run(|| async {
        let (network, _events) = Network::start().await.unwrap();
        let ifindex = lab.ifindex();
        for (vip, source) in [("10.7.0.80", "10.7.0.11"), ("fd07::80", "fd07::11")] {
            let address = vip.parse().unwrap();
            assert_eq!(network.add_vip(ifindex, address).await.unwrap(), VipAdded::Added);
            assert_eq!(network.add_vip(ifindex, address).await.unwrap(), VipAdded::AlreadyThere);
            let b = lab.ns("b");
            // The bridge may take a second to see that its port is up: the first answer counts.
            run(&format!("ip netns exec {b} ping -c 1 -i 0.2 -w 10 -I {source} {vip}"));
            network.remove_vip(ifindex, address).await.unwrap();
            network.remove_vip(ifindex, address).await.unwrap();
            assert!(!lab.ip("lb", "addr show eth0").contains(vip));
        }
        assert!(!lab.ip("lb", "route show table all").contains("10.7.0.80"));
        // An address that was there before, with another prefix, is not ours.
        lab.ip("lb", "addr add 10.7.0.81/24 dev eth0");
        let there = network.add_vip(ifindex, "10.7.0.81".parse().unwrap()).await.unwrap();
        assert_eq!(there, VipAdded::AlreadyThere);
        network.remove_vip(ifindex, "10.7.0.81".parse().unwrap()).await.unwrap();
        assert!(lab.ip("lb", "addr show eth0").contains("10.7.0.81"), "only a /32 is taken away");
        let refused = network.add_vip(9999, "10.7.0.82".parse().unwrap()).await.unwrap_err();
        assert!(refused.to_string().contains("add vip 10.7.0.82 on ifindex 9999"), "{refused}");
        network.remove_vip(9999, "10.7.0.82".parse().unwrap()).await.unwrap();
    });
}

#[test]
fn announcements_reach_the_neighbours_and_correct_their_tables() {
    let Some(lab) = Lab::possible() else { return };
    lab.ip("b", "neigh add 10.7.0.80 lladdr 02:00:00:00:00:77 nud stale dev eth0");
    lab.ip("b", "neigh add fd07::80 lladdr 02:00:00:00:00:77 nud stale dev eth0");
    // An ARP does not override an entry within a second of its last change.
    std::thread::sleep(Duration::from_millis(1200));
    let sniffer = std::process::Command::new("ip")
        .args(["netns", "exec", &lab.ns("b"), "timeout", "4", "tcpdump", "-lnei", "eth0"])
        .args(["--immediate-mode", "arp or icmp6[0] = 136"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(700));
    lab.run(|| async {
        let (network, _events) = Network::start().await.unwrap();
        let ifindex = lab.ifindex();
        network.announce(ifindex, LB_MAC, "10.7.0.80".parse().unwrap()).await.unwrap();
        network.announce(ifindex, LB_MAC, "fd07::80".parse().unwrap()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let table = lab.ip("b", "neigh show");
        for vip in ["10.7.0.80", "fd07::80"] {
            let line = table.lines().find(|l| l.starts_with(vip)).unwrap();
            assert!(line.contains(&LB_MAC.to_string()), "{line}");
        }
        // Removal ends the repetitions: the last, after two seconds, is not sent.
        tokio::time::sleep(Duration::from_secs(1)).await;
        network.remove_vip(ifindex, "10.7.0.80".parse().unwrap()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let absent = network.announce(9999, LB_MAC, "10.7.0.80".parse().unwrap()).await;
        assert!(absent.is_err());
    });
    let seen = sniffer.wait_with_output().unwrap().stdout;
    let seen = String::from_utf8_lossy(&seen);
    let count = |what: &str| seen.lines().filter(|line| line.contains(what)).count();
    assert_eq!(count("who-has 10.7.0.80"), 2, "{seen}");
    assert_eq!(count("10.7.0.80 is-at 02:00:00:00:00:01"), 2, "{seen}");
    assert_eq!(count("neighbor advertisement, tgt is fd07::80"), 3, "{seen}");
}

#[test]
fn a_nic_that_goes_and_comes_back_is_told() {
    let Some(lab) = Lab::possible() else { return };
    lab.run(|| async {
        let (network, mut events) = Network::start().await.unwrap();
        let before = lab.ifindex();
        let links = network.links().await.unwrap();
        let eth0 = links.iter().find(|l| l.name == "eth0").unwrap();
        assert_eq!((eth0.ifindex, eth0.mac, eth0.up, eth0.mtu), (before, LB_MAC, true, 1500));
        watch(&network, &lab, &[B4]);
        assert!(network.settled(Duration::from_secs(2)).await);

        lab.ip("sw", "link set port-lb down");
        becomes(&network, B4, None, 2).await;
        assert_eq!(why(&network, B4), "10.7.0.11 is on eth0, which is down");
        event(&mut events, |e| matches!(e, NetworkEvent::LinkChanged(l) if !l.up)).await;
        lab.ip("sw", "link set port-lb up");
        event(&mut events, |e| matches!(e, NetworkEvent::LinkChanged(l) if l.up)).await;
        becomes(&network, B4, Some(B_MAC), 5).await;

        lab.ip("lb", "link set eth0 address 02:00:00:00:00:55");
        let changed =
            |e: &NetworkEvent| matches!(e, NetworkEvent::LinkChanged(l) if l.mac != LB_MAC);
        event(&mut events, changed).await;

        lab.ip("lb", "link del eth0");
        let gone = |e: &NetworkEvent| {
            *e == NetworkEvent::LinkGone { name: "eth0".to_owned(), ifindex: before }
        };
        event(&mut events, gone).await;
        becomes(&network, B4, None, 2).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(why(&network, B4), "10.7.0.11 was on eth0, which is gone");

        lab.plug("lb", 1);
        let back = event(
            &mut events,
            |e| matches!(e, NetworkEvent::LinkChanged(l) if l.name == "eth0" && l.up),
        )
        .await;
        let NetworkEvent::LinkChanged(link) = back else { unreachable!() };
        assert_ne!(link.ifindex, before);
        watch(&network, &lab, &[B4]);
        becomes(&network, B4, Some(B_MAC), 5).await;
    });
}

#[test]
fn ten_thousand_backends_are_bounded_work() {
    let Some(lab) = Lab::possible() else { return };
    lab.ip("lb", "addr add 10.9.0.1/16 dev eth0");
    lab.run(|| async {
        let (network, _events) = Network::start().await.unwrap();
        let mut addresses: BTreeSet<IpAddr> =
            (0..10_000_u16).map(|i| IpAddr::from([10, 9, 1 + (i >> 8) as u8, i as u8])).collect();
        addresses.insert(B4.parse().unwrap());
        let cpu = || {
            let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
            Duration::from(nix::time::clock_gettime(clock).unwrap())
        };
        let before = cpu();
        network.watch(addresses, vec![(lab.ifindex(), "eth0".to_owned())]);
        let took = becomes(&network, B4, Some(B_MAC), 5).await;
        println!("the one that answers resolved after {took:?}");
        tokio::time::sleep(Duration::from_secs(10)).await;
        let used = cpu() - before;
        println!("cpu: {used:?} in {:?}", took + Duration::from_secs(10));
        assert!(used < Duration::from_secs(4), "{used:?}");
        // The reason depends on whether the kernel has reused the entry's place in the table.
        let why = why(&network, "10.9.1.1");
        let said = ["does not answer", "is being resolved", "neighbour table, which is full"];
        assert!(said.iter().any(|said| why.contains(said)), "{why}");
    });
}

#[test]
fn the_host_s_own_addresses_are_followed() {
    let Some(lab) = Lab::possible() else { return };
    lab.run(|| async {
        let (network, mut events) = Network::start().await.unwrap();
        let own = || network.own_addresses().iter().map(ToString::to_string).collect::<Vec<_>>();
        for address in ["10.7.0.1", "127.0.0.1", "::1", "fd07::1"] {
            assert!(own().contains(&address.to_owned()), "{address}: {:?}", own());
        }
        assert!(!own().contains(&"10.7.0.11".to_owned()), "{:?}", own());
        let changed = |e: &NetworkEvent| matches!(e, NetworkEvent::AddressesChanged);
        lab.ip("lb", "addr add 203.0.113.9/24 brd + dev lo");
        event(&mut events, changed).await;
        assert!(own().contains(&"203.0.113.9".to_owned()), "{:?}", own());
        assert!(own().contains(&"203.0.113.255".to_owned()), "its broadcast address: {:?}", own());
        // On two NICs: it stays until it is removed from both.
        lab.ip("lb", "addr add 203.0.113.9/32 dev eth0");
        lab.ip("lb", "addr del 203.0.113.9/24 dev lo");
        event(&mut events, changed).await;
        assert!(own().contains(&"203.0.113.9".to_owned()), "{:?}", own());
        assert!(!own().contains(&"203.0.113.255".to_owned()), "{:?}", own());
        lab.ip("lb", "addr del 203.0.113.9/32 dev eth0");
        event(&mut events, changed).await;
        assert!(!own().contains(&"203.0.113.9".to_owned()), "{:?}", own());
    });
}

#[test]
fn an_address_that_goes_is_told_with_who_took_it_and_tables_are_read_in_turn() {
    let Some(lab) = Lab::possible() else { return };
    lab.run(|| async {
        let (network, mut events) = Network::start().await.unwrap();
        let vip: IpAddr = "10.7.0.80".parse().unwrap();
        assert_eq!(network.put_vip(lab.ifindex(), vip).await.unwrap(), VipAdded::Added);
        assert_eq!(network.put_vip(lab.ifindex(), vip).await.unwrap(), VipAdded::AlreadyThere);
        // The kernel refuses a second reading on one socket while the first is running.
        let readings = tokio::join!(network.held(), network.links(), network.held());
        let (held, links, again) = (readings.0.unwrap(), readings.1.unwrap(), readings.2.unwrap());
        assert_eq!(held, again);
        let ours = |held: &&HeldAddress| held.ifindex == lab.ifindex() && held.address == vip;
        assert!(!held.iter().find(ours).unwrap().is_duplicate);
        assert!(links.iter().any(|link| link.name == "eth0" && link.set_up && link.arp));
        assert!(links.iter().any(|link| link.name == "lo" && !link.arp));
        lab.ip("lb", "addr del 10.7.0.80/32 dev eth0");
        let gone = event(&mut events, |e| matches!(e, NetworkEvent::AddressGone { .. })).await;
        let NetworkEvent::AddressGone { ifindex, address, by } = gone else { unreachable!() };
        assert_eq!((ifindex, address), (lab.ifindex(), vip));
        assert!(by.is_some(), "the kernel tells whose request it was (IPv4)");
    });
}

#[test]
fn alternative_names_are_known_and_a_refusal_has_the_kernels_words() {
    let Some(lab) = Lab::possible() else { return };
    lab.ip("lb", "link property add dev eth0 altname an-alternative-name-of-the-nic");
    lab.run(|| async {
        let (network, _events) = Network::start().await.unwrap();
        let links = network.links().await.unwrap();
        let called = |name: &str| links.iter().find(|l| l.is_called(name)).map(|l| l.ifindex);
        assert_eq!(called("an-alternative-name-of-the-nic"), Some(lab.ifindex()));
        assert_eq!((called("eth0"), called("eth9")), (Some(lab.ifindex()), None));
        let refused = network.put_vip(9999, "10.7.0.80".parse().unwrap()).await.unwrap_err();
        assert_eq!(refused.errno(), Some(libc::ENODEV));
        let text = refused.to_string();
        assert!(
            text.contains("ipv4: Device not found") || text.contains("No such device"),
            "{text}"
        );
    });
}
