//! Messages about single values.

use super::*;
use crate::{
    model::{AdvisorKind, Passive, Proportions, Statuses, Target},
    settings::value::Value as _,
};

#[test]
fn values_out_of_their_range_are_named() {
    let service_lines = |insert: &str, want: &str| {
        one(&service(insert), &[&format!("lab.toml:7:{want}")]);
    };
    service_lines(
        "weight_bound = 101",
        "16: service[0].weight_bound: service web: weight_bound 101 is out of range, expected \
         1..=100",
    );
    service_lines(
        "weight_bound = -1",
        "16: service[0].weight_bound: service web: weight_bound -1 is out of range, expected \
         1..=100",
    );
    service_lines(
        "stale_timeout = \"5h\"",
        "17: service[0].stale_timeout: service web: stale_timeout 18000s is too long, expected at \
         most 4h",
    );
    service_lines(
        "stale_timeout = \"0s\"",
        "17: service[0].stale_timeout: service web: stale_timeout 0s is zero, expected more than \
         0s and at most 4h",
    );
    service_lines(
        "fin_timeout = \"soon\"",
        "15: service[0].fin_timeout: service web: fin_timeout \"soon\" is not a duration such as \
         \"30s\"",
    );
    service_lines(
        "fin_count = -5",
        "13: service[0].fin_count: service web: fin_count -5 is out of range, expected 0 or more",
    );
    one(
        &backend("max_connections = 16777216"),
        &[
            "lab.toml:10:19: service[0].backend[0].max_connections: backend web/web-1: max_connections 16777216 \
         is out of range, expected 0..=16777215 (0: any number)",
        ],
    );
    service_lines(
        "forward = \"nat\"",
        "11: service[0].forward: service web: forward \"nat\" is not supported in this version, \
         expected mac",
    );
    service_lines(
        "slow_start = \"2h\"",
        "14: service[0].slow_start: service web: slow_start 7200s is too long, expected at most 1h",
    );
}

#[test]
fn the_manager_is_read_and_what_is_wrong_with_it_is_named() {
    let text = "[manager]\nenabled = true\ninterval = \"500ms\"\nsensitivity = 2.5\nreport_timeout = \"30s\"\n\
                proportions = { active = 40, new = 40, advisor = 20, system = 0 }\n";
    let whole = |manager: &str, rest: &str| {
        service(rest).replacen("[[service]]", &format!("{manager}\n[[service]]"), 1)
    };
    let own =
        "proportions = { active = 0, new = 0, advisor = 100, system = 0 }\nslow_start = \"9s\"";
    let said = parse(&whole(text, own), "lab.toml").unwrap();
    let want = Manager {
        enabled: true,
        interval: Duration::from_millis(500),
        sensitivity: 2.5,
        report_timeout: Some(Duration::from_secs(30)),
        proportions: Proportions::of([40, 40, 20, 0]),
        ..Manager::default()
    };
    assert_eq!(said.manager, want);
    let web = &said.services[0];
    assert_eq!(web.proportions, Some(Proportions::of([0, 0, 100, 0])));
    assert_eq!(web.slow_start, Duration::from_secs(9));
    for (wrong, want) in [
        ("interval = \"1ms\"", "interval 1ms is out of range, expected 100ms to 1h"),
        ("refresh = 0", "refresh 0 is out of range, expected 1..=1000"),
        ("sensitivity = 101", "sensitivity 101 is out of range, expected 0..=100"),
        ("smoothing = 0.5", "smoothing 0.5 is out of range, expected 1..=100"),
        ("smoothing = \"2\"", "smoothing \"2\" is a string, expected a number"),
        ("report_timeout = \"never\"", "report_timeout \"never\" is not a duration"),
        ("report_timeout = \"0s\"", "report_timeout 0s forgets at once"),
        ("proportions = { active = 50, new = 50 }", "advisor is missing"),
        (
            "proportions = { active = 50, new = 50, advisor = 1, system = 0 }",
            "active 50, new 50, advisor 1, system 0 sum to 101, expected 100",
        ),
    ] {
        let errors = errors(&whole(&format!("[manager]\n{wrong}"), ""));
        assert!(errors.iter().any(|e| e.contains(want)), "{errors:?}, expected {want:?}");
    }
}

