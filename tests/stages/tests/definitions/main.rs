//! The definitions as they stand: what their tasks try again, what their expressions use and give, and how long they
//! wait for their functions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod expressions;
mod optional;
mod partitions;
mod retries;
mod samples;

use serde_json::Value;
use stage_tests::pipeline::definition;
use yaml_rust2::YamlLoader;

/// A definition with its state machine's name.
macro_rules! machine {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../../../statemachine/", $name, ".asl.json")),
        )
    };
}

/// Every definition, by its state machine's name.
const DEFINITIONS: [(&str, &str); 10] = [
    machine!("mirror-instance"),
    machine!("mirror-interface"),
    machine!("release-instance"),
    machine!("reconcile"),
    machine!("move-interface"),
    machine!("unmirror-interface"),
    machine!("change-sessions"),
    machine!("drain-sensor"),
    machine!("rebalance"),
    machine!("unmirror-all"),
];

const TEMPLATE: &str = include_str!("../../../../infra/template.yaml");

/// The definition of this name, as it is deployed.
fn deployed(machine: &str) -> Value {
    let (_, text) = DEFINITIONS.iter().find(|(name, _)| *name == machine).unwrap();
    definition(text)
}

/// A state and its name.
type State = (String, Value);

/// The states of a definition, those of a Map's iterations among them.
fn states(definition: &Value) -> Vec<State> {
    let states = definition["States"].as_object().unwrap().iter();
    states
        .flat_map(|(name, state)| {
            let inner = match &state["ItemProcessor"] {
                Value::Null => Vec::new(),
                processor => self::states(processor),
            };
            std::iter::once((name.clone(), state.clone())).chain(inner)
        })
        .collect()
}

/// The tasks of all definitions.
fn tasks() -> Vec<State> {
    DEFINITIONS
        .iter()
        .flat_map(|(_, text)| states(&definition(text)))
        .filter(|(_, state)| state["Type"] == "Task")
        .collect()
}

/// The function that a task calls, if it calls one.
fn function(task: &Value) -> Option<&str> {
    let substitution = task["Arguments"]["FunctionName"].as_str()?;
    substitution.strip_prefix("${")?.strip_suffix("FunctionArn}")
}

#[test]
fn a_task_is_not_given_up_while_its_function_may_still_answer() {
    let template = YamlLoader::load_from_str(TEMPLATE).unwrap();
    let usual = &template[0]["Globals"]["Function"]["Timeout"];
    for (name, task) in tasks() {
        let Some(function) = function(&task) else { continue };
        let own = &template[0]["Resources"][format!("{function}Function").as_str()]["Properties"]["Timeout"];
        let lasts = own.as_i64().or(usual.as_i64()).unwrap();
        let waits = task["TimeoutSeconds"].as_i64().unwrap();
        assert!(
            waits > lasts,
            "{function} may take {lasts} s, and {name} waits for {waits} s"
        );
    }
}
