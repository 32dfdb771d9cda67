//! The record in the hands of a room: what it says is kept with the maps before it takes effect, so that the next controller
//! knows what to undo.

use tokio::sync::Notify;

use super::record::{Amendment, RecordText};
use crate::{api::types::ApiError, dataplane::Datapath, model::Record};

/// The record, and the datapath beside which it is kept.
pub(super) struct Saved<'c> {
    pub(super) record: &'c mut Record,
    pub(super) datapath: &'c mut Datapath,
    /// How the record was last put into words.
    pub(super) text: &'c mut RecordText,
    /// Notified when the record is worth writing whole.
    pub(super) rewrite_due: &'c Notify,
}

impl Saved<'_> {
    /// Keeps what the record says, in one step: by an amendment that says the difference, or whole.
    ///
    /// # Errors
    /// It cannot be written. What was kept before stays.
    pub(super) fn keep(&mut self, amendment: Option<Amendment>) -> Result<(), ApiError> {
        if let Some(amendment) = amendment {
            let bytes = serde_json::to_vec(&amendment)?;
            let is_amended = self.datapath.amend_record(&bytes);
            if self.datapath.is_much_amended() {
                self.rewrite_due.notify_one();
            }
            if is_amended {
                return Ok(());
            }
        }
        let bytes = self.text.bytes(self.record, || ())?;
        Ok(self.datapath.store_record(&bytes)?)
    }

    /// As [`Saved::keep`]; an error is logged.
    pub(super) fn keep_or_log(&mut self, amendment: Option<Amendment>) {
        if let Err(error) = self.keep(amendment) {
            tracing::error!("the controller's record cannot be written: {error}");
        }
    }
}
