//! What the tasks of the definitions try again, what they do not, and how long they wait for their functions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use yaml_rust2::YamlLoader;

const DEFINITIONS: [&str; 4] = [
    include_str!("../../../statemachine/mirror-instance.asl.json"),
    include_str!("../../../statemachine/mirror-interface.asl.json"),
    include_str!("../../../statemachine/release-instance.asl.json"),
    include_str!("../../../statemachine/reconcile.asl.json"),
];

/// What Lambda itself fails with (Step Functions guide, "Handling transient Lambda service exceptions"), and a function
/// that died or took too long.
const LAMBDA: [&str; 8] = [
    "Lambda.TooManyRequestsException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.Unknown",
    "Runtime.ExitError",
    "Sandbox.Timedout",
    "States.Timeout",
];
const EC2: [&str; 2] = ["Ec2Throttled", "Ec2Unavailable"];
const LEDGER: [&str; 2] = ["LedgerContention", "LedgerUnavailable"];

/// Each function, with whether it calls EC2 and whether it calls the ledger.
const FUNCTIONS: [(&str, bool, bool); 13] = [
    ("ResolveInterfaces", true, false),
    ("CheckExistingSession", true, true),
    ("GatherCandidates", true, false),
    ("FilterSecurityGroups", true, false),
    ("FilterNetworkAcls", true, false),
    ("FilterRoutes", true, false),
    ("PickLeastLoaded", false, true),
    ("CountSessions", true, true),
    ("CreateSession", true, true),
    ("TagSession", true, false),
    ("ReleaseSession", false, true),
    ("ReleaseInstance", true, true),
    ("Reconcile", true, true),
];

/// Each function's task.
fn tasks() -> BTreeMap<String, Value> {
    let mut tasks = BTreeMap::new();
    for definition in DEFINITIONS {
        let definition: Value = serde_json::from_str(definition).unwrap();
        for state in definition["States"].as_object().unwrap().values() {
            if let Some(function) = state["Arguments"]["FunctionName"].as_str() {
                let function = function.trim_start_matches("${").trim_end_matches("FunctionArn}");
                tasks.insert(function.to_owned(), state.clone());
            }
        }
    }
    tasks
}

/// The names that a task tries again.
fn retried(task: &Value) -> BTreeSet<String> {
    let rules = task["Retry"].as_array().unwrap().iter();
    rules
        .filter(|retry| retry["MaxAttempts"].as_u64() > Some(0))
        .flat_map(|retry| retry["ErrorEquals"].as_array().unwrap())
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_task_is_tried_again_after_whatever_passes() {
    let tasks = tasks();
    assert_eq!(
        tasks.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        FUNCTIONS.iter().map(|(function, ..)| *function).collect()
    );
    for (function, calls_ec2, calls_ledger) in FUNCTIONS {
        let passing = LAMBDA
            .iter()
            .chain(EC2.iter().filter(|_| calls_ec2))
            .chain(LEDGER.iter().filter(|_| calls_ledger));
        let retried = retried(&tasks[function]);
        let left_out: Vec<_> = passing.filter(|name| !retried.contains(**name)).collect();
        assert!(
            left_out.is_empty(),
            "{function} is not tried again after {left_out:?}"
        );
    }
}

#[test]
fn an_execution_that_an_earlier_try_started_is_no_failure_and_is_not_tried_again() {
    let definition: Value = serde_json::from_str(DEFINITIONS[0]).unwrap();
    let states = definition["States"].as_object().unwrap().values();
    let started: Vec<&Value> = states
        .filter_map(|state| state["ItemProcessor"]["States"].as_object())
        .flat_map(|states| states.values())
        .filter(|state| state["Resource"] == "arn:aws:states:::states:startExecution")
        .collect();
    assert_eq!(started.len(), 1);
    // The service integration's name for it, and the API's own.
    for name in [
        "StepFunctions.ExecutionAlreadyExistsException",
        "StepFunctions.ExecutionAlreadyExists",
    ] {
        let first_of = |rules: &str| {
            let mut rules = started[0][rules].as_array().unwrap().iter().cloned();
            let names = |rule: &Value| rule["ErrorEquals"].as_array().unwrap().contains(&name.into());
            let catches_all = |rule: &Value| {
                rule["ErrorEquals"]
                    .as_array()
                    .unwrap()
                    .contains(&"States.TaskFailed".into())
            };
            rules.find(|rule| names(rule) || catches_all(rule)).unwrap()
        };
        assert_eq!(first_of("Retry")["MaxAttempts"], 0, "{name}");
        assert_eq!(first_of("Catch")["Next"], "AlreadyStarted", "{name}");
    }
}

#[test]
fn a_task_is_not_given_up_while_its_function_may_still_answer() {
    let template = YamlLoader::load_from_str(include_str!("../../../infra/template.yaml")).unwrap();
    let usual = &template[0]["Globals"]["Function"]["Timeout"];
    for (function, task) in tasks() {
        let own = &template[0]["Resources"][format!("{function}Function").as_str()]["Properties"]["Timeout"];
        let lasts = own.as_i64().or(usual.as_i64()).unwrap();
        let waits = task["TimeoutSeconds"].as_i64().unwrap();
        assert!(
            waits > lasts,
            "{function} may take {lasts} s, and its task waits for {waits} s"
        );
    }
}
