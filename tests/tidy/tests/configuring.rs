//! `docs/configuring.md` says what the template and the code say.
//!
//! Its tables are made here, of the template's parameters and functions, and of how the functions read their settings.
//! `UPDATE=1 cargo test -p tidy --test configuring` writes them. What is written by hand around them is checked where it
//! names numbers, parameters and values.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod generated;
mod settings;
mod template;
mod workspace;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use settings::{Readers, Rule};
use template::{functions, list, resources, template, text};
use yaml_rust2::Yaml;

const DOCUMENT: &str = "docs/configuring.md";

/// The only variable that is no setting: the template makes the table itself.
const LEDGER_TABLE: &str = "LEDGER_TABLE";
/// The only variable that is not named like its parameter: the name is that of the library which reads it.
const RUST_LOG: &str = "RUST_LOG";

fn document() -> String {
    std::fs::read_to_string(tidy::root().join(DOCUMENT)).unwrap()
}

fn code(words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let words: Vec<String> = words
        .into_iter()
        .map(|word| format!("`{}`", word.as_ref()))
        .collect();
    words.join(", ")
}

/// The variables that the template gives to a function, each with what it is set to.
fn variables<'a>(template: &'a Yaml, properties: &'a Yaml) -> BTreeMap<&'a str, &'a str> {
    [properties, &template["Globals"]["Function"]]
        .into_iter()
        .filter_map(|it| it["Environment"]["Variables"].as_hash())
        .flatten()
        .map(|(variable, value)| (text(variable), text(value)))
        .collect()
}

/// The groups of parameters, in the order in which `sam deploy` and the console show them.
fn groups(template: &Yaml) -> Vec<(&str, Vec<&str>)> {
    let groups = &template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"];
    list(groups)
        .into_iter()
        .map(|group| {
            let parameters = list(&group["Parameters"]);
            (
                text(&group["Label"]["default"]),
                parameters.into_iter().map(text).collect(),
            )
        })
        .collect()
}

fn scalar(yaml: &Yaml) -> String {
    match yaml {
        Yaml::String(text) => text.clone(),
        Yaml::Integer(number) => number.to_string(),
        other => panic!("{other:?} is neither text nor a number"),
    }
}

/// What a parameter may be: as the template says it, else as the functions check it.
fn allowed(parameter: &Yaml, rule: Option<&Rule>) -> String {
    let values = list(&parameter["AllowedValues"]);
    if !values.is_empty() {
        return code(values.into_iter().map(scalar));
    }
    match rule {
        Some(Rule::Number { least, most }) => format!("a whole number from {least} to {most}, or empty"),
        Some(Rule::Tag) => "`key=value`, or empty".to_owned(),
        Some(Rule::TagKey) => "the key of a tag, or empty".to_owned(),
        Some(Rule::Text | Rule::OneOf { .. }) | None => String::new(),
    }
}

/// A table for each group of parameters.
fn parameters(template: &Yaml, readers: &Readers) -> String {
    let functions = functions(template);
    let mut out = String::new();
    for (label, names) in groups(template) {
        write!(
            out,
            "### {label}\n\n| parameter | variable | what it is | type | default | allowed | read by |\n\
             |---|---|---|---|---|---|---|\n"
        )
        .unwrap();
        for name in names {
            let parameter = &template["Parameters"][name];
            let mut set = BTreeSet::new();
            let mut read_by = Vec::new();
            for (function, properties) in &functions {
                let own = variables(template, properties);
                let of_parameter: Vec<_> = own.iter().filter(|(_, value)| **value == name).collect();
                set.extend(of_parameter.iter().map(|(variable, _)| **variable));
                if !of_parameter.is_empty() {
                    read_by.push(*function);
                }
            }
            let rule = set.first().and_then(|variable| readers.rule(variable));
            let default = match scalar(&parameter["Default"]).as_str() {
                "" => "empty".to_owned(),
                default => code([default]),
            };
            let read_by = match read_by.len() {
                0 => "the template alone".to_owned(),
                all if all == functions.len() => "every function".to_owned(),
                _ => code(read_by),
            };
            writeln!(
                out,
                "| `{name}` | {} | {} | {} | {default} | {} | {read_by} |",
                code(&set),
                text(&parameter["Description"]),
                text(&parameter["Type"]).to_lowercase(),
                allowed(parameter, rule),
            )
            .unwrap();
        }
        out.push('\n');
    }
    out
}

