//! Servers that answer as real servers do: whatever clients accept as an answer counts.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    advisor::probe::{Target, probe},
    model::{Advisor, AdvisorKind, Protocol},
};

/// What a server does after its answer.
#[derive(Clone, Copy, Debug)]
enum Then {
    Close,
    Stay,
    Reset,
}

/// A probe with a long time limit: no answer here is late.
fn http() -> Advisor {
    Advisor { receive_timeout: Duration::from_secs(60), ..Advisor::new(AdvisorKind::Http) }
}

fn expects(text: &str) -> Advisor {
    Advisor { expect_body: Some(text.to_owned()), ..http() }
}

fn head() -> Advisor {
    Advisor { method: crate::model::Method::Head, ..http() }
}

/// The request that a server receives.
async fn request(stream: &mut TcpStream) -> String {
    let (mut request, mut piece) = (Vec::new(), [0; 1024]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut piece).await {
            Ok(length @ 1..) => request.extend_from_slice(&piece[..length]),
            Ok(0) | Err(_) => break,
        }
    }
    String::from_utf8(request).unwrap()
}

/// Probes a server that runs `serve`.
async fn probed<F>(
    advisor: &Advisor,
    serve: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> Result<(), String>
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target {
        address: listener.local_addr().unwrap(),
        host: "192.0.2.80:8080".to_owned(),
        protocol: Protocol::Tcp,
        service: "web".to_owned(),
        backend: "web-1".to_owned(),
        through: None,
    };
    let server = tokio::spawn(async move { serve(listener.accept().await.unwrap().0).await });
    let result = probe(advisor, &target).await.result.map(drop).map_err(|fault| fault.to_string());
    server.abort();
    result
}

/// Probes a server that answers with these pieces, 20 ms apart.
async fn answered(advisor: &Advisor, pieces: &[&[u8]], then: Then) -> Result<(), String> {
    let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
    probed(advisor, move |mut stream| async move {
        request(&mut stream).await;
        for (number, piece) in pieces.iter().enumerate() {
            if number > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // A probe that has decided closes the connection.
            let Ok(()) = stream.write_all(piece).await else { return };
        }
        match then {
            Then::Close => {}
            Then::Stay => tokio::time::sleep(Duration::from_secs(60)).await,
            Then::Reset => stream.set_zero_linger().unwrap(),
        }
    })
    .await
}

#[tokio::test]
async fn heads_are_read_as_clients_read_them() {
    let long = format!("HTTP/1.1 200 OK\r\nSet-Cookie: {}\r\n\r\n", "v".repeat(100_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "Set-Cookie: a=b\r\n".repeat(500));
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"[..],
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nOK",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 200 \r\n\r\n",
        b"HTTP/1.1  200  OK\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 Tr\xe8s \x1b bien\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Gr\xfcn: 1\r\n X\0: \x01\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n  folded at once\r\nX-Long: a\r\n\tb\r\n  c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n: no name\r\nName : x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nOK",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\nContent-Length: many\r\n\r\nOK",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: zstd\r\n\r\nOK",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 777\r\n\r\n",
        long.as_bytes(),
        many.as_bytes(),
    ] {
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(90)]);
        for then in [Then::Close, Then::Stay, Then::Reset] {
            assert_eq!(answered(&http(), &[answer], then).await, Ok(()), "{shown:?} {then:?}");
        }
        assert_eq!(answered(&head(), &[answer], Then::Stay).await, Ok(()), "HEAD: {shown:?}");
    }
    // The end of the connection also ends the headers, as in browsers.
    assert_eq!(answered(&http(), &[b"HTTP/1.0 200 OK\r\nX: y"], Then::Close).await, Ok(()));
    let bytes: Vec<&[u8]> = b"HTTP/1.1 200 OK\r\n".chunks(3).collect();
    assert_eq!(answered(&http(), &bytes, Then::Close).await, Ok(()));
}

