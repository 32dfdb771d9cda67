//! `http`, `https`: one request; the answer's status and body decide (RFC 9110, RFC 9112).
//!
//! The answer is read leniently, as clients do, and only until the result is certain. HTTP libraries refuse things that
//! do not matter here: an answer that precedes the request, malformed headers, headers that end with the connection.

use tokio::io::{AsyncWriteExt as _, BufStream};

use super::{Seen, Stream, Target, reason};
use crate::model::{Advisor, Choice as _, Method};

mod answer;
mod body;

use answer::Answer;
use body::{Framing, Search};

pub(super) async fn check(
    advisor: &Advisor,
    target: &Target,
    stream: impl Stream,
    seen: &mut Seen,
) -> Result<(), String> {
    let mut stream = BufStream::new(stream);
    let sent = send(&request(advisor, target), &mut stream).await;
    let answer = Answer::read(&advisor.expect_status, &mut stream, seen).await?;
    let Some(answer) = answer else {
        // A server may answer and close before it reads the request. So an error of sending counts only without an
        // answer.
        return Err(sent
            .err()
            .unwrap_or_else(|| "the connection ends before an answer".to_owned()));
    };
    let Some(text) = &advisor.expect_body else { return Ok(()) };
    seen.set_missing(format!("the body lacks {text:?} and is incomplete"));
    let has_body = advisor.method != Method::Head && !matches!(answer.status, 204 | 304);
    let framing = if has_body { answer.framing() } else { Framing::Length(0) };
    Search::new(text).run(framing, &mut stream).await
}

async fn send(request: &str, stream: &mut BufStream<impl Stream>) -> Result<(), String> {
    stream.write_all(request.as_bytes()).await.map_err(|error| reason(&error))?;
    stream.flush().await.map_err(|error| reason(&error))
}

fn request(advisor: &Advisor, target: &Target) -> String {
    let (method, path) = (advisor.method.word(), &advisor.path);
    let host = advisor.host.as_deref().unwrap_or(&target.host);
    let agent = concat!("dispatcher/", env!("CARGO_PKG_VERSION"));
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    )
}

#[cfg(test)]
mod tests;