/// The state machines, each with the names of its resource and of its definition.
fn state_machines(template: &Yaml) -> Vec<(&str, &str, &Yaml)> {
    resources(template, "AWS::Serverless::StateMachine")
        .map(|(name, properties)| {
            let definition = text(&properties["DefinitionUri"]);
            let definition = definition.rsplit('/').next().unwrap();
            (name, definition.strip_suffix(".asl.json").unwrap(), properties)
        })
        .collect()
}

/// A row for each stage: what it is given and what it links.
fn stages(template: &Yaml) -> String {
    let crates = workspace::crates();
    let everywhere = &template["Globals"]["Function"];
    let mut out = "| stage | what it does | state machine | variables | memory, MB | timeout, s | links |\n\
                   |---|---|---|---|---|---|---|\n"
        .to_owned();
    for (resource, properties) in resources(template, "AWS::Serverless::Function") {
        let (function, _) = functions(template)
            .into_iter()
            .find(|(_, of)| std::ptr::eq(*of, properties))
            .unwrap();
        let arn = format!("{resource}.Arn");
        let machines = state_machines(template);
        let machines = machines.iter().filter(|(_, _, machine)| {
            let substitutions = machine["DefinitionSubstitutions"].as_hash().unwrap();
            substitutions.values().any(|value| text(value) == arn)
        });
        let it = crates.iter().find(|it| it.name == function);
        let it = it.unwrap_or_else(|| panic!("there is no crate {function}"));
        assert_eq!(it.dir, format!("functions/{function}"));
        let or_global = |key: &str| {
            let own = &properties[key];
            scalar(if own.is_badvalue() { &everywhere[key] } else { own })
        };
        writeln!(
            out,
            "| `{function}` | {} | {} | {} | {} | {} | {} |",
            text(&properties["Description"]),
            code(machines.map(|(_, definition, _)| definition)),
            code(variables(template, properties).keys()),
            or_global("MemorySize"),
            or_global("Timeout"),
            code(&it.dependencies),
        )
        .unwrap();
    }
    out
}

/// On what an action is allowed, in words.
fn on(template: &Yaml, resource: &str) -> String {
    if let Some(index) = resource.strip_prefix("${Ledger.Arn}/index/") {
        return format!("the ledger's index `{index}`");
    }
    if resource == "Ledger.Arn" {
        return "the ledger".to_owned();
    }
    if let Some(name) = resource.strip_suffix(".Arn") {
        let (_, properties) = resources(template, "AWS::Serverless::Function")
            .find(|(function, _)| *function == name)
            .unwrap_or_else(|| panic!("{resource} is no function"));
        return code(text(&properties["CodeUri"]).rsplit('/').next());
    }
    if let Some((_, definition, _)) = state_machines(template).into_iter().find(|it| it.0 == resource) {
        return code([definition]);
    }
    let mut parts = resource.splitn(6, ':').collect::<Vec<_>>();
    if let [.., kind] = parts[..]
        && resource.starts_with("arn:${AWS::Partition}")
    {
        // `AWS::Partition` and the like have colons of their own.
        let flat = resource.replace("AWS::", "");
        parts = flat.splitn(6, ':').collect();
        let whose = match parts[4] {
            "*" => "of any account",
            "${AccountId}" => "of this account",
            other => panic!("{resource}: whose is {other}? ({kind})"),
        };
        return format!("`{}` {whose}", parts[5]);
    }
    format!("`{resource}`")
}

/// A row for each statement of each role.
fn permissions(template: &Yaml) -> String {
    let functions = functions(template);
    let machines = state_machines(template);
    let roles = functions
        .iter()
        .map(|(name, properties)| (format!("`{name}`"), *properties))
        .chain(
            machines
                .iter()
                .map(|(_, definition, properties)| (format!("state machine `{definition}`"), *properties)),
        );
    let mut out = "| who | may | on | only if |\n|---|---|---|---|\n".to_owned();
    for (who, properties) in roles {
        for policy in list(&properties["Policies"]) {
            for statement in list(&policy["Statement"]) {
                assert_eq!(text(&statement["Effect"]), "Allow");
                let on: Vec<String> = list(&statement["Resource"])
                    .into_iter()
                    .map(|resource| on(template, text(resource)))
                    .collect();
                let conditions = statement["Condition"].as_hash().into_iter().flatten();
                let conditions: Vec<String> = conditions
                    .flat_map(|(operator, pairs)| {
                        assert_eq!(text(operator), "StringEquals");
                        pairs.as_hash().unwrap().iter()
                    })
                    .map(|(key, value)| format!("`{}` is `{}`", text(key), text(value)))
                    .collect();
                writeln!(
                    out,
                    "| {who} | {} | {} | {} |",
                    code(list(&statement["Action"]).into_iter().map(text)),
                    on.join(", "),
                    conditions.join(", "),
                )
                .unwrap();
            }
        }
    }
    out
}

