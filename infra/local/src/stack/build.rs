//! The binaries, built by Cargo and laid out as the template expects them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;

use super::process::{Group, not_runnable};
use super::template;
use crate::error::Error;

/// The binaries of the workspace, by name.
#[derive(Debug)]
pub(super) struct Binaries(BTreeMap<String, PathBuf>);

impl Binaries {
    /// Where a binary is.
    pub(super) fn path(&self, name: &str) -> Result<&Path, Error> {
        self.0
            .get(name)
            .map(PathBuf::as_path)
            .ok_or_else(|| Error::NoBinary {
                name: name.to_owned(),
            })
    }
}

/// The messages of Cargo that tell of a binary; of the others only the reason is read.
#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The template, in the checkout and where it is laid out.
const TEMPLATE: &str = "infra/template.yaml";

/// The binary of the workspace that is no function, and runs here too.
pub(super) const EC2_SIM: &str = "ec2-sim";

/// Builds the functions of the template and ec2-sim. The profile is the one of this program, and all of the workspace
/// is selected, so that Cargo settles on the same features as for the tests and compiles nothing twice.
pub(super) async fn binaries(project: &Path, group: &Group) -> Result<Binaries, Error> {
    let template = read_template(project)?;
    let binaries = template::functions(&template).chain([EC2_SIM]);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = group
        .command(&cargo)
        .args(["build", "--workspace", "--profile", &profile()])
        .args(binaries.flat_map(|name| ["--bin", name]))
        .arg("--message-format=json-render-diagnostics")
        .current_dir(project)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(not_runnable(&cargo.to_string_lossy(), "install a Rust toolchain"))?
        .wait_with_output()
        .await
        .map_err(Error::Runtime)?;
    if !output.status.success() {
        return Err(Error::Failed {
            what: "building the functions".to_owned(),
            status: output.status.to_string(),
            next: "mend what Cargo reports above".to_owned(),
            tail: String::new(),
        });
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let binaries = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter_map(
            |message| match (message.reason.as_str(), message.target, message.executable) {
                ("compiler-artifact", Some(target), Some(executable)) => Some((target.name, executable)),
                _ => None,
            },
        );
    Ok(Binaries(binaries.collect()))
}

/// The profile that this program was built with: the name of the directory that it is in, as Cargo lays it
/// out, or else by its optimisation.
fn profile() -> String {
    let by_assertions = if cfg!(debug_assertions) { "dev" } else { "release" };
    let exe = std::env::current_exe().ok();
    let dir = exe.as_deref().and_then(Path::parent);
    // Cargo marks a directory of a profile with a lock file of its own.
    match dir
        .filter(|dir| dir.join(".cargo-lock").exists())
        .and_then(Path::file_name)
        .and_then(|name| name.to_str())
    {
        Some("debug") | None => by_assertions.to_owned(),
        Some(name) => name.to_owned(),
    }
}

/// Puts the template, the definitions and the functions into `dir`, each where the template looks for it.
pub(super) async fn lay_out(
    project: &Path,
    dir: &Path,
    binaries: &Binaries,
    group: &Group,
) -> Result<(), Error> {
    let template = read_template(project)?;
    copy(&project.join(TEMPLATE), &dir.join(TEMPLATE))?;
    let definitions = project.join("statemachine");
    for entry in std::fs::read_dir(&definitions).map_err(Error::file("read", &definitions))? {
        let entry = entry.map_err(Error::file("read", &definitions))?;
        copy(&entry.path(), &dir.join("statemachine").join(entry.file_name()))?;
    }
    for name in template::functions(&template) {
        let bootstrap = dir.join("target/lambda").join(name).join("bootstrap");
        let binary = binaries.path(name)?;
        make_parent(&bootstrap)?;
        if !strip(binary, &bootstrap, group).await {
            copy(binary, &bootstrap)?;
        }
    }
    Ok(())
}

fn read_template(project: &Path) -> Result<String, Error> {
    let file = project.join(TEMPLATE);
    std::fs::read_to_string(&file).map_err(Error::file("read", &file))
}

/// Copies a binary without its symbols, which makes it several times smaller. False where there is no `strip`.
async fn strip(binary: &Path, to: &Path, group: &Group) -> bool {
    let status = group
        .command("strip")
        .arg("-o")
        .args([to, binary])
        .stderr(Stdio::null())
        .status()
        .await;
    status.is_ok_and(|status| status.success())
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    make_parent(to)?;
    std::fs::copy(from, to)
        .map(drop)
        .map_err(Error::file("copy", from))
}

fn make_parent(path: &Path) -> Result<(), Error> {
    let parent = path.parent().unwrap_or(path);
    std::fs::create_dir_all(parent).map_err(Error::file("make", parent))
}
