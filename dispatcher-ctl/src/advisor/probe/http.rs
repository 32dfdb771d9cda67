//! `http`, `https`: one request, of whose answer status and body may matter (RFC 9110, RFC 9112).

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;

use super::{Stream, Target};
use crate::model::{Advisor, Choice as _};

/// Bytes of a body that are looked through.
const LONGEST_BODY: usize = 256 * 1024;

pub(super) async fn exchange(
    advisor: &Advisor,
    target: &Target,
    stream: impl Stream,
) -> Result<(), String> {
    let host = advisor.host.as_deref().unwrap_or(&target.host);
    let request = Request::builder()
        .method(advisor.method.word())
        .uri(&advisor.path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("dispatcher/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("the request cannot be made: {error}"))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("{error}"))?;
    let driven = async {
        let answer = sender.send_request(request).await.map_err(|error| format!("{error}"))?;
        let status = answer.status().as_u16();
        if !advisor.expect_status.contains(status) {
            return Err(format!("status {status}, expected {}", advisor.expect_status));
        }
        let Some(text) = &advisor.expect_body else { return Ok(()) };
        let body = Limited::new(answer.into_body(), LONGEST_BODY).collect().await;
        let body = body.map_err(|error| format!("body: {error}"))?.to_bytes();
        let is_there = body.windows(text.len().max(1)).any(|window| window == text.as_bytes());
        if is_there { Ok(()) } else { Err(format!("the body lacks {text:?}")) }
    };
    tokio::select! {
        answered = driven => answered,
        // What ends the connection before the answer is told by the sender, too.
        Err(error) = connection => Err(format!("{error}")),
    }
}
