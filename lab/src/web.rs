//! Real web servers: nginx on every backend. Requests are made by curl.

use std::{collections::BTreeMap, fmt::Write as _, fs, net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::{Lab, Node, Process, eventually};

impl Lab {
    /// Starts nginx on every backend, on ports 80 and (IPv4) 8080 of every address. `/` answers with the backend's name; a GET
    /// of `/files/…` reads and a PUT writes a file in `files/` below the node's directory. Keep the returned processes:
    /// dropping them ends the servers.
    ///
    /// # Errors
    /// When a server does not start.
    pub fn serve_web(&self) -> Result<Vec<Process>> {
        self.backends.iter().map(Node::serve_web).collect()
    }
}

/// curl's options for a request: they print its answer, then curl's exit status on a line.
const EACH: &str = "silent\ngloboff\nmax-time = 5\nheader = \"Connection: close\"\nwrite-out = \"%{exitcode}\\n\"\n";

fn serve(node: &Node) -> Result<Process> {
    let (name, directory) = (node.name(), node.directory().display().to_string());
    fs::create_dir_all(node.directory().join("files"))?;
    let configuration = format!(
        "daemon off;
worker_processes 1;
user root;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
{}
    client_max_body_size 0;
    keepalive_timeout 300;
    keepalive_requests 1000000;
    lingering_close off;
    server {{
        listen 80 backlog=4096;
        listen [::]:80 backlog=4096;
        listen 8080;
        add_header X-Backend {name} always;
        location = / {{ return 200 '{name}\\n'; }}
        location /files/ {{ root {directory}; dav_methods PUT; create_full_put_path on; }}
    }}
}}
",
        temporary(&directory)
    );
    let path = node.directory().join("nginx.conf");
    fs::write(&path, configuration)?;
    let path = path.display();
    let mut server =
        node.spawn("nginx", &format!("nginx -p {directory} -c {path} -e {directory}/error.log"))?;
    eventually(Duration::from_secs(10), &format!("web server on {name}"), || {
        ensure!(server.runs()?, "nginx ended: {}", server.log());
        let answer = node.run("curl -s --max-time 1 http://127.0.0.1/")?;
        Ok(answer.trim() == name)
    })?;
    Ok(server)
}

/// Lines of nginx's configuration that put temporary files into a directory.
pub(super) fn temporary(directory: &impl std::fmt::Display) -> String {
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let lines = kinds.map(|kind| format!("    {kind}_temp_path {directory}/{kind};"));
    lines.join("\n")
}

/// The URL of a path at an address.
#[must_use]
pub fn url(address: IpAddr, path: &str) -> String {
    match address {
        IpAddr::V4(v4) => format!("http://{v4}{path}"),
        IpAddr::V6(v6) => format!("http://[{v6}]{path}"),
    }
}

/// Number of answers by server. Failed requests are counted as `error …`.
pub type Tally = BTreeMap<String, u32>;

impl Node {
    /// Starts nginx on this node, as [`Lab::serve_web`] does on the backends.
    ///
    /// # Errors
    /// When it does not start.
    pub fn serve_web(&self) -> Result<Process> {
        serve(self)
    }

    /// Sends this many requests, one after the other, and counts which servers answered. Each has its own connection and its
    /// own curl process.
    ///
    /// # Errors
    /// When curl cannot be run.
    pub fn requests(&self, address: IpAddr, number: u32) -> Result<Tally> {
        let url = url(address, "/");
        let mut tally = Tally::new();
        for _ in 0..number {
            let output = self.output(&format!("curl -s --globoff --max-time 5 {url}"))?;
            let answer = if output.status.success() {
                String::from_utf8_lossy(&output.stdout).trim().to_owned()
            } else {
                format!("error {}", output.status.code().unwrap_or(-1))
            };
            *tally.entry(answer).or_default() += 1;
        }
        Ok(tally)
    }

    /// As [`Node::requests`], but with one curl process for all: much quicker.
    ///
    /// # Errors
    /// When curl cannot be run.
    pub fn quick_requests(&self, address: IpAddr, number: u32) -> Result<Tally> {
        self.curl(address, number, None)
    }

    /// As [`Node::quick_requests`], but curl runs on one CPU only, and each request has a port of its own: at most 1,000
    /// requests.
    ///
    /// # Errors
    /// When curl cannot be run.
    pub fn pinned_requests(&self, address: IpAddr, number: u32, cpu: usize) -> Result<Tally> {
        self.curl(address, number, Some(cpu))
    }

    fn curl(&self, address: IpAddr, number: u32, cpu: Option<usize>) -> Result<Tally> {
        let mut list = EACH.to_owned();
        for i in 0..number {
            if let Some(cpu) = cpu {
                // These ports are below those that the kernel assigns. Options before "next" do not apply after it.
                let next = if i == 0 { "" } else { "next\n" };
                let family = if address.is_ipv4() { 10_000 } else { 20_000 };
                let port = family + cpu * 1000 + i as usize;
                writeln!(list, "{next}{EACH}local-port = {port}")?;
            }
            writeln!(list, "url = \"{}\"", url(address, "/"))?;
        }
        let path = self.directory().join(format!("urls-{:?}", std::thread::current().id()));
        let mut curl = self.command(if cpu.is_some() { "taskset" } else { "curl" });
        if let Some(cpu) = cpu {
            curl.args(["-c", &cpu.to_string(), "curl"]);
        }
        fs::write(&path, list)?;
        curl.arg("-K").arg(&path);
        let output = curl.output().context("run curl")?;
        fs::remove_file(&path)?;
        let mut tally = Tally::new();
        let mut answer = None;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            match line.parse::<i32>() {
                Ok(0) => {
                    let name = answer.take().unwrap_or_else(|| "error empty".to_owned());
                    *tally.entry(name).or_default() += 1;
                }
                Ok(code) => {
                    answer = None;
                    *tally.entry(format!("error {code}")).or_default() += 1;
                }
                Err(_) => answer = Some(line.to_owned()),
            }
        }
        Ok(tally)
    }

    /// A command that transfers `GET url` into a file inside the node's directory.
    #[must_use]
    pub fn download(&self, url: &str, file: &str) -> std::process::Command {
        let mut curl = self.command("curl");
        curl.args(["-sS", "--globoff", "--fail", "-o"]).arg(self.directory().join(file)).arg(url);
        curl
    }
}
