//! `connect`: a probe that only needs a TCP connection.

use tokio::net::TcpStream;

/// Makes the connection close with an RST, so that no socket waits for its last packets.
pub(super) fn check(stream: &TcpStream) -> Result<(), String> {
    let _best_effort = stream.set_zero_linger();
    Ok(())
}
