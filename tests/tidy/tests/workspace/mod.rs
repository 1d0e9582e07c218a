//! The crates of the workspace, as Cargo reads their manifests.

#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A crate of the workspace.
#[derive(Debug)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its directory, from the checkout.
    pub dir: String,
    /// What its manifest says that it is.
    pub description: String,
    /// What can be built of it.
    pub targets: Vec<Target>,
    /// The crates of the workspace that it depends on, tests and build scripts aside.
    pub dependencies: Vec<String>,
    /// The other crates that it depends on.
    pub others: Vec<String>,
}

/// What can be built of a crate.
#[derive(Debug)]
pub struct Target {
    /// `lib`, `bin`, `test`, `bench` and so on.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl Crate {
    /// The names of its binaries.
    pub fn binaries(&self) -> impl Iterator<Item = &str> {
        let binaries = self.targets.iter().filter(|target| target.kind == "bin");
        binaries.map(|target| target.name.as_str())
    }
}

/// All of them, in the workspace's order.
pub fn crates() -> Vec<Crate> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(tidy::root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let root = Path::new(metadata["workspace_root"].as_str().unwrap()).to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(|package| of(package, &root)).collect()
}

fn of(package: &Value, root: &Path) -> Crate {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let manifest = text(&package["manifest_path"]);
    let dir = Path::new(&manifest).parent().unwrap();
    let targets = package["targets"].as_array().unwrap().iter();
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    let dependencies = dependencies.filter(|dependency| dependency["kind"].is_null());
    let (own, others): (Vec<_>, Vec<_>) = dependencies.partition(|dependency| dependency["path"].is_string());
    let names = |dependencies: Vec<&Value>| -> Vec<String> {
        let names: BTreeSet<String> = dependencies.into_iter().map(|it| text(&it["name"])).collect();
        names.into_iter().collect()
    };
    Crate {
        name: text(&package["name"]),
        dir: dir.strip_prefix(root).unwrap().to_string_lossy().into_owned(),
        description: text(&package["description"]),
        targets: targets
            .map(|target| Target {
                kind: text(&target["kind"][0]),
                name: text(&target["name"]),
            })
            .collect(),
        dependencies: names(own),
        others: names(others),
    }
}
