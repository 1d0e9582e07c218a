//! The project's documents, as far as the checks read them.

#![allow(
    dead_code,
    reason = "each check is a program of its own and takes what it needs"
)]

use std::path::{Path, PathBuf};

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// Every document of the project, as a path from the checkout.
#[allow(
    dead_code,
    reason = "each check is a program of its own and takes what it needs"
)]
pub(crate) fn documents() -> Vec<PathBuf> {
    let found = tidy::files("", "md").unwrap();
    assert!(
        found.contains(&PathBuf::from("README.md")) && found.len() > 10,
        "{found:?}"
    );
    found
}

/// The text of a file of the project.
pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = tidy::root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A heading with what stands under it, up to the next heading of any level.
#[derive(Debug, Default)]
#[allow(
    dead_code,
    reason = "each check is a program of its own and takes what it needs"
)]
pub(crate) struct Section {
    /// 1 for the document's title.
    pub(crate) level: usize,
    /// The heading's text.
    pub(crate) title: String,
    /// What is written as code in the heading.
    pub(crate) named: Vec<String>,
    /// The paragraphs and items, each as text, what is written as code between backquotes.
    pub(crate) paragraphs: Vec<String>,
    /// What is written as code in the first cell of each row of its tables.
    pub(crate) rows: Vec<String>,
}

/// The sections of a document, in their order.
#[allow(
    dead_code,
    reason = "each check is a program of its own and takes what it needs"
)]
pub(crate) fn sections(text: &str) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut section = Section::default();
    let (mut paragraph, mut in_heading, mut cell) = (String::new(), false, None);
    for event in events(text) {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                sections.push(std::mem::take(&mut section));
                section.level = level_of(level);
                in_heading = true;
            }
            Event::End(TagEnd::Heading(_)) => in_heading = false,
            Event::End(TagEnd::Table) => paragraph.clear(),
            Event::Start(Tag::TableRow) => cell = Some(0),
            Event::End(TagEnd::TableRow) => cell = None,
            Event::End(TagEnd::TableCell) => cell = cell.map(|cell| cell + 1),
            Event::End(TagEnd::Paragraph | TagEnd::Item) if !paragraph.is_empty() => {
                section.paragraphs.push(std::mem::take(&mut paragraph));
            }
            Event::Code(code) if in_heading => {
                section.title.push_str(&code);
                section.named.push(code.into_string());
            }
            Event::Text(text) if in_heading => section.title.push_str(&text),
            Event::Code(code) if cell == Some(0) => section.rows.push(code.into_string()),
            Event::Code(code) => paragraph.extend(["`", &code, "`"]),
            Event::Text(text) => paragraph.push_str(&text),
            Event::SoftBreak | Event::HardBreak => paragraph.push(' '),
            _ => {}
        }
    }
    sections.push(section);
    sections
}

/// Where the links and images of a document lead.
#[allow(
    dead_code,
    reason = "each check is a program of its own and takes what it needs"
)]
pub(crate) fn links(text: &str) -> Vec<String> {
    events(text)
        .into_iter()
        .filter_map(|event| match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                Some(dest_url.into_string())
            }
            _ => None,
        })
        .collect()
}

/// The anchors of a document's headings, as GitHub makes them: in lower case, without what is neither letter, digit,
/// hyphen nor underscore, hyphens for spaces, and a number where the same one was there before.
#[allow(
    dead_code,
    reason = "each check is a program of its own and takes what it needs"
)]
pub(crate) fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for section in sections(text).into_iter().filter(|section| section.level > 0) {
        let slug: String = section
            .title
            .to_lowercase()
            .chars()
            .filter_map(|letter| match letter {
                ' ' => Some('-'),
                '-' | '_' => Some(letter),
                letter => letter.is_alphanumeric().then_some(letter),
            })
            .collect();
        let numbered = |number: usize| match number {
            0 => slug.clone(),
            number => format!("{slug}-{number}"),
        };
        let free = (0..=anchors.len())
            .map(numbered)
            .find(|anchor| !anchors.contains(anchor));
        anchors.extend(free);
    }
    anchors
}

fn events(text: &str) -> Vec<Event<'_>> {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    // A program's text is none of the document's.
    let mut is_code = false;
    Parser::new_ext(text, options)
        .filter(|event| {
            match event {
                Event::Start(Tag::CodeBlock(_)) => is_code = true,
                Event::End(TagEnd::CodeBlock) => is_code = false,
                _ => {}
            }
            !is_code
        })
        .map(|event| match event {
            Event::Text(text) => Event::Text(CowStr::from(text.into_string())),
            event => event,
        })
        .collect()
}

fn level_of(level: HeadingLevel) -> usize {
    level as usize
}
