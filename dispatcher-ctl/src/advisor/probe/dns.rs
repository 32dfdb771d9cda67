//! `dns`: a query whose answer has the expected code (RFC 1035), over UDP or TCP as the service's clients use it.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Fault, Stream, Target, datagram, dial, random, reason};
use crate::model::{Advisor, Choice as _, Rcode};

/// Bytes before the question.
const HEADER: usize = 12;
/// Flag: recursion desired.
const RD: u16 = 1 << 8;
/// Flag: this message is an answer.
const QR: u16 = 1 << 15;
const INTERNET: u16 = 1;

pub(super) async fn over_udp(advisor: &Advisor, target: &Target) -> Result<(), Fault> {
    let query = query(advisor);
    let socket = dial::udp(target).await?;
    datagram::ask(&socket, &query, advisor.receive_timeout, |answer| {
        judge(&query, answer, advisor.expect_rcode)
    })
    .await
}

/// A length precedes each message.
pub(super) async fn over_tcp(advisor: &Advisor, mut stream: impl Stream) -> Result<(), String> {
    let query = query(advisor);
    let length = u16::try_from(query.len()).map_err(|_| "the query is too long".to_owned())?;
    let mut sent = length.to_be_bytes().to_vec();
    sent.extend_from_slice(&query);
    stream.write_all(&sent).await.map_err(|error| reason(&error))?;
    let length = stream.read_u16().await.map_err(|error| reason(&error))?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await.map_err(|error| reason(&error))?;
    judge(&query, &answer, advisor.expect_rcode)
        .unwrap_or_else(|| Err("the answer is to another query".to_owned()))
}

fn query(advisor: &Advisor) -> Vec<u8> {
    let mut message = Vec::new();
    let [id] = random();
    // Header: one question, nothing else.
    for word in [id, RD, 1, 0, 0, 0] {
        message.extend_from_slice(&word.to_be_bytes());
    }
    let labels = advisor.query.split('.').filter(|label| !label.is_empty());
    for label in labels {
        // The configuration's check limits labels to 63 bytes.
        message.push(u8::try_from(label.len()).unwrap_or(63));
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&advisor.query_type.number().to_be_bytes());
    message.extend_from_slice(&INTERNET.to_be_bytes());
    message
}

/// Judges an answer; `None` for an answer to another query.
fn judge(query: &[u8], answer: &[u8], expected: Rcode) -> Option<Result<(), String>> {
    let word = |at: usize| Some(u16::from_be_bytes([*answer.get(at)?, *answer.get(at + 1)?]));
    let (id, flags) = (answer.get(..2)?, word(2)?);
    if id != query.get(..2)? || flags & QR == 0 {
        return None;
    }
    // A server that does not understand a query need not repeat it.
    let question = query.get(HEADER..)?;
    let repeats = answer.get(HEADER..HEADER + question.len());
    if word(4)? != 0 && !repeats.is_some_and(|repeated| repeated.eq_ignore_ascii_case(question)) {
        return None;
    }
    let code = usize::from(flags & 0xf);
    let known = Rcode::ALL.get(code);
    if known == Some(&expected) {
        return Some(Ok(()));
    }
    let name = known.map_or_else(|| code.to_string(), |code| code.word().to_owned());
    Some(Err(format!("rcode {name}, expected {expected}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AdvisorKind, QueryType};

    #[test]
    fn a_query_is_as_rfc_1035_has_it() {
        let advisor = Advisor {
            query: "www.example.com.".to_owned(),
            query_type: QueryType::Aaaa,
            ..Advisor::new(AdvisorKind::Dns)
        };
        let asked = query(&advisor);
        let want = b"\x01\x00\x00\x01\0\0\0\0\0\0\x03www\x07example\x03com\0\0\x1c\0\x01";
        assert_eq!(&asked[2..], want);
        let root = Advisor { query: ".".to_owned(), ..advisor };
        assert_eq!(&query(&root)[HEADER..], b"\0\0\x1c\0\x01");
    }

    #[test]
    fn an_answer_is_judged_by_its_code() {
        let query = b"\xab\xcd\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";
        let mut answer = query.to_vec();
        assert_eq!(judge(query, &answer, Rcode::Noerror), None, "a query is no answer");
        answer[2] |= 0x80;
        answer[13] = b'A';
        assert_eq!(judge(query, &answer, Rcode::Noerror), Some(Ok(())));
        answer[3] |= 3;
        assert_eq!(judge(query, &answer, Rcode::Nxdomain), Some(Ok(())));
        let wrong = judge(query, &answer, Rcode::Noerror).unwrap().unwrap_err();
        assert_eq!(wrong, "rcode nxdomain, expected noerror");
        answer[13] = b'b';
        assert_eq!(judge(query, &answer, Rcode::Nxdomain), None, "another question");
        answer[0] = 0;
        assert_eq!(judge(query, &answer, Rcode::Nxdomain), None, "another id");
        for cut in 0..4 {
            assert_eq!(judge(query, &answer[..cut], Rcode::Noerror), None);
        }
    }
}
