//! Executions as their histories tell them, and the same executions again under the interpreter that the other tests
//! run the definitions with.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use aws_sdk_sfn::types::{ExecutionListItem, ExecutionStatus, HistoryEvent, HistoryEventType};
use serde_json::Value;
use workflow::{Execution, StateError, Tasks};

/// A state machine: a part of its name on the stack, its definition.
macro_rules! machine {
    ($part:literal, $name:literal) => {
        (
            $part,
            include_str!(concat!("../../../statemachine/", $name, ".asl.json")),
        )
    };
}

/// Every state machine.
const MACHINES: [(&str, &str); 10] = [
    machine!("MirrorInstance", "mirror-instance"),
    machine!("MirrorInterface", "mirror-interface"),
    machine!("ReleaseInstance", "release-instance"),
    machine!("Reconcile", "reconcile"),
    machine!("MoveInterface", "move-interface"),
    machine!("UnmirrorInterface", "unmirror-interface"),
    machine!("ChangeSessions", "change-sessions"),
    machine!("DrainSensor", "drain-sensor"),
    machine!("Rebalance", "rebalance"),
    machine!("UnmirrorAll", "unmirror-all"),
];

/// What a task was answered.
#[derive(Debug, Clone)]
pub struct Answered {
    resource: String,
    answer: Result<Value, StateError>,
}

/// An execution as its history tells it.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its ARN.
    pub arn: String,
    definition: &'static str,
    input: Value,
    path: Vec<String>,
    answers: Vec<Answered>,
    /// Whether the last state hands its result on as it is: the stand-in leaves the output of others as it was.
    ends_with_a_task: bool,
    result: Result<Value, StateError>,
}

/// How many executions are under way, and how many there are.
pub async fn executions(states: &aws_sdk_sfn::Client) -> (usize, usize) {
    let (mut running, mut all) = (0, 0);
    for (machine, _) in machines(states).await {
        let executions = executions_of(states, machine).await;
        all += executions.len();
        running += executions
            .iter()
            .filter(|execution| execution.status == ExecutionStatus::Running)
            .count();
    }
    (running, all)
}

async fn executions_of(states: &aws_sdk_sfn::Client, machine: String) -> Vec<ExecutionListItem> {
    let executions = states
        .list_executions()
        .state_machine_arn(machine)
        .into_paginator()
        .items()
        .send();
    executions
        .try_collect()
        .await
        .expect("the executions can be listed")
}

/// The ARN of each state machine, and its definition.
async fn machines(states: &aws_sdk_sfn::Client) -> Vec<(String, &'static str)> {
    let machines = states.list_state_machines().into_paginator().items().send();
    let machines = machines
        .try_collect()
        .await
        .expect("the machines can be listed")
        .into_iter();
    machines
        .map(|machine| {
            let known = MACHINES.iter().find(|(name, _)| machine.name.contains(name));
            let (_, definition) = known.unwrap_or_else(|| panic!("{} is none of the stack", machine.name));
            (machine.state_machine_arn, *definition)
        })
        .collect()
}

impl Told {
    /// Reads the history of every execution of every state machine that has ended.
    pub async fn all(states: &aws_sdk_sfn::Client) -> Vec<Self> {
        let mut told = Vec::new();
        for (machine, definition) in machines(states).await {
            for execution in executions_of(states, machine).await {
                let history = states
                    .get_execution_history()
                    .execution_arn(&execution.execution_arn)
                    .into_paginator()
                    .items()
                    .send();
                let history = history.try_collect().await.expect("a history can be read");
                told.extend(Self::of(execution.execution_arn, definition, &history));
            }
        }
        told
    }

    fn of(arn: String, definition: &'static str, history: &[HistoryEvent]) -> Option<Self> {
        let json = |text: Option<&str>| serde_json::from_str(text.unwrap_or_default()).unwrap_or(Value::Null);
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let (mut input, mut result) = (Value::Null, None);
        let (mut path, mut answers, mut ends_with_a_task) = (Vec::new(), Vec::new(), false);
        for event in history {
            if let Some(started) = event.execution_started_event_details() {
                input = json(started.input());
            } else if let Some(entered) = event.state_entered_event_details() {
                path.push(entered.name.clone());
                ends_with_a_task = event.r#type == HistoryEventType::TaskStateEntered;
            } else if let Some(done) = event.task_succeeded_event_details() {
                answers.push(Answered {
                    resource: done.resource.clone(),
                    answer: Ok(json(done.output())),
                });
            } else if let Some(failed) = event.task_failed_event_details() {
                answers.push(Answered {
                    resource: failed.resource.clone(),
                    answer: Err(StateError::new(text(failed.error()), text(failed.cause()))),
                });
            } else if let Some(ended) = event.execution_succeeded_event_details() {
                result = Some(Ok(json(ended.output())));
            } else if let Some(ended) = event.execution_failed_event_details() {
                result = Some(Err(StateError::new(text(ended.error()), text(ended.cause()))));
            }
        }
        Some(Self {
            arn,
            definition,
            input,
            path,
            answers,
            ends_with_a_task,
            result: result?,
        })
    }

