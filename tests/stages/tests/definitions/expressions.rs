//! The expressions of the definitions, as AWS reads them: JSONata 2.0.6 without `$eval`, and with six functions of its
//! own (<https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html>). The evaluator of these tests
//! knows more than that, and so do the stand-ins.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{DEFINITIONS, deployed};

/// Functions that the definitions may use: of JSONata 2.0 (<https://docs.jsonata.org/2.0.0/overview>) and, the last
/// two, of Step Functions. One that is wanted and not here is to be looked up there, then added.
///
/// `$merge` stays away. AWS merges what it is given (recorded, 2026-02-11), but LocalStack merged to nothing for a while
/// (<https://github.com/localstack/localstack/issues/13579>), and an object with each of its members written out says
/// what is handed on.
const FUNCTIONS: [&str; 8] = [
    "append",
    "count",
    "exists",
    "not",
    "string",
    "substring",
    "hash",
    "parse",
];

/// The expressions of a value, each with the member that it stands in.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.starts_with("{%") => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        Value::Object(members) => members.values().for_each(|member| expressions(member, found)),
        _ => {}
    }
}

/// An expression without what stands in quotes.
fn unquoted(expression: &str) -> String {
    let mut quote = None;
    let outside = expression.chars().filter(|&c| match quote {
        Some(open) => {
            if c == open {
                quote = None;
            }
            false
        }
        None if matches!(c, '\'' | '"' | '`') => {
            quote = Some(c);
            false
        }
        None => true,
    });
    outside.collect()
}

/// What AWS would refuse in an expression, or what is not to be used.
fn refused(expression: &str) -> Vec<String> {
    let code = unquoted(expression);
    // Of JSONata 2.1 (<https://github.com/jsonata-js/jsonata/blob/v2.1.0/CHANGELOG.md>). AWS refuses a definition with
    // one of them.
    let operators = ["??", "?:"]
        .into_iter()
        .filter(|operator| code.contains(operator));
    let functions = code.split('$').skip(1).filter_map(|after| {
        let name: &str = after.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
        let is_called = after[name.len()..].trim_start().starts_with('(');
        (is_called && !FUNCTIONS.contains(&name)).then_some(name)
    });
    operators.chain(functions).map(str::to_owned).collect()
}

#[test]
fn no_expression_uses_what_aws_does_not_know() {
    let mut seen = 0;
    for (machine, _) in DEFINITIONS {
        let mut found = Vec::new();
        expressions(&deployed(machine), &mut found);
        seen += found.len();
        for expression in found {
            assert!(
                expression.ends_with("%}"),
                "{machine}: {expression} is no expression to AWS: it does not end with %}}"
            );
            let refused = refused(&expression);
            assert!(refused.is_empty(), "{machine}: {expression} uses {refused:?}");
        }
    }
    assert!(seen > 80, "only {seen} expressions were found");
}

#[test]
fn what_is_not_to_be_used_is_found() {
    for (expression, what) in [
        ("{% $states.input.name ?? 'none' %}", "??"),
        ("{% $states.input.name ?: 'none' %}", "?:"),
        ("{% $eval('1') %}", "eval"),
        ("{% $merge([$a, $b]) %}", "merge"),
        ("{% $a ~> $merge () %}", "merge"),
    ] {
        assert_eq!(refused(expression), [what], "{expression}");
    }
    assert_eq!(refused("{% $a = '$eval( ?? ?:' ? $b : $count($c) %}"), [""; 0]);
}

/// Text that is neither wholly an expression nor free of one: AWS takes it as it is.
#[test]
fn no_text_is_an_expression_in_part() {
    fn texts<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::String(text) => drop(found.insert(text)),
            Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
            Value::Object(members) => members.values().for_each(|member| texts(member, found)),
            _ => {}
        }
    }
    for (machine, _) in DEFINITIONS {
        let definition = deployed(machine);
        let mut found = BTreeSet::new();
        texts(&definition, &mut found);
        for text in found {
            let is_whole = text.starts_with("{%") && text.ends_with("%}");
            assert!(is_whole || !text.contains("{%"), "{machine}: {text}");
        }
    }
}
