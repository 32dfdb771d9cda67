//! UDP: flows are shared by weight, and stay with their backend.

use std::net::SocketAddr;

use anyhow::Result;
use dispatcher_lab::{Plan, udp_flows};

use crate::common::{VIPS, address_of, all_up, backend, backend_metric, lab, service, tally};

#[test]
fn udp_flows_of_both_families_are_shared_exactly_and_stay() -> Result<()> {
    let Some(lab) = lab(&Plan::new("udp"))? else { return Ok(()) };
    let addresses = VIPS.map(|vip| SocketAddr::new(vip, 5300));
    // For new flows only: otherwise a client's port may be reused within the flow's timeout, and the flow then stays.
    let fresh = SocketAddr::new(VIPS[0], 5301);
    let [v4, v6] = addresses;
    let _servers = lab.serve_udp(&[v4, v6, fresh])?;
    let mut text = String::new();
    for (name, to) in [("dns4", v4), ("dns6", v6), ("fresh", fresh)] {
        let vip = to.ip();
        text += &service(name, vip, to.port(), "udp");
        for (node, weight) in lab.backends.iter().zip([3, 2, 1]) {
            text += &backend(node.name(), address_of(node, vip), weight);
        }
    }
    let mut daemon = lab.daemon(&text)?;
    daemon.start()?;
    all_up(&daemon)?;
    let want = [("web-1", 300), ("web-2", 200), ("web-3", 100)];
    for (to, service) in addresses.into_iter().zip(["dns4", "dns6"]) {
        // Three packets of each flow: all answered by the same server.
        assert_eq!(udp_flows(lab.client(), to, 600, 3)?, tally(want), "{to}");
        for (backend, flows) in want {
            let metric = |what| backend_metric(&daemon, what, service, backend);
            assert_eq!(metric("connections_total")?, f64::from(flows), "{service}/{backend}");
            assert_eq!(metric("packets_total")?, f64::from(3 * flows), "{service}/{backend}");
        }
    }
    // A backend that is down gets no new flow.
    daemon.ok("down fresh web-1")?;
    let got = udp_flows(lab.client(), fresh, 30, 2)?;
    assert_eq!(got, tally([("web-2", 20), ("web-3", 10)]));
    Ok(())
}
