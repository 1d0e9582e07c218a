//! What a finding offers, done as a person would do it: the command in a shell, by the AWS CLI of the local stack.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use tokio::process::Command;
use venv::Venv;

/// The command of an advice, which may have words around it.
pub(crate) fn command(advice: &str) -> &str {
    let (_, rest) = advice
        .split_once("aws ")
        .unwrap_or_else(|| panic!("no command: {advice}"));
    let command = rest.split(';').next().unwrap().split(", then").next().unwrap();
    &advice[advice.len() - rest.len() - 4..][..command.len() + 4]
}

/// Runs the command of an advice, with its words to fill in filled in. Where it prints.
pub(crate) async fn follow(
    advice: &str,
    fill: &[(&str, &str)],
    environment: &BTreeMap<&'static str, String>,
) -> String {
    static VENV: OnceLock<Venv> = OnceLock::new();
    let venv = VENV.get_or_init(|| {
        let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("requirements.txt");
        Venv::prepare("venv", &requirements, None)
    });
    let command = fill
        .iter()
        .fold(command(advice).to_owned(), |command, (word, value)| {
            command.replace(word, value)
        });
    let output = Command::new("/bin/sh")
        .args(["-c", &command])
        .env_clear()
        .envs(environment)
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", venv.path().join("bin").display()),
        )
        // The AWS CLI does not know AWS_REGION.
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command}\n{}", text(&output.stderr));
    text(&output.stdout)
}
