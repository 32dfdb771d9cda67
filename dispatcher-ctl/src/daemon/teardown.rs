//! Taking everything away. Without a daemon, `dispatcher detach --all` does the same.

use super::core::Core;
use crate::api::types::ApiError;

impl Core {
    /// Takes everything away: VIPs first, so that the kernel never answers for one in our place.
    pub(super) async fn dismantle(&mut self) -> Result<(), ApiError> {
        self.remove_vips().await;
        self.give_back_arp(|_, _| false);
        self.datapath.remove()?;
        tracing::info!("detached");
        Ok(())
    }
}
