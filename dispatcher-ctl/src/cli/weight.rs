//! `dispatcher weight`: sets a backend's weight by hand.

use super::{Ask, Outcome, args::Weight, target};
use crate::api::types::PatchBackend;

pub(super) fn weight(ask: &Ask, args: &Weight) -> Outcome {
    let fixed_weight = (args.fixed || args.managed).then_some(args.fixed);
    let request =
        PatchBackend { weight: Some(args.weight), fixed_weight, ..PatchBackend::default() };
    target::patch(ask, &args.target, &request, args.changing.save)
}
