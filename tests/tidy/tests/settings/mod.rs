//! How the functions read their settings, as far as their source says.
//!
//! `functions/core/src/config.rs` reads each variable by a method of `Environment` that says what is allowed. Whoever wants
//! a setting hands `environment` on to such a reader. So what a stage reads is what is reached from its `main.rs`.

#![allow(dead_code, unreachable_pub)]

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{Expr, ExprCall, ExprLit, ExprMethodCall, ImplItem, Item, Lit, Type};

/// What a variable may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// `get`: what it is, its reader checks.
    Text,
    /// `tag`: `key=value`.
    Tag,
    /// `tag_key`: a key alone.
    TagKey,
    /// `number`: a whole number within these.
    Number { least: i64, most: i64 },
    /// `one_of`: one of these, or else the default.
    OneOf { default: String, allowed: Vec<String> },
}

/// What a function of the source reads itself, and to whom it hands the environment on.
#[derive(Debug, Default)]
struct Reader {
    reads: Vec<(String, Rule)>,
    hands_on: Vec<String>,
}

/// The readers, by name: `Type::function`, or `function` where it is of no type.
#[derive(Debug)]
pub struct Readers {
    readers: BTreeMap<String, Reader>,
    constants: BTreeMap<String, usize>,
}

const CONFIG: &str = "functions/core/src/config.rs";
const HANDLER: &str = "functions/handler/src/lib.rs";

impl Readers {
    /// Those of every crate in `functions`. Nothing there reads the environment in another way.
    pub fn of_the_functions() -> Self {
        let mut all = Self {
            readers: BTreeMap::new(),
            constants: BTreeMap::new(),
        };
        for path in tidy::files("functions", "rs").unwrap() {
            let path = path.to_string_lossy().into_owned();
            if path.split('/').any(|part| part == "tests") {
                continue;
            }
            let source = std::fs::read_to_string(tidy::root().join(&path)).unwrap();
            for (way, home) in [("env::var", CONFIG), ("from_default_env", HANDLER)] {
                assert!(
                    !source.contains(way) || path == home,
                    "{path} reads the environment by {way}: settings are read in {CONFIG}"
                );
            }
            // A stage's `main` has no name of its own among them.
            if !path.ends_with("main.rs") {
                all.add(&source, path == CONFIG);
            }
        }
        all
    }

    fn add(&mut self, source: &str, is_config: bool) {
        for item in syn::parse_file(source).unwrap().items {
            match item {
                Item::Fn(it) => {
                    self.add_reader(&it.sig.ident.to_string(), |found| found.visit_block(&it.block));
                }
                Item::Impl(it) => {
                    let Type::Path(of) = &*it.self_ty else { continue };
                    let of = of.path.segments.last().unwrap().ident.to_string();
                    for item in &it.items {
                        if let ImplItem::Fn(it) = item {
                            let name = format!("{of}::{}", it.sig.ident);
                            self.add_reader(&name, |found| found.visit_block(&it.block));
                        }
                    }
                }
                Item::Const(it) if is_config => {
                    if let Some(number) = number(&it.expr) {
                        let name = it.ident.to_string();
                        self.constants.insert(name, usize::try_from(number).unwrap());
                    }
                }
                _ => {}
            }
        }
    }

    fn add_reader(&mut self, name: &str, look: impl FnOnce(&mut Found)) {
        let mut found = Found::default();
        look(&mut found);
        if !found.0.reads.is_empty() || !found.0.hands_on.is_empty() {
            let before = self.readers.insert(name.to_owned(), found.0);
            assert!(before.is_none(), "two readers have the name {name}");
        }
    }

    /// What a variable may be.
    pub fn rule(&self, variable: &str) -> Option<&Rule> {
        self.rules()
            .find(|(name, _)| *name == variable)
            .map(|(_, rule)| rule)
    }

    /// Every variable that is read somewhere.
    pub fn rules(&self) -> impl Iterator<Item = (&String, &Rule)> {
        self.readers
            .values()
            .flat_map(|reader| &reader.reads)
            .map(|(variable, rule)| (variable, rule))
    }

