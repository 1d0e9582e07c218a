//! Every promise in docs/semantics.md is held by tests that there are.
//!
//! A promise is a section of the third level. It ends with a line `Held by:` and its tests, each as
//! `` `target::function` ``: the test target that has it (of a unit test, its package) and the function. A line
//! `Checked in the simulation by:` may follow, with the functions of `tests/simulation/src` that check it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod markdown;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::visit::Visit;

const PAGE: &str = "docs/semantics.md";
const HELD_BY: &str = "Held by:";
const CHECKED_BY: &str = "Checked in the simulation by:";

/// What a file of Rust has: its tests, and all of its functions.
#[derive(Debug, Default)]
struct Found {
    tests: BTreeSet<String>,
    functions: BTreeSet<String>,
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        let name = function.sig.ident.to_string();
        let is_test = |attribute: &syn::Attribute| {
            let segments = &attribute.path().segments;
            segments.last().is_some_and(|segment| segment.ident == "test")
        };
        if function.attrs.iter().any(is_test) {
            self.tests.insert(name.clone());
        }
        self.functions.insert(name);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.functions.insert(function.sig.ident.to_string());
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        if called
            .path
            .segments
            .last()
            .is_some_and(|segment| segment.ident == "proptest")
        {
            self.tests.extend(properties(called.tokens.clone()));
        }
    }
}

/// The names of the tests in `proptest! { … }`, whose functions are not Rust: `#[test] fn name(value in strategy)`.
fn properties(tokens: TokenStream) -> Vec<String> {
    let mut found = Vec::new();
    let (mut is_test, mut is_function) = (false, false);
    for token in tokens {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket => {
                is_test |= group.stream().to_string() == "test";
            }
            TokenTree::Ident(word) if is_function => {
                found.extend(is_test.then(|| word.to_string()));
                (is_test, is_function) = (false, false);
            }
            TokenTree::Ident(word) => is_function = word == "fn",
            _ => {}
        }
    }
    found
}

