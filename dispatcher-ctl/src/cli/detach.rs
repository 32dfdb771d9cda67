//! `dispatcher detach`: a NIC out, or everything.

use super::{Ask, Outcome, args::Detach, error::CliError, output};

pub(super) fn detach(ask: &Ask, args: &Detach) -> Outcome {
    let Some(interface) = &args.interface else {
        return all(args);
    };
    ask.daemon(async |client| client.detach(interface, args.changing.save).await)?;
    Ok(output::line(format!("interface {interface}: detached")))
}

/// Removes everything; needs no daemon.
fn all(_args: &Detach) -> Outcome {
    Err(CliError::failed("detach --all: not in this build"))
}
