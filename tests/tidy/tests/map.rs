//! The map of the house in `CONTRIBUTING.md`: the crates of the workspace and their dependencies, as the manifests have
//! them. `UPDATE=1 cargo test -p tidy --test map` draws it anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod generated;
mod workspace;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use workspace::{Crate, crates};

/// Where a crate belongs, by its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Tests,
    Command,
    StandIns,
    Stages,
    Edges,
    Pure,
}

impl Group {
    const ALL: [Self; 6] = [
        Self::Tests,
        Self::Command,
        Self::StandIns,
        Self::Stages,
        Self::Edges,
        Self::Pure,
    ];

    fn of(it: &Crate) -> Self {
        match it.dir.as_str() {
            "functions/core" | "functions/reachability" => Self::Pure,
            "functions/ec2" | "functions/ledger" | "functions/handler" => Self::Edges,
            "infra/cli" | "infra/terminal" => Self::Command,
            "infra/ec2-sim" | "infra/local" => Self::StandIns,
            dir if dir.starts_with("functions/") => Self::Stages,
            dir if dir.starts_with("tests/") => Self::Tests,
            dir => panic!("in which group is {dir}? Say it in tests/tidy/tests/map.rs"),
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Tests => "the tests",
            Self::Command => "the command",
            Self::StandIns => "the stand-ins",
            Self::Stages => "the stages",
            Self::Edges => "the edges",
            Self::Pure => "the pure",
        }
    }
}

/// The stages are one node: each is a crate, and what differs is which edges it links.
const STAGES: &str = "stages";

/// A name that Mermaid takes for a node. A hyphen would end its word `end`.
fn node(name: &str) -> String {
    name.replace('-', "_")
}

/// The dependencies, from one node to another, with how many stages have it.
fn edges(crates: &[Crate]) -> BTreeMap<(String, String), usize> {
    let of = |name: &str| match crates.iter().find(|it| it.name == name) {
        Some(it) if Group::of(it) == Group::Stages => STAGES.to_owned(),
        Some(it) => node(&it.name),
        None => panic!("{name} is not in the workspace"),
    };
    let mut edges = BTreeMap::new();
    for it in crates {
        for dependency in &it.dependencies {
            *edges.entry((of(&it.name), of(dependency))).or_default() += 1;
        }
    }
    edges
}

fn picture(crates: &[Crate]) -> String {
    let mut out = "```mermaid\nflowchart TD\n".to_owned();
    let stages = crates.iter().filter(|it| Group::of(it) == Group::Stages).count();
    for group in Group::ALL {
        let members: Vec<&Crate> = crates.iter().filter(|it| Group::of(it) == group).collect();
        writeln!(
            out,
            "    subgraph {} [\"{}\"]",
            node(group.title()).replace(' ', "_"),
            group.title()
        )
        .unwrap();
        if group == Group::Stages {
            writeln!(out, "        {STAGES}[\"{stages} crates, functions/STAGE\"]").unwrap();
        } else {
            for it in members {
                writeln!(out, "        {}[\"{}\"]", node(&it.name), it.name).unwrap();
            }
        }
        out.push_str("    end\n");
    }
    for ((from, to), count) in edges(crates) {
        let is_about_stages = from == STAGES || to == STAGES;
        if is_about_stages && count < stages {
            writeln!(out, "    {from} -. \"{count} of {stages}\" .-> {to}").unwrap();
        } else {
            writeln!(out, "    {from} --> {to}").unwrap();
        }
    }
    out + "```\n"
}

fn table(crates: &[Crate]) -> String {
    let mut out = "| crate | where | what it is |\n|---|---|---|\n".to_owned();
    let mut sorted: Vec<&Crate> = crates.iter().collect();
    sorted.sort_by_key(|it| std::cmp::Reverse(Group::of(it)));
    let mut stages = false;
    for it in sorted {
        if Group::of(it) == Group::Stages {
            if !std::mem::replace(&mut stages, true) {
                out.push_str("| the stages | `functions/STAGE` | One small Lambda function each: [what each does](docs/configuring.md#the-stages) |\n");
            }
            continue;
        }
        assert!(!it.description.is_empty(), "{} has no description", it.name);
        writeln!(out, "| `{}` | `{}` | {} |", it.name, it.dir, it.description).unwrap();
    }
    out
}

#[test]
fn the_map_is_that_of_the_manifests() {
    let crates = crates();
    generated::check(
        "CONTRIBUTING.md",
        "map",
        &[("map", picture(&crates)), ("crates", table(&crates))],
    );
}

/// What decides is pure; a stage knows no other stage; nothing that is deployed knows the command or a test.
#[test]
fn no_crate_depends_on_what_is_further_out() {
    let crates = crates();
    let groups: BTreeMap<&str, Group> = crates
        .iter()
        .map(|it| (it.name.as_str(), Group::of(it)))
        .collect();
    for it in &crates {
        let may: &[Group] = match Group::of(it) {
            Group::Pure => &[Group::Pure],
            Group::Edges | Group::Stages => &[Group::Pure, Group::Edges],
            Group::Command | Group::StandIns | Group::Tests => continue,
        };
        for dependency in &it.dependencies {
            let group = groups[dependency.as_str()];
            assert!(
                may.contains(&group),
                "{} depends on {dependency}, one of {}",
                it.name,
                group.title()
            );
        }
    }
}

#[test]
fn what_is_pure_links_no_sdk() {
    let crates = crates();
    let pure: BTreeSet<&str> = crates
        .iter()
        .filter(|it| Group::of(it) == Group::Pure)
        .inspect(|it| {
            let sdk = it
                .others
                .iter()
                .find(|name| name.starts_with("aws-") || *name == "tokio");
            assert_eq!(sdk, None, "{}", it.name);
        })
        .map(|it| it.name.as_str())
        .collect();
    assert!(pure.contains("mirrorstep-core"), "{pure:?}");
}
