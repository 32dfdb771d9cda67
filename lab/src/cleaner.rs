//! Removes a laboratory, however its process ends. A shell waits for the end of a pipe that only this process holds open. Then
//! it ends the processes in the laboratory's namespaces and removes them.

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};

/// `$1`: the prefix of the namespaces, `$2`: the directory. A line on the pipe means: keep everything.
const SCRIPT: &str = r#"
read -r keep && exit 0
for ns in $(ip netns list | cut -d' ' -f1 | grep "^$1-"); do
    for signal in TERM KILL; do
        pids=$(ip netns pids "$ns")
        [ -n "$pids" ] && kill -$signal $pids && sleep 0.1
    done
    ip netns del "$ns"
done
rm -rf "$2" "/sys/fs/bpf/$1"
"#;

#[derive(Debug)]
pub(super) struct Cleaner {
    shell: Child,
    by_hand: String,
}

impl Cleaner {
    pub(super) fn start(prefix: &str, directory: &Path) -> Result<Self> {
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "cleaner", prefix])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A group of its own: the terminal's Ctrl-C must not end it.
            .process_group(0)
            .spawn()
            .context("start the laboratory's cleaner")?;
        let by_hand = format!(
            "for ns in $(ip netns list | cut -d' ' -f1 | grep '^{prefix}-'); do ip netns pids $ns | xargs -r kill; ip \
             netns del $ns; done; rm -rf {} /sys/fs/bpf/{prefix}",
            directory.display()
        );
        Ok(Self { shell, by_hand })
    }

    /// Keeps everything, and returns the command that removes it.
    pub(super) fn disarm(mut self) -> String {
        if let Some(mut pipe) = self.shell.stdin.take() {
            // An error means that the shell is gone already.
            let _ = pipe.write_all(b"keep\n");
        }
        std::mem::take(&mut self.by_hand)
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
