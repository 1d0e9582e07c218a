//! What is known of AWS has its source next to it: the page, as an address with a section, or the word `assumption`
//! where AWS documents nothing.
//!
//! Looked at is every file of `functions/*/src`, its unit tests apart. A source is wanted for
//! - an error code of AWS's in a text ([`is_error_code`]), a limit of AWS's in a number ([`LIMITS`]): in the comment of the
//!   function or constant that it stands in, or in the comment above the statement, the arm or the row that it stands in;
//! - a variant of `RejectedBy` and of `ErrorName`, unless it is about this project alone ([`OURS`]): in its comment;
//! - a constant that is a number or a time, where its comment speaks of AWS or of a limit ([`SPEAKS_OF_AWS`]): in its
//!   comment;
//! - a file of the rules of reachability ([`RULES`]): an address in its first comment;
//! - a page that a comment names in words, such as `EC2 API reference`: in that comment.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

/// How an error code of AWS's ends that has no dot in it.
const CODE_ENDINGS: [&str; 9] = [
    "Exception",
    "Exceeded",
    "NotFound",
    "NoFound",
    "NotSupported",
    "CheckFailed",
    "Conflict",
    "Throttled",
    "Mismatch",
];

/// Where every text that begins with a capital letter is an error code of AWS's: functions and constants.
const LISTS_OF_CODES: [&str; 2] = ["classify", "REFUSALS"];

/// Numbers that are limits of AWS's wherever they stand below a directory.
const LIMITS: [(u64, &str); 7] = [
    (4789, "functions"),
    (8500, "functions"),
    (16_777_215, "functions"),
    (32_766, "functions"),
    (32_767, "functions"),
    (262_144, "functions"),
    (100, "functions/ledger/src"),
];

/// Numbers of these that are something else, with the function or constant that they stand in.
const NO_LIMITS: [(u64, &str); 1] = [(100, "jitter")];

/// Names of errors that are this project's own affair.
const OURS: [&str; 6] = [
    "LedgerUnreadable",
    "SensorUncounted",
    "ReservationStale",
    "NoEligibleSensor",
    "InvalidConfiguration",
    "InvalidEvent",
];

/// A comment with one of these words speaks of AWS or of a limit.
const SPEAKS_OF_AWS: [&str; 14] = [
    "AWS",
    "EC2",
    "DynamoDB",
    "Lambda",
    "Step Functions",
    "EventBridge",
    "CloudFormation",
    "PutEvents",
    "VXLAN",
    "limit",
    "quota",
    "The largest",
    "The longest",
    "The highest",
];

/// The types of constants that are a number or a time.
const NUMBERS: [&str; 9] = [
    "usize",
    "u8",
    "u16",
    "u32",
    "u64",
    "i32",
    "i64",
    "Duration",
    "SignedDuration",
];

/// The files of the rules of reachability, and the first page, be it a module's or a crate's.
const RULES: [&str; 9] = [
    "gather.rs",
    "lib.rs",
    "network_acls.rs",
    "reachability.rs",
    "references.rs",
    "routes.rs",
    "security_groups.rs",
    "sensors.rs",
    "source.rs",
];

/// Names of pages in words. Who reads one has to search for the page.
const IN_WORDS: [&str; 8] = [
    "PrivateLink guide",
    "Step Functions guide",
    "API reference",
    "user guide",
    "developer guide",
    "Mirroring guide",
    "peering guide",
    "Load Balancer guide",
];

/// Addresses that say what AWS does: its pages, its own code, and where others saw what AWS documents nowhere.
const PAGES: [&str; 6] = [
    "https://docs.aws.amazon.com/",
    "https://aws.amazon.com/",
    "https://github.com/aws/",
    "https://github.com/smithy-lang/",
    "https://github.com/hashicorp/terraform-provider-aws/",
    "https://github.com/seek-ret/installation/",
];

/// Whether a text is an error code of AWS's, by its form.
fn is_error_code(text: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_uppercase()) && word.chars().all(char::is_alphanumeric)
    };
    text.split('.').all(is_word)
        && (text.contains('.') || CODE_ENDINGS.iter().any(|ending| text.ends_with(ending)))
}

/// The addresses in a text, each with what follows it.
fn addresses(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find("https://") {
        let from = &rest[begin..];
        let end = from
            .find(|c: char| c.is_whitespace() || "<>()[]\"`|,;".contains(c))
            .unwrap_or(from.len());
        found.push(from.split_at(end));
        rest = &from[end..];
    }
    found
}

fn has_address(text: &str) -> bool {
    !addresses(text).is_empty()
}

