//! What `docs/deploying.md` says about building, and what the template deploys.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod template;
mod workspace;

use std::collections::BTreeSet;

use template::{functions, resources, template, text};
use yaml_rust2::Yaml;

/// The words of the command that builds the functions.
fn build_command() -> Vec<String> {
    let document = std::fs::read_to_string(tidy::root().join("docs/deploying.md")).unwrap();
    let document = document.replace("\\\n", " ");
    let commands: Vec<&str> = document
        .lines()
        .filter(|line| line.starts_with("cargo lambda build "))
        .collect();
    let [command] = commands[..] else {
        panic!("there should be one command: {commands:?}");
    };
    command.split_whitespace().map(str::to_owned).collect()
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
    for (name, properties) in functions(&template) {
        let own = &properties["Architectures"];
        assert!(own.is_badvalue(), "{name} is built for another processor");
    }
    let words = build_command();
    let processors = words
        .iter()
        .filter(|word| ["--x86-64", "--arm64"].contains(&word.as_str()));
    assert_eq!(processors.collect::<Vec<_>>(), [option], "{words:?}");
}

/// With `--workspace --bins` Cargo builds the binaries of every crate that is not left out, and no crate that has none.
#[test]
fn the_build_command_builds_the_functions_of_the_template_and_nothing_else() {
    let words = build_command();
    for option in ["--release", "--workspace", "--bins"] {
        assert!(
            words.iter().any(|word| word == option),
            "{option} is missing: {words:?}"
        );
    }
    let left_out: BTreeSet<&str> = words
        .windows(2)
        .filter(|pair| pair[0] == "--exclude")
        .map(|pair| pair[1].as_str())
        .collect();
    let crates = workspace::crates();
    let with_binaries = crates.iter().filter(|it| it.binaries().next().is_some());
    let (kept, others): (Vec<_>, Vec<_>) = with_binaries.partition(|it| !left_out.contains(it.name.as_str()));
    let others: BTreeSet<&str> = others.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(left_out, others, "only a crate with a binary need be left out");
    let built: BTreeSet<&str> = kept.iter().flat_map(|it| it.binaries()).collect();
    let template = template();
    let deployed: BTreeSet<&str> = functions(&template).iter().map(|(name, _)| *name).collect();
    assert_eq!(built, deployed, "leave out, by `--exclude`, what is no function");
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
