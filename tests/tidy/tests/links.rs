//! Every link in a document leads somewhere, and the front page is short.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod markdown;

use std::path::{Component, Path, PathBuf};

/// A path without `.` and `..`, from the checkout. `None`: it leads out of it.
fn within(path: &Path) -> Option<PathBuf> {
    let mut within = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir if !within.pop() => return None,
            Component::ParentDir | Component::CurDir => {}
            component => within.push(component),
        }
    }
    Some(within)
}

/// What is wrong with a link that stands in this document, if anything is.
fn wrong(document: &Path, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link
        .split_once('#')
        .map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let path = match file {
        "" => document.to_owned(),
        file => match within(&document.parent().unwrap().join(file)) {
            Some(path) => path,
            None => return Some("it leads out of the project".to_owned()),
        },
    };
    let found = tidy::root().join(&path);
    if !found.exists() {
        return Some(format!("there is no {}", path.display()));
    }
    let anchor = anchor?;
    if path.extension().is_none_or(|extension| extension != "md") {
        return Some(format!("{} has no headings", path.display()));
    }
    let anchors = markdown::anchors(&markdown::read(&path));
    let is_there = anchors.iter().any(|there| there == anchor);
    (!is_there).then(|| format!("{} has no heading `#{anchor}`, but {anchors:?}", path.display()))
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_there_are() {
    let mut broken = Vec::new();
    let mut followed = 0;
    for document in markdown::documents() {
        for link in markdown::links(&markdown::read(&document)) {
            followed += 1;
            let wrong = wrong(&document, &link);
            broken.extend(wrong.map(|wrong| format!("{}: the link `{link}`: {wrong}", document.display())));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    assert!(followed > 20, "{followed}");
}

#[test]
fn what_is_broken_is_found() {
    let document = Path::new("infra/design/README.md");
    for good in [
        "0001-crates.md",
        "../../README.md",
        "https://nowhere.invalid/x",
        "../template.yaml",
        "#decisions",
    ] {
        assert_eq!(wrong(document, good), None, "{good}");
    }
    for (bad, words) in [
        ("0000-nothing.md", "there is no infra/design/0000-nothing.md"),
        ("../../../outside.md", "leads out"),
        ("#nothing", "no heading `#nothing`"),
        ("../template.yaml#resources", "has no headings"),
    ] {
        let wrong = wrong(document, bad);
        assert!(
            wrong.as_ref().is_some_and(|wrong| wrong.contains(words)),
            "{bad}: {wrong:?}"
        );
    }
}

#[test]
fn anchors_are_those_of_github() {
    let text = "# Why `a_b` is, and \"C\" isn't\n\n## Twice\n\n## Twice\n\n```sh\n# no heading\n```\n";
    assert_eq!(
        markdown::anchors(text),
        ["why-a_b-is-and-c-isnt", "twice", "twice-1"]
    );
}

/// Counted as `wc -w` does.
#[test]
fn the_front_page_is_short() {
    const MOST: usize = 1200;
    let words = markdown::read("README.md").split_whitespace().count();
    assert!(
        words <= MOST,
        "README.md has {words} words, and {MOST} at most are wanted: move some to a page of docs/"
    );
}

/// It deploys by the very commands that the page on deploying explains.
#[test]
fn the_front_page_deploys_as_the_page_on_deploying_does() {
    let (short, whole) = (markdown::read("README.md"), markdown::read("docs/deploying.md"));
    let commands = ["pip install ", "cargo lambda build ", "sam deploy "];
    for begin in commands {
        let command = short.lines().find(|line| line.starts_with(begin));
        let command = command.unwrap_or_else(|| panic!("README.md has no line `{begin}…`"));
        assert!(
            whole.lines().any(|line| line == command),
            "docs/deploying.md has no line `{command}`, which README.md has"
        );
    }
}
