//! `dispatcher service add|set|remove`.

use super::{
    Ask, Outcome,
    args::{Service, ServiceAdd, ServiceRemove, ServiceSet},
    error::CliError,
    output,
};
use crate::api::{routes, types::PatchService};

pub(super) fn service(ask: &Ask, args: Service) -> Outcome {
    match args {
        Service::Add(args) => add(ask, args),
        Service::Set(args) => set(ask, args),
        Service::Remove(args) => remove(ask, &args),
    }
}

fn add(ask: &Ask, args: ServiceAdd) -> Outcome {
    let save = args.changing.save;
    let service = ask.daemon(async |client| {
        client.change(&routes::ADD_SERVICE, [&args.name], &args.settings, save).await
    })?;
    Ok(output::line(format!(
        "service {}: added, {}",
        service.name,
        output::services::address(&service)
    )))
}

fn set(ask: &Ask, args: ServiceSet) -> Outcome {
    let request = args.settings;
    if request == PatchService::default() {
        return Err(CliError::usage(format!(
            "service {}: nothing to set, expected an option such as --scheduler",
            args.service
        )));
    }
    let save = args.changing.save;
    let service = ask.daemon(async |client| {
        client.change(&routes::PATCH_SERVICE, [&args.service], &request, save).await
    })?;
    Ok(output::line(format!("service {}: {}", service.name, output::services::settings(&service))))
}

fn remove(ask: &Ask, args: &ServiceRemove) -> Outcome {
    ask.daemon(async |client| {
        client.change(&routes::REMOVE_SERVICE, [&args.service], &(), args.changing.save).await
    })?;
    Ok(output::line(format!("service {}: removed", args.service)))
}
