//! Plans as they are printed.

use proptest::prelude::*;

use super::*;
use crate::{
    model::State,
    reconcile::{
        merge,
        testing::{after, any_acts, any_config, file, started},
    },
};

const FILE: &str = r#"
interfaces = ["eth0"]

[[service]]
name = "web"
vip = "192.0.2.80"
port = 80
protocol = "tcp"
[[service.backend]]
name = "web-1"
address = "10.0.0.11"
[[service.backend]]
name = "web-2"
address = "10.0.0.12"
mac = "02:00:00:00:00:12"

[[service]]
name = "dns"
vip = "2001:db8::53"
port = 53
protocol = "udp"
[[service.backend]]
name = "ns"
address = "10.0.0.53"
"#;

fn plan(running: &State, wanted: &State) -> Vec<PlanLine> {
    super::plan(&StateChange::new(running, wanted.clone(), 0))
}

/// The plan for going from [`FILE`] to another text.
fn lines(text: &str) -> Vec<String> {
    let (old, new) = (file(FILE), file(text));
    let running = started(&old);
    let wanted = merge(Some(&old), &new, &running, &[], 2).unwrap();
    let mut lines = plan_settings(&old, &new);
    lines.extend(plan(&running, &wanted));
    lines.iter().map(ToString::to_string).collect()
}

#[test]
fn every_change_is_a_line() {
    let new = FILE
        .replace("[\"eth0\"]", "[\"eth1\"]")
        .replace("\"tcp\"\n", "\"tcp\"\nscheduler = \"rr\"\nstale_timeout = \"1m\"\n")
        .replace("mac = \"02:00:00:00:00:12\"", "weight = 3")
        .replace(
            "name = \"web-1\"\naddress = \"10.0.0.11\"",
            "name = \"w\"\naddress = \"10.0.0.14\"",
        );
    assert_eq!(
        lines(&new),
        [
            "+ interface eth1",
            "- interface eth0",
            "~ service web: scheduler wrr → rr",
            "~ service web: stale_timeout 300s → 60s",
            "+ backend web/w 10.0.0.14 weight 10",
            "~ backend web/web-2: weight 10 → 3",
            "~ backend web/web-2: mac 02:00:00:00:00:12 → auto",
            "- backend web/web-1 10.0.0.11 weight 10",
        ]
    );
}

#[test]
fn a_service_that_goes_is_told_with_its_backends_and_so_is_one_that_comes() {
    let new = FILE.replace("port = 53", "port = 54");
    assert_eq!(
        lines(&new),
        [
            "+ service dns [2001:db8::53]:54/udp wrr",
            "+ backend dns/ns 10.0.0.53 weight 10",
            "- service dns [2001:db8::53]:53/udp wrr",
            "- backend dns/ns 10.0.0.53 weight 10",
        ]
    );
}

#[test]
fn a_new_name_is_a_change() {
    let new = FILE.replace("\"dns\"", "\"names\"").replace("\"ns\"", "\"ns-1\"");
    assert_eq!(
        lines(&new),
        ["~ service names: name dns → names", "~ backend names/ns-1: name ns → ns-1"]
    );
}

#[test]
fn what_waits_for_a_restart_says_so() {
    let new = format!(
        "xdp_mode = \"generic\"\nmetrics_listen = \"127.0.0.1:1\"\npin_dir = \"/sys/fs/bpf/x\"\n\
         connections = {{ capacity = 32, syn_guard = 5, orphan = \"pass\" }}\n{FILE}"
    );
    assert_eq!(
        lines(&new),
        [
            "~ settings: xdp_mode native → generic (takes effect when a NIC is next attached)",
            "~ settings: metrics_listen 127.0.0.1:9464 → 127.0.0.1:1 (takes effect when the \
             daemon is restarted)",
            "~ settings: pin_dir /sys/fs/bpf/dispatcher → /sys/fs/bpf/x (takes effect at the next \
             fresh start: detach --all, run)",
            "~ connections: capacity 1000000 → 32 (takes effect at the next fresh start: detach \
             --all, run)",
            "~ connections: syn_guard 100000 → 5",
            "~ connections: orphan drop → pass",
        ]
    );
}

#[test]
fn lines_are_read_by_programs_too() {
    let line = PlanLine::change("service web".into(), "scheduler", "wrr".into(), "rr".into());
    assert_eq!(
        serde_json::to_value(&line).unwrap(),
        serde_json::json!({ "action": "change", "object": "service web", "field": "scheduler",
            "from": "wrr", "to": "rr" })
    );
}

proptest! {
    /// A plan is empty exactly when nothing changes (but for the order, which is no change).
    #[test]
    fn a_plan_is_empty_when_nothing_changes(
        old in any_config(), new in any_config(), acts in any_acts(),
    ) {
        let running = started(&old);
        let running = after(&running, &acts);
        prop_assert!(plan(&running, &running).is_empty());
        let wanted = merge(Some(&old), &new, &running, &[], 9).unwrap();
        let sorted = |state: &State| {
            let mut state = state.clone();
            state.interfaces.sort();
            state.services.sort_by_key(|s| s.id);
            state.services.iter_mut().for_each(|s| s.backends.sort_by_key(|b| b.slot));
            state
        };
        let empty = plan(&running, &wanted).is_empty();
        prop_assert_eq!(empty, sorted(&running) == sorted(&wanted));
    }
}

#[test]
fn rules_have_lines_of_their_own() {
    let rule = |name: &str, lines: &str| {
        format!("[[service.rule]]\nname = \"{name}\"\nbackends = [\"web-1\"]\n{lines}\n")
    };
    let with = |rules: &str| {
        let (head, tail) = FILE.split_at(FILE.find("[[service]]\nname = \"dns\"").unwrap());
        format!("{head}{rules}{tail}")
    };
    let office = rule("office", "priority = 1\nclients = [\"198.51.100.0/24\"]");
    let rest = rule("rest", "priority = 9\nalways = true");
    let old = file(&with(&(office + &rest)));
    assert_eq!(
        lines(&with(&rule("office", "priority = 1\nclients = [\"198.51.100.0/24\"]"))),
        ["+ rule web/office priority 1 clients [\"198.51.100.0/24\"] to web-1"]
    );
    let new = file(&with(&rule("office", "priority = 2\ntos = \"0x10\"")));
    let running = started(&old);
    let wanted = merge(Some(&old), &new, &running, &[], 2).unwrap();
    let plan = plan(&running, &wanted);
    assert_eq!(
        plan.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "~ rule web/office: clients [\"198.51.100.0/24\"] → none",
            "~ rule web/office: priority 1 → 2",
            "~ rule web/office: tos none → \"0x10/0xff\"",
            "- rule web/rest priority 9 always true to web-1",
        ]
    );
    assert_eq!(running.services[0].rules[0].id, wanted.services[0].rules[0].id);
}
