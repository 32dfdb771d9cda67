//! Backends get exactly the shares that their weights say.

use anyhow::Result;
use dispatcher_lab::eventually;
use std::time::Duration;

use crate::common::{VIPS, Web, backend_metric, tally, web};

#[test]
fn weights_3_2_1_share_600_sequential_connections_exactly() -> Result<()> {
    let Some(lab) = Web::start("shares", &[3, 2, 1])? else { return Ok(()) };
    let want = [("web-1", 300), ("web-2", 200), ("web-3", 100)];
    for vip in VIPS {
        let got = lab.lab.client().requests(vip, 600)?;
        assert_eq!(got, tally(want), "{vip}");
        let service = web(vip);
        for (backend, connections) in want {
            let counted = backend_metric(&lab.daemon, "connections_total", service, backend)?;
            assert_eq!(counted, f64::from(connections), "{service}/{backend}");
        }
        // Every connection was closed, and the client's FIN was seen.
        eventually(Duration::from_secs(10), "active connections of 0", || {
            let mut active = 0.0;
            for (backend, _) in want {
                active += backend_metric(&lab.daemon, "active_connections", service, backend)?;
                active += backend_metric(&lab.daemon, "half_open_connections", service, backend)?;
            }
            Ok(active == 0.0)
        })?;
    }
    Ok(())
}

#[test]
fn shares_stay_exact_when_both_cpus_make_connections_at_once() -> Result<()> {
    let Some(lab) = Web::start("cpus", &[3, 2, 1])? else { return Ok(()) };
    let cpus = std::thread::available_parallelism()?.get().min(4);
    let each = 600;
    let mut got = dispatcher_lab::Tally::new();
    for vip in VIPS {
        let parts = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..cpus)
                .map(|cpu| {
                    let client = lab.lab.client();
                    scope.spawn(move || client.pinned_requests(vip, each, cpu))
                })
                .collect();
            clients.into_iter().map(|c| c.join().expect("no panic")).collect::<Result<Vec<_>>>()
        })?;
        for (who, number) in parts.into_iter().flatten() {
            *got.entry(who).or_default() += number;
        }
    }
    let total = 2 * each * u32::try_from(cpus)?;
    let want = [("web-1", total / 2), ("web-2", total / 3), ("web-3", total / 6)];
    assert_eq!(got, tally(want));
    Ok(())
}

#[test]
fn vips_answer_pings() -> Result<()> {
    let Some(lab) = Web::start("ping", &[1])? else { return Ok(()) };
    for vip in VIPS {
        lab.lab.client().run(&format!("ping -c 3 -i 0.2 -W 1 {vip}"))?;
    }
    Ok(())
}