/// Whether a comment says where something is from: an address, or that it is an assumption.
fn has_source(text: &str) -> bool {
    has_address(text) || text.to_lowercase().contains("assum")
}

/// Whether an address says where on the page: an anchor, a title or a name in quotes after it. What is not a page of
/// documentation is a place of its own.
fn has_section(address: &str, follows: &str) -> bool {
    let follows = follows.trim_start_matches(['>', ')']);
    let quoted = |quote| follows.starts_with(&format!(", {quote}"));
    address.contains('#') || quoted('"') || quoted('`') || !address.starts_with("https://docs.")
}

/// Something that wants a source.
#[derive(Debug)]
struct Thing {
    line: usize,
    what: String,
    has_source: bool,
}

/// The comments of a file: for each line that one ends in, its text. Lines that follow on each other are one comment.
fn comments(text: &str) -> BTreeMap<usize, (usize, String)> {
    let mut comments: BTreeMap<usize, (usize, String)> = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let Some(comment) = line.trim_start().strip_prefix("//") else {
            continue;
        };
        let comment = comment.trim_start_matches(['/', '!']).trim();
        let (begin, mut whole) = comments.remove(&index).unwrap_or((index + 1, String::new()));
        whole.push(' ');
        whole.push_str(comment);
        comments.insert(index + 1, (begin, whole));
    }
    comments
}

fn documentation(attributes: &[syn::Attribute]) -> String {
    let line = |attribute: &syn::Attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if attribute.path().is_ident("doc") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Str(text),
                ..
            }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    };
    let lines: Vec<String> = attributes.iter().filter_map(line).collect();
    lines.join(" ")
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        matches!(&attribute.meta, syn::Meta::List(list)
            if attribute.path().is_ident("cfg") && list.tokens.to_string() == "test")
    })
}

/// Walks through a file.
struct Walk<'a> {
    path: &'a str,
    comments: &'a BTreeMap<usize, (usize, String)>,
    /// The function or constant that is walked through: its name and its comment.
    item: (String, String),
    /// Where the statements, arms and rows begin that are walked through.
    begins: Vec<usize>,
    things: Vec<Thing>,
}

