//! What is written, to the letter, and that it always says what runs.

use proptest::prelude::*;

use super::*;
use crate::{
    api::types::{PatchBackend, PatchManager, PatchService},
    reconcile::{
        edit::Edit,
        merge,
        testing::{Act, after, any_acts, any_config, started},
    },
};

const FILE: &str = r#"# The lab.
interfaces = ["eth0"]   # upstream

[connections]
capacity = 32 # small

# What people come for.
[[service]]
name = "web"
vip = "192.0.2.80"
port = 80
protocol   =   "tcp"      # not quic

[[service.backend]]
name = "web-1"
address = "10.0.0.11"
weight = 0x0a # ten

# On its last legs.
[[service.backend]]
name = "web-2"
address = "10.0.0.12"

[manager]
enabled = false

[[service]]
name = "dns"
vip = "192.0.2.80"
port = 53
protocol = "udp"
# the end
"#;

fn running(text: &str) -> (Config, State) {
    let file = parse(text, "lab.toml").unwrap();
    let state = started(&file);
    (file, state)
}

/// [`FILE`] after changes.
fn saved(text: &str, change: impl FnOnce(Edit<'_>) -> State) -> String {
    let (file, state) = running(text);
    let state = change(Edit { state: &state, retired: &[], now_ms: 2, rings: 0 });
    save(text, "lab.toml", &file, &state).unwrap().text
}

fn json<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[test]
fn an_advisor_is_saved_with_its_thresholds() {
    let mut advisor = Advisor::new(crate::model::AdvisorKind::Http);
    advisor.passive.unanswered = 7;
    let text = saved(FILE, |edit| {
        let mut state = edit.state.clone();
        let web = state.services.iter_mut().find(|service| service.config.name == "web").unwrap();
        web.config.advisor = Some(advisor.clone());
        state
    });
    let thresholds = r#"passive = { window = "5s", retried = 0, unanswered = 7 } }"#;
    assert!(text.contains(thresholds), "{text}");
    let (file, _) = running(&text);
    assert_eq!(file.services[0].advisor, Some(advisor));
}

#[test]
fn without_a_change_not_a_byte_changes() {
    assert_eq!(saved(FILE, |edit| edit.state.clone()), FILE);
    let quiesced = PatchBackend { quiesced: Some(true), ..Default::default() };
    assert_eq!(saved(FILE, |edit| edit.patch_backend("web", "web-1", &quiesced).unwrap()), FILE);
}

#[test]
fn a_value_is_changed_where_it_stands() {
    let weight = PatchBackend { weight: Some(3), ..Default::default() };
    assert_eq!(
        saved(FILE, |edit| edit.patch_backend("web", "web-1", &weight).unwrap()),
        FILE.replace("weight = 0x0a # ten", "weight = 3 # ten")
    );
    assert_eq!(
        saved(FILE, |edit| edit.patch_backend("web", "web-2", &weight).unwrap()),
        FILE.replace("\"10.0.0.12\"\n", "\"10.0.0.12\"\nweight = 3\n")
    );
}

#[test]
fn a_value_that_was_a_default_is_written_when_its_default_moves() {
    // With this bound the default weight of web-2 would be 8, not the 10 that runs.
    let bound = PatchService { weight_bound: Some(15), ..Default::default() };
    assert_eq!(
        saved(FILE, |edit| edit.patch_service("web", &bound).unwrap()),
        FILE.replace("# not quic\n", "# not quic\nweight_bound = 15\n")
            .replace("\"10.0.0.12\"\n", "\"10.0.0.12\"\nweight = 10\n")
    );
}

#[test]
fn backends_and_services_come_and_go() {
    let changed = saved(FILE, |edit| {
        let third = json(serde_json::json!({ "address": "10.0.0.13", "weight": 2 }));
        let state = edit.put_backend("web", "web-3", &third, false).unwrap();
        let edit = Edit { state: &state, ..edit };
        let state = edit.remove_backend("web", "web-2").unwrap();
        let edit = Edit { state: &state, ..edit };
        let mail = json(serde_json::json!({ "vip": "2001:db8::25", "port": 25, "protocol": "tcp",
            "stale_timeout": "90s" }));
        let state = edit.put_service("mail", &mail, false).unwrap();
        let edit = Edit { state: &state, ..edit };
        let local = json(serde_json::json!({ "address": "127.0.0.1", "local": true,
            "mac": "02:00:00:00:00:01", "max_connections": 7 }));
        let state = edit.put_backend("mail", "here", &local, false).unwrap();
        Edit { state: &state, ..edit }.attach("eth1").unwrap()
    });
    let want = FILE
        .replace("[\"eth0\"]", "[\"eth0\", \"eth1\"]")
        .replace(
            "\n# On its last legs.\n[[service.backend]]\nname = \"web-2\"\naddress = \"10.0.0.12\"\n",
            "\n[[service.backend]]\nname = \"web-3\"\naddress = \"10.0.0.13\"\nweight = 2\n",
        )
        .replace(
            "# the end\n",
            "\n[[service]]\nname = \"mail\"\nvip = \"2001:db8::25\"\nport = 25\n\
             protocol = \"tcp\"\nstale_timeout = \"90s\"\n\n[[service.backend]]\nname = \"here\"\n\
             address = \"127.0.0.1\"\nmac = \"02:00:00:00:00:01\"\nweight = 10\nlocal = true\n\
             max_connections = 7\n\
             # the end\n",
        );
    assert_eq!(changed, want);
}

#[test]
fn inline_tables_stay_inline() {
    let text = "interfaces = []\nservice = [{ name = \"a\", vip = \"192.0.2.1\", port = 1, \
                protocol = \"udp\" }]\n";
    let changed = saved(text, |edit| {
        let backend = json(serde_json::json!({ "address": "10.0.0.1" }));
        edit.put_backend("a", "b", &backend, false).unwrap()
    });
    let added = "backend = [{ name = \"b\", address = \"10.0.0.1\", weight = 10 }]";
    let want = text.replace("\"udp\" }", &format!("\"udp\" , {added} }}"));
    assert_eq!(changed, want);
}

#[test]
fn a_file_that_its_user_has_changed_is_not_overwritten() {
    let (applied, state) = running(FILE);
    let text = FILE.replace("capacity = 32", "capacity = 64");
    let errors = save(&text, "lab.toml", &applied, &state).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "lab.toml has changed since it was applied, so it is not written\n  hint: reload first, \
         then save"
    );
    let errors = save("interfaces", "lab.toml", &applied, &state).unwrap_err();
    assert!(errors.to_string().contains("broken TOML"));
}

