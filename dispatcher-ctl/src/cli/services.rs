//! `dispatcher services`: lists all services.

use super::{Ask, Outcome, args::Format, output, show};
use crate::api::routes;

pub(super) fn services(ask: &Ask, format: Format) -> Outcome {
    let services = ask.daemon(async |client| client.read(&routes::SERVICES, []).await)?;
    show(format, &services, |services, style| output::services::table(services, style))
}
