//! `dispatcher backends`: lists all backends, or those of a service.

use super::{Ask, Outcome, args::Backends, output, show};

pub(super) fn backends(ask: &Ask, args: &Backends) -> Outcome {
    let services = ask.daemon(async |client| match &args.service {
        Some(service) => Ok(vec![client.service(service).await?]),
        None => client.services().await,
    })?;
    let rows = output::backends::rows(&services);
    show(args.reading.output, &rows, |rows, style| output::backends::table(rows, style))
}