/// A configuration as text, made by saving it into an empty file.
fn text_of(config: &Config) -> String {
    let empty = "interfaces = []\n";
    let (file, _) = running(empty);
    let state = started(config);
    save(empty, "lab.toml", &file, &state).unwrap().text
}

proptest! {
    #[test]
    fn what_is_saved_says_what_runs(file in any_config(), acts in any_acts()) {
        let text = text_of(&file);
        prop_assert_eq!(&parse(&text, "lab.toml").unwrap(), &file);
        let (applied, state) = running(&text);
        let state = after(&state, &acts);
        let text = save(&text, "lab.toml", &applied, &state).unwrap().text;
        let saved = parse(&text, "lab.toml").unwrap();
        prop_assert!(says(&saved, &state, &wanted(&state)));
        // A reload of what was saved changes nothing, and saving again not a byte.
        let merged = merge(Some(&saved), &saved, &state, &[], 9).unwrap();
        let change = crate::reconcile::Change::new(&state, merged, 9);
        prop_assert!(crate::reconcile::plan(&change).is_empty());
        prop_assert_eq!(save(&text, "lab.toml", &saved, &state).unwrap().text, text);
    }

    #[test]
    fn a_commented_file_keeps_every_comment_of_what_stays(acts in any_acts()) {
        let (applied, state) = running(FILE);
        let removed = |act: &Act| matches!(act, Act::RemoveService(_) | Act::RemoveBackend(..));
        let acts: Vec<_> = acts.into_iter().filter(|act| !removed(act)).collect();
        let state = after(&state, &acts);
        let text = save(FILE, "lab.toml", &applied, &state).unwrap().text;
        prop_assert!(says(&parse(&text, "lab.toml").unwrap(), &state, &wanted(&state)));
        for comment in FILE.lines().filter_map(|line| line.find('#').map(|at| &line[at..])) {
            prop_assert!(text.contains(comment), "{comment} is lost");
        }
    }
}

