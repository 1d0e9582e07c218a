//! The virtual environment with the local AWS stand-in and the AWS CLI.
//!
//! It is made once for a checkout, in `.mirrorstep/venv`, and again when `infra/cli/requirements.txt` changes.
//! A lock file keeps two commands from making it at once, and from making it anew under one that runs.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::{Group, not_runnable};
use crate::error::Error;
use terminal::Terminal;

/// A virtual environment that is ready, and stays so while this is held.
#[derive(Debug)]
pub(super) struct Venv {
    path: PathBuf,
    _in_use: File,
}

impl Venv {
    /// Makes the environment, unless there is one by the same requirements.
    pub(super) async fn prepare(
        project: &Path,
        group: &Group,
        dir: &Path,
        terminal: &Terminal,
    ) -> Result<Self, Error> {
        let home = project.join(".mirrorstep");
        let path = home.join("venv");
        let requirements_file = project.join("infra/cli/requirements.txt");
        let requirements =
            std::fs::read_to_string(&requirements_file).map_err(Error::file("read", &requirements_file))?;
        std::fs::create_dir_all(&home).map_err(Error::file("make", &home))?;
        let lock_file = home.join("venv.lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_file)
            .map_err(Error::file("open", &lock_file))?;
        let ready = || std::fs::read_to_string(stamp(&path)).is_ok_and(|made_from| made_from == requirements);
        loop {
            acquire(File::try_lock_shared, &lock, &lock_file, terminal).await?;
            if ready() {
                return Ok(Self { path, _in_use: lock });
            }
            lock.unlock().map_err(Error::file("unlock", &lock_file))?;
            acquire(File::try_lock, &lock, &lock_file, terminal).await?;
            if !ready() {
                terminal.step("Making a virtual environment (only the first time)");
                make(&path, &requirements_file, group, dir).await?;
                std::fs::write(stamp(&path), &requirements).map_err(Error::file("write", stamp(&path)))?;
            }
            lock.unlock().map_err(Error::file("unlock", &lock_file))?;
        }
    }

    /// The directory of its commands.
    pub(super) fn bin(&self) -> PathBuf {
        self.path.join("bin")
    }

    /// Its Python.
    pub(super) fn python(&self) -> PathBuf {
        self.bin().join("python")
    }
}

/// The file that is written last: with it the environment is complete.
fn stamp(venv: &Path) -> PathBuf {
    venv.join("requirements.stamp")
}

/// Takes the lock without holding up the runtime, which has to see signals.
async fn acquire(
    try_lock: fn(&File) -> Result<(), TryLockError>,
    lock: &File,
    path: &Path,
    terminal: &Terminal,
) -> Result<(), Error> {
    let mut told = false;
    loop {
        match try_lock(lock) {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(Error::file("lock", path)(error)),
            Err(TryLockError::WouldBlock) => {
                if !told {
                    terminal
                        .step("Waiting for another mirrorstep that uses or makes the virtual environment");
                    told = true;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn make(path: &Path, requirements: &Path, group: &Group, dir: &Path) -> Result<(), Error> {
    check_python(group).await?;
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::file("remove", path)(error));
        }
        _ => {}
    }
    let log = dir.join("venv.log");
    let mut venv = group.command("python3");
    venv.args(["-m", "venv"]).arg(path);
    group
        .run(
            "making a virtual environment",
            "on Debian and Ubuntu, `python3 -m venv` needs the package python3-venv",
            venv,
            &log,
        )
        .await?;
    let mut install = group.command(path.join("bin/python"));
    install
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
            "--requirement",
        ])
        .arg(requirements);
    group
        .run(
            "installing infra/cli/requirements.txt",
            "check that this machine reaches a Python package index, and run again",
            install,
            &log,
        )
        .await
}

async fn check_python(group: &Group) -> Result<(), Error> {
    let output = group
        .command("python3")
        .args([
            "-c",
            "import sys; print('%d.%d' % sys.version_info[:2], sys.version_info >= (3, 10))",
        ])
        .output()
        .await
        .map_err(not_runnable(
            "python3",
            "install Python 3.10 or newer: the local AWS stand-in is written in it",
        ))?;
    let answer = String::from_utf8_lossy(&output.stdout);
    match answer.split_whitespace().collect::<Vec<_>>()[..] {
        [_, "True"] => Ok(()),
        [found, _] => Err(Error::OldPython {
            found: found.to_owned(),
        }),
        _ => Err(Error::OldPython {
            found: "of an unknown version".to_owned(),
        }),
    }
}
