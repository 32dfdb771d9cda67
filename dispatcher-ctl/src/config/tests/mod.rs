//! The messages for wrong configurations, word for word, and the meaning of valid ones.

use std::{path::Path, time::Duration};

use super::*;
use crate::{
    model::{
        BackendConfig, Connections, GlobalSettings, Manager, OnDown, Orphan, Protocol, RuleConfig,
        Scheduler, ServiceSettings, XdpMode,
    },
    settings::{MOST_LISTED, row::Table as _},
};

mod broken;
mod rules;
mod values;

/// The errors of a text, one line each, hints included.
fn errors(text: &str) -> Vec<String> {
    let errors = parse(text, "lab.toml").expect_err("the text is wrong");
    errors.to_string().lines().map(str::to_owned).collect()
}

/// A right configuration with one service and backend, and `insert` in the service.
fn service(insert: &str) -> String {
    format!(
        "interfaces = [\"eth0\"]\n\
         [[service]]\n\
         name = \"web\"\n\
         vip = \"192.0.2.80\"\n\
         port = 80\n\
         protocol = \"tcp\"\n\
         {insert}\n"
    )
}

fn backend(insert: &str) -> String {
    service(&format!("[[service.backend]]\nname = \"web-1\"\naddress = \"10.0.0.11\"\n{insert}"))
}

#[track_caller]
fn one(text: &str, want: &[&str]) {
    assert_eq!(errors(text), want);
}

#[test]
fn defaults_are_those_of_the_manual() {
    let config = parse(&backend(""), "lab.toml").unwrap();
    assert_eq!(config.interfaces, ["eth0"]);
    assert_eq!(config.xdp_mode, XdpMode::Native);
    assert_eq!(config.api_socket, Path::new("/run/dispatcher/api.sock"));
    assert_eq!(config.metrics_listen.to_string(), "127.0.0.1:9464");
    assert_eq!(config.pin_dir, Path::new("/sys/fs/bpf/dispatcher"));
    assert!(config.manage_vips && !config.manage_arp);
    assert_eq!((config.connections.capacity, config.connections.orphan), (1_000_000, Orphan::Drop));
    assert_eq!(config.connections.syn_guard, 100_000);
    let [web] = config.services.as_slice() else { panic!("one service") };
    assert_eq!((web.protocol, web.scheduler), (Protocol::Tcp, Scheduler::Wrr));
    assert_eq!(web.stale_timeout, Duration::from_secs(300));
    assert_eq!(web.syn_timeout, Duration::from_secs(30));
    assert_eq!((web.fin_timeout, web.fin_count), (Duration::from_secs(30), 4000));
    assert_eq!((web.on_down, web.weight_bound), (OnDown::Keep, 20));
    let [backend] = web.backends.as_slice() else { panic!("one backend") };
    assert_eq!((backend.weight, backend.local, backend.mac), (10, false, None));
    assert_eq!(backend.max_connections, 0);
}

#[test]
fn defaults_depend_on_the_service() {
    for (port, protocol, seconds) in [(80, "tcp", 300), (21, "tcp", 900), (21, "udp", 30)] {
        let text = service("")
            .replace("port = 80", &format!("port = {port}"))
            .replace("\"tcp\"", &format!("{protocol:?}"));
        let config = parse(&text, "lab.toml").unwrap();
        assert_eq!(config.services[0].stale_timeout, Duration::from_secs(seconds));
    }
    for (bound, weight) in [(1, 1), (2, 1), (3, 2), (20, 10), (100, 50)] {
        let text = backend("").replace("[[service.b", &format!("weight_bound = {bound}\n$&"));
        let text = text.replace("$&", "[[service.b");
        assert_eq!(parse(&text, "lab.toml").unwrap().services[0].backends[0].weight, weight);
    }
}

#[test]
fn families_may_differ_and_services_may_be_empty() {
    let text = backend("").replace("10.0.0.11", "2001:db8::11");
    parse(&text, "lab.toml").unwrap();
    parse(&service(""), "lab.toml").unwrap();
    parse("interfaces = []", "lab.toml").unwrap();
    parse("interfaces = []\n[manager]\nenabled = false", "lab.toml").unwrap();
}

