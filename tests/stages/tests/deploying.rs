//! What the README says about deploying, and what the template does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use mirrorstep_core::config::MAX_TARGET_IDS;
use yaml_rust2::{Yaml, YamlLoader};

const README: &str = include_str!("../../../README.md");

fn template() -> Yaml {
    let text = include_str!("../../../infra/template.yaml");
    YamlLoader::load_from_str(text)
        .expect("the template is YAML")
        .remove(0)
}

fn text(yaml: &Yaml) -> &str {
    yaml.as_str().unwrap_or_else(|| panic!("{yaml:?} is no text"))
}

fn resources<'a>(template: &'a Yaml, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Yaml)> {
    let resources = template["Resources"].as_hash().unwrap().iter();
    resources
        .filter(move |(_, resource)| resource["Type"].as_str() == Some(kind))
        .map(|(name, resource)| (text(name), &resource["Properties"]))
}

/// The rules that hand events over, by the names that SAM gives them
/// (<https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-specification-generated-resources-statemachine.html>).
fn rules(template: &Yaml) -> BTreeSet<String> {
    let machines = resources(template, "AWS::Serverless::StateMachine");
    let rules: BTreeSet<String> = machines
        .filter_map(|(machine, properties)| Some((machine, properties["Events"].as_hash()?)))
        .flat_map(|(machine, events)| {
            events
                .keys()
                .map(move |event| format!("{machine}{}", text(event)))
        })
        .collect();
    assert!(rules.len() >= 3, "{rules:?}");
    rules
}

/// `cargo lambda build` builds for the processor that it runs on, unless it is told.
#[test]
fn the_functions_are_built_for_the_processor_of_the_template() {
    let template = template();
    let architectures = template["Globals"]["Function"]["Architectures"].as_vec().unwrap();
    let option = match &architectures[..] {
        [one] if text(one) == "x86_64" => "--x86-64",
        [one] if text(one) == "arm64" => "--arm64",
        other => panic!("a function has one architecture: {other:?}"),
    };
    for (name, properties) in resources(&template, "AWS::Serverless::Function") {
        let own = &properties["Architectures"];
        assert!(own.is_badvalue(), "{name} is built for another processor");
    }
    let command = README
        .lines()
        .find(|line| line.starts_with("cargo lambda build "));
    let words: Vec<&str> = command.unwrap().split(' ').collect();
    assert!(words.contains(&option), "{words:?}");
    assert_eq!(
        words
            .iter()
            .filter(|word| ["--x86-64", "--arm64"].contains(word))
            .count(),
        1
    );
}

/// EventBridge sends an event that it could not hand over in the name of the rule.
#[test]
fn every_rule_may_send_to_the_dead_letter_queue_and_nobody_else() {
    let template = template();
    let (_, policy) = resources(&template, "AWS::SQS::QueuePolicy").next().unwrap();
    let statements = policy["PolicyDocument"]["Statement"].as_vec().unwrap();
    let [statement] = &statements[..] else {
        panic!("{statements:?}");
    };
    let condition = statement["Condition"].as_hash().unwrap();
    assert_eq!(condition.len(), 1, "{condition:?}");
    let sources = statement["Condition"]["ArnEquals"]["aws:SourceArn"]
        .as_vec()
        .unwrap();
    let sources: BTreeSet<String> = sources
        .iter()
        .map(|source| text(source).strip_suffix(".Arn").expect("its ARN").to_owned())
        .collect();
    assert_eq!(sources, rules(&template));
    for (name, machine) in resources(&template, "AWS::Serverless::StateMachine") {
        let Some(events) = machine["Events"].as_hash() else {
            continue;
        };
        for (event, rule) in events {
            let queue = text(&rule["Properties"]["DeadLetterConfig"]["Arn"]);
            assert_eq!(queue, "LostEvents.Arn", "{name}: {event:?}");
        }
    }
}

#[test]
fn every_rule_has_alarms_for_what_it_does_not_hand_over_and_for_what_is_lost() {
    let template = template();
    for metric in ["FailedInvocations", "InvocationsFailedToBeSentToDlq"] {
        let alarms = resources(&template, "AWS::CloudWatch::Alarm");
        let alarms = alarms.filter(|(_, alarm)| text(&alarm["MetricName"]) == metric);
        let watched: BTreeSet<String> = alarms
            .map(|(_, alarm)| {
                assert_eq!(text(&alarm["Namespace"]), "AWS/Events");
                assert_eq!(text(&alarm["TreatMissingData"]), "notBreaching");
                assert!(!alarm["AlarmActions"].is_badvalue());
                let dimensions = alarm["Dimensions"].as_vec().unwrap();
                assert_eq!(text(&dimensions[0]["Name"]), "RuleName");
                text(&dimensions[0]["Value"]).to_owned()
            })
            .collect();
        assert_eq!(watched, rules(&template), "{metric}");
    }
}

/// What a function's settings take, with as many ids as there is room for: their names, and their values as they are by
/// default.
#[test]
fn as_many_target_ids_as_are_promised_have_room_beside_the_other_settings() {
    const ROOM: usize = 4096;
    /// For tags, the filter, and the table's name, which have no default.
    const FOR_THE_REST: usize = 400;
    let template = template();
    let ids = vec!["tmt-0123456789abcdef0"; MAX_TARGET_IDS].join(",");
    assert!(ids.len() <= ROOM, "a parameter takes {ROOM} bytes");
    let mut functions = 0;
    for (name, properties) in resources(&template, "AWS::Serverless::Function") {
        let Some(own) = properties["Environment"]["Variables"].as_hash() else {
            continue;
        };
        if own.keys().all(|variable| text(variable) != "TARGET_IDS") {
            continue;
        }
        functions += 1;
        let everywhere = &template["Globals"]["Function"]["Environment"]["Variables"];
        let taken: usize = own
            .iter()
            .chain(everywhere.as_hash().unwrap())
            .map(|(variable, value)| {
                let default = &template["Parameters"][text(value)]["Default"];
                let value = match text(variable) {
                    "TARGET_IDS" => ids.as_str(),
                    _ => default.as_str().unwrap_or_default(),
                };
                text(variable).len() + value.len()
            })
            .sum();
        assert!(
            taken + FOR_THE_REST <= ROOM,
            "{name} has {taken} bytes of settings"
        );
    }
    assert!(functions > 0);
    let described = text(&template["Parameters"]["TargetIds"]["Description"]);
    let most = format!("at most {MAX_TARGET_IDS}");
    assert!(
        described.contains(&most) && described.contains("TargetTag"),
        "{described}"
    );
    let row = README.lines().find(|line| line.starts_with("| `TargetIds` |"));
    assert!(row.unwrap().contains(&most), "{row:?}");
    let way_out = format!("More than {MAX_TARGET_IDS} `TargetIds`");
    let way_out = README.lines().find(|line| line.starts_with(&way_out));
    assert!(way_out.unwrap().contains("`TargetTag`"), "{way_out:?}");
}