impl Walk<'_> {
    fn inside(&mut self, name: &syn::Ident, attributes: &[syn::Attribute], walk: impl FnOnce(&mut Self)) {
        let item = (name.to_string(), documentation(attributes));
        let item = std::mem::replace(&mut self.item, item);
        let begins = std::mem::take(&mut self.begins);
        walk(self);
        self.item = item;
        self.begins = begins;
    }

    fn begun_at(&mut self, span: Span, walk: impl FnOnce(&mut Self)) {
        self.begins.push(span.start().line);
        walk(self);
        self.begins.pop();
    }

    fn want(&mut self, line: usize, what: String) {
        let above = |line: &usize| line.checked_sub(1).and_then(|above| self.comments.get(&above));
        let has_source = has_source(&self.item.1)
            || self
                .begins
                .iter()
                .chain([&line])
                .filter_map(above)
                .any(|(_, comment)| has_source(comment));
        self.things.push(Thing {
            line,
            what,
            has_source,
        });
    }

    fn want_of(&mut self, line: usize, what: String, attributes: &[syn::Attribute]) {
        self.things.push(Thing {
            line,
            what,
            has_source: has_source(&documentation(attributes)),
        });
    }

    fn literal(&mut self, literal: &syn::Lit) {
        let line = literal.span().start().line;
        match literal {
            syn::Lit::Str(text) => {
                let text = text.value();
                let is_listed = LISTS_OF_CODES.contains(&self.item.0.as_str())
                    && text.starts_with(|c: char| c.is_ascii_uppercase());
                if is_listed || is_error_code(&text) {
                    self.want(line, format!("the error code `{text}`"));
                }
            }
            syn::Lit::Int(number) => {
                let number = number.base10_parse::<u64>().unwrap_or_default();
                let is_limit =
                    |(limit, below): &(u64, &str)| *limit == number && self.path.starts_with(below);
                if LIMITS.iter().any(is_limit) && !NO_LIMITS.contains(&(number, self.item.0.as_str())) {
                    self.want(line, format!("the limit {number}"));
                }
            }
            _ => {}
        }
    }

    fn tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Literal(literal) => self.literal(&syn::Lit::new(literal)),
                _ => {}
            }
        }
    }

    fn constant(&mut self, name: &syn::Ident, of: &syn::Type, attributes: &[syn::Attribute]) {
        let of = match of {
            syn::Type::Path(path) => path.path.segments.last().unwrap().ident.to_string(),
            _ => return,
        };
        let says = documentation(attributes);
        let speaks = SPEAKS_OF_AWS.iter().any(|word| says.contains(word));
        if NUMBERS.contains(&of.as_str()) && speaks {
            self.want_of(
                name.span().start().line,
                format!("the constant `{name}`"),
                attributes,
            );
        }
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, it: &'ast syn::ItemFn) {
        self.inside(&it.sig.ident, &it.attrs, |walk| visit::visit_item_fn(walk, it));
    }

    fn visit_impl_item_fn(&mut self, it: &'ast syn::ImplItemFn) {
        self.inside(&it.sig.ident, &it.attrs, |walk| {
            visit::visit_impl_item_fn(walk, it);
        });
    }

    fn visit_item_const(&mut self, it: &'ast syn::ItemConst) {
        self.constant(&it.ident, &it.ty, &it.attrs);
        self.inside(&it.ident, &it.attrs, |walk| visit::visit_item_const(walk, it));
    }

    fn visit_impl_item_const(&mut self, it: &'ast syn::ImplItemConst) {
        self.constant(&it.ident, &it.ty, &it.attrs);
        self.inside(&it.ident, &it.attrs, |walk| {
            visit::visit_impl_item_const(walk, it);
        });
    }

    fn visit_item_impl(&mut self, it: &'ast syn::ItemImpl) {
        // What its own names are called is written there once more.
        let is_names = matches!(&*it.self_ty, syn::Type::Path(path) if path.path.is_ident("ErrorName"));
        if !is_names {
            visit::visit_item_impl(self, it);
        }
    }

    fn visit_item_enum(&mut self, it: &'ast syn::ItemEnum) {
        let of = it.ident.to_string();
        if ["RejectedBy", "ErrorName"].contains(&of.as_str()) {
            for variant in &it.variants {
                let name = variant.ident.to_string();
                if of == "RejectedBy" || !OURS.contains(&name.as_str()) {
                    let line = variant.ident.span().start().line;
                    self.want_of(line, format!("the variant `{of}::{name}`"), &variant.attrs);
                }
            }
        }
        visit::visit_item_enum(self, it);
    }

    fn visit_stmt(&mut self, it: &'ast syn::Stmt) {
        self.begun_at(it.span(), |walk| visit::visit_stmt(walk, it));
    }

    fn visit_arm(&mut self, it: &'ast syn::Arm) {
        self.begun_at(it.span(), |walk| visit::visit_arm(walk, it));
    }

    fn visit_expr_struct(&mut self, it: &'ast syn::ExprStruct) {
        self.begun_at(it.span(), |walk| visit::visit_expr_struct(walk, it));
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_macro(&mut self, it: &'ast syn::Macro) {
        self.tokens(it.tokens.clone());
    }

    fn visit_lit(&mut self, it: &'ast syn::Lit) {
        self.literal(it);
    }
}

fn is_of_rules(path: &str) -> bool {
    let name = Path::new(path).file_name().unwrap().to_string_lossy();
    path.contains("reachability") && RULES.contains(&&*name)
}

/// Everything in a file that wants a source, with whether it has one. A file of the rules is a thing of its own.
fn things(path: &str, text: &str) -> Vec<Thing> {
    let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
    let comments = comments(text);
    let mut walk = Walk {
        path,
        comments: &comments,
        item: (String::new(), String::new()),
        begins: Vec::new(),
        things: Vec::new(),
    };
    walk.visit_file(&file);
    let mut things = walk.things;
    if is_of_rules(path) {
        things.push(Thing {
            line: 1,
            what: "a file of the rules of reachability".to_owned(),
            has_source: has_address(&documentation(&file.attrs)),
        });
    }
    for (begin, comment) in comments.values() {
        if let Some(words) = IN_WORDS.iter().find(|words| comment.contains(*words)) {
            things.push(Thing {
                line: *begin,
                what: format!("a page named in words (`{words}`)"),
                has_source: has_source(comment),
            });
        }
    }
    things
}

/// What of a file is without a source, one in a line.
fn unsourced(path: &str, text: &str) -> Vec<String> {
    let without = |thing: &Thing| {
        let Thing { line, what, .. } = thing;
        format!(
            "{path}:{line}: {what} does not say where it is from: write the page of AWS's next to it, with a section, as \
             `<https://docs.aws.amazon.com/…#anchor>` or `<https://docs.aws.amazon.com/…>, \"Section\"`; where AWS \
             documents nothing, say that it is an assumption"
        )
    };
    let things = things(path, text);
    things
        .iter()
        .filter(|thing| !thing.has_source)
        .map(without)
        .collect()
}

