//! Taking everything away. Without a daemon, `dispatcher detach --all` does the same.

use super::{core::Core, start::failed};
use crate::api::types::ApiError;

impl Core {
    /// Takes everything away: VIPs first, so that the kernel never answers for one in our place.
    pub(super) async fn dismantle(&mut self) -> Result<(), ApiError> {
        self.remove_vips().await;
        self.give_back_arp(|_, _| false);
        self.datapath.remove().map_err(|e| failed(&e))?;
        tracing::info!("detached");
        Ok(())
    }
}
