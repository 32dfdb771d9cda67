//! Texts broken at random: never a panic, always whole lines with a place in the text.

use proptest::prelude::*;

use super::*;

const FULL: &str = include_str!("../../../../examples/full.toml");
/// What is put in at random places.
const SCRAPS: [&str; 16] = [
    "\"",
    "\n",
    "[",
    "]",
    "{",
    "}",
    "=",
    ".",
    "70000",
    "-1",
    "true",
    "é",
    "[[service]]\n",
    "\"\\n\" = 1\n",
    "mac = 3\n",
    "[service]\n",
];

#[track_caller]
fn check(text: &str) {
    let Err(errors) = parse(text, "lab.toml") else { return };
    let lines = text.matches('\n').count() + 1;
    assert!(!errors.listed.is_empty());
    for error in &errors.listed {
        let place = error.place.as_ref().unwrap();
        assert!((1..=lines).contains(&place.line) && place.column >= 1, "{error}");
    }
    let places: Vec<_> = errors.listed.iter().map(|e| e.place.as_ref().unwrap().line).collect();
    assert!(places.is_sorted(), "{errors}");
    for line in errors.to_string().lines() {
        assert!(line.starts_with("lab.toml:") || line.starts_with("  hint: "), "{line:?}");
    }
}

#[test]
fn odd_keys_and_values_stay_on_their_line() {
    one("interfaces = []\n\"a\\nb\" = 1\n", &["lab.toml:2:1: \"a\\nb\": key \"a\\nb\" is unknown"]);
    check("interfaces = [\"\"\"a\nb\"\"\"]\nxdp_mode = \"\"\"\nx\"\"\"");
    check("\u{feff}interfaces = 1979-05-27\n[service]\n");
    check("interfaces = []\r\nport = 0x50\r\nservice.backend = [1, {}]\r\n");
}

proptest! {
    #[test]
    fn no_text_is_too_broken(
        cuts in prop::collection::vec((0usize..4000, 0usize..20, 0usize..SCRAPS.len()), 1..6),
    ) {
        let mut text: Vec<char> = FULL.lines().filter(|l| !l.starts_with('#')).flat_map(|l| {
            l.chars().chain(['\n'])
        }).collect();
        for (at, length, scrap) in cuts {
            let at = at % text.len();
            let end = (at + length).min(text.len());
            text.splice(at..end, SCRAPS[scrap].chars());
        }
        check(&text.into_iter().collect::<String>());
    }
}
