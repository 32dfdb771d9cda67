//! `dispatcher plan`: what would a reload change?

use super::{Ask, Outcome, args::Plan, error::CliError, output, show};

pub(super) fn plan(ask: &Ask, args: &Plan) -> Outcome {
    let plan = match &args.config {
        None => ask.daemon(async |client| client.plan().await)?,
        Some(path) => {
            let file = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|e| {
                CliError::usage(format!("configuration {file}: cannot be read: {e}"))
            })?;
            ask.daemon(async |client| client.plan_of(&file, text).await)?
        }
    };
    show(args.reading.output, &plan, output::plan::table)
}
