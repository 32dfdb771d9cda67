//! Checks the flood's frames as they arrive at the other end of a veth.

use std::time::Duration;

use anyhow::{Result, ensure};
use dispatcher_lab::{Pair, xdp};

/// The checksum over 16-bit words (RFC 1071); 0 if the frame is correct.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|b| u32::from(u16::from_be_bytes([b[0], b[1]]))).sum();
    !((sum >> 16) + (sum & 0xffff)) as u16
}

#[test]
fn the_flood_is_of_syns_with_right_checksums() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        ensure!(std::env::var_os("DISPATCHER_REQUIRE_BPF").is_none(), "needs root");
        eprintln!("skipped: needs root");
        return Ok(());
    }
    let pair = Pair::new("flood")?;
    xdp::pass(&pair.far, "eth0")?;
    let capture = pair.far.capture("eth0", "tcp")?;
    let to = "10.0.0.2:80".parse()?;
    let flood = pair.near.flood("eth0", [2, 0, 0, 0, 0, 2], to, Some(1000))?;
    let frames = capture.frames_at_least(20)?;
    std::thread::sleep(Duration::from_millis(200));
    ensure!(flood.stop()? >= 100);
    for frame in &frames[..20] {
        ensure!(frame.len() >= 54 && frame[12..14] == [8, 0], "{frame:02x?}");
        ensure!(frame[26] == 100 && frame[30..34] == [10, 0, 0, 2], "{frame:02x?}");
        ensure!(frame[36..38] == [0, 80] && frame[47] == 2, "{frame:02x?}");
        let pseudo = [&frame[26..34], &[0, 6, 0, 20], &frame[34..54]].concat();
        ensure!(checksum(&frame[14..34]) == 0 && checksum(&pseudo) == 0, "{frame:02x?}");
    }
    ensure!(frames[0][26..30] != frames[1][26..30], "two of one address");
    Ok(())
}
