//! `exec`: a command checks the backend and prints its load, or -1.

use std::time::Duration;

use super::{Fault, Load, Target};
use crate::{command, model::Advisor};

pub(super) async fn run(advisor: &Advisor, target: &Target) -> Result<Load, Fault> {
    let address = target.address;
    let environment = [
        ("DISPATCHER_SERVICE", target.service.clone()),
        ("DISPATCHER_BACKEND", target.backend.clone()),
        ("DISPATCHER_ADDRESS", address.ip().to_string()),
        ("DISPATCHER_PORT", address.port().to_string()),
    ];
    let printed = command::run(&advisor.command, &environment, advisor.receive_timeout).await?;
    let milliseconds = command::number(&printed)?;
    if milliseconds < 0.0 {
        return Err(Fault::Backend("the command says that it is down".to_owned()));
    }
    let load = Duration::try_from_secs_f64(milliseconds / 1000.0);
    load.map(Load::Time).map_err(|_| Fault::Backend(command::unexpected(&printed)))
}
