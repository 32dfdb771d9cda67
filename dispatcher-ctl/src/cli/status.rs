//! `dispatcher status`: shows everything on one screen.

use super::{Ask, Outcome, args::Format, output, show};

pub(super) fn status(ask: &Ask, format: Format) -> Outcome {
    let status = ask.daemon(async |client| client.status().await)?;
    show(format, &status, output::status::screen)
}
