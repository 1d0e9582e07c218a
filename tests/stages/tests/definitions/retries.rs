//! What a task tries again, and what it does not: decided here by kind, and the same in every definition
//! (`infra/design/0002-retries.md`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use serde_json::{Value, json};
use workflow::{Execution, StateError, Tasks};

use crate::{deployed, function, tasks};

/// Each function, with whether it calls EC2, whether it calls the ledger, and whether EC2 may not show yet what it looks
/// for.
const FUNCTIONS: [(&str, bool, bool, bool); 19] = [
    ("ResolveInterfaces", true, false, true),
    ("CheckExistingSession", true, true, false),
    ("GatherCandidates", true, false, true),
    ("FilterSecurityGroups", true, false, false),
    ("FilterNetworkAcls", true, false, false),
    ("FilterRoutes", true, false, false),
    ("PickLeastLoaded", false, true, false),
    ("CountSessions", true, true, false),
    ("CreateSession", true, true, true),
    ("TagSession", true, false, true),
    ("ReleaseSession", false, true, false),
    ("ReleaseInstance", true, true, false),
    ("Reconcile", true, true, false),
    ("FindSession", true, true, false),
    ("ModifySession", true, true, true),
    ("MoveBack", true, true, false),
    ("EndSession", true, true, false),
    ("PlanMoves", true, true, false),
    ("PlanUnmirror", true, true, false),
];

/// Names that pass by themselves when Lambda, or what is between it and Step Functions, is well again.
const LAMBDA: [&str; 11] = [
    // The four that AWS says are to be retried, in its order:
    // <https://docs.aws.amazon.com/step-functions/latest/dg/bp-lambda-serviceexception.html>
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.ServiceException",
    // A missing lambda:InvokeFunction has this name too. It is tried again, as nothing but its cause tells it apart.
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    // Too many functions at once: the same page.
    "Lambda.TooManyRequestsException",
    // A function that is being made or updated, or that has long not been called:
    // <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors>,
    // <https://github.com/remotion-dev/remotion/issues/1186>
    "Lambda.ResourceConflictException",
    "Lambda.ResourceNotReadyException",
    // A process that ended without an answer, for a time limit or its memory: the first page's note.
    "Lambda.Unknown",
    // The same with the name of what ended it: <https://github.com/awslabs/amazon-s3-find-and-forget/pull/283>,
    // <https://github.com/floci-io/floci/issues/3314>
    "Runtime.ExitError",
    "Sandbox.Timedout",
    // No answer within the task's TimeoutSeconds. The only name that States.TaskFailed leaves out.
    "States.Timeout",
];

/// Names of the stages that a catcher takes or a person must mend.
const OF_THE_STAGES: [&str; 14] = [
    "InvalidEvent",
    "InvalidConfiguration",
    "AccessDenied",
    "QuotaExceeded",
    "InstanceNotFound",
    "SourceNotMirrorable",
    "SessionRefused",
    // It passes while a session is created, which is where it is tried again.
    "InterfaceNotReady",
    "LedgerUnreadable",
    "SensorFull",
    "SensorDown",
    "SensorUncounted",
    "ReservationStale",
    "NoEligibleSensor",
];

/// Names of Step Functions that come again however often a state is tried. States.Runtime is not among them, as no
/// retrier takes it: <https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html>
const OF_STEP_FUNCTIONS: [&str; 3] = [
    "States.DataLimitExceeded",
    "States.Permissions",
    "States.QueryEvaluationError",
];

/// Names of Lambda that come again: a function that is not there (recorded on AWS, 2025-11-25), or may not be called, or
/// an input that is too large. The names are those of the API with `Lambda.` before them:
/// <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors>. That a refused call has the first
/// name is an assumption.
const OF_LAMBDA: [&str; 3] = [
    "Lambda.AccessDeniedException",
    "Lambda.RequestTooLargeException",
    "Lambda.ResourceNotFoundException",
];

/// Names of startExecution that come again. The integration puts `Exception` after the API's name (recorded on AWS,
/// 2023-06-30); the API's own stands here too for the one that decides something.
/// <https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html#API_StartExecution_Errors>
const OF_START_EXECUTION: [&str; 6] = [
    "StepFunctions.ExecutionAlreadyExistsException",
    "StepFunctions.ExecutionAlreadyExists",
    "StepFunctions.InvalidExecutionInputException",
    "StepFunctions.InvalidNameException",
    "StepFunctions.StateMachineDeletingException",
    "StepFunctions.StateMachineDoesNotExistException",
];

