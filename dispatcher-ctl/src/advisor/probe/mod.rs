//! Probes: one request to one backend, which yields its load or what was wrong. There is one file per kind; [`dial`]
//! opens the sockets.

use std::{borrow::Cow, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::Instant,
};

use dialogue::converse;

use crate::{
    fault::{Fault, reason},
    model::{Advisor, AdvisorKind, Protocol, Transport},
    prober::Through,
    standstill::within,
};

mod agent;
mod connect;
mod datagram;
mod diagnosis;
mod dial;
mod dialogue;
mod dns;
mod exec;
mod file_cache;
mod http;
mod ldap;
mod lines;
mod ping;
mod sip;
mod tls;
mod udp;
mod vip;

/// What is probed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The address to connect to.
    pub address: SocketAddr,
    /// The host to name in requests, unless the advisor sets one.
    pub host: String,
    /// What the service's clients use.
    pub protocol: Protocol,
    /// The service's name.
    pub service: String,
    /// The backend's name.
    pub backend: String,
    /// For probes of a VIP: the path to the backend that must answer.
    pub through: Option<Through>,
}

/// What a good probe measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// Advisor load: the duration of the probe, or what a command prints.
    Time(Duration),
    /// System load from the metric agent, from 0 to 100.
    System(f64),
}

impl Load {
    /// Advisor load in seconds, if it is one.
    #[must_use]
    pub fn seconds(self) -> Option<f64> {
        match self {
            Self::Time(time) => Some(time.as_secs_f64()),
            Self::System(_) => None,
        }
    }

    /// System load from 0 to 100, if it is one.
    #[must_use]
    pub const fn system(self) -> Option<f64> {
        match self {
            Self::Time(_) => None,
            Self::System(load) => Some(load),
        }
    }
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The load; or what was wrong, as a phrase that follows the kind's name, and whose fault it is.
    pub result: Result<Load, Fault>,
    /// When the presented certificate expires, if there was one: seconds since the epoch.
    pub certificate_expiry: Option<i64>,
}

/// Makes a probe.
pub async fn probe(advisor: &Advisor, target: &Target) -> Finding {
    let mut seen = Seen::default();
    let mut result = attempt(advisor, target, &mut seen).await;
    if let (Err(Fault::Backend(said)), Some(through)) = (&mut result, &target.through)
        && is_over_datagrams(advisor.kind, target.protocol)
    {
        // For connections, `dial` has already asked the backend's own address.
        let own = Target { address: through.own, through: None, ..target.clone() };
        let asked = async { attempt(advisor, &own, &mut Seen::default()).await.is_ok() };
        let port = if advisor.kind == AdvisorKind::Ping { 0 } else { through.own.port() };
        let address = SocketAddr::new(through.own.ip(), port);
        *said = vip::hint_at_loopback(address, std::mem::take(said), asked).await;
    }
    // Text from servers and scripts is escaped and shortened here, once for logs, tables, the API and user exits.
    let result = result.map_err(Fault::shortened);
    Finding { result, certificate_expiry: seen.certificate_expiry }
}

/// What a probe has learned so far, also if it fails.
#[derive(Debug, Default)]
struct Seen {
    /// When the presented certificate expires: seconds since the epoch.
    certificate_expiry: Option<i64>,
    /// What to report as missing if time runs out now.
    missing: Option<Cow<'static, str>>,
}

impl Seen {
    /// Sets what is reported as missing if time runs out from now on.
    fn set_missing(&mut self, missing: impl Into<Cow<'static, str>>) {
        self.missing = Some(missing.into());
    }

    /// The fault to report when time has run out.
    fn timeout_fault(&self, patience: Duration) -> Fault {
        Fault::Backend(match &self.missing {
            Some(missing) => format!("no answer within {patience:?}: {missing}"),
            None => format!("no answer within {patience:?}"),
        })
    }
}

/// Whether a probe of this kind uses no connection.
fn is_over_datagrams(kind: AdvisorKind, protocol: Protocol) -> bool {
    match kind.transport() {
        Transport::Tcp => false,
        Transport::Udp => true,
        Transport::Service => protocol == Protocol::Udp,
        Transport::None => kind == AdvisorKind::Ping,
    }
}

async fn attempt(advisor: &Advisor, target: &Target, seen: &mut Seen) -> Result<Load, Fault> {
    let began = Instant::now();
    let over_udp = target.protocol == Protocol::Udp;
    match (advisor.kind, advisor.kind.transport()) {
        (AdvisorKind::Exec, _) => return exec::run(advisor, target).await,
        (AdvisorKind::Agent, _) => return ask_agent(advisor, target).await,
        (AdvisorKind::Ping, _) => ping::check(advisor, target).await?,
        (AdvisorKind::Udp, _) => udp::check(advisor, target).await?,
        (AdvisorKind::Dns, _) if over_udp => dns::over_udp(advisor, target).await?,
        (AdvisorKind::Sip, _) if over_udp => sip::over_udp(advisor, target).await?,
        (_, Transport::Tcp | Transport::Udp | Transport::Service | Transport::None) => {
            let stream = dial::tcp(target, advisor.connect_timeout).await?;
            let checked = over_tcp(advisor, target, stream, seen);
            match within(advisor.receive_timeout, checked).await {
                Ok(result) => result?,
                Err(_) => return Err(seen.timeout_fault(advisor.receive_timeout)),
            }
        }
    }
    Ok(Load::Time(began.elapsed()))
}

