//! Processes that end when this one does.
//!
//! Everything that is started joins one process group, also what it starts in turn (the stand-in for Lambda
//! starts the functions). The group's leader is a shell that does nothing but wait for the other end of its
//! standard input to close. That happens however this process ends, also when it is killed: then the leader
//! removes the directory and kills the group.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::error::Error;

/// How much of a log an error shows.
const TAIL_LINES: usize = 20;

/// A process group and its leader.
#[derive(Debug)]
pub(super) struct Group {
    id: i32,
    leader: Child,
    kept: Mutex<Vec<Child>>,
}

impl Group {
    /// Starts the leader. Should this process be killed, the leader also removes `dir`.
    pub(super) fn start(dir: Option<&Path>) -> Result<Self, Error> {
        const WAIT: &str = r#"read -r _; [ -z "$1" ] || rm -rf -- "$1"; kill -KILL 0"#;
        let leader = Command::new("sh")
            .args(["-c", WAIT, "mirrorstep-watchdog"])
            .arg(dir.map_or(OsStr::new(""), Path::as_os_str))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(not_runnable(
                "sh",
                "a POSIX shell is needed to clean up after a crash",
            ))?;
        let id = leader
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .unwrap_or_default();
        Ok(Self {
            id,
            leader,
            kept: Mutex::default(),
        })
    }

    /// A command that joins the group, with none of the caller's AWS settings and no proxy before this machine.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .process_group(self.id)
            .stdin(Stdio::null())
            .env("NO_PROXY", "127.0.0.1,localhost");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Starts a command and waits for the first line on its standard output. Standard error goes to `log`.
    pub(super) async fn spawn_and_read_line(
        &self,
        mut command: Command,
        log: &Path,
        within: Duration,
    ) -> Result<(Child, String), Error> {
        let (_, err) = log_files(log)?;
        let program = program(&command);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(err)
            .spawn()
            .map_err(not_runnable(&program, "it should have been built"))?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            let mut out = BufReader::new(out);
            // No line in time is an empty line: the caller says what was expected.
            let _ = tokio::time::timeout(within, out.read_line(&mut line)).await;
            // What it may print later must not meet a closed pipe.
            tokio::spawn(async move { tokio::io::copy(&mut out, &mut tokio::io::sink()).await });
        }
        Ok((child, line))
    }

    /// Runs a command to its end. What it prints goes to `log`, and its end into the error if it fails.
    pub(super) async fn run(
        &self,
        what: &str,
        next: &str,
        command: Command,
        log: &Path,
    ) -> Result<(), Error> {
        let status = spawn(command, log)?.wait().await.map_err(Error::Runtime)?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Failed {
            what: what.to_owned(),
            status: status.to_string(),
            next: next.to_owned(),
            tail: tail(log),
        })
    }

    /// Keeps a process until the group ends.
    pub(super) fn keep(&self, child: Child) {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(child);
    }

    /// Kills every process of the group, and waits for those that this process started. Nothing in the group
    /// has anything to save.
    pub(super) async fn end(mut self) {
        self.kill();
        let _ = self.leader.wait().await;
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        for mut child in kept {
            let _ = child.wait().await;
        }
    }

    fn kill(&self) {
        if let Some(group) = Pid::from_raw(self.id) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // After the leader is waited for its id may be another's; before, it is ours even as a zombie.
        if self.leader.id().is_some() {
            self.kill();
        }
    }
}

/// Starts a command that writes all it prints to `log`.
pub(super) fn spawn(mut command: Command, log: &Path) -> Result<Child, Error> {
    let (out, err) = log_files(log)?;
    let program = program(&command);
    command
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(not_runnable(&program, "it should have been built or installed"))
}

/// The end of a log, for an error message.
pub(super) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    // A program that shows progress goes back to the start of its line.
    let lines: Vec<&str> = text
        .split(['\n', '\r'])
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// For `map_err` on a spawn.
pub(super) fn not_runnable(program: &str, next: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    let program = program.to_owned();
    move |source| Error::NotRunnable {
        program,
        source,
        next,
    }
}

fn program(command: &Command) -> String {
    command.as_std().get_program().to_string_lossy().into_owned()
}

fn log_files(log: &Path) -> Result<(File, File), Error> {
    let out = File::options()
        .create(true)
        .append(true)
        .open(log)
        .map_err(Error::file("write", log))?;
    let err = out.try_clone().map_err(Error::file("write", log))?;
    Ok((out, err))
}
