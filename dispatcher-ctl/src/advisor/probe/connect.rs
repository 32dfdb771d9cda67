//! `connect`: the connection is all that is asked for.

use tokio::net::TcpStream;

/// Closes the connection by an RST: nobody need wait for its last packets.
pub(super) async fn exchange(stream: TcpStream) -> Result<(), String> {
    let _best_effort = stream.set_zero_linger();
    Ok(())
}
