//! `dispatcher status`: shows everything on one screen.

use super::{Ask, Outcome, args::Format, output, show};
use crate::api::routes;

pub(super) fn status(ask: &Ask, format: Format) -> Outcome {
    let status = ask.daemon(async |client| client.read(&routes::STATUS, []).await)?;
    show(format, &status, output::status::screen)
}
