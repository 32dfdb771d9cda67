//! `agent`: the metric agent of the backend's machine tells its load.

use tokio::net::TcpStream;

use super::Load;
use crate::{
    agent::{Key, Report, ask},
    model::Advisor,
};

pub(super) async fn exchange(advisor: &Advisor, stream: TcpStream) -> Result<Load, String> {
    let file = advisor.key_file.as_deref().ok_or("no key_file is set")?;
    // Read for each probe: a key that is replaced is used at once.
    let key = Key::read(file).await?;
    match ask(stream, &key).await? {
        Report::Load(load) => Ok(Load::System(load)),
        Report::Down => Err("the agent says that it is down".to_owned()),
        Report::Unknown(why) => Err(format!("the agent does not know: {why}")),
    }
}
