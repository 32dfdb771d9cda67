//! One exchange with a backend: how long it took, or what was wrong. A file a kind.

use std::{io, net::SocketAddr, time::Duration};

use tokio::time::{Instant, timeout};

use crate::model::{Advisor, AdvisorKind};

mod connect;
mod dial;
mod http;

/// What is probed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Whom to connect to.
    pub address: SocketAddr,
    /// Whom to ask for, where nothing else is configured.
    pub host: String,
}

/// What a good probe measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// Advisor load: how long the exchange took.
    Time(Duration),
    /// System load that the metric agent tells, from 0 to 100.
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

/// Makes a probe; yields the load.
///
/// # Errors
/// What was wrong, as a phrase that follows the kind's name.
pub async fn probe(advisor: &Advisor, target: &Target) -> Result<Load, String> {
    let began = Instant::now();
    let stream = dial::tcp(target, advisor.connect_timeout).await?;
    let exchange = async {
        match advisor.kind {
            AdvisorKind::Connect => connect::exchange(stream).await,
            AdvisorKind::Http => http::exchange(advisor, target, stream).await,
        }
    };
    match timeout(advisor.receive_timeout, exchange).await {
        Ok(exchanged) => exchanged.map(|()| Load::Time(began.elapsed())),
        Err(_) => Err(format!("no answer within {:?}", advisor.receive_timeout)),
    }
}

/// What an error says, without the operating system's number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_lowercase(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// A server that answers each connection's first bytes with these, or never.
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
        Target { address, host: "192.0.2.80".to_owned() }
    }

    fn http() -> Advisor {
        Advisor { receive_timeout: Duration::from_millis(300), ..Advisor::new(AdvisorKind::Http) }
    }

    const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

    #[tokio::test]
    async fn a_connection_is_all_that_connect_asks_for() {
        let target = server(None).await;
        let load = probe(&Advisor::new(AdvisorKind::Connect), &target).await.unwrap();
        assert!(matches!(load, Load::Time(took) if took < Duration::from_secs(2)));
        // A port that was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let target = Target { address: free, ..target };
        let error = probe(&Advisor::new(AdvisorKind::Connect), &target).await.unwrap_err();
        assert_eq!(error, format!("{free}: connection refused"));
    }

    #[tokio::test]
    async fn an_answer_must_be_what_is_expected() {
        let ask = async |advisor: Advisor, answer| probe(&advisor, &server(answer).await).await;
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
            (http(), Some("SSH-2.0-OpenSSH_9.2\r\n"), "invalid HTTP version parsed"),
            (expects("hello"), Some("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhel"), "body: "),
        ] {
            let error = ask(advisor, answer).await.unwrap_err();
            assert!(error.starts_with(want), "{error:?}, expected {want:?}");
        }
    }
}
