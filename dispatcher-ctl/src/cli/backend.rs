//! `dispatcher backend add|set|remove`.

use super::{
    Ask, Outcome,
    args::{Backend, BackendAdd, BackendRemove, BackendSet},
    error::CliError,
    output, target,
};
use crate::api::{routes, types::PatchBackend};

pub(super) fn backend(ask: &Ask, args: Backend) -> Outcome {
    match args {
        Backend::Add(args) => add(ask, &args),
        Backend::Set(args) => set(ask, &args),
        Backend::Remove(args) => remove(ask, &args),
    }
}

fn add(ask: &Ask, args: &BackendAdd) -> Outcome {
    let save = args.changing.save;
    let backend = ask.daemon(async |client| {
        client.change(&routes::ADD_BACKEND, [&args.service, &args.name], &args.settings, save).await
    })?;
    Ok(output::backends::line(&args.service, &backend))
}

fn set(ask: &Ask, args: &BackendSet) -> Outcome {
    if args.settings == PatchBackend::default() {
        return Err(CliError::usage(format!(
            "backend {}/{}: nothing to set, expected an option such as --weight",
            args.target.service, args.target.backend
        )));
    }
    target::patch(ask, &args.target, &args.settings, args.changing.save)
}

fn remove(ask: &Ask, args: &BackendRemove) -> Outcome {
    let name = &args.target;
    ask.daemon(async |client| {
        let names = [&*name.service, &*name.backend];
        client.change(&routes::REMOVE_BACKEND, names, &(), args.changing.save).await
    })?;
    Ok(output::line(format!("backend {}/{}: removed", name.service, name.backend)))
}
