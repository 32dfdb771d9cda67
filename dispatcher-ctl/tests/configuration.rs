//! The tables of `docs/configuration.md` are those of the settings; `DISPATCHER_BLESS=1` writes them.

use std::{env, fs, path::Path};

use dispatcher_ctl::settings::docs;

#[test]
fn the_page_has_every_setting_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = fs::read_to_string(&path).unwrap();
    let wanted = docs::page(&page);
    if env::var_os("DISPATCHER_BLESS").is_some() {
        fs::write(&path, wanted).unwrap();
    } else {
        let hint = "hint: DISPATCHER_BLESS=1 cargo test -p dispatcher-ctl --test configuration";
        assert!(page == wanted, "docs/configuration.md differs from the settings\n{hint}");
    }
}
