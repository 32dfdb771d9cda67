//! Tests the HTTP API against its own description. schemathesis makes valid and invalid requests from the description, sends
//! them to the daemon, and checks each answer: its status and content type are described, its body fits the schema, and no
//! internal error occurs.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};

use crate::common::Web;

/// Requests for each operation and phase; `DISPATCHER_EXAMPLES` in the environment overrides it.
const EXAMPLES: &str = "5";
/// A stream without end; tests/events.rs of dispatcher-ctl tests it.
const ENDLESS: &str = "/v1/events";

#[test]
fn the_api_is_as_it_describes_itself() -> Result<()> {
    let Some(program) = schemathesis()? else { return Ok(()) };
    let Some(web) = Web::start("schema", &[1, 1])? else { return Ok(()) };
    let directory = web.lab.directory();
    let address = proxy(directory.join("api.sock"))?;
    let run = |description: &Path, filter: [&str; 2], examples: &str| {
        let mut run = Command::new(&program);
        run.env("SCHEMATHESIS_HOOKS", sources().join("hooks.py"));
        run.arg("--config-file")
            .arg(sources().join("schemathesis.toml"))
            .arg("run")
            .arg(description);
        run.args(["--url", &format!("http://{address}"), "--seed", "1", "--no-color"]);
        run.args(["--max-examples", examples]).args(filter).current_dir(directory);
        let output = run.output().context("cannot run schemathesis")?;
        Ok::<_, anyhow::Error>((
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        ))
    };
    let described = dispatcher_ctl::api::description().0.clone();
    let file = directory.join("openapi.json");

    // A wrong description is detected.
    let mut wrong = described.clone();
    wrong["components"]["schemas"]["Plan"]["properties"]["notes"]["type"] = "string".into();
    std::fs::write(&file, wrong.to_string())?;
    let (is_well, said) = run(&file, ["--include-path", "/v1/plan"], "1")?;
    ensure!(!is_well && said.contains("notes"), "a wrong description passes:\n{said}");

    std::fs::write(&file, described.to_string())?;
    let examples = std::env::var("DISPATCHER_EXAMPLES").unwrap_or(EXAMPLES.to_owned());
    let start = Instant::now();
    let (is_well, said) = run(&file, ["--exclude-path", ENDLESS], &examples)?;
    println!("{said}\nin {:?}", start.elapsed());
    ensure!(is_well, "the daemon is not as it describes itself: see above");
    Ok(())
}

/// The path of schemathesis; prints why if there is none.
fn schemathesis() -> Result<Option<PathBuf>> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
    let program = tools.join("schemathesis/bin/schemathesis");
    if program.exists() {
        return Ok(Some(program));
    }
    let missing = format!("{} is missing\nhint: cargo xtask setup", program.display());
    ensure!(std::env::var_os("DISPATCHER_REQUIRE_BPF").is_none(), "{missing}");
    eprintln!("skipped: {missing}");
    Ok(None)
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemathesis")
}

/// Forwards connections from a port of the loopback interface to a Unix socket, which schemathesis cannot use.
fn proxy(socket: PathBuf) -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            // The client notices if this connection fails.
            if let Ok(server) = UnixStream::connect(&socket) {
                drop(carry(client, server));
            }
        }
    });
    Ok(address)
}

/// Copies what either end sends to the other.
fn carry(mut client: TcpStream, mut server: UnixStream) -> io::Result<()> {
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        to_server.shutdown(Shutdown::Write)
    });
    thread::spawn(move || {
        let _ = io::copy(&mut server, &mut client);
        client.shutdown(Shutdown::Both)
    });
    Ok(())
}
