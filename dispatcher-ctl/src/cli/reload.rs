//! `dispatcher reload`: applies the difference between the file as last applied and as it is now.

use super::{Ask, Outcome, args::Format, output, show};

pub(super) fn reload(ask: &Ask, format: Format) -> Outcome {
    let done = ask.daemon(async |client| client.reload().await)?;
    show(format, &done, output::plan::table)
}
