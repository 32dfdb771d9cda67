//! `dispatcher services`: lists all services.

use super::{Ask, Outcome, args::Format, output, show};

pub(super) fn services(ask: &Ask, format: Format) -> Outcome {
    let services = ask.daemon(async |client| client.services().await)?;
    show(format, &services, |services, style| output::services::table(services, style))
}
