//! `dispatcher attach`: attaches a NIC.

use super::{Ask, Outcome, args::Attach, error::CliError, output};
use crate::{
    api::{routes, types::AttachInterface},
    model::Choice as _,
};

pub(super) fn attach(ask: &Ask, args: &Attach) -> Outcome {
    let request = AttachInterface { mode: args.mode };
    let attached = ask.daemon(async |client| {
        client.change(&routes::ATTACH, [&args.interface], &request, args.changing.save).await
    });
    let interface = attached.map_err(with_option)?;
    let note = interface.note.map(|note| format!(" ({note})")).unwrap_or_default();
    let state = if interface.attached { "attached" } else { "not attached" };
    Ok(output::line(format!(
        "interface {}: {state}, {}{note}",
        interface.name,
        interface.mode.word()
    )))
}

/// The error with the option in place of the key of the configuration, which the daemon names.
fn with_option(error: CliError) -> CliError {
    let typed = |hint: String| hint.replace("xdp_mode = \"generic\"", "--mode generic");
    CliError { hint: error.hint.map(typed), ..error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_names_the_option() {
        let error = CliError::failed("lo: refused").hint("xdp_mode = \"generic\"");
        assert_eq!(with_option(error).hint.as_deref(), Some("--mode generic"));
    }
}
