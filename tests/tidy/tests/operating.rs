//! The runbook has every name that an operator meets, and no name that there is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod markdown;

use std::collections::BTreeSet;

use syn::visit::Visit;
use yaml_rust2::{Yaml, YamlLoader};

const PAGE: &str = "docs/operating.md";

/// What is written as code in the headings and table rows of a chapter: a section of the second level and those under it.
fn told(page: &str, chapter: &str) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    let mut is_meant = false;
    for section in markdown::sections(page) {
        if section.level <= 2 {
            is_meant = section.level == 2 && section.title == chapter;
        }
        if is_meant {
            told.extend(section.named);
            told.extend(section.rows);
        }
    }
    assert!(
        !told.is_empty(),
        "{PAGE} has no chapter `{chapter}`, or names nothing in it"
    );
    told
}

/// The chapter tells of all of these and of nothing else.
#[track_caller]
fn agree(chapter: &str, known: &BTreeSet<String>) {
    let told = told(&markdown::read(PAGE), chapter);
    let missing: Vec<_> = known.difference(&told).collect();
    let unknown: Vec<_> = told.difference(known).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "{PAGE}, `{chapter}`: it does not tell of {missing:?}; there is no {unknown:?} any more"
    );
}

/// Looks for an enum or a struct of this name.
struct Wanted {
    name: &'static str,
    found: Vec<Vec<String>>,
}

impl<'ast> Visit<'ast> for Wanted {
    fn visit_item_enum(&mut self, found: &'ast syn::ItemEnum) {
        if found.ident == self.name {
            let names = found.variants.iter().map(|variant| variant.ident.to_string());
            self.found.push(names.collect());
        }
    }

    fn visit_item_struct(&mut self, found: &'ast syn::ItemStruct) {
        if found.ident == self.name {
            let names = found
                .fields
                .iter()
                .filter_map(|field| Some(field.ident.as_ref()?.to_string()));
            self.found.push(names.collect());
        }
    }
}

/// The variants or fields of the one type of this name in the functions' code.
fn names_of(name: &'static str) -> Vec<String> {
    let mut wanted = Wanted {
        name,
        found: Vec::new(),
    };
    for file in tidy::files("functions", "rs").unwrap() {
        let text = markdown::read(&file);
        wanted.visit_file(
            &syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display())),
        );
    }
    let [names] = &wanted.found[..] else {
        panic!(
            "the functions have {} types `{name}`, not one",
            wanted.found.len()
        );
    };
    assert!(names.len() > 3, "{names:?}");
    names.clone()
}

/// As serde writes it with `rename_all = "camelCase"`.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut written = words.next().unwrap().to_owned();
    written[..1].make_ascii_lowercase();
    for word in words {
        written.push_str(&word[..1].to_ascii_uppercase());
        written.push_str(&word[1..]);
    }
    written
}

/// The template's resources of a type, by their logical ids.
fn resources(kind: &str) -> Vec<(String, Yaml)> {
    let template = YamlLoader::load_from_str(&markdown::read("infra/template.yaml"))
        .unwrap()
        .remove(0);
    let resources = template["Resources"].as_hash().unwrap().iter();
    let found: Vec<_> = resources
        .filter(|(_, resource)| resource["Type"].as_str() == Some(kind))
        .map(|(id, resource)| (id.as_str().unwrap().to_owned(), resource["Properties"].clone()))
        .collect();
    assert!(!found.is_empty(), "the template has no {kind}");
    found
}

#[test]
fn every_error_name_has_its_section() {
    let names = names_of("ErrorName");
    agree("Errors, by name", &names.into_iter().collect());
}

#[test]
fn every_outcome_has_its_row() {
    let names = names_of("Outcome");
    agree("Outcomes", &names.iter().map(|name| camel_case(name)).collect());
}

#[test]
fn every_count_of_reconcile_has_its_row() {
    let names = names_of("Summary");
    agree(
        "What the summary of reconcile counts",
        &names.iter().map(|name| camel_case(name)).collect(),
    );
}

#[test]
fn every_alarm_has_its_section() {
    let alarms = resources("AWS::CloudWatch::Alarm");
    agree("Alarms", &alarms.into_iter().map(|(id, _)| id).collect());
}

#[test]
fn every_metric_has_its_row() {
    let mut metrics = BTreeSet::new();
    for (id, filter) in resources("AWS::Logs::MetricFilter") {
        for made in filter["MetricTransformations"].as_vec().unwrap() {
            let text = |member: &str| {
                made[member]
                    .as_str()
                    .unwrap_or_else(|| panic!("{id} has no {member}"))
                    .to_owned()
            };
            metrics.insert(format!("{}/{}", text("MetricNamespace"), text("MetricName")));
        }
    }
    agree("Metrics", &metrics);
}

#[test]
fn names_are_taken_from_headings_and_first_cells_of_one_chapter() {
    let page = "# Page\n\n## One\n\n### `A`, `B`\n\n`not this`\n\n| name | |\n|---|---|\n| `C` | `nor this` |\n\n\
                ## Two\n\n### `D`\n";
    assert_eq!(told(page, "One"), ["A", "B", "C"].map(str::to_owned).into());
    assert_eq!(told(page, "Two"), ["D".to_owned()].into());
    assert_eq!(
        [
            camel_case("Created"),
            camel_case("AlreadyMirrored"),
            camel_case("second_sessions")
        ],
        ["created", "alreadyMirrored", "secondSessions"]
    );
}
