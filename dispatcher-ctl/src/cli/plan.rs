//! `dispatcher plan`: shows what a reload would change.

use super::{Ask, Outcome, args::Plan, block_on, output, show};
use crate::{
    api::{routes, types::PlanQuery},
    config,
};

pub(super) fn plan(ask: &Ask, args: &Plan) -> Outcome {
    let plan = match &args.config {
        None => ask.daemon(async |client| client.read(&routes::PLAN, []).await)?,
        Some(path) => {
            let query = PlanQuery { file: path.display().to_string() };
            let text = block_on(config::read(path))??;
            ask.daemon(async |client| client.call(&routes::PLAN_OTHER, [], &query, &text).await)?
        }
    };
    show(args.reading.output, &plan, output::plan::table)
}
