//! The protocol between dispatcher and agent, over a TCP connection.
//!
//! ```text
//! dispatcher → agent   hello:  "DLBA", version (1 byte), nonce (16 bytes)
//! agent → dispatcher   hello:  the same with the agent's version and nonce
//! dispatcher → agent   proof:  HMAC("ask", both hellos) (32 bytes)
//! agent → dispatcher   answer: status (1), load in hundredths (2, big endian), length of a text (1), the text,
//!                              HMAC("answer", both hellos, the answer before it) (32)
//! ```
//!
//! An agent without room for a connection sends a hello of version 0 and closes it.
//!
//! HMAC is HMAC-SHA-256 with the shared key. Each side chooses a part of what is signed, so a recorded message is useless
//! in another connection. The answer is not encrypted, but only a peer that knows the key gets it.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::Key;
use crate::fault::Fault;

const MAGIC: &[u8; 4] = b"DLBA";
/// The version that this program speaks.
const VERSION: u8 = 1;
const HELLO: usize = 21;
/// What an agent without room sends: a hello of a version that does not exist.
pub(super) const BUSY: [u8; HELLO] = {
    let mut hello = [0; HELLO];
    [hello[0], hello[1], hello[2], hello[3]] = *MAGIC;
    hello
};
const TAG: usize = 32;
const ASK: &[u8] = b"ask";
const ANSWER: &[u8] = b"answer";

/// The load of a machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// From 0 to 100.
    Load(f64),
    /// The machine must not get connections.
    Down,
    /// It could not be measured, and why.
    Unknown(String),
}

/// Asks an agent.
///
/// # Errors
/// No agent answers, its version or its key is different. An agent that hangs up before its hello is full; that says
/// nothing about its machine.
pub async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    key: &Key,
) -> Result<Report, Fault> {
    let own = hello().map_err(Fault::Here)?;
    let full =
        |what: String| Fault::Here(format!("the agent hangs up at once, is it full? {what}"));
    stream.write_all(&own).await.map_err(|error| full(describe(&error)))?;
    let mut first = [0];
    stream.read_exact(&mut first).await.map_err(|error| full(describe(&error)))?;
    let mut rest = first.as_slice().chain(&mut stream);
    let other = read_hello(&mut rest).await.map_err(|fault| match fault {
        Fault::Here(what) => Fault::Here(format!("the agent {what}")),
        Fault::Backend(what) => Fault::Backend(format!("the agent {what}")),
    })?;
    let proof = key.sign(&[ASK, &own, &other].concat());
    stream.write_all(proof.as_ref()).await.map_err(|error| describe(&error))?;
    let mut answer = vec![0; 4];
    let refused = |error: io::Error| {
        if [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset].contains(&error.kind()) {
            return "the agent does not answer: it has another key".to_owned();
        }
        describe(&error)
    };
    stream.read_exact(&mut answer).await.map_err(refused)?;
    let text_length = usize::from(answer[3]);
    let mut rest = vec![0; text_length + TAG];
    stream.read_exact(&mut rest).await.map_err(|error| describe(&error))?;
    let (text, tag) = rest.split_at(text_length);
    answer.extend_from_slice(text);
    if !key.is_signed(&[ANSWER, &own, &other, &answer].concat(), tag) {
        return Err(Fault::Backend("the agent's answer is signed by another key".to_owned()));
    }
    Ok(parse_answer(&answer)?)
}

/// Answers a peer that knows the key. `greeted` is called when the peer's hello has arrived.
///
/// # Errors
/// What was wrong with the peer.
pub(super) async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    key: &Key,
    report: &Report,
    greeted: impl FnOnce(),
) -> Result<(), String> {
    let own = hello()?;
    let other = read_hello(&mut stream).await.map_err(|fault| fault.to_string());
    greeted();
    // Sent in any case, so that the peer learns this version.
    stream.write_all(&own).await.map_err(|error| describe(&error))?;
    let other = other?;
    let mut proof = [0; TAG];
    stream.read_exact(&mut proof).await.map_err(|error| describe(&error))?;
    if !key.is_signed(&[ASK, &other, &own].concat(), &proof) {
        return Err("has another key".to_owned());
    }
    let mut answer = encode(report);
    let tag = key.sign(&[ANSWER, &other, &own, &answer].concat());
    answer.extend_from_slice(tag.as_ref());
    stream.write_all(&answer).await.map_err(|error| describe(&error))?;
    stream.shutdown().await.map_err(|error| describe(&error))
}

