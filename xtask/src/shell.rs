//! External commands: each is printed before it runs, and an error names it.

use std::{
    ffi::OsStr,
    io::IsTerminal as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// A command that is printed before it runs.
#[derive(Debug)]
pub(crate) struct Cmd {
    command: Command,
    shown: String,
}

impl Cmd {
    /// A command in the workspace's directory, without input and without the variables that cargo set for this program.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(&program);
        command
            .current_dir(workspace::root())
            .env("PATH", workspace::search_path())
            .stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        let shown = quote(program.as_ref());
        Self { command, shown }
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.shown = format!("{} {}", self.shown, quote(arg.as_ref()));
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Sets a variable of the command's environment, and shows it.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.shown = format!("{name}={} {}", quote(value.as_ref()), self.shown);
        self.command.env(name, value);
        self
    }

    /// Removes a variable from the command's environment.
    pub(crate) fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs in another directory.
    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Prints the command and runs it.
    ///
    /// # Errors
    /// When it cannot be started or does not end with status 0.
    pub(crate) fn run(mut self) -> Result<()> {
        self.announce();
        let status = self.command.status().with_context(|| format!("cannot run {}", self.shown))?;
        if !status.success() {
            bail!("{}: {status}", self.shown);
        }
        Ok(())
    }

    /// Prints the command and replaces this process by it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn become_it(mut self) -> Result<()> {
        self.announce();
        Err(self.command.exec()).with_context(|| format!("cannot run {}", self.shown))
    }

    /// Prints the command and hands it over, to be run by the caller.
    pub(crate) fn announced(self) -> Command {
        self.announce();
        self.command
    }

    /// Runs a command that only reads, without printing it, and returns its output.
    ///
    /// # Errors
    /// When it cannot be started or does not end with status 0; the message contains its output.
    pub(crate) fn read(mut self) -> Result<String> {
        let output = self.command.output().with_context(|| format!("cannot run {}", self.shown))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{}: {}: {}", self.shown, output.status, said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn announce(&self) {
        let (dim, plain) =
            if std::io::stderr().is_terminal() { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        eprintln!("{dim}$ {}{plain}", self.shown);
    }
}

/// Quotes a word for a shell.
fn quote(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_where_a_shell_needs_it() {
        assert_eq!(quote(OsStr::new("--features=llvm-22")), "--features=llvm-22");
        assert_eq!(quote(OsStr::new("a b")), "'a b'");
        assert_eq!(quote(OsStr::new("it's")), r"'it'\''s'");
    }

    #[test]
    fn a_failing_command_names_itself() {
        let error = Cmd::new("false").arg("x y").run().unwrap_err();
        assert!(error.to_string().starts_with("false 'x y': exit status: 1"), "{error}");
    }
}