#[test]
fn an_advisor_is_read_and_a_wrong_one_is_named() {
    let advisor = |rest: &str| service(&format!("advisor = {{ target = \"address\", {rest} }}"));
    let said = parse(
        &advisor("kind = \"http\", port = 81, expect_status = \"200,204\", rise = 2"),
        "lab.toml",
    )
    .unwrap();
    let said = said.services[0].advisor.clone().unwrap();
    assert_eq!((said.kind, said.port, said.rise), (AdvisorKind::Http, Some(81), 2));
    assert_eq!(said.expect_status, Statuses(vec![(200, 200), (204, 204)]));
    assert_eq!(said.interval, Duration::from_secs(7));
    assert_eq!(said.down_interval, Duration::from_secs(10));
    let said = parse(&advisor("kind = \"connect\", down_interval = \"3m\""), "lab.toml").unwrap();
    let said = said.services[0].advisor.clone().unwrap();
    assert_eq!(said.down_interval, Duration::from_secs(180));
    for (wrong, want) in [
        ("kind = \"gopher\"", "kind \"gopher\" is unknown, expected connect, http, https, tls,"),
        (
            "kind = \"connect\", path = \"/\"",
            "path means nothing for kind \"connect\", expected kind http or https",
        ),
        ("kind = \"dns\"", "query is missing, expected a domain name"),
        (
            "kind = \"dns\", query = \"a..b\"",
            "query \"a..b\" is no domain name, expected one such as",
        ),
        (
            "kind = \"dns\", query = \"a\", query_type = \"any\"",
            "query_type \"any\" is unknown, expected a, aaaa,",
        ),
        (
            "kind = \"http\", method = \"get\"",
            "method \"get\" is unknown, expected GET, HEAD or OPTIONS",
        ),
        (
            "kind = \"http\", method = \"HEAD\", expect_body = \"x\"",
            "expect_body cannot be met: the answer to method \"HEAD\" has no body, expected method \"GET\"",
        ),
        ("kind = \"http\", host = \"a b\"", "host \"a b\" is not valid, expected a host's name"),
        ("kind = \"imap\", tls_verify = true", "tls_verify needs TLS, expected tls true"),
        (
            "kind = \"https\", tls_ca_file = \"/ca.pem\"",
            "tls_ca_file is not used without tls_verify, expected tls_verify true",
        ),
        (
            "kind = \"https\", tls_verify = true, tls_ca_file = \"ca.pem\"",
            "tls_ca_file \"ca.pem\" is relative, expected a path from /",
        ),
        (
            "kind = \"udp\"",
            "port is missing: the service has no UDP port to probe, expected 1..=65535",
        ),
        (
            "kind = \"udp\", port = 9, request = \"0x\"",
            "request \"0x\" is not bytes in hexadecimal digits",
        ),
        ("kind = \"exec\"", "command is missing, expected an array of texts"),
        ("kind = \"exec\", command = [\"check\"]", "command [\"check\"] names no program"),
        ("kind = \"agent\"", "key_file is missing, expected a path"),
        (
            "kind = \"ping\", port = 7",
            "port means nothing for kind \"ping\", expected kind connect,",
        ),
        (
            "kind = \"http\", path = \"health\"",
            "path \"health\" is not valid, expected a path from /",
        ),
        ("kind = \"http\", interval = \"10ms\"", "interval 10ms is out of range"),
        ("kind = \"http\", down_interval = \"2h\"", "down_interval 7200s is out of range"),
        ("kind = \"http\", expect_status = \"2xx\"", "expect_status \"2xx\" is not"),
        ("kind = \"http\", rise = 0", "rise 0 is out of range, expected 1..=100"),
        (
            "kind = \"http\", passive = { window = \"500ms\", retried = 1 }",
            "window 500ms is out of range, expected 1s to 1h",
        ),
        (
            "kind = \"http\", passive = { retried = -1 }",
            "retried -1 is out of range, expected 0..=4294967295",
        ),
        ("kind = \"http\", passive = 5", "passive 5 is an integer, expected a table"),
    ] {
        let errors = errors(&advisor(wrong));
        assert!(errors.len() == 1 && errors[0].contains(want), "{errors:?}, expected {want:?}");
    }
    for right in [
        "kind = \"https\", method = \"HEAD\", tls_verify = true, tls_ca_file = \"/ca.pem\"",
        "kind = \"udp\", port = 9, request = \"00 ff\", response = \"\"",
        "kind = \"dns\", query = \".\", query_type = \"ns\", expect_rcode = \"refused\"",
        "kind = \"exec\", command = [\"/bin/check\", \"-v\"]",
        "kind = \"agent\", key_file = \"/etc/key\"",
        "kind = \"imap\", tls = true, port = 993",
        "kind = \"ping\"",
    ] {
        parse(&advisor(right), "lab.toml").unwrap();
    }
    // Handshakes are counted if that is configured and the protocol has them.
    let passive = "kind = \"ping\", passive = { window = \"2s\", retried = 3 }";
    let said = parse(&advisor(passive), "lab.toml").unwrap().services[0].advisor.clone().unwrap();
    let wanted = Passive { window: Duration::from_secs(2), retried: 3, unanswered: 0 };
    assert_eq!((said.passive, Passive::default().is_on()), (wanted, false));
    let udp = errors(&advisor(passive).replace("\"tcp\"", "\"udp\""));
    assert!(
        udp[0].ends_with("passive counts handshakes, and udp has none, expected protocol tcp"),
        "{udp:?}"
    );
    // What has no port needs none; what has one of its own does not need the service's.
    let every = |advisor: &str| {
        service(&format!("advisor = {{ target = \"address\", {advisor} }}"))
            .replace("port = 80", "port = 0")
    };
    for right in [
        "kind = \"ping\"",
        "kind = \"exec\", command = [\"/c\"]",
        "kind = \"agent\", key_file = \"/k\"",
    ] {
        parse(&every(right), "lab.toml").unwrap();
    }
    let missing = errors(&every("kind = \"sip\""));
    assert!(
        missing[0].contains("port is missing: the service has no port to probe"),
        "{missing:?}"
    );
    let target = |text: &str| parse(text, "lab.toml").unwrap().services[0].advisor.clone();
    for said in ["advisor = { kind = \"http\" }", "advisor = { kind = \"http\", target = \"vip\" }"]
    {
        assert_eq!(target(&service(said)).unwrap().target, Target::Vip, "{said}");
    }
    for asked in ["kind = \"agent\", key_file = \"/k\"", "kind = \"exec\", command = [\"/c\"]"] {
        let said = service(&format!("advisor = {{ {asked} }}"));
        assert_eq!(target(&said).unwrap().target, Target::Address, "{said}");
        let errors = errors(&service(&format!("advisor = {{ {asked}, target = \"vip\" }}")));
        assert!(errors[0].contains("target vip is not for kind"), "{errors:?}");
    }
    let anywhere = service("advisor = { kind = \"http\" }").replace("192.0.2.80", "0.0.0.0");
    one(
        &anywhere,
        &[
            "lab.toml:7:11: service[0].advisor.target: service web: target vip needs a VIP, and this \
           service is on any address, expected address",
        ],
    );
}

