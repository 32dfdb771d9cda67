//! Large transfers through the VIP, and the packets on the wire meanwhile.

use anyhow::{Result, ensure};
use dispatcher_lab::url;

use crate::common::{VIPS, Web, hex, noise, publish};

const MIB: usize = 1 << 20;

#[test]
fn large_files_go_down_and_up_intact() -> Result<()> {
    let Some(web) = Web::start("transfer", &[1, 1])? else { return Ok(()) };
    let (down, up) = (noise(100 * MIB), noise(50_000_000));
    publish(&web.lab, "down", &down)?;
    let client = web.lab.client();
    let upload = client.directory().join("up");
    std::fs::write(&upload, &up)?;
    for (i, vip) in VIPS.into_iter().enumerate() {
        let status = client.download(&url(vip, "/files/down"), "got").status()?;
        ensure!(status.success(), "download over {vip}: {status}");
        assert!(std::fs::read(client.directory().join("got"))? == down, "{vip}: file differs");

        let mut curl = client.command("curl");
        curl.args(["-sS", "--globoff", "--fail", "-T"]).arg(&upload);
        curl.arg(url(vip, &format!("/files/up-{i}")));
        let status = curl.status()?;
        ensure!(status.success(), "upload over {vip}: {status}");
        let got: Vec<_> = web
            .lab
            .backends
            .iter()
            .filter_map(|b| std::fs::read(b.directory().join(format!("files/up-{i}"))).ok())
            .collect();
        assert_eq!(got.len(), 1, "one backend got the file");
        assert!(got[0] == up, "{vip}: uploaded file differs");
    }
    Ok(())
}

#[test]
fn packets_arrive_unchanged_above_l2_and_replies_do_not_pass_the_dispatcher() -> Result<()> {
    let Some(web) = Web::start("bytes", &[1])? else { return Ok(()) };
    let (lab, client, backend) = (&web.lab, web.lab.client(), &web.lab.backends[0]);
    // Captures must show packets as they are on a wire, not as the stack leaves them to hardware.
    for node in [client, backend] {
        node.run("ethtool -K eth0 tx off tso off gso off gro off")?;
    }
    let upload = client.directory().join("up");
    std::fs::write(&upload, noise(200_000))?;
    for (vip, family) in VIPS.into_iter().zip(["ip", "ip6"]) {
        let sent = client.capture("eth0", &format!("{family} and dst host {vip} and tcp"))?;
        let arrived = backend.capture("eth0", &format!("{family} and dst host {vip} and tcp"))?;
        let port = lab.port(&lab.lb, "eth0");
        let replies = lab.switch.capture(&port, &format!("{family} and src host {vip} and tcp"))?;
        let mut curl = client.command("curl");
        curl.args(["-sS", "--globoff", "--fail", "-T"]).arg(&upload);
        ensure!(curl.arg(url(vip, "/files/up")).status()?.success(), "upload over {vip}");

        // Two CPUs carry packets through the laboratory, and one may overtake the other: the order is not compared.
        let above_l2 = |frames: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
            let mut packets: Vec<_> =
                frames.into_iter().map(|frame| frame[14..].to_vec()).collect();
            packets.sort_unstable();
            packets
        };
        let (sent, arrived) = (sent.stop()?, arrived.stop()?);
        for frame in &arrived {
            assert_eq!(hex(&frame[..6]), backend.mac().replace(':', ""), "destination");
            assert_eq!(hex(&frame[6..12]), lab.lb.mac().replace(':', ""), "source");
        }
        let (sent, arrived) = (above_l2(sent), above_l2(arrived));
        assert!(sent.len() > 100, "{} packets", sent.len());
        assert_eq!(sent.len(), arrived.len(), "{vip}");
        for (sent, arrived) in sent.iter().zip(&arrived) {
            assert_eq!(hex(sent), hex(arrived), "{vip}");
            assert!(sent == arrived, "{vip}: a packet's end differs");
        }
        assert_eq!(replies.stop()?.len(), 0, "replies from {vip} at the dispatcher's port");
    }
    Ok(())
}