fn found_in(path: &Path) -> Found {
    let file =
        syn::parse_file(&markdown::read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut found = Found::default();
    found.visit_file(&file);
    found
}

/// The name of the package of this directory.
fn package(directory: &Path) -> String {
    let manifest = markdown::read(directory.join("Cargo.toml"));
    let name = manifest.lines().find_map(|line| line.strip_prefix("name = "));
    name.unwrap_or_else(|| panic!("{} names no package", directory.display()))
        .trim_matches('"')
        .to_owned()
}

/// The target that a file is of, for a package in this directory.
fn target(directory: &Path, file: &Path) -> String {
    let place: Vec<_> = file.strip_prefix(directory).unwrap().iter().collect();
    match place[..] {
        [tests, first, ..] if tests == "tests" => Path::new(first)
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .into_owned(),
        _ => package(directory),
    }
}

/// The tests of every target.
fn tests() -> BTreeMap<String, BTreeSet<String>> {
    let mut tests: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for place in ["tests", "functions", "infra"] {
        let manifests: Vec<PathBuf> = tidy::files(place, "toml").unwrap();
        let mut packages = manifests.iter().filter(|path| path.ends_with("Cargo.toml"));
        let packages: Vec<&Path> = packages
            .by_ref()
            .map(|manifest| manifest.parent().unwrap())
            .collect();
        for file in tidy::files(place, "rs").unwrap() {
            let Some(directory) = packages.iter().find(|directory| file.starts_with(directory)) else {
                panic!("{} is of no package", file.display());
            };
            let of_target = tests.entry(target(directory, &file)).or_default();
            of_target.extend(found_in(&file).tests);
        }
    }
    tests
}

/// What is between backquotes.
fn named(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// What is wrong with the promises.
fn faults(page: &str, tests: &BTreeMap<String, BTreeSet<String>>, checks: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for section in markdown::sections(page)
        .iter()
        .filter(|section| section.level == 3)
    {
        let title = &section.title;
        let lines = |begin| {
            section
                .paragraphs
                .iter()
                .filter_map(move |line| line.strip_prefix(begin))
        };
        let held_by: Vec<&str> = lines(HELD_BY)
            .flat_map(|line| named(line.split(CHECKED_BY).next().unwrap()))
            .collect();
        if held_by.is_empty() {
            faults.push(format!(
                "`{title}`: no test holds it; name one in a line that begins with `{HELD_BY}`"
            ));
        }
        for name in held_by {
            let Some((target, function)) = name.split_once("::") else {
                faults.push(format!(
                    "`{title}`: `{name}` is not written as `target::function`"
                ));
                continue;
            };
            match tests.get(target) {
                None => faults.push(format!(
                    "`{title}`: there is no test target `{target}`, of which it names `{name}`"
                )),
                Some(known) if !known.contains(function) => {
                    faults.push(format!(
                        "`{title}`: the test `{function}` is not in the target `{target}`"
                    ));
                }
                Some(_) => {}
            }
        }
        let checked_by = section
            .paragraphs
            .iter()
            .filter_map(|line| Some(line.split_once(CHECKED_BY)?.1));
        for name in checked_by.flat_map(named).filter(|name| !checks.contains(*name)) {
            faults.push(format!(
                "`{title}`: no function of tests/simulation/src is called `{name}`"
            ));
        }
    }
    faults
}

#[test]
fn every_promise_is_held_by_tests_that_there_are() {
    let page = markdown::read(PAGE);
    let promises = markdown::sections(&page)
        .iter()
        .filter(|section| section.level == 3)
        .count();
    assert!(promises > 20, "{PAGE} makes {promises} promises");
    let checks = tidy::files("tests/simulation/src", "rs").unwrap();
    let checks = checks.iter().flat_map(|file| found_in(file).functions).collect();
    let faults = faults(&page, &tests(), &checks);
    assert!(faults.is_empty(), "{PAGE}:\n{}", faults.join("\n"));
}

#[test]
fn a_promise_that_nothing_holds_is_found() {
    let tests = BTreeMap::from([("pipeline".to_owned(), BTreeSet::from(["one".to_owned()]))]);
    let checks = BTreeSet::from(["i1".to_owned()]);
    let faults = |promise: &str| {
        faults(
            &format!("### It is so\n\nAlways.\n\n{promise}\n"),
            &tests,
            &checks,
        )
    };
    assert_eq!(
        faults("Held by: `pipeline::one`.\nChecked in the simulation by: `i1`."),
        [""; 0]
    );
    for (promise, words) in [
        ("", "no test holds it"),
        ("Held by: nothing.", "no test holds it"),
        ("Held by: `one`.", "not written as"),
        ("Held by: `stages::one`.", "no test target `stages`"),
        (
            "Held by: `pipeline::one`, `pipeline::two`.",
            "the test `two` is not in the target `pipeline`",
        ),
        (
            "Held by: `pipeline::one`.\n\nChecked in the simulation by: `i2`.",
            "called `i2`",
        ),
    ] {
        let found = faults(promise);
        assert!(
            found.len() == 1 && found[0].contains(words),
            "{promise}: {found:?}"
        );
    }
}

#[test]
fn tests_are_found_wherever_they_are_written() {
    let text = "
        #[test] fn plain() {}
        #[tokio::test(start_paused = true)] async fn with_a_runtime() {}
        fn helper() {}
        mod inner { #[test] fn within() {} }
        proptest! {
            #![proptest_config(networks())]
            /// A property.
            #[test]
            fn a_property(world in worlds()) { let each = |fn_: fn() -> u8| fn_(); }
        }
    ";
    let mut found = Found::default();
    found.visit_file(&syn::parse_file(text).unwrap());
    let tests: Vec<_> = found.tests.iter().map(String::as_str).collect();
    assert_eq!(tests, ["a_property", "plain", "with_a_runtime", "within"]);
    assert!(found.functions.contains("helper"));
}