#[test]
fn the_tables_are_those_of_the_template_and_the_code() {
    let (template, readers) = (template(), Readers::of_the_functions());
    let parts = [
        ("parameters", parameters(&template, &readers)),
        ("stages", stages(&template)),
        ("permissions", permissions(&template)),
    ];
    generated::check(DOCUMENT, "configuring", &parts);
}

#[test]
fn every_parameter_is_in_one_group_and_has_a_default() {
    let template = template();
    let grouped: Vec<&str> = groups(&template)
        .into_iter()
        .flat_map(|(_, names)| names)
        .collect();
    let once: BTreeSet<&str> = grouped.iter().copied().collect();
    assert_eq!(once.len(), grouped.len(), "{grouped:?}");
    let parameters = template["Parameters"].as_hash().unwrap();
    let all: BTreeSet<&str> = parameters.keys().map(text).collect();
    assert_eq!(once, all);
    for (name, parameter) in parameters {
        assert!(!parameter["Default"].is_badvalue(), "{name:?}");
    }
}

/// No variable is read that the template does not set, and none is set that nobody reads.
#[test]
fn each_function_gets_the_variables_that_it_reads_and_no_others() {
    let (template, readers) = (template(), Readers::of_the_functions());
    for (function, properties) in functions(&template) {
        let set: BTreeSet<String> = variables(&template, properties)
            .into_keys()
            .map(str::to_owned)
            .collect();
        let mut read = readers.of_stage(function);
        // Every function reads it, in what runs a stage: `settings::Readers` has seen that nothing else is read there.
        assert!(read.insert(RUST_LOG.to_owned()), "{function}");
        assert_eq!(read, set, "what {function} reads, and what it is given");
    }
}

/// The operator's command finds the parameter of a variable by this rule.
#[test]
fn a_variable_is_named_like_its_parameter() {
    let template = template();
    for (function, properties) in functions(&template) {
        for (variable, value) in variables(&template, properties) {
            let like_the_variable: String = variable
                .split('_')
                .map(|word| word[..1].to_owned() + &word[1..].to_lowercase())
                .collect();
            match variable {
                LEDGER_TABLE => assert_eq!(value, "Ledger", "{function}"),
                RUST_LOG => assert_eq!(value, "LogLevel", "{function}"),
                _ => assert_eq!(value, like_the_variable, "{function}"),
            }
        }
    }
}

/// Where the functions check what CloudFormation checks too, or have a default of their own, both are the same.
#[test]
fn the_template_and_the_code_allow_the_same_and_have_the_same_defaults() {
    let (template, readers) = (template(), Readers::of_the_functions());
    let mut choices = 0;
    for (variable, rule) in readers.rules() {
        if variable == LEDGER_TABLE {
            continue;
        }
        let setters = functions(&template);
        let parameter = setters
            .iter()
            .find_map(|(_, properties)| variables(&template, properties).get(variable.as_str()).copied());
        let name = parameter.unwrap_or_else(|| panic!("nothing sets {variable}"));
        let parameter = &template["Parameters"][name];
        match rule {
            Rule::OneOf { default, allowed } => {
                choices += 1;
                let of_template: BTreeSet<String> = list(&parameter["AllowedValues"])
                    .into_iter()
                    .map(scalar)
                    .collect();
                assert_eq!(of_template, allowed.iter().cloned().collect(), "{name}");
                assert_eq!(&scalar(&parameter["Default"]), default, "{name}");
            }
            Rule::Number { least, most } => {
                let described = text(&parameter["Description"]);
                let bounds = format!("{least} to {most}");
                assert!(described.contains(&bounds), "{name}: {described}");
            }
            Rule::Text | Rule::Tag | Rule::TagKey => {
                assert!(parameter["AllowedValues"].is_badvalue(), "{name}");
            }
        }
    }
    assert!(choices > 0);
}

