//! `dispatcher quiesce`: stops new connections to a backend; with `--wait`, shows how many are left until there are
//! none.

use std::io::{self, IsTerminal as _, Write as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Ask, Outcome, args::Quiesce, error::CliError, output, target};
use crate::api::{
    client::{Client, ClientError, EventStream},
    routes,
    types::{Event, EventKind, PatchBackend},
};

pub(super) fn quiesce(ask: &Ask, args: &Quiesce) -> Outcome {
    let request = PatchBackend {
        quiesced: Some(true),
        now: args.now.then_some(true),
        deadline: args.deadline,
        ..PatchBackend::default()
    };
    if !args.wait {
        return target::patch(ask, &args.target, &request, false);
    }
    ask.daemon(async |client| wait(&client, args, &request).await)?
}

/// How the wait ended.
enum End {
    /// No connections left, except this many silent ones.
    Empty(u64),
    /// The deadline passed with this many connections left.
    Deadline(u64),
    /// The backend was changed otherwise meanwhile.
    Changed(&'static str),
    /// The stream of events ended.
    Untold,
}

/// Quiesces a backend and waits until it has no connections left, or the deadline passes.
async fn wait(
    client: &Client,
    args: &Quiesce,
    request: &PatchBackend,
) -> Result<Outcome, ClientError> {
    let (service, name) = (&args.target.service, &args.target.backend);
    // Subscribe before the change, so that no event is missed.
    let mut events = client.events(Some(service)).await?;
    let backend = client.change(&routes::PATCH_BACKEND, [service, name], request, false).await?;
    let object = format!("backend {service}/{}", backend.name);
    let mut shown = Shown::new(output::clean(&object), backend.active_connections);
    let end = if backend.active_connections == 0 {
        End::Empty(0)
    } else {
        follow(&mut events, &backend.name, &mut shown).await?
    };
    shown.clear();
    let failed = |what: String| Err(CliError::failed(format!("{object}: {what}")));
    Ok(match end {
        End::Empty(0) => Ok(output::line(format!("{object}: quiesced, no connections left"))),
        End::Empty(silent) => {
            let silent = output::units::whole(silent);
            Ok(output::line(format!("{object}: quiesced, no connections left but {silent} silent")))
        }
        End::Deadline(left) => {
            failed(format!("the deadline has passed, with connections left: {left}, now broken"))
        }
        End::Changed(what) => failed(what.to_owned()),
        End::Untold => failed("the daemon has stopped, the backend stays quiesced".to_owned()),
    })
}

async fn follow(
    events: &mut EventStream,
    backend: &str,
    shown: &mut Shown,
) -> Result<End, ClientError> {
    while let Some(Event { kind, .. }) = events.next().await? {
        if matches!(kind, EventKind::ServiceRemoved { .. }) {
            return Ok(End::Changed("its service was removed meanwhile"));
        }
        if kind.backend() != Some(backend) {
            continue;
        }
        if let EventKind::QuiesceProgress { connections, silent, .. } = kind {
            if connections == 0 {
                return Ok(End::Empty(silent));
            }
            shown.left(connections, silent);
        } else if let EventKind::QuiesceDeadline { connections, .. } = kind {
            return Ok(if connections == 0 { End::Empty(0) } else { End::Deadline(connections) });
        } else if matches!(kind, EventKind::Unquiesced { .. }) {
            return Ok(End::Changed("was unquiesced meanwhile"));
        } else if matches!(kind, EventKind::BackendRemoved { .. }) {
            return Ok(End::Changed("was removed meanwhile"));
        }
    }
    Ok(End::Untold)
}

/// Shows the connections left on standard error: a bar on a terminal, otherwise one line per change.
struct Shown {
    object: String,
    last: (u64, u64),
    bar: Option<ProgressBar>,
}

impl Shown {
    fn new(object: String, left: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| bar(&object, left));
        let mut shown = Self { object, last: (0, 0), bar };
        shown.left(left, 0);
        shown
    }

    fn left(&mut self, left: u64, silent: u64) {
        let mut said = output::units::whole(left);
        if silent != 0 {
            said = format!("{said}, and {} silent", output::units::whole(silent));
        }
        if let Some(bar) = &self.bar {
            // Affinity may bring more connections.
            let most = bar.length().unwrap_or(0).max(left);
            bar.set_length(most);
            bar.set_position(most - left);
            bar.set_message(format!("left: {said}"));
        } else if (left, silent) != self.last {
            let line = output::line(format!("{}: quiesced, connections left: {said}", self.object));
            // Stderr may be closed.
            let _ = io::stderr().write_all(line.as_bytes());
        }
        self.last = (left, silent);
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(object: &str, left: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(left), ProgressDrawTarget::stderr());
    let template = "{prefix}: [{bar:30}] {msg}, {elapsed}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(object.to_owned());
    bar.enable_steady_tick(std::time::Duration::from_millis(500));
    bar
}