#[test]
fn affinity_is_read_and_wrong_affinity_is_named() {
    let text = service("affinity = { timeout = \"5m\", mask_v4 = 24 }");
    let config = parse(&text, "lab.toml").unwrap();
    let affinity = &config.services[0].affinity;
    assert_eq!((affinity.timeout.as_secs(), affinity.mask_v4, affinity.mask_v6), (300, 24, 128));
    let config = parse(&backend("sticky = false"), "lab.toml").unwrap();
    assert!(!config.services[0].backends[0].sticky);
    one(
        &service(
            "affinity = { timeout = \"73h\", mask_v4 = 33, cross_port = [443, 70000, \"x\"], t = 1 }",
        ),
        &[
            "lab.toml:7:24: service[0].affinity.timeout: service web: timeout 262800s is too long, \
             expected at most 72h",
            "lab.toml:7:41: service[0].affinity.mask_v4: service web: mask_v4 33 is out of range, \
             expected 0..=32",
            "lab.toml:7:64: service[0].affinity.cross_port[1]: service web: cross_port holds 70000, \
             expected 0..=65535",
            "lab.toml:7:71: service[0].affinity.cross_port[2]: service web: cross_port holds \"x\", \
             expected 0..=65535",
            "lab.toml:7:77: service[0].affinity.t: service web: key \"t\" is unknown",
        ],
    );
    one(
        &service("affinity = { cross_port = [80, 443] }"),
        &[
            "lab.toml:7:12: service[0].affinity.timeout: service web: timeout 0s keeps no clients \
             for cross_port, expected more than 0s",
            "lab.toml:7:28: service[0].affinity.cross_port[0]: service web: cross_port 80 is no port \
             of another service of vip 192.0.2.80",
            "lab.toml:7:32: service[0].affinity.cross_port[1]: service web: cross_port 443 is no \
             port of another service of vip 192.0.2.80",
        ],
    );
}