#[test]
fn tables_may_be_inline_or_dotted() {
    let text = "interfaces = [\"eth0\"]\nconnections.capacity = 32\n\
        service = [{ name = \"a\", vip = \"2001:db8::1\", port = 1, protocol = \"udp\",\n\
        backend = [{ name = \"b\", address = \"10.0.0.1\", weight = 30 }] }]";
    one(
        text,
        &["lab.toml:4:57: service[0].backend[0].weight: backend a/b: weight 30 is above \
           weight_bound 20, expected 0..=20"],
    );
    let config = parse(&text.replace("30", "3"), "lab.toml").unwrap();
    assert_eq!((config.connections.capacity, config.services[0].backends[0].weight), (32, 3));
    one(
        "interfaces = []\nconnections.capacity = 2",
        &["lab.toml:2:24: connections.capacity: connections: capacity 2 is out of range, \
           expected 16..=268435456"],
    );
}

#[test]
fn all_errors_are_found_at_once_in_the_order_of_the_text() {
    let text = r#"interfaces = ["eth0", "eth0", "a/b"]
xdp_mode = "fast"

[connections]
capacity = 3
syn_guard = -1
pin_dir = "/x"

[manager]
refresh = 0

[[service]]
name = "web"
vip = "192.0.2.80"
port = 70000
protocol = "tcp"
scheduler = "fastest"

[[service.backend]]
name = "web-1"
address = "10.0.0.11"
mac = "01:00:5e:00:00:01"
weight = 101

[[service.backend]]
name = "web-1"
address = "10.0.0.11"
sheduler = "rr"

[[service]]
name = "dns"
vip = "2001:db8::53"
port = 53
protocol = "udp"

[[service]]
name = "dns2"
vip = "2001:db8::53"
port = 53
protocol = "udp"
on_down = "forget"
"#;
    let want = [
        "lab.toml:1:23: interfaces[1]: interface eth0 is listed twice, expected once",
        "lab.toml:1:31: interfaces[2]: interface \"a/b\" is no NIC's name, expected 1 to 15 bytes \
         without blanks, '/' and ':'",
        "lab.toml:2:12: xdp_mode: xdp_mode \"fast\" is unknown, expected native or generic",
        "lab.toml:5:12: connections.capacity: connections: capacity 3 is out of range, expected \
         16..=268435456",
        "lab.toml:6:13: connections.syn_guard: connections: syn_guard -1 is out of range, expected \
         0..=268435456",
        "lab.toml:7:1: connections.pin_dir: connections: key \"pin_dir\" is unknown",
        "  hint: pin_dir belongs at the top of the file, before the first [table]",
        "lab.toml:10:11: manager.refresh: manager: refresh 0 is out of range, expected 1..=1000",
        "lab.toml:15:8: service[0].port: service web: port 70000 is out of range, expected \
         0..=65535",
        "lab.toml:17:13: service[0].scheduler: service web: scheduler \"fastest\" is unknown, \
         expected rr, wrr, lc, wlc, rtt, xmitbyte, maglev or sh",
        "lab.toml:22:7: service[0].backend[0].mac: backend web/web-1: mac 01:00:5e:00:00:01 is \
         multicast, expected a unicast one",
        "lab.toml:23:10: service[0].backend[0].weight: backend web/web-1: weight 101 is above \
         weight_bound 20, expected 0..=20",
        "lab.toml:26:8: service[0].backend[1].name: backend web/web-1: name web-1 is given twice, \
         expected once",
        "lab.toml:27:11: service[0].backend[1].address: backend web/web-1: address 10.0.0.11 is \
         backend web-1's, expected once",
        "lab.toml:28:1: service[0].backend[1].sheduler: backend web/web-1: key \"sheduler\" is \
         unknown",
        "lab.toml:38:7: service[2].vip: service dns2: [2001:db8::53]:53/udp is service dns's, \
         expected once",
        "lab.toml:41:11: service[2].on_down: service dns2: on_down \"forget\" is unknown, \
         expected keep, drop or reset",
    ];
    assert_eq!(errors(text), want);
}

