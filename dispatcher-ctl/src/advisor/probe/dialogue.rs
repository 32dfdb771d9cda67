//! `smtp`, `imap`, `pop3`, `ftp`, `nntp`: wait for the greeting, send a harmless command, and quit.

use tokio::io::{AsyncWriteExt as _, BufStream};

use super::{Seen, Stream, lines::Allowance, reason};

/// How the last line of an answer is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    /// An answer is one line.
    One,
    /// Lines that begin with `* ` come before the last.
    Tagged,
    /// The last line begins with the code and a space (`250 `), the lines before it with the code and a dash (`250-`).
    Coded,
}

/// Codes by which a mail server says that it does not know a command (RFC 5321, RFC 1869).
const UNKNOWN: &[&str] = &["500", "501", "502", "504"];

/// A command and its expected answer.
#[derive(Debug)]
struct Step {
    /// Empty: only the greeting is awaited.
    command: &'static str,
    /// Fallback for a server that answers with one of [`UNKNOWN`].
    fallback: Option<&'static str>,
    /// The last line of the answer must begin with one of these, in any case.
    good: &'static [&'static str],
}

const fn step(command: &'static str, good: &'static [&'static str]) -> Step {
    Step { command, fallback: None, good }
}

/// What is said in one protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialogue(Lines, &'static [Step]);

/// RFC 5321. Servers do not check the name in EHLO.
pub(super) const SMTP: Dialogue = Dialogue(
    Lines::Coded,
    &[
        step("", &["220"]),
        Step { fallback: Some("HELO dispatcher"), ..step("EHLO dispatcher", &["250"]) },
        step("QUIT", &["221"]),
    ],
);
/// RFC 9051.
pub(super) const IMAP: Dialogue = Dialogue(
    Lines::Tagged,
    &[step("", &["* OK", "* PREAUTH"]), step("1 NOOP", &["1 OK"]), step("2 LOGOUT", &["2 OK"])],
);
/// RFC 1939: before the login, nothing else is allowed.
pub(super) const POP3: Dialogue =
    Dialogue(Lines::One, &[step("", &["+OK"]), step("QUIT", &["+OK"])]);
/// RFC 959: before the login, servers refuse most other commands.
pub(super) const FTP: Dialogue =
    Dialogue(Lines::Coded, &[step("", &["220"]), step("QUIT", &["221"])]);
/// RFC 3977: 201 where articles may not be posted.
pub(super) const NNTP: Dialogue =
    Dialogue(Lines::One, &[step("", &["200", "201"]), step("QUIT", &["205"])]);

/// Carries out a dialogue.
///
/// # Errors
/// The first answer that is not what is expected.
pub(super) async fn converse(
    Dialogue(lines, steps): Dialogue,
    stream: impl Stream,
    seen: &mut Seen,
) -> Result<(), String> {
    let mut stream = BufStream::new(stream);
    let mut before: &[&str] = &[];
    for (number, step) in steps.iter().enumerate() {
        let mut command = step.command;
        let mut answer = ask(command, step, before, lines, &mut stream, seen).await?;
        if let (Some(fallback), Answer::Line(line)) = (step.fallback, &answer)
            && begins_with(line, UNKNOWN)
        {
            command = fallback;
            answer = ask(command, step, before, lines, &mut stream, seen).await?;
        }
        match answer {
            Answer::Line(line) if begins_with(&line, step.good) => {}
            Answer::Line(line) => {
                let (subject, good) = (subject(command), step.good.join(" or "));
                return Err(format!("{subject} is {}, expected {good}", quoted(&line)));
            }
            // Some servers answer QUIT only by closing the connection.
            Answer::Closed { .. } if number + 1 == steps.len() => {}
            Answer::Closed { after } => {
                let after =
                    after.map_or(String::new(), |line| format!(", after {}", quoted(&line)));
                return Err(format!("the connection ends before {}{after}", subject(command)));
            }
        }
        before = step.good;
    }
    Ok(())
}

/// What a server answers.
#[derive(Debug)]
enum Answer {
    /// The last line.
    Line(String),
    /// It closed the connection instead, after this line if any.
    Closed { after: Option<String> },
}

/// Sends a command, or only waits for the greeting if the command is empty.
async fn ask(
    command: &str,
    step: &Step,
    before: &[&str],
    lines: Lines,
    stream: &mut BufStream<impl Stream>,
    seen: &mut Seen,
) -> Result<Answer, String> {
    seen.set_missing(format!("{} is missing", subject(command)));
    if !command.is_empty() {
        stream.write_all(format!("{command}\r\n").as_bytes()).await.map_err(|e| reason(&e))?;
        stream.flush().await.map_err(|error| reason(&error))?;
    }
    // A greeting has no lines before it.
    let lines = if command.is_empty() && lines == Lines::Tagged { Lines::One } else { lines };
    let mut allowance = Allowance::default();
    loop {
        let answer = answer(lines, stream, &mut allowance).await?;
        match &answer {
            // Some servers greet in several answers.
            Answer::Line(line) if !begins_with(line, step.good) && begins_with(line, before) => {}
            // A preliminary reply (RFC 959: 120) comes before the answer.
            Answer::Line(line) if lines == Lines::Coded && line.starts_with('1') => {}
            Answer::Line(_) | Answer::Closed { .. } => return Ok(answer),
        }
    }
}

fn subject(command: &str) -> String {
    match command {
        "" => "the greeting".to_owned(),
        command => format!("the answer to {command}"),
    }
}

/// Whether a line begins with one of these words, in any case.
fn begins_with(line: &str, words: &[&str]) -> bool {
    let begins =
        |word: &&str| line.get(..word.len()).is_some_and(|begun| begun.eq_ignore_ascii_case(word));
    words.iter().any(begins)
}

/// Reads an answer up to its last line.
async fn answer(
    lines: Lines,
    stream: &mut BufStream<impl Stream>,
    allowance: &mut Allowance,
) -> Result<Answer, String> {
    let (mut code, mut after): (Option<String>, _) = (None, None);
    loop {
        let Some(line) = allowance.line(stream).await? else {
            return Ok(Answer::Closed { after });
        };
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if line.is_empty() {
            continue;
        }
        let goes_on = match lines {
            Lines::One => false,
            Lines::Tagged => line.starts_with("* "),
            Lines::Coded => match &code {
                None => after_code(&line) == Some(b'-'),
                // Lines between may have no code, or another one (RFC 959).
                Some(code) => {
                    !line.starts_with(code) || !matches!(after_code(&line), Some(b' ' | b'\n'))
                }
            },
        };
        if !goes_on {
            return Ok(Answer::Line(line));
        }
        code.get_or_insert_with(|| line.chars().take(3).collect());
        after = Some(line);
    }
}

/// The byte after a line's three-digit code; a newline if the line ends there. `None` without a code.
fn after_code(line: &str) -> Option<u8> {
    let (code, rest) = line.as_bytes().split_at_checked(3)?;
    let is_code = code.iter().all(u8::is_ascii_digit);
    is_code.then(|| rest.first().copied().unwrap_or(b'\n'))
}

/// Quotes a line for a message: short, and without control characters.
fn quoted(line: &str) -> String {
    const LONGEST: usize = 80;
    format!("{:?}", line.chars().take(LONGEST).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// More time than any server here needs.
    const LONG: Duration = Duration::from_secs(60);

    /// Probes a server that sends the whole script at once and then closes the connection or not. Returns the result
    /// and what the server received.
    async fn run_script(
        dialogue: Dialogue,
        script: &str,
        closes: bool,
        patience: Duration,
    ) -> (Result<(), String>, String) {
        let (near, far) = tokio::io::duplex(2 << 20);
        let (mut read, mut write) = tokio::io::split(far);
        write.write_all(script.as_bytes()).await.unwrap();
        let mut seen = Seen::default();
        if closes {
            write.shutdown().await.unwrap();
        }
        let half = tokio::time::timeout(patience, converse(dialogue, near, &mut seen)).await;
        let result = half.unwrap_or_else(|_| Err(seen.timeout_fault(patience).to_string()));
        let mut said = String::new();
        read.read_to_string(&mut said).await.unwrap();
        (result, said)
    }

    #[tokio::test]
    async fn answers_of_one_and_of_many_lines_are_understood() {
        let long = format!("220-{}\r\n220 mx\r\n250 ok\r\n221 bye\r\n", "y".repeat(100_000));
        for (dialogue, script) in [
            (SMTP, "220 mx\r\n250-mx\r\n250-SIZE\r\n250 HELP\r\n221 bye\r\n"),
            (SMTP, "220-mx\n220 hi\n250\n221\n"),
            (SMTP, "\r\n220 mx\r\n250 ok\r\n221 bye\r\n"),
            (SMTP, &long),
            (FTP, "220-hello\r\n any text\r\n\r\n221 not yet\r\n220 there\r\n221 bye\r\n"),
            (FTP, "120 in a minute\r\n220 go\r\n221-You have\r\n221 no files\r\n"),
            (FTP, "220 one\r\n220 two\r\n220-three\r\n220 three\r\n221 bye\r\n"),
            (IMAP, "* OK [CAPABILITY X] hi\r\n1 OK done\r\n* BYE\r\n2 OK gone\r\n"),
            (IMAP, "* ok hi\r\n* 22 exists\r\n* NO [ALERT] full\r\n1 ok\r\n* bye\r\n2 Ok\r\n"),
            (IMAP, "* preauth\n1 OK\n2 OK\n"),
            (POP3, "+OK POP\r\n+OK bye\r\n"),
            (POP3, "+ok\n+Ok\n"),
            (NNTP, "201 no posting\r\n205 bye\r\n"),
        ] {
            for closes in [false, true] {
                assert_eq!(
                    run_script(dialogue, script, closes, LONG).await.0,
                    Ok(()),
                    "{script:.300}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_server_need_not_answer_the_farewell() {
        for (dialogue, script) in [
            (SMTP, "220 mx\r\n250 ok\r\n"),
            (SMTP, "220 mx\r\n250 ok\r\n221 bye"),
            (IMAP, "* OK\r\n1 OK\r\n* BYE\r\n"),
            (POP3, "+OK\r\n"),
            (FTP, "220 go\r\n"),
            (NNTP, "200 go\r\n"),
        ] {
            assert_eq!(run_script(dialogue, script, true, LONG).await.0, Ok(()), "{script}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_older_than_ehlo_is_greeted_as_before() {
        let script = "220 old\r\n502 unknown\r\n250 hi\r\n221 bye\r\n";
        let (result, said) = run_script(SMTP, script, false, LONG).await;
        assert_eq!(result, Ok(()));
        assert_eq!(said, "EHLO dispatcher\r\nHELO dispatcher\r\nQUIT\r\n");
    }

    #[tokio::test]
    async fn what_is_wrong_is_named() {
        for (dialogue, script, closes, want) in [
            (SMTP, "554 go away\r\n", false, "the greeting is \"554 go away\", expected 220"),
            (SMTP, "SSH-2.0-x\r\n", false, "the greeting is \"SSH-2.0-x\", expected 220"),
            (
                SMTP,
                "220 mx\r\n421-too\r\n421 busy\r\n",
                false,
                "the answer to EHLO dispatcher is \"421 busy\", expected 250",
            ),
            (
                SMTP,
                "220 mx\r\n502 no\r\n550 never\r\n",
                false,
                "the answer to HELO dispatcher is \"550 never\", expected 250",
            ),
            (
                SMTP,
                "220 ftp\r\n530 log in\r\n",
                false,
                "the answer to EHLO dispatcher is \"530 log in\", expected 250",
            ),
            (
                NNTP,
                "400 \x1b[2Jx\r\n",
                false,
                "the greeting is \"400 \\u{1b}[2Jx\", expected 200 or 201",
            ),
            (IMAP, "* BYE\r\n", false, "the greeting is \"* BYE\", expected * OK or * PREAUTH"),
            (
                IMAP,
                "* OK\r\n* BYE full\r\n",
                true,
                "the connection ends before the answer to 1 NOOP, after \"* BYE full\"",
            ),
            (POP3, "+OK\r\n-ERR\r\n", false, "the answer to QUIT is \"-ERR\", expected +OK"),
            (FTP, "220-hello\r\n", false, "no answer within 200ms: the greeting is missing"),
            (FTP, "220 hello\r\n", false, "no answer within 200ms: the answer to QUIT is missing"),
            (
                FTP,
                "220-hello\r\n",
                true,
                "the connection ends before the greeting, after \"220-hello\"",
            ),
            (POP3, "", true, "the connection ends before the greeting"),
            (POP3, "", false, "no answer within 200ms: the greeting is missing"),
        ] {
            let is_late = want.starts_with("no answer within");
            let patience = if is_late { Duration::from_millis(200) } else { LONG };
            let (result, _) = run_script(dialogue, script, closes, patience).await;
            assert_eq!(result.unwrap_err(), want, "{script}");
        }
    }
}
