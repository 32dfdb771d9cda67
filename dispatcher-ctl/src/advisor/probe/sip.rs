//! `sip`: an OPTIONS request whose answer has an expected status (RFC 3261), over UDP or TCP as the service's clients
//! use it.

use std::{io, net::SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Fault, Target, datagram, dial, random, reason};
use crate::model::Advisor;

/// Bytes of an answer that are read.
const LONGEST: usize = 16 * 1024;

pub(super) async fn over_udp(advisor: &Advisor, target: &Target) -> Result<(), Fault> {
    let socket = dial::udp(target).await?;
    let own = socket.local_addr().map_err(|error| Fault::of(&error))?;
    let call = call_id();
    let request = request(advisor, target, "UDP", own, &call);
    datagram::ask(&socket, request.as_bytes(), advisor.receive_timeout, |answer| {
        judge(advisor, &call, answer)
    })
    .await
}

pub(super) async fn over_tcp(
    advisor: &Advisor,
    target: &Target,
    mut stream: tokio::net::TcpStream,
) -> Result<(), String> {
    let told = |error: io::Error| reason(&error);
    let own = stream.local_addr().map_err(told)?;
    let call = call_id();
    let request = request(advisor, target, "TCP", own, &call);
    stream.write_all(request.as_bytes()).await.map_err(told)?;
    let mut answer = Vec::new();
    loop {
        // Provisional answers come before the final one, on the same connection.
        while let Some(message) = next_message(&mut answer) {
            if let Some(result) = judge(advisor, &call, &message) {
                return result;
            }
        }
        let length = stream.read_buf(&mut answer).await.map_err(told)?;
        if length == 0 || answer.len() > LONGEST {
            return Err("the answer is incomplete".to_owned());
        }
    }
}

/// Removes the headers of the next message from what has arrived; `None` while their end is missing. Empty lines before
/// a message keep connections alive and are skipped.
fn next_message(come: &mut Vec<u8>) -> Option<Vec<u8>> {
    let blank = come.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    come.drain(..blank);
    let ends = [&b"\r\n\r\n"[..], b"\n\n"].into_iter().filter_map(|end| {
        let at = come.windows(end.len()).position(|bytes| bytes == end)?;
        Some(at + end.len())
    });
    let end = ends.min()?;
    Some(come.drain(..end).collect())
}

fn call_id() -> String {
    let [a, b, c, d]: [u16; 4] = random();
    format!("{a:04x}{b:04x}{c:04x}{d:04x}")
}

fn request(
    advisor: &Advisor,
    target: &Target,
    transport: &str,
    own: SocketAddr,
    call: &str,
) -> String {
    let host = advisor.host.as_deref().unwrap_or(&target.host);
    let lines = [
        format!("OPTIONS sip:{host} SIP/2.0"),
        format!("Via: SIP/2.0/{transport} {own};branch=z9hG4bK{call};rport"),
        "Max-Forwards: 70".to_owned(),
        format!("From: <sip:dispatcher@{own}>;tag={call}"),
        format!("To: <sip:{host}>"),
        format!("Call-ID: {call}@{own}"),
        "CSeq: 1 OPTIONS".to_owned(),
        "Accept: application/sdp".to_owned(),
        "Content-Length: 0".to_owned(),
    ];
    lines.join("\r\n") + "\r\n\r\n"
}

/// Judges an answer; `None` for a provisional one, or one to another call.
fn judge(advisor: &Advisor, call: &str, answer: &[u8]) -> Option<Result<(), String>> {
    let text = String::from_utf8_lossy(answer);
    let mut words = text.split_ascii_whitespace();
    let is_sip = words.next().is_some_and(|version| version.eq_ignore_ascii_case("SIP/2.0"));
    let status = words.next().filter(|_| is_sip).and_then(|status| status.parse::<u16>().ok());
    let Some(status) = status else { return Some(Err("the answer is not SIP".to_owned())) };
    if !text.contains(call) || status < 200 {
        return None;
    }
    let expected = &advisor.expect_status;
    let wrong = || Err(format!("status {status}, expected {expected}"));
    Some(if expected.contains(status) { Ok(()) } else { wrong() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AdvisorKind;

    #[test]
    fn a_message_is_read_as_servers_write_it() {
        let advisor = Advisor::new(AdvisorKind::Sip);
        let mut come =
            b"\r\n\r\nSIP/2.0 100 Trying\r\nCall-ID: c1\r\n\r\nsip/2.0 200\ni: c1\n\nSIP".to_vec();
        let provisional = next_message(&mut come).unwrap();
        assert_eq!(judge(&advisor, "c1", &provisional), None);
        let answer = next_message(&mut come).unwrap();
        assert_eq!(judge(&advisor, "c1", &answer), Some(Ok(())));
        assert_eq!(judge(&advisor, "c2", &answer), None, "of another call");
        assert_eq!((next_message(&mut come), &come[..]), (None, &b"SIP"[..]));
        for (said, want) in [
            (&b"SIP/2.0 503 No\r\nCall-ID: c1\r\n\r\n"[..], "status 503, expected 200-299"),
            (b"HTTP/1.1 200 OK\r\n\r\n", "the answer is not SIP"),
        ] {
            assert_eq!(judge(&advisor, "c1", said).unwrap().unwrap_err(), want);
        }
    }
}