/// The addresses of a file that are no page about AWS's doings, or do not say where on the page.
fn without_section(path: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (begin, comment) in comments(text).values() {
        for (address, follows) in addresses(comment) {
            if !PAGES.iter().any(|page| address.starts_with(page)) {
                wrong.push(format!(
                    "{path}:{begin}: {address} is no page of AWS's: cite the page of AWS's that says so"
                ));
            } else if !has_section(address, follows) {
                wrong.push(format!(
                    "{path}:{begin}: {address} has no section: write `#anchor` at its end, or `, \"Section\"` after it"
                ));
            }
        }
    }
    wrong
}

/// The files, each with its path and text.
fn sources() -> Vec<(String, String)> {
    let files = tidy::files("functions", "rs").unwrap();
    let files: Vec<_> = files
        .into_iter()
        .map(|path| path.to_string_lossy().into_owned())
        .filter(|path| path.contains("/src/"))
        .map(|path| {
            let text = std::fs::read_to_string(tidy::root().join(&path)).unwrap();
            (path, text)
        })
        .collect();
    assert!(files.len() > 40, "{}", files.len());
    files
}

#[test]
fn what_is_known_of_aws_has_its_source_next_to_it() {
    let sources = sources();
    let rules = sources.iter().filter(|(path, _)| is_of_rules(path)).count();
    assert_eq!(
        rules,
        RULES.len() - 1,
        "a file of the rules has another name now: change RULES"
    );
    let missing: Vec<String> = sources
        .iter()
        .flat_map(|(path, text)| unsourced(path, text))
        .collect();
    assert!(
        missing.is_empty(),
        "{} without:\n{}",
        missing.len(),
        missing.join("\n")
    );
}

#[test]
fn every_address_is_of_a_page_about_aws_and_names_a_section() {
    let wrong: Vec<String> = sources()
        .iter()
        .flat_map(|(path, text)| without_section(path, text))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Without its addresses and assumptions, everything in every file that wants a source is found.
#[test]
fn what_loses_its_source_is_found() {
    let mut count = 0;
    for (path, text) in sources() {
        let wanted = things(&path, &text).len();
        let mutated: String = text
            .lines()
            .map(|line| match line.find("//") {
                Some(at) if line.trim_start().starts_with("//") => {
                    let (code, comment) = line.split_at(at);
                    let comment = comment.replace("https://", "at ").replace("ssum", "hought");
                    format!("{code}{comment}\n")
                }
                _ => format!("{line}\n"),
            })
            .collect();
        let found = unsourced(&path, &mutated);
        assert_eq!(found.len(), wanted, "{path}: {found:#?}");
        count += wanted;
    }
    assert!(count > 120, "only {count} things want a source");
}

#[test]
fn each_kind_of_thing_is_found_where_it_has_no_source() {
    let found = |text: &str| unsourced("functions/ledger/src/some.rs", text).len();
    for (without, with) in [
        (
            "fn f(c: &str) -> bool { c == \"InvalidInstanceID.NotFound\" }",
            "/// <https://docs.aws.amazon.com/x#y>\nfn f(c: &str) -> bool { c == \"InvalidInstanceID.NotFound\" }",
        ),
        (
            "fn f(c: &str) { match c { \"ThrottlingException\" => (), _ => () } }",
            "fn f(c: &str) { match c {\n// <https://docs.aws.amazon.com/x#y>\n\"ThrottlingException\" => (),\n _ => () } }",
        ),
        (
            "fn f(c: &str) -> bool { matches!(c, \"ThrottlingException\") }",
            "fn f(c: &str) -> bool {\n// An assumption.\nmatches!(c, \"ThrottlingException\") }",
        ),
        (
            "fn f(c: &[u8]) { c.chunks(100); }",
            "fn f(c: &[u8]) {\n// <https://docs.aws.amazon.com/x#y>\nc.chunks(100); }",
        ),
        (
            "/// The largest page.\nconst PAGE: i32 = 5;",
            "/// The largest page (<https://docs.aws.amazon.com/x>, `MaxResults`).\nconst PAGE: i32 = 5;",
        ),
        (
            "enum RejectedBy {\n/// No.\nRoute }",
            "enum RejectedBy {\n/// No: <https://docs.aws.amazon.com/x#y>.\nRoute }",
        ),
        (
            "/// The source (VPC user guide, \"Sources\").\nstruct S;",
            "/// The source (VPC user guide, \"Sources\": <https://docs.aws.amazon.com/x#y>).\nstruct S;",
        ),
    ] {
        assert_eq!(found(without), 1, "{without}");
        assert_eq!(found(with), 0, "{with}");
    }
    assert_eq!(found("/// No more than that.\nconst TRIES: u32 = 12;"), 0);
    let rules = |text| unsourced("functions/reachability/src/routes.rs", text).len();
    assert_eq!(rules("//! The rule."), 1);
    assert_eq!(rules("//! The rule: <https://docs.aws.amazon.com/x#y>."), 0);
}

#[test]
fn an_address_without_a_section_or_of_anybody_is_found() {
    let wrong = |comment: &str| without_section("some.rs", &format!("/// {comment}\nstruct S;")).len();
    assert_eq!(wrong("As <https://docs.aws.amazon.com/x.html> says."), 1);
    assert_eq!(wrong("As <https://example.com/x.html#y> says."), 1);
    assert_eq!(wrong("As <https://docs.aws.amazon.com/x.html#y> says."), 0);
    assert_eq!(
        wrong("As <https://docs.aws.amazon.com/x.html>,\n/// \"Section\" says."),
        0
    );
    assert_eq!(
        wrong("As [a page](https://docs.aws.amazon.com/x.html), `Member`, says."),
        0
    );
    assert_eq!(wrong("As <https://github.com/aws/some/issues/1> says."), 0);
}

/// The names of the variants of `RejectedBy`, as they are told.
fn rules(sources: &[(String, String)]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, text) in sources
        .iter()
        .filter(|(_, text)| text.contains("pub enum RejectedBy"))
    {
        for item in syn::parse_file(text).unwrap().items {
            if let syn::Item::Enum(it) = item
                && it.ident == "RejectedBy"
            {
                names.extend(
                    it.variants
                        .iter()
                        .map(|variant| kebab(&variant.ident.to_string())),
                );
            }
        }
    }
    names
}

