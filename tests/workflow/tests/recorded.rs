//! The interpreter does what AWS did: each case is the behaviour of one execution that was recorded on AWS, written
//! down with a definition, names and values of this project's own. Its `recorded` says what was seen there, and when.
//!
//! A case has a definition, its input, what its tasks come to (in the order of their calls), and how the execution
//! goes: the states entered, the retries, and the output or the error. The causes are those of AWS, but for "(entered
//! at the event id #2)", the number of a history that is not written here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::future::{Future, pending};
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use workflow::{Execution, StateError, Tasks};

/// No case takes as long, in virtual time.
const A_DAY: Duration = Duration::from_hours(24);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    name: String,
    recorded: String,
    definition: Value,
    input: Value,
    #[serde(default)]
    tasks: VecDeque<Outcome>,
    /// What the tasks were called with, where the case is about that.
    calls: Option<Vec<Value>>,
    path: Vec<String>,
    #[serde(default)]
    retries: usize,
    end: End,
}

/// What a task comes to.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Outcome {
    Answer(Value),
    Fails(Failure),
    /// No answer ever comes.
    Hangs,
}

/// How the execution ends.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum End {
    Output(Value),
    Fails(Failure),
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    #[serde(default)]
    error: String,
    /// In words, or the JSON that a function answers with.
    #[serde(default)]
    cause: Value,
}

impl Failure {
    fn cause(&self) -> String {
        match &self.cause {
            Value::Null => String::new(),
            Value::String(words) => words.clone(),
            json => json.to_string(),
        }
    }
}

struct Script {
    left: RefCell<VecDeque<Outcome>>,
    calls: RefCell<Vec<Value>>,
}

impl Tasks for Script {
    fn run<'a>(
        &'a self,
        _resource: &'a str,
        arguments: Value,
    ) -> Pin<Box<dyn Future<Output = Result<Value, StateError>> + 'a>> {
        self.calls.borrow_mut().push(arguments);
        let outcome = self.left.borrow_mut().pop_front();
        Box::pin(async move {
            match outcome.expect("the case says what its tasks come to") {
                Outcome::Answer(answer) => Ok(answer),
                Outcome::Fails(failure) => Err(StateError::new(failure.error.clone(), failure.cause())),
                Outcome::Hangs => pending().await,
            }
        })
    }
}

fn cases() -> Vec<(String, Case)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let of_file: Vec<Case> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        cases.extend(of_file.into_iter().map(|case| (stem.clone(), case)));
    }
    cases
}

#[tokio::test(start_paused = true)]
async fn the_interpreter_does_what_was_recorded_on_aws() {
    let cases = cases();
    assert!(cases.len() >= 25, "only {} cases were found", cases.len());
    let names: BTreeSet<_> = cases.iter().map(|(file, case)| (file, &case.name)).collect();
    assert_eq!(names.len(), cases.len(), "two cases have one name");

    let mut differ = Vec::new();
    for (file, case) in cases {
        assert!(case.recorded.contains("20"), "{}: recorded when?", case.name);
        let tasks = Script {
            left: RefCell::new(case.tasks),
            calls: RefCell::default(),
        };
        let execution = Execution {
            definition: &case.definition,
            arn: "arn:aws:states:eu-north-1:111122223333:execution:machine:run",
            name: "run",
            tasks: &tasks,
            random: Rc::new(RefCell::new(fastrand::Rng::with_seed(1))),
            now: &jiff::Timestamp::now,
        };
        let ended = tokio::time::timeout(A_DAY, execution.run(case.input))
            .await
            .unwrap_or_else(|_| panic!("{file}: {}: it does not end", case.name));
        let end = match ended.result {
            Ok(output) => json!({ "output": output }),
            Err(error) => json!({"fails": {"error": error.error, "cause": error.cause}}),
        };
        let expected = match &case.end {
            End::Output(output) => json!({ "output": output }),
            End::Fails(failure) => json!({"fails": {"error": failure.error, "cause": failure.cause()}}),
        };
        let mut check = |what: &str, is: Value, expected: Value| {
            if is != expected {
                differ.push(format!(
                    "{file}: {}: {what} is {is}, recorded was {expected}",
                    case.name
                ));
            }
        };
        check("the end", end, expected);
        check("the path", json!(ended.path), json!(case.path));
        check("the number of retries", json!(ended.retries), json!(case.retries));
        if let Some(calls) = &case.calls {
            check("the calls", json!(*tasks.calls.borrow()), json!(calls));
        }
        check("tasks not called", json!(tasks.left.borrow().len()), json!(0));
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
