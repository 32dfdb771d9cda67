//! TCP packets that belong to no connection.

use anyhow::Result;
use dispatcher_lab::{Lab, VIP4, VIP6};
use dispatcher_tests::packet_builder::{ACK, FIN, RST, SYN, eth};

use crate::common::{Web, reason};

fn mac_bytes(text: &str) -> [u8; 6] {
    let mut bytes = [0; 6];
    for (byte, digits) in bytes.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(digits, 16).expect("hexadecimal");
    }
    bytes
}

/// One packet of each family with these flags, from an unused port.
fn frames(lab: &Lab, flags: u8) -> Vec<Vec<u8>> {
    let (client, to) = (lab.client(), mac_bytes(&lab.lb.mac()));
    let port = 20_000 + u16::from(flags);
    vec![
        eth().to(to).ipv4(client.v4(), VIP4).tcp(port, 80, flags).build().bytes,
        eth().to(to).ipv6(client.v6(), VIP6).tcp(port, 80, flags).build().bytes,
    ]
}

#[test]
fn orphans_are_dropped_and_counted_by_kind() -> Result<()> {
    let Some(web) = Web::start("orphans", &[1])? else { return Ok(()) };
    let arrived = web.lab.backends[0].capture("eth0", "tcp dst port 80")?;
    for (flags, name) in [
        (ACK, "orphan_ack"),
        (FIN | ACK, "orphan_fin"),
        (RST, "orphan_rst"),
        (SYN | ACK, "orphan_other"),
    ] {
        let before = reason(&web.daemon, "drop", name);
        web.lab.client().send_frames("eth0", &frames(&web.lab, flags))?;
        dispatcher_lab::eventually(std::time::Duration::from_secs(3), name, || {
            Ok(reason(&web.daemon, "drop", name) == before + 2.0)
        })?;
    }
    assert_eq!(arrived.stop()?.len(), 0, "no orphan may reach a backend");
    Ok(())
}

#[test]
fn orphans_are_scheduled_or_passed_where_the_file_says_so() -> Result<()> {
    let Some(web) = Web::start("policy", &[1])? else { return Ok(()) };
    web.daemon.edit("capacity = 65536", "capacity = 65536\norphan = \"schedule\"")?;
    web.daemon.ok("reload")?;
    let arrived = web.lab.backends[0].capture("eth0", "tcp dst port 80")?;
    web.lab.client().send_frames("eth0", &frames(&web.lab, ACK))?;
    assert_eq!(arrived.frames_at_least(2)?.len(), 2);

    web.daemon.edit("orphan = \"schedule\"", "orphan = \"pass\"")?;
    web.daemon.ok("reload")?;
    // The dispatcher's own kernel has no such connection, either, and answers accordingly.
    let filter = "tcp src port 80 or (ip6 and ip6[6] = 6)";
    let answers = web.lab.client().capture("eth0", filter)?;
    let mut other = frames(&web.lab, ACK | FIN);
    other.truncate(1);
    web.lab.client().send_frames("eth0", &other)?;
    let answers = answers.frames_at_least(1)?;
    assert_eq!(answers[0][47] & RST, RST, "a reset from the dispatcher's kernel");
    Ok(())
}
