//! Servers from the distribution for the protocols that advisors probe: mail, DNS, directory, telephony, news, TLS.

use std::{fs, net::Ipv4Addr, path::PathBuf};

use anyhow::{Result, ensure};

use super::{Node, Process};

/// The name that the certificates of [`Node::serve_tls`] are for.
pub const TLS_NAME: &str = "good.example";
/// End of the expired certificate: 2020-02-01, in seconds since the epoch.
pub const EXPIRED: i64 = 1_580_515_200;

impl Node {
    /// Starts a server of every protocol; each listens on its usual port. They may take seconds to answer.
    ///
    /// # Errors
    /// When a server cannot be started.
    pub fn serve_protocols(&self) -> Result<Vec<Process>> {
        Ok(vec![
            self.serve_tls()?,
            self.serve_mail()?,
            self.serve_mailboxes()?,
            self.serve_names()?,
            self.serve_directory()?,
            self.serve_telephony()?,
            self.serve_news()?,
        ])
    }

    /// Starts nginx on port 443 with a certificate that is its own CA, `ca.pem` in the node's directory; on port 8443 with an
    /// expired one. It answers `/sick` with status 503.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn serve_tls(&self) -> Result<Process> {
        let directory = self.directory().join("tls");
        fs::create_dir_all(&directory)?;
        self.certificates(&directory)?;
        let directory = directory.display();
        let configuration = format!(
            "daemon off;
worker_processes 1;
user root;
pid {directory}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
{}
    ssl_certificate_key {directory}/key.pem;
    server {{
        listen 443 ssl;
        ssl_certificate {directory}/good.pem;
        location = / {{ return 200 'well\\n'; }}
        location = /sick {{ return 503; }}
    }}
    server {{
        listen 8443 ssl;
        ssl_certificate {directory}/expired.pem;
        location = / {{ return 200 'well\\n'; }}
    }}
}}
",
            super::web::temporary(&directory)
        );
        let path = self.written("tls.conf", &configuration)?;
        self.spawn("tls", &format!("nginx -p {directory} -c {path} -e {directory}/error.log"))
    }

    /// Makes two self-signed certificates with one key: `good.pem` (also `ca.pem`), and `expired.pem`.
    fn certificates(&self, directory: &std::path::Path) -> Result<()> {
        let here = directory.display();
        fs::write(directory.join("index"), "")?;
        fs::write(directory.join("serial"), "01")?;
        let configuration = format!(
            "[ca]\ndefault_ca = own\n[own]\ndatabase = {here}/index\nserial = {here}/serial\nnew_certs_dir = {here}\n\
             unique_subject = no\ndefault_md = sha256\npolicy = any\n[any]\ncommonName = supplied\n\
             [names]\nsubjectAltName = DNS:{TLS_NAME}\nbasicConstraints = critical,CA:TRUE\n"
        );
        fs::write(directory.join("ca.conf"), configuration)?;
        self.run(&format!(
            "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {here}/key.pem -out {here}/req.pem -subj /CN={TLS_NAME}"
        ))?;
        for (name, ends) in [("good", "20991231000000Z"), ("expired", "20200201000000Z")] {
            self.run(&format!(
                "openssl ca -config {here}/ca.conf -batch -notext -selfsign -keyfile {here}/key.pem -in {here}/req.pem \
                 -out {here}/{name}.pem -startdate 20200101000000Z -enddate {ends} -extensions names"
            ))?;
        }
        fs::copy(directory.join("good.pem"), self.directory().join("ca.pem"))?;
        Ok(())
    }

    /// Starts OpenSMTPD on port 25. It accepts no mail.
    fn serve_mail(&self) -> Result<Process> {
        let configuration = "listen on 0.0.0.0 port 25\n\
                             action \"drop\" expand-only alias { \"nobody\" = \"/dev/null\" }\n\
                             match for local action \"drop\"\n";
        let path = self.written("smtpd.conf", configuration)?;
        // It looks up each client's name before it greets. It asks this node's own server, which answers at once that there is
        // none.
        let resolver = self.written("resolv.conf", "nameserver 127.0.0.1\n")?;
        let script = format!("mount --bind {resolver} /etc/resolv.conf && exec smtpd -d -f {path}");
        let mut command = self.command("unshare");
        command.args(["-m", "sh", "-c", &script]);
        self.spawn_command("smtpd", command)
    }

    /// Starts Dovecot on ports 143 (IMAP) and 110 (POP3).
    fn serve_mailboxes(&self) -> Result<Process> {
        // The paths of its sockets must be short: a Unix socket's path has at most 107 bytes.
        let base = self.directory().join("dc");
        let configuration = format!(
            "base_dir = {}\nlog_path = /dev/stderr\nprotocols = imap pop3\nssl = no\nlisten = 0.0.0.0\n\
             passdb {{\n  driver = static\n  args = nopassword=y\n}}\n\
             userdb {{\n  driver = static\n  args = uid=nobody gid=nogroup home=/nonexistent\n}}\n",
            base.display()
        );
        fs::create_dir_all(&base)?;
        let path = self.written("dovecot.conf", &configuration)?;
        self.spawn("dovecot", &format!("dovecot -F -c {path}"))
    }

    /// Starts dnsmasq on port 53: `up.example` has an address, other names in `example` do not exist, and all other queries
    /// are refused.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn serve_names(&self) -> Result<Process> {
        let pid = self.directory().join("dnsmasq.pid");
        let options = "-k -C /dev/null --no-resolv --no-hosts --user=root --local=/example/";
        let address = Ipv4Addr::new(192, 0, 2, 1);
        let pid = pid.display();
        self.spawn(
            "dnsmasq",
            &format!("dnsmasq {options} --address=/up.example/{address} -x {pid}"),
        )
    }

    /// Starts OpenLDAP on port 389; it allows anonymous binds.
    fn serve_directory(&self) -> Result<Process> {
        let data = self.directory().join("ldap");
        fs::create_dir_all(&data)?;
        let configuration = format!(
            "include /etc/ldap/schema/core.schema\ndatabase ldif\nsuffix \"dc=example\"\ndirectory {}\n",
            data.display()
        );
        let path = self.written("slapd.conf", &configuration)?;
        self.spawn("slapd", &format!("slapd -h ldap://0.0.0.0:389 -f {path} -d 0"))
    }

    /// Starts Kamailio on port 5060, UDP and TCP: it answers requests to the user `sick` with 503, and all others with 200.
    fn serve_telephony(&self) -> Result<Process> {
        let directory = self.directory().join("sip");
        fs::create_dir_all(&directory)?;
        let configuration = "#!KAMAILIO
children=1
tcp_children=1
log_stderror=yes
listen=udp:0.0.0.0:5060
listen=tcp:0.0.0.0:5060
loadmodule \"sl.so\"
loadmodule \"pv.so\"
request_route {
    if ($rU == \"sick\") { sl_send_reply(\"503\", \"Sick\"); exit; }
    sl_send_reply(\"200\", \"OK\");
}
";
        let path = self.written("kamailio.cfg", configuration)?;
        let directory = directory.display();
        self.spawn(
            "kamailio",
            &format!("kamailio -DD -E -f {path} -Y {directory} -w {directory} -m 16 -M 4"),
        )
    }

    /// Starts sn on port 119, with one process per connection.
    fn serve_news(&self) -> Result<Process> {
        let root = self.directory().join("news");
        fs::create_dir_all(&root)?;
        let mut command = self.command("socat");
        command.env("SNROOT", root).args(["TCP-LISTEN:119,fork,reuseaddr", "EXEC:snntpd"]);
        self.spawn_command("news", command)
    }

    /// Opens a port that passes connections or datagrams to another port of this node, each two seconds later.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn serve_late(&self, protocol: &str, port: u16, to: u16) -> Result<Process> {
        ensure!(["TCP", "UDP"].contains(&protocol), "{protocol}: expected TCP or UDP");
        let listen = match protocol {
            "TCP" => format!("TCP-LISTEN:{port},fork,reuseaddr"),
            _ => format!("UDP-RECVFROM:{port},fork"),
        };
        let mut command = self.command("socat");
        let late = format!("SYSTEM:sleep 2; exec socat -t 4 - {protocol}\\:127.0.0.1\\:{to}");
        command.args([listen, late]);
        self.spawn_command(&format!("late-{port}"), command)
    }

    fn written(&self, file: &str, text: &str) -> Result<String> {
        let path: PathBuf = self.directory().join(file);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    }
}
