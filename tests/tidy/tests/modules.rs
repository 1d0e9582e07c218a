//! No two modules of a crate import each other, not even by way of a third: what is below is read without what is above.
//!
//! Only siblings are compared. A module and the modules inside it are one room.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// A module by its path from the crate's root.
type Module = Vec<String>;

/// Which modules one imports.
struct Imports<'a> {
    modules: &'a BTreeSet<Module>,
    of: Module,
    found: BTreeSet<Module>,
}

impl Imports<'_> {
    /// Takes note of a path, if it leads to a module of this crate.
    fn note(&mut self, path: &[String]) {
        let (mut base, mut rest) = match path.first().map(String::as_str) {
            Some("crate") => (Vec::new(), &path[1..]),
            Some("self") => (self.of.clone(), &path[1..]),
            Some("super") => (self.of.clone(), path),
            _ => return,
        };
        while rest.first().is_some_and(|name| name == "super") {
            base.pop();
            rest = &rest[1..];
        }
        for name in rest {
            base.push(name.clone());
            if !self.modules.contains(&base) {
                base.pop();
                break;
            }
        }
        self.found.insert(base);
    }

    fn note_tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.note_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.note_tree(before, tree)),
            syn::UseTree::Name(name) => self.note(&with(&name.ident)),
            syn::UseTree::Rename(name) => self.note(&with(&name.ident)),
            syn::UseTree::Glob(_) => self.note(before),
        }
    }
}

impl<'ast> Visit<'ast> for Imports<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // What a test imports is no matter of the module's.
        if item.ident != "tests" {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        self.note(&names);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        // What is inside is no path yet.
        let text = item.tokens.to_string().replace(' ', "");
        for (start, _) in text.match_indices("crate::") {
            let path = text[start..]
                .split(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != ':')
                .next()
                .unwrap_or_default();
            let names: Vec<String> = path.split("::").map(str::to_owned).collect();
            self.note(&names);
        }
    }
}

/// The module that a file of `src` is.
fn module_of(file: &Path, src: &Path) -> Module {
    let path = file.strip_prefix(src).unwrap().with_extension("");
    let mut names: Module = path
        .components()
        .map(|name| name.as_os_str().to_string_lossy().into_owned())
        .collect();
    if names.last().is_some_and(|name| name == "mod")
        || ["lib", "main"].map(str::to_owned).contains(&names[0])
    {
        names.pop();
    }
    names
}

/// Who imports whom among the modules of one parent, for each parent.
fn imports(src: &Path) -> BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> {
    let files = tidy::files(&src.to_string_lossy(), "rs").unwrap();
    let modules: BTreeSet<Module> = files.iter().map(|file| module_of(file, src)).collect();
    let mut of_parent: BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for file in &files {
        let text = std::fs::read_to_string(tidy::root().join(file)).unwrap();
        let mut imports = Imports {
            modules: &modules,
            of: module_of(file, src),
            found: BTreeSet::new(),
        };
        imports.visit_file(&syn::parse_file(&text).unwrap());
        let of = imports.of;
        for found in imports.found {
            let shared = of.iter().zip(&found).take_while(|(a, b)| a == b).count();
            if let (Some(from), Some(to)) = (of.get(shared), found.get(shared)) {
                of_parent
                    .entry(of[..shared].to_vec())
                    .or_default()
                    .entry(from.clone())
                    .or_default()
                    .insert(to.clone());
            }
        }
    }
    of_parent
}

/// A way from a module back to itself.
fn circle(imports: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    imports.keys().find_map(|start| {
        let mut waiting = vec![vec![start.clone()]];
        let mut seen = BTreeSet::new();
        while let Some(way) = waiting.pop() {
            for next in imports.get(way.last()?).into_iter().flatten() {
                if next == start {
                    return Some([way, vec![next.clone()]].concat());
                }
                if seen.insert(next) {
                    waiting.push([way.clone(), vec![next.clone()]].concat());
                }
            }
        }
        None
    })
}

/// The `src` directories of the workspace.
fn sources() -> BTreeSet<PathBuf> {
    ["functions", "infra", "tests"]
        .iter()
        .flat_map(|directory| tidy::files(directory, "toml").unwrap())
        .filter(|file| file.ends_with("Cargo.toml"))
        .map(|file| file.with_file_name("src"))
        .filter(|src| tidy::root().join(src).is_dir())
        .collect()
}

#[test]
fn no_two_modules_import_each_other() {
    let mut circles = Vec::new();
    let mut seen = 0;
    for src in sources() {
        for (parent, imports) in imports(&src) {
            seen += imports.values().map(BTreeSet::len).sum::<usize>();
            if let Some(way) = circle(&imports) {
                circles.push(format!("{}, in {parent:?}: {}", src.display(), way.join(" → ")));
            }
        }
    }
    assert!(
        circles.is_empty(),
        "these import each other; move what both need into a module below them:\n{}",
        circles.join("\n")
    );
    assert!(
        seen > 100,
        "only {seen} imports were found: this test reads them wrong"
    );
}

#[test]
fn a_circle_is_found() {
    let graph = |edges: &[(&str, &str)]| {
        let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in edges {
            imports
                .entry((*from).to_owned())
                .or_default()
                .insert((*to).to_owned());
        }
        circle(&imports)
    };
    assert_eq!(graph(&[("a", "b"), ("b", "c"), ("a", "c")]), None);
    assert_eq!(
        graph(&[("z", "a"), ("a", "b"), ("b", "c"), ("c", "a")]).map(|way| way.len()),
        Some(4)
    );
}
