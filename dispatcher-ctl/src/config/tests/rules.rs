//! The meaning of rules, and the messages for wrong ones.

use super::*;
use crate::model::{Day, Evaluate, RuleConfig, Share};

/// Two backends, and a rule with these further lines; its first is line 13.
fn rule(insert: &str) -> String {
    backend(&format!(
        "[[service.backend]]\nname = \"web-2\"\naddress = \"10.0.0.12\"\n[[service.rule]]\n\
         name = \"office\"\npriority = 10\nbackends = [\"web-1\"]\n{insert}"
    ))
}

#[test]
fn rules_are_read() {
    let text = rule(
        "clients = [\"198.51.100.0/24\", \"203.0.113.7\", \"203.0.113.10-203.0.113.20\"]\n\
         client_ports = \"1024-2047\"\ntime = \"22:00-06:00\"\ndays = [\"fri\", \"sat\"]\n\
         tos = \"0xb8/0xfc\"\nmin_new_connections = 1\nmax_new_connections = 100\n\
         min_active_connections = 2\nmax_active_connections = 200\nevaluate = \"rule\"",
    );
    let config = parse(&text, "lab.toml").unwrap();
    let [rule] = config.services[0].rules.as_slice() else { panic!("one rule") };
    let clients: Vec<String> = rule.clients.iter().map(ToString::to_string).collect();
    assert_eq!(clients, ["198.51.100.0/24", "203.0.113.7", "203.0.113.10-203.0.113.20"]);
    assert_eq!(
        (rule.name.as_str(), rule.priority, &rule.backends[..]),
        ("office", 10, &["web-1".to_owned()][..])
    );
    assert_eq!(rule.client_ports.unwrap().last, 2047);
    assert_eq!(
        (rule.time.unwrap().start, rule.days.as_slice()),
        (22 * 3600, &[Day::Fri, Day::Sat][..])
    );
    assert_eq!(rule.tos.unwrap().mask, 0xfc);
    assert_eq!((rule.min_new_connections, rule.max_new_connections), (Some(1), Some(100)));
    assert_eq!((rule.min_active_connections, rule.max_active_connections), (Some(2), Some(200)));
    assert_eq!((rule.evaluate, rule.share, rule.always), (Evaluate::Rule, Share::All, false));
    let measured = rule_of("max_bandwidth = 1000\nshared_bandwidth = 5000\nshare = \"vip\"");
    assert_eq!((measured.max_bandwidth, measured.shared_bandwidth), (Some(1000), Some(5000)));
    assert_eq!(measured.share, Share::Vip);
    assert!(rule_of("always = true").always);
}

/// The rule with these lines, of a service that is measured.
fn rule_of(insert: &str) -> RuleConfig {
    let text = rule(insert).replace("port = 80\n", "port = 80\nmeasure = true\n");
    parse(&text, "lab.toml").unwrap().services[0].rules.remove(0)
}

#[test]
fn what_is_wrong_with_a_rule_is_named() {
    let said = |insert: &str, want: &str| one(&rule(insert), &[&format!("lab.toml:{want}")]);
    said(
        "",
        "14:8: service[0].rule[0].name: rule web/office: it has no condition, expected one, or always = true",
    );
    said(
        "always = true\ntos = \"0x10\"",
        "17:10: service[0].rule[0].always: rule web/office: always is set together with other conditions, expected it alone",
    );
    said(
        "clients = [\"198.51.100.7/24\"]",
        "17:12: service[0].rule[0].clients[0]: rule web/office: clients holds \"198.51.100.7/24\", expected an \
         address, a network such as \"198.51.100.0/24\" without bits beyond its length, or a range such as \
         \"198.51.100.10-198.51.100.20\"",
    );
    said(
        "clients = [\"2001:db8::/32\"]",
        "17:12: service[0].rule[0].clients[0]: rule web/office: clients holds 2001:db8::/32, which never use vip \
         192.0.2.80, expected its family",
    );
    said(
        "client_ports = \"2047-1024\"",
        "17:16: service[0].rule[0].client_ports: rule web/office: client_ports \"2047-1024\" is not ports such as \
         \"53\" or \"1024-2047\"",
    );
    said(
        "time = \"8-18\"",
        "17:8: service[0].rule[0].time: rule web/office: time \"8-18\" is not a time of day such as \"08:00-18:00\"",
    );
    said(
        "days = [\"monday\"]",
        "17:9: service[0].rule[0].days[0]: rule web/office: days holds \"monday\", expected mon, tue, wed, thu, fri, \
         sat or sun",
    );
    said(
        "tos = \"0xff/0x0f\"",
        "17:7: service[0].rule[0].tos: rule web/office: tos \"0xff/0x0f\" is not value and mask such as \"0xb8/0xfc\"",
    );
    said(
        "min_active_connections = 7\nmax_active_connections = 6",
        "17:26: service[0].rule[0].min_active_connections: rule web/office: min_active_connections 7 is above \
         max_active_connections 6",
    );
    said(
        "max_bandwidth = 1000",
        "17:17: service[0].rule[0].max_bandwidth: rule web/office: max_bandwidth needs a service that is measured, \
         expected measure = true",
    );
    said(
        "tos = \"0x10\"\nevaluate = \"rule\"",
        "18:12: service[0].rule[0].evaluate: rule web/office: evaluate rule needs a condition on a rate or count",
    );
    said(
        "tos = \"0x10\"\nshare = \"vip\"",
        "18:9: service[0].rule[0].share: rule web/office: share vip needs shared_bandwidth",
    );
}

#[test]
fn rules_have_names_priorities_and_backends_of_their_own_service() {
    let second = "always = true\n[[service.rule]]\nname = \"office\"\npriority = 10\n\
                  backends = [\"web-3\", \"web-2\", \"web-2\"]\nalways = true";
    one(
        &rule(second),
        &[
            "lab.toml:19:8: service[0].rule[1].name: rule web/office: name office is given twice, expected once",
            "lab.toml:20:12: service[0].rule[1].priority: rule web/office: priority 10 is rule office's, expected its own",
            "lab.toml:21:13: service[0].rule[1].backends[0]: rule web/office: backend web-3 is unknown, expected one of \
             service web",
            "lab.toml:21:31: service[0].rule[1].backends[2]: rule web/office: backend web-2 is named twice, expected once",
        ],
    );
    let empty = rule("always = true").replace("backends = [\"web-1\"]", "backends = []");
    one(
        &empty,
        &[
            "lab.toml:16:12: service[0].rule[0].backends: rule web/office: backends is empty, expected names of the \
           service's backends",
        ],
    );
    let bare = rule("always = true").replace("priority = 10\nbackends = [\"web-1\"]\n", "");
    let said = errors(&bare);
    assert!(said.iter().any(|line| line.contains("priority is missing")), "{said:?}");
    assert!(said.iter().any(|line| line.contains("backends is missing")), "{said:?}");
}

#[test]
fn a_service_has_so_many_conditions() {
    let clients = |n: usize| {
        let clients: Vec<String> = (0..n).map(|i| format!("\"203.0.113.{i}\"")).collect();
        rule(&format!("clients = [{}]", clients.join(", ")))
    };
    parse(&clients(64), "lab.toml").unwrap();
    let said = errors(&clients(65)).join("\n");
    assert!(said.contains("service web: 65 conditions are too many, expected 64"), "{said}");
}
