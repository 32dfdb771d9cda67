//! `dispatcher attach`: attaches a NIC.

use super::{Ask, Outcome, args::Attach, output};
use crate::{api::types::AttachInterface, model::Choice as _};

pub(super) fn attach(ask: &Ask, args: &Attach) -> Outcome {
    let request = AttachInterface { mode: args.mode };
    let interface = ask.daemon(async |client| {
        client.attach(&args.interface, &request, args.changing.save).await
    })?;
    let note = interface.note.map(|note| format!(" ({note})")).unwrap_or_default();
    let state = if interface.attached { "attached" } else { "not attached" };
    Ok(output::line(format!(
        "interface {}: {state}, {}{note}",
        interface.name,
        interface.mode.word()
    )))
}
