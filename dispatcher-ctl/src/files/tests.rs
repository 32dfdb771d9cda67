use std::{fs, os::unix::net::UnixListener, time::Instant};

use nix::{sys::stat::Mode, unistd::mkfifo};

use super::*;

#[test]
fn only_regular_files_of_bounded_size_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("file"), "text").unwrap();
    std::os::unix::fs::symlink("file", path("link")).unwrap();
    mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
    let _listener = UnixListener::bind(path("socket")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", path("zero")).unwrap();
    File::create(path("huge")).unwrap().set_len(600 << 20).unwrap();
    for name in ["file", "link"] {
        assert_eq!(read(&path(name), 4).unwrap().bytes, b"text", "{name}");
        assert_eq!(read(&path(name), 3).unwrap_err(), FileError::Long(3), "{name}");
    }
    for (name, want) in [
        ("fifo", "it is a FIFO, expected a regular file"),
        ("socket", "it is a socket, expected a regular file"),
        ("zero", "it is a device, expected a regular file"),
        (".", "it is a directory, expected a regular file"),
        ("huge", "it is longer than 16777216 bytes"),
        ("none", "no such file or directory"),
    ] {
        assert_eq!(read(&path(name), CONFIGURATION).unwrap_err().to_string(), want, "{name}");
    }
    // A program that writes into it does not wait for a reader.
    fs::write(path("fifo"), "text").unwrap();
    // These files report size 0.
    assert!(!read(Path::new("/proc/self/status"), 1 << 16).unwrap().bytes.is_empty());
    assert_eq!(read(Path::new("/proc/self/status"), 10).unwrap_err(), FileError::Long(10));
}

#[tokio::test]
async fn a_file_that_hangs_is_late_and_costs_one_thread() {
    let path = Path::new("/hangs");
    let (answers, hung) = std::sync::mpsc::channel::<()>();
    let begun = Instant::now();
    let first = in_time(path, move || Ok(hung.recv().is_ok()));
    let second = in_time(path, || Ok(true));
    // Others are not delayed meanwhile.
    let other = in_time(Path::new("/other"), move || Ok(begun.elapsed()));
    let (first, second, other) = tokio::join!(first, second, other);
    assert_eq!((first, second), (Err(FileError::Late), Err(FileError::Late)));
    assert!(other.unwrap() < PATIENCE && begun.elapsed() >= PATIENCE);
    assert_eq!(FileError::Late.to_string(), "it does not answer within 5 s");
    // It answers again, and so does the next request.
    answers.send(()).unwrap();
    assert_eq!(in_time(path, || Ok(7)).await, Ok(7));
}
