//! `dispatcher manager report|set`.

use clap::{Args as _, Command, FromArgMatches as _};

use super::{
    Ask, Outcome,
    args::{Manager, ManagerSet},
    error::CliError,
    output, show,
};
use crate::{
    api::{routes, types::PatchManager},
    model::Proportions,
    settings::{
        self,
        row::{Row, Table as _},
        spec::Spec,
    },
};

pub(super) fn manager(ask: &Ask, args: &Manager) -> Outcome {
    match args {
        Manager::Report(reading) => {
            let report = ask.daemon(async |client| client.read(&routes::MANAGER, []).await)?;
            show(reading.output, &report, output::manager::table)
        }
        Manager::Set(args) => {
            let request = request(args)?;
            let save = args.changing.save;
            let report = ask.daemon(async |client| {
                client.change(&routes::PATCH_MANAGER, [], &request, save).await
            })?;
            Ok(output::manager::line(&report.settings))
        }
    }
}

/// Reads the value as the option of the setting's name would.
fn request(ManagerSet { key, value, .. }: &ManagerSet) -> Result<PatchManager, CliError> {
    let command = PatchManager::augment_args(Command::new("set").no_binary_name(true));
    let option = format!("--{}={value}", key.replace('_', "-"));
    let typed = command.try_get_matches_from([option]);
    typed.and_then(|typed| PatchManager::from_arg_matches(&typed)).map_err(|_| {
        let expected = match settings::Manager::ROWS.iter().find(|row| row.key == key) {
            Some(Row { spec: Spec { typed, .. }, .. }) if !typed.is_empty() => {
                format!(" is not {typed}")
            }
            _ => format!(": {}", Proportions::EXPECTED),
        };
        CliError::usage(format!("manager: {key} {value:?}{expected}"))
    })
}
