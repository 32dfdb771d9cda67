//! `affinity` of a service, as it is written.

use toml_edit::TableLike;

use super::{
    document::{Document, Section},
    keys,
    read::set,
};
use crate::model::Affinity;

/// Reads the table at a path; `object` is what messages call the service.
pub(super) fn affinity<'a>(
    d: &mut Document<'a>,
    table: &'a dyn TableLike,
    at: String,
    object: String,
) -> Affinity {
    let mut s = d.section(table, &keys::AFFINITY, at, object);
    let mut affinity = Affinity::default();
    set(&mut affinity.timeout, s.duration("timeout"));
    set(&mut affinity.mask_v4, s.integer("mask_v4", 0..=32, "0..=32"));
    set(&mut affinity.mask_v6, s.integer("mask_v6", 0..=128, "0..=128"));
    set(&mut affinity.cross_port, ports(&mut s));
    s.close();
    affinity
}

/// The ports, if all of them are right.
fn ports(s: &mut Section<'_, '_>) -> Option<Vec<u16>> {
    let Some(array) = s.item("cross_port")?.as_array() else {
        let message = "cross_port is no array, expected ports of other services of the vip";
        s.wrong("cross_port", message.to_owned(), Some("cross_port = [443]".to_owned()));
        return None;
    };
    let mut ports = Vec::new();
    for (i, value) in array.iter().enumerate() {
        let element = format!("cross_port[{i}]");
        let path = s.path(&element);
        s.document().place(&path, value.span());
        match value.as_integer().map(u16::try_from) {
            Some(Ok(port)) => ports.push(port),
            Some(Err(_)) | None => {
                let written = value.to_string();
                let message = format!("cross_port holds {}, expected 0..=65535", written.trim());
                s.wrong(&element, message, None);
            }
        }
    }
    (ports.len() == array.len()).then_some(ports)
}
