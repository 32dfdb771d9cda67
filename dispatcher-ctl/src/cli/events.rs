//! `dispatcher events`: prints events as they happen.

use std::io::{self, Write as _};

use super::{
    Ask, Outcome,
    args::{Events, Format},
    error::CliError,
    output,
};
use crate::api::{client::ClientError, types::Event};

/// Why the stream ended.
enum End {
    /// Nobody reads the output.
    Unread,
    /// The output cannot be written.
    Unwritten(CliError),
    /// The daemon ended the stream.
    Daemon,
}

pub(super) fn events(ask: &Ask, args: &Events) -> Outcome {
    let end = ask.daemon(|client| async move {
        let mut events = client.events(args.service.as_deref()).await?;
        while let Some(event) = events.next().await? {
            if let Err(end) = print(args.output, &event) {
                return Ok::<_, ClientError>(end);
            }
        }
        Ok(End::Daemon)
    })?;
    match end {
        End::Unread => Ok(String::new()),
        End::Unwritten(error) => Err(error),
        End::Daemon => Err(CliError::failed("events: the daemon has stopped")),
    }
}

/// Prints an event at once, also into a pipe.
fn print(format: Format, event: &Event) -> Result<(), End> {
    let text = match format {
        Format::Table => output::events::event(event),
        Format::Json => match serde_json::to_string(event) {
            Ok(json) => json + "\n",
            Err(e) => {
                return Err(End::Unwritten(CliError::failed(format!("cannot write json: {e}"))));
            }
        },
    };
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(End::Unread),
        Err(e) => Err(End::Unwritten(CliError::failed(format!("standard output: {e}")))),
    }
}
