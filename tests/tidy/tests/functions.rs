//! A function that is read in one sitting: at most 100 lines, few more than 70.

#![allow(clippy::unwrap_used)]

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

/// No function has more lines, from its `fn` to its last brace.
const MOST: usize = 100;
/// Only a few have more.
const USUAL: usize = 70;
/// How many.
const FEW: usize = 3;

struct Lengths(Vec<(usize, String)>);

impl Lengths {
    fn note(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let lines = block.span().end().line - signature.span().start().line + 1;
        self.0.push((lines, signature.ident.to_string()));
    }
}

impl<'ast> Visit<'ast> for Lengths {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.note(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }
}

#[test]
fn no_function_is_long_and_few_are_longish() {
    let mut found = Vec::new();
    let mut seen = 0;
    for directory in ["functions", "infra", "tests"] {
        for file in tidy::files(directory, "rs").unwrap() {
            if !file.components().any(|name| name.as_os_str() == "src") {
                continue;
            }
            let text = std::fs::read_to_string(tidy::root().join(&file)).unwrap();
            let mut lengths = Lengths(Vec::new());
            lengths.visit_file(&syn::parse_file(&text).unwrap());
            seen += lengths.0.len();
            found.extend(
                lengths
                    .0
                    .into_iter()
                    .filter(|(lines, _)| *lines > USUAL)
                    .map(|(lines, name)| (lines, format!("{} {name}", file.display()))),
            );
        }
    }
    found.sort();
    let told: Vec<String> = found
        .iter()
        .map(|(lines, name)| format!("{lines} lines: {name}"))
        .collect();
    let told = told.join("\n");
    assert!(
        found.iter().all(|(lines, _)| *lines <= MOST),
        "more than {MOST} lines: give names to what is in it\n{told}"
    );
    assert!(
        found.len() <= FEW,
        "more than {FEW} functions of more than {USUAL} lines\n{told}"
    );
    assert!(
        seen > 1000,
        "only {seen} functions were found: this test reads them wrong"
    );
}
