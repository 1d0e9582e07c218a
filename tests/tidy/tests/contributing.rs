//! What `CONTRIBUTING.md` and the documents tell a reader to run or to open is there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod workspace;

use std::collections::BTreeSet;

const DOCUMENTS: [&str; 4] = [
    "CONTRIBUTING.md",
    "docs/configuring.md",
    "docs/deploying.md",
    "docs/limits-and-cost.md",
];

fn read(document: &str) -> String {
    std::fs::read_to_string(tidy::root().join(document)).unwrap()
}

/// What stands between backquotes, and the lines of code blocks.
fn code(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            found.push(line);
        } else {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

#[test]
fn every_test_benchmark_and_crate_that_is_to_be_run_is_one() {
    let crates = workspace::crates();
    let names: BTreeSet<&str> = crates.iter().map(|it| it.name.as_str()).collect();
    let of_kind = |kind: &str| -> BTreeSet<&str> {
        let targets = crates.iter().flat_map(|it| &it.targets);
        let targets = targets.filter(|target| target.kind == kind);
        targets.map(|target| target.name.as_str()).collect()
    };
    let (tests, benches, binaries) = (of_kind("test"), of_kind("bench"), of_kind("bin"));
    let mut looked_at = 0;
    for document in DOCUMENTS {
        let text = read(document);
        for command in code(&text).into_iter().filter(|line| line.contains("cargo ")) {
            let words: Vec<&str> = command.split_whitespace().collect();
            for pair in words.windows(2) {
                let known = match pair[0] {
                    "--test" => &tests,
                    "--bench" => &benches,
                    "--bin" => &binaries,
                    "-p" | "--exclude" => &names,
                    _ => continue,
                };
                looked_at += 1;
                assert!(
                    known.contains(pair[1]),
                    "{document}: {command}: there is no {}",
                    pair[1]
                );
            }
        }
    }
    assert!(looked_at > 20, "{looked_at}");
}

/// A word with a slash that begins with a directory of the checkout is a path.
#[test]
fn every_path_that_is_named_is_there() {
    let root = tidy::root();
    let mut looked_at = 0;
    for document in DOCUMENTS {
        let text = read(document);
        for word in code(&text).into_iter().flat_map(str::split_whitespace) {
            let Some((first, _)) = word.split_once('/') else {
                continue;
            };
            let is_ours = ["functions", "infra", "statemachine", "tests", "docs", ".ci"].contains(&first);
            // A word in capitals stands for any.
            if !is_ours || word.contains("STAGE") {
                continue;
            }
            looked_at += 1;
            assert!(
                root.join(word).exists(),
                "{document} names {word}, which is not there"
            );
        }
    }
    assert!(looked_at > 20, "{looked_at}");
}

#[test]
fn every_test_and_benchmark_of_the_workspace_is_in_the_table() {
    let text = read("CONTRIBUTING.md");
    for it in workspace::crates().into_iter().filter(|it| it.name != "tidy") {
        for target in &it.targets {
            let option = match target.kind.as_str() {
                "test" => "--test",
                "bench" => "--bench",
                _ => continue,
            };
            let named = code(&text).into_iter().any(|command| {
                let words: Vec<&str> = command.split_whitespace().collect();
                words
                    .windows(2)
                    .any(|pair| pair == [option, target.name.as_str()])
            });
            assert!(
                named,
                "CONTRIBUTING.md does not say what `{option} {}` of {} covers",
                target.name, it.name
            );
        }
    }
}
