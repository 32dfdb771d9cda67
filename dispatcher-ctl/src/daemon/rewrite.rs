//! How is the record written whole while changes go on?
//!
//! Amendments need room, and in time a record that has them in it. That is some megabytes to be put into words and written:
//! it is done on a thread of its own, of what the record said when it began ([`Draft`]), which lets others run after
//! every few pages. Changes go on amending the record in force. The core then has what they amended copied behind the draft, and puts it in the record's place, in one step.

use std::{sync::Arc, thread};

use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::{control::Handle, core::Core, record::RecordText};
use crate::{
    dataplane::{DataplaneError, RecordDraft, RecordMark},
    model::Record,
};

/// A record to be written whole.
struct Draft {
    record: Record,
    text: RecordText,
    begun: RecordMark,
}

/// The same, written.
struct Drafted {
    written: Result<RecordDraft, DataplaneError>,
    text: RecordText,
    begun: RecordMark,
}

/// Writes the record whole whenever that is due, until the daemon ends.
pub(super) async fn run(
    handle: Handle,
    due: Arc<Notify>,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    loop {
        tokio::select! {
            () = due.notified() => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        let Some(draft) = handle.core().await.begin_draft() else { continue };
        let (sender, drafted) = oneshot::channel();
        let work = move || {
            // Nobody waits for it any more only where the daemon ends.
            let _ = sender.send(draft.write());
        };
        if let Err(error) = thread::Builder::new().name("record".to_owned()).spawn(work) {
            // The next amendment asks for it again; when there is no more room, the core writes it itself.
            tracing::error!("the controller's record cannot be written: {error}");
        }
        let Ok(drafted) = drafted.await else { continue };
        if let Err(error) = handle.core().await.take_draft(drafted) {
            tracing::error!("the controller's record cannot be written: {error}");
        }
    }
}

impl Draft {
    fn write(self) -> Drafted {
        let Self { record, mut text, begun } = self;
        let failed = |e: serde_json::Error| DataplaneError::Invalid(format!("record: {e}"));
        // Of the same priority as all others: it may hold what they wait for, if only the allocator's lock.
        let bytes = text.bytes(&record, thread::yield_now).map_err(failed);
        let written = bytes.and_then(|bytes| RecordDraft::new(&bytes, thread::yield_now));
        Drafted { written, text, begun }
    }
}

impl Core {
    /// What is to be written, if the record has been amended much.
    fn begin_draft(&mut self) -> Option<Draft> {
        let begun = self.datapath.record_mark().filter(|_| self.datapath.is_much_amended())?;
        let text = std::mem::take(&mut self.text);
        Some(Draft { record: self.record.clone(), text, begun })
    }

    /// Makes a draft the record, unless that was written whole meanwhile.
    fn take_draft(&mut self, drafted: Drafted) -> Result<(), DataplaneError> {
        self.text = drafted.text;
        self.datapath.replace_record(drafted.written?, drafted.begun)
    }
}