#[test]
fn what_affinity_there_is_is_written() {
    let said = saved(FILE, |edit| {
        let mut state = edit.state.clone();
        let service = &mut state.services[0];
        service.config.affinity.timeout = std::time::Duration::from_secs(300);
        service.config.affinity.cross_port = vec![service.config.port];
        service.backends[0].config.sticky = false;
        let mut other = service.clone();
        other.config.name = "other".to_owned();
        other.config.protocol = crate::model::Protocol::Udp;
        other.config.affinity.cross_port.clear();
        state.services.push(other);
        state
    });
    let file = parse(&said, "lab.toml").unwrap();
    let (first, last) = (&file.services[0], file.services.last().unwrap());
    assert_eq!(first.affinity.timeout.as_secs(), 300);
    assert_eq!(first.affinity.cross_port, [first.port]);
    assert_eq!(last.affinity.timeout.as_secs(), 300);
    assert!(!first.backends[0].sticky && !last.backends[0].sticky);
    assert!(said.contains("sticky = false"), "{said}");
}

#[test]
fn the_manager_is_written_where_it_stands_or_into_a_table_of_its_own() {
    let patch = |edit: Edit<'_>| {
        let patch =
            PatchManager { smoothing: Some(2.5), enabled: Some(true), ..Default::default() };
        edit.patch_manager(&patch).unwrap()
    };
    let text = saved(FILE, patch);
    assert!(text.contains("[manager]\nenabled = true\nsmoothing = 2.5\n"), "{text}");
    let bare = FILE.replace("[manager]\nenabled = false\n", "");
    let text = saved(&bare, patch);
    let file = parse(&text, "lab.toml").unwrap();
    assert!(file.manager.enabled && file.manager.smoothing == 2.5, "{text}");
    let fixed = saved(FILE, |edit| {
        let patch = PatchBackend { fixed_weight: Some(true), ..Default::default() };
        edit.patch_backend("web", "web-2", &patch).unwrap()
    });
    assert!(fixed.contains("address = \"10.0.0.12\"\nfixed_weight = true\n"), "{fixed}");
}

#[test]
fn rules_are_written_as_they_run() {
    let text = include_str!("../../../../examples/rules.toml");
    assert_eq!(saved(text, |edit| edit.state.clone()), text);
    let said = saved(text, |edit| {
        let mut state = edit.state.clone();
        let rules = &mut state.services[0].rules;
        rules[0].config.priority = 11;
        rules[0].config.clients.pop();
        rules[0].config.time = None;
        let mut again = rules[1].clone();
        again.config.name = "again".to_owned();
        again.config.priority = 21;
        again.config.max_active_connections = Some(7);
        rules.push(again);
        rules.remove(2);
        state
    });
    assert!(said.contains("# The office's network"), "{said}");
    let (was, is) = (parse(text, "a").unwrap(), parse(&said, "b").unwrap());
    let (was, is) = (&was.services[0].rules, &is.services[0].rules);
    assert_eq!((is[0].priority, is[0].time, is[0].clients.len()), (11, None, 2));
    assert_eq!((is[0].days.clone(), is[1].clone()), (was[0].days.clone(), was[1].clone()));
    let last = is.last().unwrap();
    assert_eq!((last.name.as_str(), last.max_active_connections), ("again", Some(7)));
    assert_eq!(last.client_ports, was[1].client_ports);
    assert_eq!(is.len(), was.len());
}