#[test]
fn services_that_share_clients_must_agree() {
    let second = |affinity: &str| {
        let web = service("affinity = { timeout = \"60s\", cross_port = [443] }");
        let shop = "[[service]]\nname = \"shop\"\nvip = \"192.0.2.80\"\nport = 443\n";
        format!("{web}{shop}protocol = \"tcp\"\naffinity = {affinity}\n")
    };
    parse(&second("{ timeout = \"1m\" }"), "lab.toml").unwrap();
    one(
        &second("{ mask_v6 = 64, timeout = \"61s\" }"),
        &[
            "lab.toml:13:24: service[1].affinity.mask_v6: service shop: affinity mask_v6 64 differs \
             from service web's, linked by cross_port, expected 128",
            "lab.toml:13:38: service[1].affinity.timeout: service shop: affinity timeout 61s differs \
             from service web's, linked by cross_port, expected 60s",
        ],
    );
}

#[test]
fn an_unspecified_vip_stands_for_any_address() {
    for (vip, port) in [("0.0.0.0", 80), ("0.0.0.0", 0), ("::", 443), ("::", 0)] {
        let text = service("").replace("192.0.2.80", vip);
        let text = text.replace("port = 80", &format!("port = {port}"));
        let config = parse(&text, "lab.toml").unwrap();
        let web = &config.services[0];
        assert_eq!((web.vip.to_string().as_str(), web.port), (vip, port));
    }
}

#[test]
fn addresses_must_be_ones_that_packets_can_go_to() {
    for (vip, want) in [
        ("239.1.1.1", "vip 239.1.1.1 is a multicast address, expected a unicast one"),
        ("ff02::1", "vip ff02::1 is a multicast address, expected a unicast one"),
        ("255.255.255.255", "vip 255.255.255.255 is a multicast address, expected a unicast one"),
        ("127.0.0.1", "vip 127.0.0.1 is a loopback address, expected one that clients reach"),
        (
            "::ffff:192.0.2.1",
            "vip ::ffff:192.0.2.1 is an IPv4-mapped IPv6 address, expected 192.0.2.1",
        ),
        ("192.0.2.256", "vip \"192.0.2.256\" is not an IPv4 or IPv6 address"),
    ] {
        let text = service("").replace("192.0.2.80", vip);
        one(&text, &[&format!("lab.toml:4:7: service[0].vip: service web: {want}")]);
    }
    for (address, want) in [
        ("0.0.0.0", "address 0.0.0.0 is unspecified, expected the backend's own"),
        ("192.0.2.80", "address 192.0.2.80 is the service's vip, expected the backend's own"),
        ("::1", "address ::1 is a loopback address, expected one on a NIC's link"),
        ("224.0.0.5", "address 224.0.0.5 is a multicast address, expected a unicast one"),
    ] {
        let text = backend("").replace("10.0.0.11", address);
        let want =
            format!("lab.toml:9:11: service[0].backend[0].address: backend web/web-1: {want}");
        one(&text, &[&want]);
    }
    let local = backend("local = true").replace("10.0.0.11", "127.0.0.1");
    parse(&local, "lab.toml").unwrap();
}

