//! `dispatcher connections`: lists connections with their client, service and backend.

use super::{Ask, Outcome, args::Connections, output, show};
use crate::api::types::ConnectionQuery;

pub(super) fn connections(ask: &Ask, args: Connections) -> Outcome {
    let query = ConnectionQuery {
        service: args.service,
        client: args.client,
        backend: args.backend,
        limit: args.limit,
        ..ConnectionQuery::default()
    };
    let connections = ask.daemon(async |client| client.connections(&query).await)?;
    show(args.reading.output, &connections, output::connections::table)
}