    /// How often a function died before it answered.
    pub fn deaths(&self) -> usize {
        let died = |answered: &&Answered| {
            let error = answered.answer.as_ref().err();
            error.is_some_and(|error| error.error == "Runtime.ExitError")
        };
        self.answers.iter().filter(died).count()
    }

    /// The interface of its input, if it has one, and what became of it: the outcome, or the error.
    pub fn interface(&self) -> Option<(&str, &str)> {
        let interface = self.input["interfaceId"].as_str()?;
        let outcome = match &self.result {
            Ok(output) => output["outcome"].as_str().unwrap_or_default(),
            Err(error) => &error.error,
        };
        Some((interface, outcome))
    }

    /// The error that it ended with, if it failed.
    pub fn error(&self) -> Option<&StateError> {
        self.result.as_ref().err()
    }

    /// Runs the same definition on the same input, with the tasks answered as they were: it goes through the same
    /// states to the same end.
    pub fn is_told_by_the_interpreter_too(&self) {
        let definition = workflow::deployed(self.definition, "aws").expect("a definition is JSON");
        let name = self.arn.rsplit(':').next().unwrap_or_default();
        let replay = Replay {
            answers: RefCell::new(self.answers.iter().cloned().collect()),
        };
        let execution = Execution {
            definition: &definition,
            arn: &self.arn,
            name,
            tasks: &replay,
            random: Rc::new(RefCell::new(fastrand::Rng::with_seed(1))),
            now: &jiff::Timestamp::now,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime can be built");
        let ended = runtime.block_on(execution.run(self.input.clone()));
        // The stand-in does not tell of the states of a Map's iterations.
        let path: Vec<&String> = ended
            .path
            .iter()
            .filter(|state| definition["States"].get(state).is_some())
            .collect();
        assert_eq!(path, self.path.iter().collect::<Vec<_>>(), "{}", self.arn);
        let left = replay.answers.into_inner();
        assert!(left.is_empty(), "{}: nobody asked for {left:?}", self.arn);
        match (&ended.result, &self.result) {
            (Ok(ours), Ok(theirs)) => {
                assert!(
                    !self.ends_with_a_task || ours == theirs,
                    "{}: {ours} is not {theirs}",
                    self.arn
                );
            }
            (ours, theirs) => assert_eq!(
                ours.as_ref().map_err(|error| &error.error).err(),
                theirs.as_ref().map_err(|error| &error.error).err(),
                "{}",
                self.arn
            ),
        }
    }
}

/// Tasks that are answered as they were.
struct Replay {
    answers: RefCell<VecDeque<Answered>>,
}

impl Tasks for Replay {
    fn run<'a>(
        &'a self,
        resource: &'a str,
        arguments: Value,
    ) -> Pin<Box<dyn Future<Output = Result<Value, StateError>> + 'a>> {
        let mut answers = self.answers.borrow_mut();
        // The iterations of a Map are under way at once: an execution's ARN tells which of them it was started by.
        let is_its = |answered: &Answered| {
            let started = answered
                .answer
                .as_ref()
                .ok()
                .and_then(|answer| answer["ExecutionArn"].as_str());
            answered.resource == resource
                && started.is_none_or(|arn| arn.ends_with(arguments["Name"].as_str().unwrap_or_default()))
        };
        let found = answers.iter().position(is_its).and_then(|at| answers.remove(at));
        let unknown = || {
            StateError::new(
                "Unrecorded",
                format!("no answer is left for {resource} with {arguments}"),
            )
        };
        let answer = found.map_or_else(|| Err(unknown()), |answered| answered.answer);
        Box::pin(std::future::ready(answer))
    }
}
