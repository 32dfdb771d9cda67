//! `dispatcher unquiesce`, `up` and `down`: changes one backend by hand.

use super::{Ask, Outcome, args::TargetName, output};
use crate::api::types::PatchBackend;

pub(super) fn unquiesce(ask: &Ask, name: &TargetName) -> Outcome {
    let request = PatchBackend { quiesced: Some(false), ..PatchBackend::default() };
    patch(ask, name, &request, false)
}

pub(super) fn up(ask: &Ask, name: &TargetName, up: bool) -> Outcome {
    let request = PatchBackend { up: Some(up), ..PatchBackend::default() };
    patch(ask, name, &request, false)
}

/// Changes a backend and prints its new state.
pub(super) fn patch(ask: &Ask, name: &TargetName, request: &PatchBackend, save: bool) -> Outcome {
    let backend = ask.daemon(async |client| {
        client.patch_backend(&name.service, &name.backend, request, save).await
    })?;
    Ok(output::backends::line(&name.service, &backend))
}