#[test]
fn the_words_around_the_tables_name_the_bounds_of_the_code() {
    let (document, readers) = (document(), Readers::of_the_functions());
    let most = readers.constant("MAX_TARGET_IDS");
    for words in [
        format!("## More than {most} targets"),
        format!("More than {most} `TargetIds` have no room"),
        "set `TargetTag` to it".to_owned(),
    ] {
        assert!(document.contains(&words), "it should say: {words}");
    }
    let Some(Rule::Number { least, most }) = readers.rule("PACKET_LENGTH") else {
        panic!("PACKET_LENGTH is no number");
    };
    let message = format!("PACKET_LENGTH is `9001`: it must be a whole number from {least} to {most}\n");
    assert!(document.contains(&message), "it should say: {message}");
}

/// `--parameter-overrides A=1 B=2`, and `--parameter A=1` of the demo.
#[test]
fn the_examples_set_parameters_that_there_are_to_what_is_allowed() {
    let (template, readers) = (template(), Readers::of_the_functions());
    let document = document().replace("\\\n", " ");
    let mut examples = 0;
    for line in document.lines() {
        let options = ["--parameter-overrides ", "--parameter "];
        let Some(set) = options.iter().find_map(|option| line.split_once(option)) else {
            continue;
        };
        for pair in set.1.split_whitespace() {
            examples += 1;
            let (name, value) = pair.split_once('=').unwrap_or_else(|| panic!("{pair} in {line}"));
            let parameter = &template["Parameters"][name];
            assert!(!parameter.is_badvalue(), "there is no parameter {name}: {line}");
            let allowed = list(&parameter["AllowedValues"]);
            let is_allowed = allowed.is_empty() || allowed.into_iter().any(|it| scalar(it) == value);
            assert!(is_allowed, "{name} cannot be {value}");
            let setters = functions(&template);
            let variable = setters.iter().find_map(|(_, properties)| {
                let own = variables(&template, properties);
                own.iter()
                    .find(|(_, it)| **it == name)
                    .map(|(variable, _)| *variable)
            });
            match variable.and_then(|variable| readers.rule(variable)) {
                Some(Rule::Number { least, most }) => {
                    assert!((*least..=*most).contains(&value.parse().unwrap()), "{pair}");
                }
                Some(Rule::Tag) => assert!(value.contains('='), "{pair}"),
                Some(Rule::TagKey) => assert!(!value.contains('='), "{pair}"),
                Some(Rule::Text | Rule::OneOf { .. }) | None => {}
            }
        }
    }
    assert!(examples > 4);
}

/// What a function's settings take, with as many ids as there is room for: their names, and their values as they are by
/// default.
#[test]
fn as_many_target_ids_as_are_promised_have_room_beside_the_other_settings() {
    const ROOM: usize = 4096;
    /// For tags, the filter, and the table's name, which have no default.
    const FOR_THE_REST: usize = 400;
    let template = template();
    let most = Readers::of_the_functions().constant("MAX_TARGET_IDS");
    let ids = vec!["tmt-0123456789abcdef0"; most].join(",");
    assert!(ids.len() <= ROOM, "a parameter takes {ROOM} bytes");
    let mut asked = 0;
    for (function, properties) in functions(&template) {
        let variables = variables(&template, properties);
        if !variables.contains_key("TARGET_IDS") {
            continue;
        }
        asked += 1;
        let taken: usize = variables
            .into_iter()
            .map(|(variable, value)| {
                let default = &template["Parameters"][value]["Default"];
                let value = match variable {
                    "TARGET_IDS" => ids.as_str(),
                    _ => default.as_str().unwrap_or_default(),
                };
                variable.len() + value.len()
            })
            .sum();
        assert!(
            taken + FOR_THE_REST <= ROOM,
            "{function} has {taken} bytes of settings"
        );
    }
    assert!(asked > 0);
    let described = text(&template["Parameters"]["TargetIds"]["Description"]);
    let at_most = format!("at most {most}");
    assert!(
        described.contains(&at_most) && described.contains("TargetTag"),
        "{described}"
    );
}
