//! Requests. What changes settings is declared in [`crate::settings`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::XdpMode;
pub use crate::settings::{
    PatchAffinity, PatchBackend, PatchManager, PatchService, PutBackend, PutService,
};

/// How an interface is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachInterface {
    /// Where in the kernel the program runs; default: as configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<XdpMode>,
}