async fn ask_agent(advisor: &Advisor, target: &Target) -> Result<Load, Fault> {
    let stream = dial::tcp(target, advisor.connect_timeout).await?;
    let patience = advisor.receive_timeout;
    let asked = within(patience, agent::ask_load(advisor, stream)).await;
    asked.unwrap_or_else(|_| Err(Seen::default().timeout_fault(patience)))
}

async fn over_tcp(
    advisor: &Advisor,
    target: &Target,
    stream: TcpStream,
    seen: &mut Seen,
) -> Result<(), Fault> {
    if advisor.kind == AdvisorKind::Connect {
        return Ok(connect::check(&stream)?);
    }
    if advisor.kind == AdvisorKind::Sip {
        return Ok(sip::over_tcp(advisor, target, stream).await?);
    }
    if advisor.tls {
        seen.set_missing("the TLS handshake is incomplete");
        let stream = tls::handshake(advisor, target, stream, &mut seen.certificate_expiry).await?;
        seen.missing = None;
        Ok(over_stream(advisor, target, stream, seen).await?)
    } else {
        Ok(over_stream(advisor, target, stream, seen).await?)
    }
}

async fn over_stream(
    advisor: &Advisor,
    target: &Target,
    stream: impl Stream,
    seen: &mut Seen,
) -> Result<(), String> {
    match advisor.kind {
        AdvisorKind::Http | AdvisorKind::Https => http::check(advisor, target, stream, seen).await,
        AdvisorKind::Dns => dns::over_tcp(advisor, stream).await,
        AdvisorKind::Smtp => converse(dialogue::SMTP, stream, seen).await,
        AdvisorKind::Imap => converse(dialogue::IMAP, stream, seen).await,
        AdvisorKind::Pop3 => converse(dialogue::POP3, stream, seen).await,
        AdvisorKind::Ftp => converse(dialogue::FTP, stream, seen).await,
        AdvisorKind::Ldap => ldap::check(stream).await,
        AdvisorKind::Nntp => converse(dialogue::NNTP, stream, seen).await,
        // The handshake was all.
        AdvisorKind::Tls => Ok(()),
        // These kinds do not use a stream.
        AdvisorKind::Connect
        | AdvisorKind::Sip
        | AdvisorKind::Ping
        | AdvisorKind::Udp
        | AdvisorKind::Exec
        | AdvisorKind::Agent => Ok(()),
    }
}

/// A connection, with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Random words that distinguish one request from another.
fn random<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| getrandom::u32().map_or(0, |word| (word >> 16) as u16))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    fn target(address: SocketAddr) -> Target {
        let host = "192.0.2.80".to_owned();
        let (service, backend) = ("web".to_owned(), "web-1".to_owned());
        Target { address, host, protocol: Protocol::Tcp, service, backend, through: None }
    }

    /// A server that answers the first bytes of each connection with this text, or never.
    async fn server(answer: Option<&'static str>) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = [0; 1024];
                    let Ok(_) = stream.read(&mut request).await else { return };
                    match answer {
                        Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                        None => tokio::time::sleep(Duration::from_secs(60)).await,
                    }
                });
            }
        });
        target(address)
    }

    fn http() -> Advisor {
        Advisor { receive_timeout: Duration::from_millis(300), ..Advisor::new(AdvisorKind::Http) }
    }

    const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

    #[tokio::test]
    async fn a_connection_is_all_that_connect_asks_for() {
        let target = server(None).await;
        let load = probe(&Advisor::new(AdvisorKind::Connect), &target).await.result.unwrap();
        assert!(matches!(load, Load::Time(took) if took < Duration::from_secs(2)));
        // A port that was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let target = Target { address: free, ..target };
        let error = probe(&Advisor::new(AdvisorKind::Connect), &target).await.result.unwrap_err();
        assert_eq!(error, Fault::Backend(format!("{free}: connection refused")));
    }

    #[tokio::test]
    async fn an_answer_must_be_what_is_expected() {
        let ask =
            async |advisor: Advisor, answer| probe(&advisor, &server(answer).await).await.result;
        ask(http(), Some(GOOD)).await.unwrap();
        let expects = |text: &str| Advisor { expect_body: Some(text.to_owned()), ..http() };
        ask(expects("ell"), Some(GOOD)).await.unwrap();
        for (advisor, answer, want) in [
            (expects("bye"), Some(GOOD), "the body lacks \"bye\""),
            (
                http(),
                Some("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"),
                "status 503, expected 200-399",
            ),
            (http(), None, "no answer within 300ms"),
            (
                http(),
                Some("SSH-2.0-OpenSSH_9.2\r\n"),
                "the answer is not HTTP, it begins with \"SSH-2.0-OpenSSH_9.2\"",
            ),
            (expects("hello"), Some("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhel"), "body: "),
        ] {
            let error = ask(advisor, answer).await.unwrap_err().to_string();
            assert!(error.starts_with(want), "{error:?}, expected {want:?}");
        }
    }

    #[tokio::test]
    async fn what_a_command_says_is_made_fit_to_be_shown() {
        let script = "printf 'a\\033[2Jb\\342\\200\\256' >&2; head -c 4000 /dev/zero | tr '\\0' y >&2; exit 1";
        let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let advisor = Advisor {
            command,
            receive_timeout: Duration::from_secs(30),
            ..Advisor::new(AdvisorKind::Exec)
        };
        let target = target(SocketAddr::from(([127, 0, 0, 1], 80)));
        let error = probe(&advisor, &target).await.result.unwrap_err().to_string();
        assert!(error.starts_with("exit status: 1: \"a\\u{1b}[2Jb\\u{202e}yyy"), "{error}");
        assert_eq!(
            (error.chars().count(), error.chars().last()),
            (crate::model::text::LONGEST, Some('…'))
        );
    }
}
