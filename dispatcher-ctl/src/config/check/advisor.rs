//! Checks an advisor together with its service.

use super::Found;
use crate::model::{Advisor, AdvisorKind, Method, Protocol, ServiceSettings, Target, Transport};

/// Longest request of `udp`: it must fit into a frame.
const LONGEST_DATAGRAM: usize = 1400;

impl Found {
    /// Checks all advisors of a service.
    pub(super) fn advisors(&mut self, service: &ServiceSettings) {
        for (key, advisor) in service.advisors() {
            let prefix = self.prefix.clone();
            self.prefix += &format!("{key}.");
            self.advisor(service, advisor);
            self.prefix = prefix;
        }
    }

    fn advisor(&mut self, service: &ServiceSettings, advisor: &Advisor) {
        self.bounds("", advisor);
        if let Some(message) = port(service, advisor) {
            let mut causes = self.of_service(&["port", "protocol"]);
            causes.push(format!("{}kind", self.prefix));
            self.say("port", &message).causes = causes;
        }
        if advisor.target == Target::Vip {
            self.vip(service, advisor.kind);
        }
        self.passive(service, advisor);
        self.what_is_asked(advisor);
        self.files(advisor);
    }

    fn vip(&mut self, service: &ServiceSettings, kind: AdvisorKind) {
        if service.vip.is_unspecified() {
            let message =
                "target vip needs a VIP, and this service is on any address, expected address";
            self.say("target", message).causes = self.of_service(&["vip"]);
        } else if kind.asks_host() {
            let message = format!("target vip is not for kind {kind}, expected address");
            self.say("target", &message);
        }
    }

    /// Paths of settings of the service whose advisor is checked.
    fn of_service(&self, keys: &[&str]) -> Vec<String> {
        let advisor = self.prefix.trim_end_matches('.');
        let service = advisor.rsplit_once('.').map_or("", |(service, _)| service);
        keys.iter().map(|key| format!("{service}.{key}")).collect()
    }

    fn passive(&mut self, service: &ServiceSettings, advisor: &Advisor) {
        let passive = advisor.passive;
        self.bounds("passive.", &passive);
        if passive.is_on() && service.protocol != Protocol::Tcp {
            let message = format!(
                "passive counts handshakes, and {} has none, expected protocol tcp",
                service.protocol
            );
            self.say("passive", &message);
        }
    }

    fn what_is_asked(&mut self, advisor: &Advisor) {
        if !advisor.path.starts_with('/') || advisor.path.contains(char::is_whitespace) {
            let message = format!("path {:?} is not valid, expected a path from /", advisor.path);
            self.say("path", &message);
        }
        if let Some(host) = &advisor.host
            && (host.is_empty() || !host.chars().all(|c| c.is_ascii_graphic()))
        {
            let message = format!(
                "host {host:?} is not valid, expected a host's name such as \"example.com\""
            );
            self.say("host", &message);
        }
        if advisor.method == Method::Head && advisor.expect_body.is_some() {
            let message = "expect_body cannot be met: the answer to method \"HEAD\" has no body, \
                           expected method \"GET\"";
            self.say("expect_body", message);
        }
        if advisor.kind == AdvisorKind::Dns && !is_domain(&advisor.query) {
            let message = format!(
                "query {:?} is no domain name, expected one such as \"example.com\" or \".\"",
                advisor.query
            );
            self.say("query", &message);
        }
        if advisor.request.0.len() > LONGEST_DATAGRAM {
            let bytes = advisor.request.0.len();
            let message = format!("request has {bytes} bytes, expected at most {LONGEST_DATAGRAM}");
            self.say("request", &message);
        }
        if advisor.kind == AdvisorKind::Exec
            && advisor.command.first().is_none_or(|program| !program.starts_with('/'))
        {
            let message = format!(
                "command {:?} names no program, expected its whole path from /, then its arguments",
                advisor.command
            );
            self.say("command", &message);
        }
    }

    fn files(&mut self, advisor: &Advisor) {
        for (key, file) in [("tls_ca_file", &advisor.tls_ca_file), ("key_file", &advisor.key_file)]
        {
            if let Some(file) = file.as_ref().filter(|file| !file.is_absolute()) {
                let message =
                    format!("{key} {:?} is relative, expected a path from /", file.display());
                self.say(key, &message);
            }
        }
        for (key, is_set) in
            [("tls_verify", advisor.tls_verify), ("tls_ca_file", advisor.tls_ca_file.is_some())]
        {
            if is_set && !advisor.tls {
                self.say(key, &format!("{key} needs TLS, expected tls true"));
            }
        }
        if advisor.tls_ca_file.is_some() && !advisor.tls_verify {
            let message = "tls_ca_file is not used without tls_verify, expected tls_verify true";
            self.say("tls_ca_file", message);
        }
    }
}

/// The message where a probe has no port.
fn port(service: &ServiceSettings, advisor: &Advisor) -> Option<String> {
    let needed = match advisor.kind.transport() {
        Transport::Tcp => "TCP ",
        Transport::Udp => "UDP ",
        Transport::Service => "",
        Transport::None => return None,
    };
    let is_there = advisor.port_of(service.port) != 0;
    let is_fit = advisor.port.is_some()
        || advisor.kind == AdvisorKind::Agent
        || advisor.kind.goes_over(service.protocol);
    if is_there && is_fit {
        return None;
    }
    Some(format!("port is missing: the service has no {needed}port to probe, expected 1..=65535"))
}

/// Whether a name is the root, or consists of labels of 1 to 63 bytes, 253 in all (RFC 1035).
fn is_domain(name: &str) -> bool {
    let labels = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.chars().all(|c| c.is_ascii_graphic())
    };
    name == "." || labels.len() <= 253 && labels.split('.').all(is_label)
}
