//! `smtp`, `imap`, `pop3`, `ftp`, `nntp`: the server greets, answers a command that changes nothing, and is left politely.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};

use super::{Stream, reason};
/// Bytes of all that a server says that are read.
const LONGEST: u64 = 64 * 1024;

/// How an answer's last line is told from those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    /// There is one line.
    One,
    /// Lines that begin with `* ` come before it.
    Tagged,
    /// After `250-`, it begins with `250` and a space.
    Coded,
}

/// What a server is told, and what it must answer.
#[derive(Debug)]
struct Step {
    /// Nothing: its greeting is waited for.
    command: &'static str,
    /// With one of these the last line of its answer must begin.
    good: &'static [&'static str],
}

const fn step(command: &'static str, good: &'static [&'static str]) -> Step {
    Step { command, good }
}

/// RFC 5321. The name need not be one that the server believes.
const SMTP: &[Step] =
    &[step("", &["220"]), step("EHLO dispatcher", &["250"]), step("QUIT", &["221"])];
/// RFC 9051.
const IMAP: &[Step] =
    &[step("", &["* OK", "* PREAUTH"]), step("1 NOOP", &["1 OK"]), step("2 LOGOUT", &["2 OK"])];
/// RFC 1939: before the login, nothing else is allowed.
const POP3: &[Step] = &[step("", &["+OK"]), step("QUIT", &["+OK"])];
/// RFC 959: before the login, servers refuse most of the rest.
const FTP: &[Step] = &[step("", &["220"]), step("QUIT", &["221"])];
/// RFC 3977: 201 where articles may not be posted.
const NNTP: &[Step] = &[step("", &["200", "201"]), step("QUIT", &["205"])];

pub(super) async fn smtp(stream: impl Stream) -> Result<(), String> {
    exchange(SMTP, Lines::Coded, stream).await
}

pub(super) async fn imap(stream: impl Stream) -> Result<(), String> {
    exchange(IMAP, Lines::Tagged, stream).await
}

pub(super) async fn pop3(stream: impl Stream) -> Result<(), String> {
    exchange(POP3, Lines::One, stream).await
}

pub(super) async fn ftp(stream: impl Stream) -> Result<(), String> {
    exchange(FTP, Lines::Coded, stream).await
}

pub(super) async fn nntp(stream: impl Stream) -> Result<(), String> {
    exchange(NNTP, Lines::One, stream).await
}

async fn exchange(steps: &[Step], lines: Lines, stream: impl Stream) -> Result<(), String> {
    let mut stream = BufStream::new(stream);
    for step in steps {
        if !step.command.is_empty() {
            let said = format!("{}\r\n", step.command);
            stream.write_all(said.as_bytes()).await.map_err(|error| reason(&error))?;
            stream.flush().await.map_err(|error| reason(&error))?;
        }
        // A greeting has no lines before it.
        let is_tagged = lines == Lines::Tagged && step.command.is_empty();
        let lines = if is_tagged { Lines::One } else { lines };
        let answer = answer(lines, &mut stream).await?;
        if !step.good.iter().any(|good| answer.starts_with(good)) {
            let whose = match step.command {
                "" => "the greeting".to_owned(),
                command => format!("the answer to {command}"),
            };
            let good = step.good.join(" or ");
            return Err(format!("{whose} is {}, expected {good}", shown(&answer)));
        }
    }
    Ok(())
}

/// The last line of an answer.
async fn answer(lines: Lines, stream: &mut BufStream<impl Stream>) -> Result<String, String> {
    let mut stream = stream.take(LONGEST);
    let mut code: Option<String> = None;
    loop {
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).await.map_err(|error| reason(&error))?;
        if line.last() != Some(&b'\n') {
            return Err("the connection ends in the middle of an answer".to_owned());
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let goes_on = match lines {
            Lines::One => false,
            Lines::Tagged => line.starts_with("* "),
            Lines::Coded => match &code {
                None => after_code(&line) == Some(b'-'),
                // What stands between need have no code at all, or another (RFC 959).
                Some(code) => {
                    !line.starts_with(code) || !matches!(after_code(&line), Some(b' ' | b'\n'))
                }
            },
        };
        if !goes_on {
            return Ok(line);
        }
        code.get_or_insert_with(|| line.chars().take(3).collect());
    }
}

/// What follows a line's code of three digits: the line's end as a newline. None without a code.
fn after_code(line: &str) -> Option<u8> {
    let (code, rest) = line.as_bytes().split_at_checked(3)?;
    let is_code = code.iter().all(u8::is_ascii_digit);
    is_code.then(|| rest.first().copied().unwrap_or(b'\n'))
}

/// A line as a message has it: short, and with nothing in it that a terminal would act on.
fn shown(line: &str) -> String {
    const LONGEST: usize = 80;
    format!("{:?}", line.chars().take(LONGEST).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a server that says all this at once.
    async fn told((steps, lines): (&[Step], Lines), script: &str) -> Result<(), String> {
        let (near, mut far) = tokio::io::duplex(4096);
        far.write_all(script.as_bytes()).await.unwrap();
        // What the probe says is taken, and not answered any more.
        let (mut read, write) = tokio::io::split(far);
        drop(write);
        let sink =
            tokio::spawn(
                async move { drop(tokio::io::copy(&mut read, &mut tokio::io::sink()).await) },
            );
        let half = tokio::time::timeout(
            std::time::Duration::from_millis(200),
            exchange(steps, lines, near),
        );
        let result = half.await.unwrap_or_else(|_| Err("silence".to_owned()));
        sink.abort();
        result
    }

    #[tokio::test]
    async fn answers_of_one_and_of_many_lines_are_understood() {
        for (dialogue, script) in [
            ((SMTP, Lines::Coded), "220 mx\r\n250-mx\r\n250-SIZE\r\n250 HELP\r\n221 bye\r\n"),
            ((SMTP, Lines::Coded), "220-mx\n220 hi\n250\n221\n"),
            (
                (FTP, Lines::Coded),
                "220-hello\r\n any text\r\n221 not yet\r\n220 there\r\n221 bye\r\n",
            ),
            (
                (IMAP, Lines::Tagged),
                "* OK [CAPABILITY X] hi\r\n1 OK done\r\n* BYE\r\n2 OK gone\r\n",
            ),
            ((POP3, Lines::One), "+OK POP\r\n+OK bye\r\n"),
            ((NNTP, Lines::One), "201 no posting\r\n205 bye\r\n"),
        ] {
            assert_eq!(told(dialogue, script).await, Ok(()), "{script}");
        }
    }

    #[tokio::test]
    async fn what_is_wrong_is_named() {
        for (dialogue, script, want) in [
            (
                (SMTP, Lines::Coded),
                "554 go away\r\n",
                "the greeting is \"554 go away\", expected 220",
            ),
            ((SMTP, Lines::Coded), "SSH-2.0-x\r\n", "the greeting is \"SSH-2.0-x\", expected 220"),
            (
                (SMTP, Lines::Coded),
                "220 mx\r\n421-too\r\n421 busy\r\n",
                "the answer to EHLO dispatcher is \"421 busy\", expected 250",
            ),
            (
                (NNTP, Lines::One),
                "400 \x1b[2Jx\r\n",
                "the greeting is \"400 \\u{1b}[2Jx\", expected 200 or 201",
            ),
            (
                (IMAP, Lines::Tagged),
                "* BYE\r\n",
                "the greeting is \"* BYE\", expected * OK or * PREAUTH",
            ),
            ((POP3, Lines::One), "+OK\r\n-ERR\r\n", "the answer to QUIT is \"-ERR\", expected +OK"),
            ((FTP, Lines::Coded), "220-hello\r\n", "silence"),
        ] {
            assert_eq!(told(dialogue, script).await.unwrap_err(), want, "{script}");
        }
    }
}