#[test]
fn an_empty_service_lacks_its_keys() {
    one(
        "interfaces = []\n[[service]]\n[[service.backend]]",
        &[
            "lab.toml:2:1: service[0].name: service[0]: name is missing, expected a name",
            "lab.toml:2:1: service[0].vip: service[0]: vip is missing, expected an IPv4 or IPv6 \
             address",
            "lab.toml:2:1: service[0].port: service[0]: port is missing, expected 0..=65535 (0: \
             every port)",
            "lab.toml:2:1: service[0].protocol: service[0]: protocol is missing, expected tcp or \
             udp",
            "lab.toml:3:1: service[0].backend[0].name: service[0].backend[0]: name is missing, \
             expected a name",
            "lab.toml:3:1: service[0].backend[0].address: service[0].backend[0]: address is \
             missing, expected an IPv4 or IPv6 address",
        ],
    );
    one(
        "",
        &[
            "lab.toml:1:1: interfaces: interfaces is missing, expected an array of NIC names (empty \
           if they are attached at runtime)",
        ],
    );
}

#[test]
fn broken_toml_is_one_error_with_its_place() {
    one(
        "interfaces = [\"eth0\"\n[[service]]\n",
        &["lab.toml:2:1: broken TOML: missing comma between array elements, expected `,`"],
    );
    one("# é\na = \"ü\nb", &["lab.toml:2:7: broken TOML: invalid basic string, expected `\"`"]);
    one("interfaces = []\ninterfaces = []\n", &["lab.toml:2:1: broken TOML: duplicate key"]);
}

#[test]
fn a_value_of_the_wrong_kind_says_how_to_write_it() {
    for (insert, want) in [
        (
            "weight_bound = \"20\"",
            [
                "lab.toml:7:16: service[0].weight_bound: service web: weight_bound \"20\" is a \
                 string, expected a whole number 1..=100",
                "  hint: weight_bound = 20",
            ],
        ),
        (
            "syn_timeout = 30",
            [
                "lab.toml:7:15: service[0].syn_timeout: service web: syn_timeout 30 has no unit, \
                 expected a duration",
                "  hint: syn_timeout = \"30s\"",
            ],
        ),
        (
            "shceduler = \"rr\"",
            [
                "lab.toml:7:1: service[0].shceduler: service web: key \"shceduler\" is unknown",
                "  hint: did you mean scheduler?",
            ],
        ),
    ] {
        assert_eq!(errors(&service(insert)), want);
    }
    one(
        "interfaces = \"eth0\"\nmanage_vips = \"true\"\nservice = 3\nconnections = 4",
        &[
            "lab.toml:1:14: interfaces: interfaces \"eth0\" is a string, expected an array of NIC \
             names",
            "  hint: interfaces = [\"eth0\"]",
            "lab.toml:2:15: manage_vips: manage_vips \"true\" is a string, expected true or false",
            "  hint: manage_vips = true",
            "lab.toml:3:11: service: service 3 is an integer, expected tables headed [[service]]",
            "lab.toml:4:15: connections: connections 4 is an integer, expected a table: \
             [connections]",
        ],
    );
}

#[test]
fn what_follows_from_an_error_is_not_an_error_of_its_own() {
    // Without the mistakes these two would not be one service, nor would the weight be too great.
    let text = format!(
        "{}[[service]]\nname = \"b\"\nvip = \"192.0.2.80\"\nport = 99999\nprotocol = \"tcp\"\n\
         weight_bound = 0\n[[service.backend]]\nname = \"x\"\naddress = \"10.0.0.1\"\nweight = 7\n",
        service("").replace("80\n", "0\n"),
    );
    let errors = errors(&text);
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(errors[0].contains("port 99999") && errors[1].contains("weight_bound 0"));
}