/// Names of startExecution that pass by themselves: the API's errors and those common to all APIs of AWS
/// (<https://docs.aws.amazon.com/step-functions/latest/apireference/CommonErrors.html>).
const OF_STARTING: [&str; 8] = [
    "StepFunctions.AWSStepFunctionsException",
    "StepFunctions.ExecutionLimitExceededException",
    "StepFunctions.InternalServerException",
    "StepFunctions.KmsThrottlingException",
    "StepFunctions.SdkClientException",
    "StepFunctions.ServiceUnavailableException",
    "StepFunctions.ThrottlingException",
    "States.Timeout",
];

/// A retrier with full jitter, which doubles its waits from a second on.
fn again(names: &[&str], attempts: u64, longest: u64) -> Value {
    json!({
        "ErrorEquals": names, "IntervalSeconds": 1, "BackoffRate": 2, "MaxDelaySeconds": longest,
        "MaxAttempts": attempts, "JitterStrategy": "FULL",
    })
}

fn never(names: &[&[&str]]) -> Value {
    json!({"ErrorEquals": names.concat(), "MaxAttempts": 0})
}

/// The retriers of a task, in their order: the first that names an error decides. `States.TaskFailed` stands for every
/// name but States.Timeout, so it is last, after the names that must not be tried again.
fn retriers(task: &Value) -> Vec<Value> {
    if let Some(called) = function(task) {
        let found = FUNCTIONS.iter().find(|(function, ..)| *function == called);
        let (_, calls_ec2, calls_ledger, looks_for) = found.expect("the function is in the table");
        let mut retriers = Vec::new();
        if *calls_ec2 {
            retriers.push(again(&["Ec2Throttled", "Ec2Unavailable"], 100, 30));
        }
        if *calls_ledger {
            retriers.push(again(&["LedgerContention", "LedgerUnavailable"], 30, 20));
        }
        if called == "CreateSession" {
            retriers.push(json!({
                "ErrorEquals": ["InterfaceNotReady"], "IntervalSeconds": 2, "BackoffRate": 2, "MaxDelaySeconds": 30,
                "MaxAttempts": 10,
            }));
        }
        if *looks_for {
            retriers.push(json!({
                "ErrorEquals": ["InstanceNotFound"], "IntervalSeconds": 2, "BackoffRate": 2, "MaxDelaySeconds": 15,
                "MaxAttempts": 6,
            }));
        }
        retriers.extend([
            again(&LAMBDA, 40, 30),
            // A new process may get by with less memory, or the same input takes as much again. Seen as a name of its
            // own; more often a process that is killed for its memory is Runtime.ExitError.
            again(&["Runtime.OutOfMemory"], 3, 30),
            never(&[&OF_THE_STAGES, &OF_STEP_FUNCTIONS, &OF_LAMBDA]),
            // Bare, it says that Step Functions cannot tell whether Lambda was reached:
            // <https://github.com/HumanCellAtlas/data-store/issues/1687>. Every stage may be called twice.
            again(&["States.TaskFailed"], 10, 30),
        ]);
        return retriers;
    }
    let anything_else = again(&["States.TaskFailed", "States.Timeout"], 20, 60);
    match task["Resource"].as_str() {
        Some("arn:aws:states:::states:startExecution") => {
            vec![never(&[&OF_START_EXECUTION, &OF_STEP_FUNCTIONS]), anything_else]
        }
        // It waits for the execution, whose failure is bare States.TaskFailed
        // (<https://docs.aws.amazon.com/step-functions/latest/dg/connect-stepfunctions.html>), so what may be tried again
        // is told by its own name. Those that end with `Exception` are the API's with that word after them; the first,
        // and the client's, are an assumption by Lambda's.
        Some("arn:aws:states:::states:startExecution.sync:2") => vec![again(&OF_STARTING, 20, 60)],
        // The bus took some entries and not others (recorded on AWS, 2025-11-06); all are put again, so not often.
        Some("arn:aws:states:::events:putEvents") => vec![
            again(&["EventBridge.FailedEntry"], 6, 60),
            never(&[&OF_STEP_FUNCTIONS]),
            anything_else,
        ],
        other => panic!("what a task of {other:?} tries again is not decided"),
    }
}

