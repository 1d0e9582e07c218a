//! A running moto.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde::Deserialize;

use venv::Venv;

/// The account that both simulate.
pub const ACCOUNT: &str = "123456789012";

/// A moto server, which ends with this, and when the test ends in any other way: its standard input ends then.
pub struct Moto {
    process: Child,
    facts: Facts,
    _venv: Venv,
}

/// What `serve_moto.py` says of itself.
#[derive(Deserialize)]
struct Facts {
    port: u16,
    actions: Vec<String>,
}

impl Moto {
    /// Starts moto, and waits until it serves; it is asked which of `actions` it has.
    pub fn start<'a>(actions: impl IntoIterator<Item = &'a str>) -> Self {
        let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("requirements.txt");
        let venv = Venv::prepare("moto", &requirements, None);
        let log = venv.path().join("server.log");
        let mut process = Command::new(venv.python())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/serve_moto.py"))
            .args(actions)
            .env("MOTO_ACCOUNT_ID", ACCOUNT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("moto's log can be written"))
            .spawn()
            .expect("the environment's Python runs");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("moto's standard output can be read");
        let facts = serde_json::from_str(&line).unwrap_or_else(|error| {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            panic!("moto did not start ({error}): {line}{said}")
        });
        Self {
            process,
            facts,
            _venv: venv,
        }
    }

    /// Where it serves.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.facts.port)
    }

    /// The actions that it has, of those asked for.
    pub fn actions(&self) -> &[String] {
        &self.facts.actions
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