fn hello() -> Result<[u8; HELLO], String> {
    let mut hello = [0; HELLO];
    hello[..4].copy_from_slice(MAGIC);
    hello[4] = VERSION;
    let filled = getrandom::fill(&mut hello[5..]);
    filled.map_err(|error| format!("no random bytes: {error}"))?;
    Ok(hello)
}

async fn read_hello(stream: &mut (impl AsyncRead + Unpin)) -> Result<[u8; HELLO], Fault> {
    let mut hello = [0; HELLO];
    let read = stream.read_exact(&mut hello).await;
    read.map_err(|error| format!("sends no hello: {}", describe(&error)))?;
    if !hello.starts_with(MAGIC) {
        return Err(Fault::Backend("does not speak the agent's protocol".to_owned()));
    }
    if hello == BUSY {
        return Err(Fault::Here("is busy: it has too many connections".to_owned()));
    }
    if hello[4] != VERSION {
        return Err(Fault::Backend(format!("speaks version {}, expected {VERSION}", hello[4])));
    }
    Ok(hello)
}

fn encode(report: &Report) -> Vec<u8> {
    let (status, load, text) = match report {
        // Loads are from 0 to 100: nothing is cut off.
        Report::Load(load) => (0, (load * 100.0).round().clamp(0.0, 10_000.0) as u16, ""),
        Report::Down => (1, 0, ""),
        Report::Unknown(why) => (2, 0, why.as_str()),
    };
    let mut end = text.len().min(usize::from(u8::MAX));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let [high, low] = load.to_be_bytes();
    let mut answer = vec![status, high, low, end as u8];
    answer.extend_from_slice(&text.as_bytes()[..end]);
    answer
}

fn parse_answer(answer: &[u8]) -> Result<Report, String> {
    let (head, text) = answer.split_at_checked(4).ok_or("the answer is too short")?;
    let load = u16::from_be_bytes([head[1], head[2]]);
    match head[0] {
        0 if load <= 10_000 => Ok(Report::Load(f64::from(load) / 100.0)),
        0 => Err(format!("the agent's load is {load} hundredths, expected at most 10000")),
        1 => Ok(Report::Down),
        2 => Ok(Report::Unknown(String::from_utf8_lossy(text).into_owned())),
        other => Err(format!("the agent's status is {other}, expected 0, 1 or 2")),
    }
}

