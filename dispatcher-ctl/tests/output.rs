//! Output for people: compares every table with a golden file.

use dispatcher_ctl::{
    api::types::{
        AdvisorReport, Connections, ManagerReport, ManagerSettings, Plan, Service, Status,
    },
    cli::output::{Style, advisors, backends, connections, manager, plan, services, status},
    model::Manager,
};

mod support;

const PLAIN: Style = Style { color: false, now: support::NOW };
const COLOR: Style = Style { color: true, now: support::NOW };

/// The same service under another name.
fn named(service: &Service, n: usize) -> Service {
    let mut service = service.clone();
    service.name = format!("s{n}");
    service
}

#[test]
fn tables_are_as_they_were() {
    let sample = support::sample();
    support::golden("status.txt", &status::screen(&sample, &PLAIN));
    support::golden("services.txt", &services::table(&sample.services, &PLAIN));
    support::golden("backends.txt", &backends::table(&backends::rows(&sample.services), &PLAIN));
    let reports = AdvisorReport::all(&sample.services);
    support::golden("advisors.txt", &advisors::table(&reports, &PLAIN));
    let managed = ManagerReport {
        settings: ManagerSettings::from(&Manager { enabled: true, ..Manager::default() }),
        services: support::managed(),
    };
    support::golden("manager.txt", &manager::table(&managed, &PLAIN));
    let mut few = Connections { connections: support::connections(), truncated: false, next: None };
    support::golden("connections.txt", &connections::table(&few, &PLAIN));
    few.truncated = true;
    assert!(connections::table(&few, &PLAIN).ends_with("3 shown, there are more: --limit N\n"));
    support::golden("plan.txt", &plan::table(&support::plan(), &PLAIN));
    assert_eq!(plan::table(&Plan::default(), &PLAIN), "nothing to change\n");
}

#[test]
fn what_a_server_says_fits_into_a_table() {
    let mut sample = support::sample();
    for backend in sample.services.iter_mut().flat_map(|service| &mut service.backends) {
        backend.state = format!("down: smtp {}\u{202e}", "y".repeat(4096));
        if let Some(advisor) = &mut backend.advisor {
            advisor.last_error = Some("z".repeat(4096));
        }
    }
    let (cut_y, cut_z) = ("y".repeat(188) + "…", "z".repeat(199) + "…");
    for table in [
        backends::table(&backends::rows(&sample.services), &PLAIN),
        status::screen(&sample, &PLAIN),
    ] {
        assert!(table.contains(&cut_y) && !table.contains(&("y".repeat(189))), "{table}");
    }
    let report = advisors::table(&AdvisorReport::all(&sample.services), &PLAIN);
    assert!(report.contains(&cut_y) && report.contains(&cut_z), "{report}");
    assert!(!report.contains(&"z".repeat(200)));
}

#[test]
fn colour_changes_nothing_else() {
    let sample = support::sample();
    let screen = status::screen(&sample, &COLOR);
    assert!(screen.contains("\u{1b}["), "no colour at all");
    let lines = |text: &str| -> Vec<String> {
        strip(text).lines().map(|line| line.trim_end().to_owned()).collect()
    };
    assert_eq!(lines(&screen), lines(&status::screen(&sample, &PLAIN)));
}

#[test]
fn plain_output_has_neither_colour_nor_trailing_blanks() {
    let screen = status::screen(&support::sample(), &PLAIN);
    assert!(!screen.contains('\u{1b}'));
    assert!(screen.lines().all(|line| line == line.trim_end()));
}

#[test]
fn what_could_not_be_probed_is_told_by_cause() {
    let mut sample = support::sample();
    let mut web = sample.services[0].clone();
    for backend in &mut web.backends {
        let why = Some("too many open files".to_owned());
        backend.advisor.iter_mut().for_each(|advisor| advisor.not_probed.clone_from(&why));
    }
    let probed = web.backends.iter().filter(|backend| backend.advisor.is_some()).count();
    assert!(probed > 0, "no backend of the sample is probed");
    sample.services = (0..10).map(|n| named(&web, n)).collect();
    sample.probe_lateness.up = 3.2;
    let screen = status::screen(&sample, &PLAIN);
    let warnings: Vec<_> = screen.lines().filter(|line| line.starts_with("warning: ")).collect();
    let told = |text: &str| warnings.iter().filter(|line| line.contains(text)).count();
    assert_eq!(told("could not probe s0/"), 1, "{warnings:?}");
    assert_eq!(told(": too many open files"), 1, "{warnings:?}");
    assert_eq!(told("of backends that are up begin up to "), 1, "{warnings:?}");
    assert_eq!(told("that are down or new"), 0, "{warnings:?}");
}

#[test]
fn a_large_status_is_still_a_screen() {
    let mut sample = support::sample();
    let web = sample.services[0].clone();
    sample.services = (0..1000).map(|n| named(&web, n)).collect();
    let screen = status::screen(&sample, &PLAIN);
    assert!(screen.lines().count() < 80, "{} lines", screen.lines().count());
    assert!(screen.contains("940 more: dispatcher services"));
    assert!(screen.contains("3000 backends: dispatcher backends [SERVICE]"));
}

#[test]
fn names_from_elsewhere_steer_no_terminal() {
    let mut sample = support::sample();
    sample.services[0].name = "web\u{1b}[2J\n".to_owned();
    sample.services[0].backends[0].state = "up\r\u{7}".to_owned();
    sample.last_errors[0].message = "\u{9b}31m".to_owned();
    let screens = [
        status::screen(&sample, &PLAIN),
        services::table(&sample.services, &PLAIN),
        backends::table(&backends::rows(&sample.services), &PLAIN),
    ];
    for screen in screens {
        assert!(screen.chars().all(|c| c == '\n' || !c.is_control()), "{screen:?}");
    }
}

#[test]
fn nothing_at_all_is_shown_without_a_panic() {
    let screen = status::screen(&Status::default(), &PLAIN);
    assert!(screen.contains("no services"));
    assert_eq!(services::table(&[], &PLAIN).lines().count(), 1);
}

/// Text without escape sequences.
fn strip(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        out += &rest[..at];
        let end = rest[at..].find('m').expect("a sequence ends");
        rest = &rest[at + end + 1..];
    }
    out + rest
}
