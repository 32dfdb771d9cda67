//! `dispatcher plan`: shows what a reload would change.

use super::{Ask, Outcome, args::Plan, output, show, waited};
use crate::config;

pub(super) fn plan(ask: &Ask, args: &Plan) -> Outcome {
    let plan = match &args.config {
        None => ask.daemon(async |client| client.plan().await)?,
        Some(path) => {
            let file = path.display().to_string();
            let text = waited(config::read(path))??;
            ask.daemon(async |client| client.plan_of(&file, text).await)?
        }
    };
    show(args.reading.output, &plan, output::plan::table)
}