fn kebab(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// What is written as code in a cell.
fn named(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Whether a name of the table's last column is that of a test, or of a case.
fn is_held(name: &str) -> bool {
    let ends_with = |path: &Path, end: &str| path.to_string_lossy().ends_with(end);
    if let Some(case) = name.strip_prefix("cases/") {
        let cases = tidy::files("functions", "json").unwrap();
        return cases
            .iter()
            .any(|path| ends_with(path, &format!("/tests/cases/{case}.expect.json")));
    }
    let Some((file, function)) = name.split_once("::") else {
        return false;
    };
    let files = tidy::files("functions", "rs").unwrap();
    let of_tests = files
        .iter()
        .filter(|path| path.to_string_lossy().contains("/tests/") && ends_with(path, &format!("/{file}.rs")));
    of_tests
        .map(|path| std::fs::read_to_string(tidy::root().join(path)).unwrap())
        .any(|text| {
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            lines.iter().enumerate().any(|(index, line)| {
                let is_it = line.starts_with(&format!("fn {function}("));
                // Further attributes and comments may stand between.
                let mut above = lines.iter().take(index).rev();
                is_it
                    && above
                        .by_ref()
                        .take_while(|line| line.starts_with('#') || line.starts_with("//"))
                        .any(|line| *line == "#[test]")
            })
        })
}

#[test]
fn every_rule_has_its_row_on_the_first_page_with_a_page_of_aws_and_tests_that_there_are() {
    let sources = sources();
    let first_pages: Vec<_> = sources
        .iter()
        .filter(|(_, text)| text.contains("//! | rule | what it asks |"))
        .collect();
    let [(path, text)] = first_pages.as_slice() else {
        let paths: Vec<_> = first_pages.iter().map(|(path, _)| path).collect();
        panic!("the first page of the rules is in one file, not in {paths:?}");
    };
    let mut told = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("//! | `")) {
        let cells: Vec<&str> = line.trim_start_matches("//! |").split(" |").collect();
        let [rule, asks, says, held, _] = cells.as_slice() else {
            panic!("{path}: a row has four cells: {line}");
        };
        let rule = named(rule)[0];
        assert!(asks.len() > 10, "{path}: `{rule}` asks nothing");
        assert!(
            has_source(says),
            "{path}: the row of `{rule}` cites no page of AWS's"
        );
        let tests = named(held);
        assert!(!tests.is_empty(), "{path}: no test holds `{rule}`");
        for test in tests {
            assert!(
                is_held(test),
                "{path}: the row of `{rule}` names `{test}`, and there is no such test"
            );
        }
        told.insert(rule.to_owned());
    }
    assert_eq!(
        told,
        rules(&sources),
        "{path}: the rules of the table, and those of `RejectedBy`"
    );
    assert!(!is_held("routes::no_such_test") && !is_held("cases/99-none") && !is_held("routes"));
}