#[test]
fn every_task_has_the_retriers_of_its_kind() {
    let tasks = tasks();
    let called: BTreeSet<_> = tasks.iter().filter_map(|(_, task)| function(task)).collect();
    assert_eq!(called, FUNCTIONS.iter().map(|(function, ..)| *function).collect());
    for (name, task) in &tasks {
        let (is, expected) = (&task["Retry"], json!(retriers(task)));
        assert!(
            *is == expected,
            "{name}: its retriers are {is:#}, not {expected:#}"
        );
    }
}

/// The names that the stages fail with, as they stand in the code.
fn names_of_the_stages() -> Vec<&'static str> {
    let source = include_str!("../../../../functions/core/src/error.rs");
    let arms = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Self::"));
    let names: Vec<_> = arms
        .filter_map(|arm| arm.split_once(" => \"")?.1.strip_suffix("\","))
        .collect();
    assert!(names.contains(&"SensorFull") && names.len() > 10, "{names:?}");
    names
}

#[test]
fn every_name_of_a_stage_passes_or_is_not_tried_again() {
    let passes = [
        "Ec2Throttled",
        "Ec2Unavailable",
        "LedgerContention",
        "LedgerUnavailable",
    ];
    for name in names_of_the_stages() {
        assert!(
            passes.contains(&name) != OF_THE_STAGES.contains(&name),
            "{name} must be one that passes or one that is not tried again, or States.TaskFailed tries it again"
        );
    }
}

#[test]
fn a_message_is_read_of_errors_of_the_stages_alone() {
    // Their cause is the JSON that Lambda makes of an error. What Lambda and Step Functions say themselves is words, or
    // nothing at all, and `$parse` fails on it.
    let names = names_of_the_stages();
    let mut read = 0;
    for (name, task) in tasks() {
        for catcher in task["Catch"].as_array().into_iter().flatten() {
            if catcher.to_string().contains("$parse") {
                for error in catcher["ErrorEquals"].as_array().unwrap() {
                    assert!(names.contains(&error.as_str().unwrap()), "{name} reads {error}");
                    read += 1;
                }
            }
        }
    }
    assert!(read >= 10, "only {read} catchers were looked at");
}

#[test]
fn an_execution_that_an_earlier_try_started_is_no_failure() {
    let started = tasks()
        .into_iter()
        .filter(|(_, task)| task["Resource"] == "arn:aws:states:::states:startExecution");
    for (name, task) in started {
        let catchers = task["Catch"].as_array().unwrap();
        for error in &OF_START_EXECUTION[..2] {
            let caught = catchers.iter().find(|catcher| {
                let names = catcher["ErrorEquals"].as_array().unwrap();
                names.contains(&json!(error)) || names.contains(&json!("States.TaskFailed"))
            });
            assert_eq!(caught.unwrap()["Next"], "AlreadyStarted", "{name}: {error}");
        }
    }
}

/// Tasks that fail with an error again and again.
struct Failing {
    error: &'static str,
    calls: Cell<usize>,
}

impl Tasks for Failing {
    fn run<'a>(
        &'a self,
        _resource: &'a str,
        _arguments: Value,
    ) -> Pin<Box<dyn Future<Output = Result<Value, StateError>> + 'a>> {
        self.calls.set(self.calls.get() + 1);
        Box::pin(async { Err(StateError::new(self.error, "as it was seen")) })
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_is_tried_again_as_often_as_it_is_worth() {
    let names = [
        ("Lambda.ClientExecutionTimeoutException", 40),
        ("Lambda.ResourceConflictException", 40),
        ("Runtime.ExitError", 40),
        ("Runtime.OutOfMemory", 3),
        ("States.TaskFailed", 10),
        ("Lambda.KMSThrottlingException", 10),
        ("SessionRefused", 0),
        ("QuotaExceeded", 0),
        ("States.DataLimitExceeded", 0),
        ("Lambda.ResourceNotFoundException", 0),
    ];
    let definition = deployed("release-instance");
    for (error, times) in names {
        let tasks = Failing {
            error,
            calls: Cell::default(),
        };
        let execution = Execution {
            definition: &definition,
            arn: "arn:aws:states:eu-north-1:111122223333:execution:release-instance:run",
            name: "run",
            tasks: &tasks,
            random: Rc::new(RefCell::new(fastrand::Rng::with_seed(1))),
            now: &jiff::Timestamp::now,
        };
        let ended = execution.run(json!({"detail": {"state": "terminated"}})).await;
        assert_eq!(ended.result, Err(StateError::new(error, "as it was seen")));
        assert_eq!((error, ended.retries), (error, times));
        assert_eq!(tasks.calls.get(), times + 1, "{error}");
    }
}