#[test]
fn macs_must_be_one_station_s() {
    let at = "lab.toml:10:7: service[0].backend[0].mac: backend web/web-1: mac";
    for (mac, want) in [
        ("ff:ff:ff:ff:ff:ff", "ff:ff:ff:ff:ff:ff is multicast, expected a unicast one"),
        ("00:00:00:00:00:00", "00:00:00:00:00:00 is all zero, expected a unicast one"),
        (
            "02:00:00:00:01",
            "\"02:00:00:00:01\" is not six hexadecimal bytes such as \
                            \"02:00:00:00:00:01\"",
        ),
    ] {
        one(&backend(&format!("mac = {mac:?}")), &[&format!("{at} {want}")]);
    }
}

#[test]
fn names_are_short_and_plain() {
    let long = "x".repeat(64);
    for name in ["", "we b", "web/1", "wéb", "a\\nb", ".", "..", &long] {
        let text = service("").replace("name = \"web\"", &format!("name = \"{name}\""));
        let errors = errors(&text);
        let [error] = errors.as_slice() else { panic!("{errors:?}") };
        assert!(error.starts_with("lab.toml:3:8: service[0].name: service"), "{error}");
        let expected = "is not valid, expected 1 to 63 of A-Z a-z 0-9 '_' '.' '-'";
        let is_dots = name == "." || name == "..";
        assert!(error.ends_with(expected) != is_dots && error.contains(expected), "{error}");
    }
    one(
        "interfaces = [1, \"eth0\", \"eth0\"]",
        &[
            "lab.toml:1:15: interfaces[0]: interfaces holds an integer, expected NIC names",
            "lab.toml:1:26: interfaces[2]: interface eth0 is listed twice, expected once",
        ],
    );
    for name in ["", "a-name-of-16-byt", "a b", ".", "a:b"] {
        let errors = errors(&format!("interfaces = [{name:?}]"));
        assert!(errors[0].contains("is no NIC's name"), "{errors:?}");
    }
}

#[test]
fn exits_are_commands_with_a_path() {
    let exits = |text: &str| format!("interfaces = []\n[exits]\n{text}");
    let config =
        parse(&exits("server_up = [\"/bin/true\", \"a b\"]\ntimeout = \"3s\""), "lab.toml");
    let config = config.unwrap();
    assert_eq!(config.exits.server_up.text(), "/bin/true a b");
    assert_eq!(config.exits.server_down.text(), "none");
    assert_eq!((config.exits.timeout, config.exits.queue), (Duration::from_secs(3), 100));
    one(
        &exits(
            "server_up = []\nserver_down = [\"mail\"]\nmanager_alert = \"/bin/true\"\n\
             manager_clear = [\"/bin/true\", 3]\nserver_gone = []\nhalf_open_alert = [\"/a\", \"\\u0000\"]\n\
             timeout = \"6m\"\nqueue = 0",
        ),
        &[
            "lab.toml:3:13: exits.server_up: exits: server_up is empty, expected a program",
            "lab.toml:4:16: exits.server_down[0]: exits: server_down \"mail\" is not valid, expected a path from /",
            "lab.toml:5:17: exits.manager_alert: exits: manager_alert \"/bin/true\" is a string, expected an \
             array of program and arguments",
            "  hint: manager_alert = [\"/bin/true\"]",
            "lab.toml:6:31: exits.manager_clear[1]: exits: manager_clear holds an integer, expected program \
             and arguments",
            "lab.toml:7:1: exits.server_gone: exits: key \"server_gone\" is unknown",
            "  hint: did you mean server_down?",
            "lab.toml:8:26: exits.half_open_alert[1]: exits: half_open_alert has a NUL, expected text without",
            "lab.toml:9:11: exits.timeout: exits: timeout 360s is out of range, expected more than 0s and at \
             most 5m",
            "lab.toml:10:9: exits.queue: exits: queue 0 is out of range, expected 1..=10000",
        ],
    );
}