fn describe(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "the connection ends".to_owned();
    }
    error.to_string().split(" (os error").next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text.as_bytes()).unwrap()
    }

    fn shared() -> Key {
        key("the shared key, long enough")
    }

    /// An agent with the shared key, and its judgement of the peer.
    fn agent(report: Report) -> (DuplexStream, tokio::task::JoinHandle<Result<(), String>>) {
        let (near, far) = duplex(1024);
        (near, tokio::spawn(async move { answer(far, &shared(), &report, || ()).await }))
    }

    #[tokio::test]
    async fn who_knows_the_key_is_told() {
        for report in [
            Report::Load(0.0),
            Report::Load(33.33),
            Report::Load(100.0),
            Report::Down,
            Report::Unknown("metric queue: é".to_owned()),
        ] {
            let (stream, agent) = agent(report.clone());
            assert_eq!(ask(stream, &shared()).await, Ok(report));
            agent.await.unwrap().unwrap();
        }
        let (stream, _agent) = agent(Report::Unknown("é".repeat(200)));
        assert_eq!(ask(stream, &shared()).await, Ok(Report::Unknown("é".repeat(127))));
    }

    #[tokio::test]
    async fn who_has_another_key_is_told_nothing() {
        let (stream, agent) = agent(Report::Load(1.0));
        let error = ask(stream, &key("another key, as long")).await.unwrap_err();
        let want = "the agent does not answer: it has another key";
        assert_eq!(error, Fault::Backend(want.to_owned()));
        assert_eq!(agent.await.unwrap().unwrap_err(), "has another key");
    }

    /// The two directions of a recorded connection.
    async fn recorded() -> (Vec<u8>, Vec<u8>) {
        let (near, mut far) = duplex(1024);
        let (mut stream, agent) = agent(Report::Load(12.0));
        let asking = tokio::spawn(async move { ask(near, &shared()).await });
        let (mut asked, mut answered) = (vec![0; HELLO], vec![0; HELLO]);
        far.read_exact(&mut asked).await.unwrap();
        stream.write_all(&asked).await.unwrap();
        stream.read_exact(&mut answered).await.unwrap();
        far.write_all(&answered).await.unwrap();
        let mut proof = [0; TAG];
        far.read_exact(&mut proof).await.unwrap();
        stream.write_all(&proof).await.unwrap();
        asked.extend_from_slice(&proof);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        far.write_all(&answer).await.unwrap();
        answered.extend_from_slice(&answer);
        assert_eq!(asking.await.unwrap(), Ok(Report::Load(12.0)));
        agent.await.unwrap().unwrap();
        (asked, answered)
    }

    #[tokio::test]
    async fn what_was_said_once_cannot_be_said_again() {
        let (asked, answered) = recorded().await;
        // Replay the recorded request.
        let (mut stream, agent) = agent(Report::Load(12.0));
        stream.write_all(&asked).await.unwrap();
        assert_eq!(agent.await.unwrap().unwrap_err(), "has another key");
        let mut told = Vec::new();
        stream.read_to_end(&mut told).await.unwrap();
        assert_eq!(told.len(), HELLO, "no more than a hello");
        // Replay the recorded answer.
        let (near, mut far) = duplex(1024);
        far.write_all(&answered).await.unwrap();
        let error = ask(near, &shared()).await.unwrap_err();
        assert_eq!(error.to_string(), "the agent's answer is signed by another key");
    }

    #[tokio::test]
    async fn an_agent_without_room_says_so() {
        let (near, mut far) = duplex(1024);
        far.write_all(&BUSY).await.unwrap();
        let error = ask(near, &shared()).await.unwrap_err();
        let want = "the agent is busy: it has too many connections";
        assert_eq!(error, Fault::Here(want.to_owned()));
    }

    #[tokio::test]
    async fn another_version_is_named() {
        let (near, mut far) = duplex(1024);
        let mut other = hello().unwrap();
        other[4] = 7;
        far.write_all(&other).await.unwrap();
        let error = ask(near, &shared()).await.unwrap_err();
        assert_eq!(error.to_string(), "the agent speaks version 7, expected 1");
        let (mut stream, agent) = agent(Report::Down);
        stream.write_all(&other).await.unwrap();
        let mut told = Vec::new();
        stream.read_to_end(&mut told).await.unwrap();
        assert_eq!((told.len(), told[4]), (HELLO, VERSION));
        assert_eq!(agent.await.unwrap().unwrap_err(), "speaks version 7, expected 1");
        let (near, mut far) = duplex(1024);
        far.write_all(b"HTTP/1.1 400 Bad Request").await.unwrap();
        let error = ask(near, &shared()).await.unwrap_err();
        assert_eq!(error.to_string(), "the agent does not speak the agent's protocol");
    }

    #[tokio::test]
    async fn an_agent_that_is_full_says_nothing_of_its_machine() {
        let (near, far) = duplex(1024);
        drop(far);
        let error = ask(near, &shared()).await.unwrap_err();
        assert!(matches!(&error, Fault::Here(why) if why.contains("is it full?")), "{error}");
        let (near, mut far) = duplex(1024);
        far.write_all(b"DLBA").await.unwrap();
        far.shutdown().await.unwrap();
        let error = ask(near, &shared()).await.unwrap_err();
        assert_eq!(
            error,
            Fault::Backend("the agent sends no hello: the connection ends".to_owned())
        );
    }
}