#[tokio::test]
async fn a_text_is_found_in_bodies_of_any_kind() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip,\r\n Chunked\r\n\r\n";
    let megabytes = vec![b'x'; 20 << 20];
    let mut tiny = chunked.to_vec();
    tiny.extend(b"1;extension=\"a\"\r\n.\r\n".repeat(100_000));
    tiny.extend(b"4\r\nwell\r\n");
    for (text, pieces) in [
        ("well", &[&b"HTTP/1.1 200 OK\r\n\r\nall is well\n"[..]][..]),
        ("well", &[b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nall is well"]),
        ("marker", &[b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nmarker", &megabytes]),
        ("marker", &[b"HTTP/1.1 200 OK\r\n\r\n", &megabytes, b"marker"]),
        ("all is well and up", &[chunked, b"9;x=1\r\nall is we\r\n", b"9 \r\nll and up\r\n"]),
        ("all is well", &[chunked, b"0009\nall is we\n2\nll\n"]),
        ("aab", &[b"HTTP/1.1 200 OK\r\n\r\na", b"a", b"a", b"b"]),
        ("gr\u{f6}\u{df}er", &[b"HTTP/1.1 200 OK\r\n\r\ngr\xc3\xb6\xc3", b"\x9fer"]),
        ("Zustand:", &[b"HTTP/1.1 200 OK\r\n\r\nZustand: gr\xf6\xdfer"]),
        ("well", &[&tiny]),
    ] {
        assert_eq!(answered(&expects(text), pieces, Then::Stay).await, Ok(()), "{text}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let endless: [&[u8]; 2] = [&b"HTTP/1.1 200 OK\r\n"[..], &[b'x'; 2 << 20]];
    for (advisor, pieces, then, want) in [
        (http(), &[&b""[..]][..], Then::Close, "the connection ends before an answer"),
        (http(), &[b""], Then::Stay, "no answer within 400ms"),
        (http(), &[b""], Then::Reset, "connection reset by peer"),
        (
            http(),
            &[b"HTTP/1.1 2"],
            Then::Stay,
            "no answer within 400ms: the status line is incomplete",
        ),
        (
            http(),
            &[b"HTTP/1.1 200 OK\r\nX: "],
            Then::Stay,
            "no answer within 400ms: the headers are incomplete",
        ),
        (http(), &[b"HTTP/1.1 200 OK\r\n", b"X: "], Then::Reset, "connection reset by peer"),
        (http(), &[b"OK\n"], Then::Stay, "the answer is not HTTP, it begins with \"OK\""),
        (
            http(),
            &[b"J\0\0\0\n8.0\0"],
            Then::Stay,
            "the answer is not HTTP, it begins with \"J\\0\\0\\0\"",
        ),
        (
            http(),
            &[b"HTTP/1.1 2000 OK\r\n"],
            Then::Stay,
            "the answer is not HTTP, it begins with \"HTTP/1.1 2000 OK\"",
        ),
        (http(), &[b"HTTP/1.1 503 N"], Then::Close, "status 503, expected 200-399"),
        (http(), &[b"HTTP/1.1 503 No\r\nX: y\r\n"], Then::Stay, "status 503, expected 200-399"),
        (http(), &[b"HTTP/1.1 999 No\r\n"], Then::Stay, "status 999, expected 200-399"),
        (
            http(),
            &[b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 500 Bad\r\n"],
            Then::Stay,
            "status 500, expected 200-399",
        ),
        (
            http(),
            &[b"HTTP/1.1 100 Continue\r\n\r\n"],
            Then::Stay,
            "no answer within 400ms: there is only an interim answer",
        ),
        (
            http(),
            &endless,
            Then::Stay,
            "the answer is longer than 1 MiB before anything is decided",
        ),
        (
            expects("y"),
            &[b"HTTP/1.1 200 OK\r\n\r\nxxx"],
            Then::Stay,
            "no answer within 400ms: the body lacks \"y\" and is incomplete",
        ),
        (expects("y"), &[b"HTTP/1.1 200 OK\r\n\r\nxxx"], Then::Close, "the body lacks \"y\""),
        (
            expects("y"),
            &[b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nxxxy"],
            Then::Stay,
            "the body lacks \"y\"",
        ),
        (
            expects("y"),
            &[b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nxxx"],
            Then::Close,
            "body: the connection ends after 3 of 9 bytes, without \"y\"",
        ),
        (
            expects("x=1"),
            &[chunked, b"1;x=1\r\na\r\n0\r\nx=1\r\n"],
            Then::Stay,
            "the body lacks \"x=1\"",
        ),
        (
            expects("y"),
            &[chunked, b"3\r\nxxx\r\n"],
            Then::Close,
            "body: the connection ends before the last chunk, without \"y\"",
        ),
        (
            expects("y"),
            &[chunked, b"three\r\nxxx\r\n"],
            Then::Stay,
            "body: the chunk size \"three\" is not a hexadecimal number",
        ),
        (expects("y"), &[b"HTTP/1.1 204 No Content\r\n\r\ny"], Then::Stay, "the body lacks \"y\""),
    ] {
        let is_late = want.starts_with("no answer within");
        let patience = if is_late { Duration::from_millis(400) } else { advisor.receive_timeout };
        let advisor = Advisor { receive_timeout: patience, ..advisor };
        assert_eq!(answered(&advisor, pieces, then).await, Err(want.to_owned()));
    }
}

#[tokio::test]
async fn what_is_decided_is_not_waited_for() {
    let began = Instant::now();
    for (advisor, answer) in [
        (http(), &b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"[..]),
        (http(), b"HTTP/1.1 503 No\r\n"),
        (expects("a"), b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na"),
        (expects("b"), b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"),
    ] {
        drop(answered(&advisor, &[answer], Then::Stay).await);
    }
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn an_answer_counts_that_comes_before_the_request() {
    let advisor = http();
    let eager = probed(&advisor, move |mut stream| async move {
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nup").await.unwrap();
        // The request is not read: the kernel resets the connection.
    });
    assert_eq!(eager.await, Ok(()));
}

#[tokio::test]
async fn a_request_names_host_and_path() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let advisor = Advisor { path: "/health?a=b".to_owned(), ..http() };
    let result = probed(&advisor, move |mut stream| async move {
        tell.send(request(&mut stream).await).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    });
    assert_eq!(result.await, Ok(()));
    let version = env!("CARGO_PKG_VERSION");
    let want = format!(
        "GET /health?a=b HTTP/1.1\r\nHost: 192.0.2.80:8080\r\nUser-Agent: dispatcher/{version}\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(told.await.unwrap(), want);
}