#[test]
fn limits_are_kept() {
    let backends: String = (0..1025)
        .map(|i| {
            let address = format!("10.0.{}.{}", i / 256, i % 256);
            format!("[[service.backend]]\nname = \"b{i}\"\naddress = \"{address}\"\n")
        })
        .collect();
    one(
        &service(&backends.replace("10.0.0.0\"", "10.9.0.0\"")),
        &["lab.toml:7:1: service[0].backend: service web: 1025 backends are too many, expected \
           1024"],
    );
    let some = |n: usize| backends.split_inclusive("[[").take(n + 1).collect::<String>();
    let counted = |n: usize| {
        let backends = some(n).replace("10.0.0.0\"", "10.9.0.0\"");
        service(&format!("scheduler = \"lc\"\n{}", backends.trim_end_matches('[')))
    };
    assert!(parse(&counted(256), "lab.toml").is_ok());
    one(
        &counted(257),
        &["lab.toml:7:13: service[0].scheduler: service web: 257 backends are too many for \
           scheduler lc, expected 256"],
    );
    let names: Vec<_> = (0..65).map(|i| format!("\"eth{i}\"")).collect();
    let errors = errors(&format!("interfaces = [{}]", names.join(",")));
    assert_eq!(errors, ["lab.toml:1:14: interfaces: 65 NICs are too many, expected 64"]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let errors = load(Path::new("/nonexistent/x.toml")).unwrap_err().to_string();
    assert!(errors.starts_with("configuration file /nonexistent/x.toml cannot be read: no such"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("latin1.toml");
    std::fs::write(&file, b"# one\n# \xe9").unwrap();
    let errors = load(&file).unwrap_err().to_string();
    let want =
        "latin1.toml:2:3: byte 0xe9 in line 2 is not UTF-8 text\n  hint: save the file as UTF-8";
    assert!(errors.ends_with(want), "{errors}");
    let errors = load(directory.path()).unwrap_err().to_string();
    assert!(
        errors.ends_with("cannot be read: it is a directory, expected a regular file"),
        "{errors}"
    );
}

#[test]
fn of_many_errors_the_first_are_listed_and_all_counted() {
    let text: String = (0..50_000).map(|i| format!("k{i}=1\n")).collect();
    let wrong = parse(&text, "lab.toml").unwrap_err();
    assert_eq!((wrong.listed.len(), wrong.count()), (MOST_LISTED, 50_001));
    let lines = wrong.lines();
    assert_eq!(
        lines[0],
        "lab.toml:1:1: interfaces: interfaces is missing, expected an array of NIC names (empty if they are attached at runtime)"
    );
    assert!(lines[99].starts_with("lab.toml:99:1: k98: key \"k98\" is unknown"), "{}", lines[99]);
    assert_eq!((lines.len(), lines[100].as_str()), (101, "and 49901 more"));
    // Those of services together are found last, whatever their place.
    let twice = format!("{}{}", service(""), &service("")["interfaces = [\"eth0\"]\n".len()..]);
    let tail: String = (0..200).map(|i| format!("[t{i}]\n")).collect();
    let wrong = parse(&format!("{twice}{tail}"), "lab.toml").unwrap_err();
    assert_eq!(wrong.count(), 202);
    assert!(wrong.listed[0].message.contains("name web is given twice"), "{}", wrong.listed[0]);
}

#[test]
fn a_long_text_is_cut_in_messages() {
    let long = "x".repeat(1_000_000);
    let text =
        format!("{}\n[\"{long}\"]\n", service("").replace("tcp", &long).replace("web", &long));
    for line in errors(&text) {
        assert!(line.len() < 300, "{} bytes: {}", line.len(), &line[..300]);
    }
}

#[test]
fn examples_are_right() {
    let read = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
        load(&path).unwrap_or_else(|errors| panic!("{errors}"))
    };
    let minimal = read("minimal.toml");
    assert_eq!((minimal.services.len(), minimal.services[0].backends.len()), (1, 2));
    for other in ["full.toml", "any-address.toml", "ftp.toml"] {
        assert!(!read(other).services.is_empty(), "{other}");
    }
    let rules = read("rules.toml");
    assert!(rules.services.iter().map(|s| s.rules.len()).sum::<usize>() > 5);
}

#[test]
fn the_full_example_has_every_key() {
    let text = include_str!("../../../../examples/full.toml");
    let all = [
        GlobalSettings::KEYS,
        Connections::KEYS,
        Manager::KEYS,
        ServiceSettings::KEYS,
        BackendConfig::KEYS,
        RuleConfig::KEYS,
    ];
    for keys in all {
        for key in keys.known {
            let told = text.lines().any(|line| {
                let line = line.trim_start_matches(['#', ' ', '[']);
                let line = line.strip_prefix("service.").unwrap_or(line);
                line.strip_prefix(key).is_some_and(|rest| rest.starts_with([' ', ']']))
            });
            assert!(told, "examples/full.toml lacks {key} {}", keys.at);
        }
    }
}
