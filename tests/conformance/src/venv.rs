//! The virtual environment with moto: made once for a checkout, in `.mirrorstep/moto`, and again when
//! `requirements.txt` changes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A virtual environment that is ready, and stays so while this is held.
pub(crate) struct Venv {
    path: PathBuf,
    _in_use: File,
}

impl Venv {
    pub(crate) fn prepare() -> Self {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let requirements_file = package.join("requirements.txt");
        let requirements = std::fs::read_to_string(&requirements_file).expect("requirements.txt is there");
        let home = package.join("../../.mirrorstep");
        std::fs::create_dir_all(&home).expect(".mirrorstep can be made");
        let path = home.join("moto");
        let stamp = path.join("requirements.stamp");
        // Two tests at once must not make it both, nor one of them make it anew under the other.
        let lock = File::create(home.join("moto.lock")).expect("the lock file can be made");
        loop {
            lock.lock_shared().expect("the lock file can be locked");
            if ready(&stamp, &requirements) {
                return Self { path, _in_use: lock };
            }
            lock.unlock().expect("the lock file can be unlocked");
            lock.lock().expect("the lock file can be locked");
            if !ready(&stamp, &requirements) {
                make(&path, &requirements_file);
                // Written last: with it the environment is complete.
                std::fs::write(&stamp, &requirements).expect("the environment can be written to");
            }
            lock.unlock().expect("the lock file can be unlocked");
        }
    }

    pub(crate) fn python(&self) -> PathBuf {
        self.path.join("bin/python")
    }

    /// Where what runs in it may keep a log.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }
}

fn ready(stamp: &Path, requirements: &str) -> bool {
    std::fs::read_to_string(stamp).is_ok_and(|made_from| made_from == requirements)
}

fn make(path: &Path, requirements: &Path) {
    if path.exists() {
        std::fs::remove_dir_all(path).expect("the old environment can be removed");
    }
    run(
        Command::new("python3").args(["-m", "venv"]).arg(path),
        "install Python 3.11 or newer (on Debian and Ubuntu, also the package python3-venv)",
    );
    run(
        Command::new(path.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--no-input"])
            .args(["--disable-pip-version-check", "--requirement"])
            .arg(requirements),
        "check that this machine reaches a Python package index, and run again",
    );
}

fn run(command: &mut Command, advice: &str) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; {advice}"));
    assert!(
        output.status.success(),
        "{command:?} failed; {advice}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
