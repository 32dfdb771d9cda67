//! `dispatcher manager report|set`.

use super::{
    Ask, Outcome,
    args::{Manager, ManagerSet, proportions},
    error::CliError,
    output, show,
};
use crate::{
    api::{
        routes,
        types::{PatchManager, Seconds},
    },
    model::report_timeout,
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

fn request(ManagerSet { key, value, .. }: &ManagerSet) -> Result<PatchManager, CliError> {
    let wrong =
        |expected: &str| CliError::usage(format!("manager: {key} {value:?} is not {expected}"));
    let duration = |text: &str| humantime::parse_duration(text).ok();
    let mut patch = PatchManager::default();
    match key.as_str() {
        "enabled" => patch.enabled = Some(value.parse().map_err(|_| wrong("true or false"))?),
        "interval" => {
            let interval = duration(value).ok_or_else(|| wrong("a duration such as 2s"))?;
            patch.interval = Some(Seconds(interval));
        }
        "refresh" => patch.refresh = Some(value.parse().map_err(|_| wrong("a whole number"))?),
        "sensitivity" => {
            patch.sensitivity = Some(value.parse().map_err(|_| wrong("a number of percent"))?);
        }
        "smoothing" => patch.smoothing = Some(value.parse().map_err(|_| wrong("a number"))?),
        "report_timeout" => {
            let timeout = report_timeout::parse(value);
            let timeout = timeout.ok_or_else(|| wrong(report_timeout::EXPECTED))?;
            patch.report_timeout = Some(timeout.map(Seconds));
        }
        _ => {
            patch.proportions = Some(proportions(value).map_err(|expected| {
                CliError::usage(format!("manager: proportions {value:?}: {expected}"))
            })?)
        }
    }
    Ok(patch)
}
