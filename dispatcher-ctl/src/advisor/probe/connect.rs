//! `connect`: the connection is all that is asked for.

use tokio::net::TcpStream;

/// The connection will be closed by an RST: nobody need wait for its last packets.
pub(super) fn exchange(stream: &TcpStream) -> Result<(), String> {
    let _best_effort = stream.set_zero_linger();
    Ok(())
}
