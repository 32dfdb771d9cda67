//! `agent`: the metric agent on the backend's machine reports its system load.

use std::time::Duration;

use tokio::net::TcpStream;

use super::{Fault, Load, file_cache::FileCache};
use crate::{
    agent::{Key, Report, ask},
    model::Advisor,
};

static KEYS: FileCache<Key> = FileCache::new();

pub(super) async fn ask_load(advisor: &Advisor, stream: TcpStream) -> Result<Load, Fault> {
    let none = || Fault::Here("no key_file is set".to_owned());
    let file = advisor.key_file.as_deref().ok_or_else(none)?;
    // Read for each probe, so that a replaced key is used at once.
    let key = KEYS.get(Some(file), Duration::ZERO, Key::read(file)).await?;
    match ask(stream, &key).await? {
        Report::Load(load) => Ok(Load::System(load)),
        Report::Down => Err(Fault::Backend("the agent says that it is down".to_owned())),
        Report::Unknown(why) => {
            Err(Fault::Backend(format!("the agent does not know its load: {why}")))
        }
    }
}
