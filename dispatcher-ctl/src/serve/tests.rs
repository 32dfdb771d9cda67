use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{http::Limits, *};

const LIMITS: Limits = Limits {
    connections: 4,
    silent: Duration::from_secs(60),
    head: Duration::from_secs(60),
    only: None,
};
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// A server on a Unix socket: `/` answers `ok`, `/slow` after 3 s, `/long` with 64 MB.
struct Server {
    path: std::path::PathBuf,
    _directory: tempfile::TempDir,
    stop: CancellationToken,
}

impl Server {
    fn start(limits: Limits) -> Self {
        use axum::routing::get;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let stop = CancellationToken::new();
        let slow = async || {
            tokio::time::sleep(Duration::from_secs(3)).await;
            "slow"
        };
        let long = async || {
            let parts = (0..64).map(|_| Ok::<_, std::convert::Infallible>("x".repeat(1 << 20)));
            axum::body::Body::from_stream(futures_util::stream::iter(parts))
        };
        let router = axum::Router::new()
            .route("/", get("ok"))
            .route("/slow", get(slow))
            .route("/long", get(long));
        tokio::spawn(http::serve("test", listener, router, limits, stop.clone()));
        Self { path, _directory: directory, stop }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.unwrap()
    }

    async fn ask(&self, path: &str) -> UnixStream {
        let mut stream = self.connect().await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }
}

/// Whether a connection is still open: it neither ends nor sends anything for a moment.
async fn is_open(stream: &mut UnixStream) -> bool {
    let mut byte = [0];
    tokio::time::timeout(Duration::from_millis(200), stream.read(&mut byte)).await.is_err()
}

async fn answer(stream: &mut UnixStream) -> String {
    let mut text = vec![0; 1024];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut text)).await;
    text.truncate(read.expect("an answer comes").unwrap());
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn who_is_idle_for_the_longest_gives_way() {
    let server = Server::start(LIMITS);
    // One connection that was answered and is idle, then three silent ones.
    let mut idle = server.ask("/").await;
    assert!(answer(&mut idle).await.ends_with("ok"));
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(server.connect().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The longest idle one is closed.
    let mut fifth = server.ask("/").await;
    assert!(answer(&mut fifth).await.ends_with("ok"));
    assert!(!is_open(&mut idle).await, "it was idle for the longest");
    // After a second, silent ones are closed first, the oldest before the others.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut sixth = server.ask("/").await;
    assert!(answer(&mut sixth).await.ends_with("ok"));
    assert!(!is_open(&mut silent[0]).await && is_open(&mut silent[1]).await);
    fifth.write_all(REQUEST).await.unwrap();
    assert!(answer(&mut fifth).await.ends_with("ok"));
    server.stop.cancel();
}

#[tokio::test]
async fn a_request_under_way_is_not_cut_off_for_others() {
    let server = Server::start(LIMITS);
    let mut slow = Vec::new();
    for _ in 0..4 {
        slow.push(server.ask("/slow").await);
    }
    // All are busy, so none can be closed: others wait until one is done.
    let mut others = Vec::new();
    for _ in 0..8 {
        others.push(server.ask("/").await);
    }
    for stream in &mut slow {
        assert!(answer(stream).await.ends_with("slow"));
    }
    for stream in &mut others[4..] {
        assert!(answer(stream).await.ends_with("ok"));
    }
    server.stop.cancel();
}

#[tokio::test]
async fn who_does_not_read_gives_way_and_who_reads_does_not() {
    let server = Server::start(LIMITS);
    let mut reading = server.ask("/long").await;
    let mut stalled = Vec::new();
    for _ in 0..3 {
        stalled.push(server.ask("/long").await);
    }
    let mut part = vec![0; 1 << 16];
    let mut read = 0;
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        read += reading.read(&mut part).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut other = server.ask("/").await;
    assert!(answer(&mut other).await.ends_with("ok"));
    // The one that reads gets its whole answer.
    while read < 64 << 20 {
        let more = reading.read(&mut part).await.unwrap();
        assert!(more > 0, "cut off after {read} bytes");
        read += more;
    }
    server.stop.cancel();
}

#[tokio::test]
async fn who_says_nothing_or_half_a_head_is_closed_in_time() {
    let limits = Limits { silent: Duration::from_millis(300), ..LIMITS };
    let server = Server::start(limits);
    let mut silent = server.connect().await;
    let mut half = server.connect().await;
    half.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    let mut idle = server.ask("/").await;
    assert!(answer(&mut idle).await.ends_with("ok"));
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(!is_open(&mut silent).await && !is_open(&mut half).await);
    assert!(is_open(&mut idle).await, "it was answered, and may be idle for longer");
    server.stop.cancel();
}

#[tokio::test]
async fn the_client_with_the_most_connections_gives_way() {
    let visits = Visits::default();
    let [alone, many] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(|ip| Some(IpAddr::from(ip)));
    let first = visits.enter(alone);
    let others: Vec<_> = (0..5).map(|_| visits.enter(many)).collect();
    // A crowding client has no grace period, the other one has.
    for left in (2..6).rev() {
        assert!(visits.can_give_way());
        visits.give_way();
        assert_eq!(visits.count(), left);
    }
    let soon = Duration::from_millis(1);
    let is_ending = async |visit: &Visit| {
        tokio::time::timeout(soon, visit.must_end(Duration::MAX)).await.is_ok()
    };
    for (i, visit) in others.iter().enumerate() {
        assert_eq!(is_ending(visit).await, i < 4, "the oldest go first: {i}");
    }
    assert!(!is_ending(&first).await);
}

#[tokio::test]
async fn what_has_just_been_asked_is_not_cut_off() {
    let server = Server::start(LIMITS);
    // More at once than there are places: each is answered before it is closed.
    let mut all = Vec::new();
    for _ in 0..12 {
        all.push(server.ask("/").await);
    }
    for stream in &mut all {
        assert!(answer(stream).await.ends_with("ok"));
    }
    server.stop.cancel();
}
