//! `dispatcher advisor report`.

use super::{Ask, Outcome, args::Advisor, output, show};
use crate::api::routes;

pub(super) fn advisor(ask: &Ask, args: &Advisor) -> Outcome {
    let Advisor::Report(reading) = args;
    let reports = ask.daemon(async |client| client.read(&routes::ADVISORS, []).await)?;
    show(reading.output, &reports, |reports, style| output::advisors::table(reports, style))
}