    /// A number of `config.rs`.
    pub fn constant(&self, name: &str) -> usize {
        let constant = self.constants.get(name);
        *constant.unwrap_or_else(|| panic!("{CONFIG} has no number {name}"))
    }

    /// The variables that a stage reads, by the readers that its `main.rs` hands the environment to.
    pub fn of_stage(&self, stage: &str) -> BTreeSet<String> {
        let main = tidy::root().join(format!("functions/{stage}/src/main.rs"));
        let mut found = Found::default();
        found.visit_file(&syn::parse_file(&std::fs::read_to_string(main).unwrap()).unwrap());
        let mut waiting = found.0.hands_on;
        let mut read: BTreeSet<String> = found.0.reads.into_iter().map(|(variable, _)| variable).collect();
        while let Some(name) = waiting.pop() {
            let reader = self.readers.get(&name);
            let reader =
                reader.unwrap_or_else(|| panic!("{stage} hands its environment to {name}: who is that?"));
            read.extend(reader.reads.iter().map(|(variable, _)| variable.clone()));
            waiting.extend(reader.hands_on.iter().cloned());
        }
        read
    }
}

#[derive(Default)]
struct Found(Reader);

impl<'ast> Visit<'ast> for Found {
    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        let arguments: Vec<&Expr> = call.args.iter().collect();
        let method = call.method.to_string();
        if let Some(variable) = arguments.first().and_then(|first| string(first))
            && is_name(&call.receiver, "environment")
        {
            let rule = match (method.as_str(), &arguments[1..]) {
                ("get", []) => Rule::Text,
                ("tag", []) => Rule::Tag,
                ("tag_key", []) => Rule::TagKey,
                ("number", [least, most]) => Rule::Number {
                    least: number(least).unwrap(),
                    most: number(most).unwrap(),
                },
                ("one_of", [default, allowed]) => one_of(default, allowed),
                _ => panic!("{variable} is read by {method}, which is not known here"),
            };
            self.0.reads.push((variable, rule));
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if call.args.iter().any(|argument| is_name(argument, "environment"))
            && let Expr::Path(path) = &*call.func
        {
            let segments: Vec<String> = path.path.segments.iter().map(|it| it.ident.to_string()).collect();
            let name = match &segments[..] {
                [.., of, name] if of.starts_with(char::is_uppercase) => format!("{of}::{name}"),
                [.., name] => name.clone(),
                [] => String::new(),
            };
            self.0.hands_on.push(name);
        }
        visit::visit_expr_call(self, call);
    }
}

/// `one_of(…, default, &[("text", value), …])`: the default is told by the text that stands for it.
fn one_of(default: &Expr, allowed: &Expr) -> Rule {
    let Expr::Reference(list) = allowed else {
        panic!("no list")
    };
    let Expr::Array(list) = &*list.expr else {
        panic!("no list")
    };
    let pairs: Vec<(String, String)> = list
        .elems
        .iter()
        .map(|pair| {
            let Expr::Tuple(pair) = pair else {
                panic!("no pair")
            };
            (string(&pair.elems[0]).unwrap(), word(&pair.elems[1]))
        })
        .collect();
    let default = pairs.iter().find(|(_, value)| *value == word(default));
    Rule::OneOf {
        default: default.expect("the default is allowed").0.clone(),
        allowed: pairs.iter().map(|(text, _)| text.clone()).collect(),
    }
}

fn word(expression: &Expr) -> String {
    match expression {
        Expr::Path(path) => path.path.segments.last().unwrap().ident.to_string(),
        Expr::Lit(ExprLit {
            lit: Lit::Bool(it), ..
        }) => it.value.to_string(),
        _ => panic!("this is neither a path nor true or false"),
    }
}

fn string(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Lit(ExprLit {
            lit: Lit::Str(it), ..
        }) => Some(it.value()),
        _ => None,
    }
}

fn number(expression: &Expr) -> Option<i64> {
    match expression {
        Expr::Lit(ExprLit {
            lit: Lit::Int(it), ..
        }) => it.base10_parse().ok(),
        _ => None,
    }
}

fn is_name(expression: &Expr, name: &str) -> bool {
    matches!(expression, Expr::Path(path) if path.path.is_ident(name))
}
