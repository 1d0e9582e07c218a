//! An execution as its history tells it: the states in order, what failed in them, and what they decided.

use std::collections::HashMap;

use aws_sdk_sfn::types::{HistoryEvent, HistoryEventType};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::decisions::Decisions;
use crate::investigate::executions::cause::Cause;
use crate::investigate::executions::{Execution, seconds_between, timestamp};

/// An execution, told.
#[derive(Debug, Clone, Default)]
pub(super) struct Story {
    /// The states, in the order in which they were entered.
    pub states: Vec<State>,
    /// When it was redriven.
    pub redriven: Vec<Timestamp>,
}

/// A state that was entered.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// Its name in the definition.
    pub name: String,
    /// When it was entered.
    pub entered: Timestamp,
    /// When it was left.
    pub left: Option<Timestamp>,
    /// What it decided, in words.
    pub decided: Vec<String>,
    /// What failed and was tried again.
    pub retries: Vec<Attempt>,
    /// What failed and led to another state.
    pub caught: Option<Attempt>,
    /// What failed for good.
    pub failed: Option<Attempt>,
}

/// A call that failed.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// When.
    pub at: Timestamp,
    /// The error's name.
    pub error: String,
    /// The error's cause.
    pub cause: String,
}

/// A state while its events are read.
struct Reading {
    state: State,
    answered: bool,
    output: Option<Value>,
}

impl Story {
    /// Tells an execution by its history.
    pub(super) fn of(execution: &Execution, history: &[HistoryEvent]) -> Self {
        let mut readings: Vec<Reading> = Vec::new();
        let mut redriven = Vec::new();
        // The state that an event belongs to, by the event's number.
        let mut owners: HashMap<i64, usize> = HashMap::new();
        for event in history {
            let at = timestamp(&event.timestamp);
            if let Some(entered) = event.state_entered_event_details() {
                owners.insert(event.id, readings.len());
                readings.push(Reading::entered(&entered.name, at));
                continue;
            }
            // The iterations of a Map run side by side, so an event is its predecessor's. The local stand-in
            // numbers no predecessors, and has no events within iterations.
            let mut owner = owners
                .get(&event.previous_event_id)
                .copied()
                .or_else(|| readings.len().checked_sub(1));
            if let Some(exited) = event.state_exited_event_details() {
                let is_it =
                    |reading: &Reading| reading.state.name == exited.name && reading.state.left.is_none();
                owner = owner
                    .filter(|&index| is_it(&readings[index]))
                    .or_else(|| readings.iter().rposition(is_it));
                if let Some(index) = owner {
                    readings[index].state.left = Some(at);
                    readings[index].output = parsed(exited.output()).or(readings[index].output.take());
                }
            } else if event.r#type == HistoryEventType::ExecutionRedriven {
                redriven.push(at);
            } else if let Some(index) = owner {
                readings[index].note(event, at);
            }
            if let Some(index) = owner {
                owners.insert(event.id, index);
            }
        }
        Self {
            states: told(readings, execution),
            redriven,
        }
    }

    /// The states as `--json` prints them.
    pub(super) fn in_json(&self) -> Value {
        self.states.iter().map(State::in_json).collect()
    }
}

fn told(readings: Vec<Reading>, execution: &Execution) -> Vec<State> {
    let entered: Vec<Timestamp> = readings.iter().map(|reading| reading.state.entered).collect();
    let mut decisions = Decisions::default();
    let mut states = Vec::with_capacity(readings.len());
    for (index, reading) in readings.into_iter().enumerate() {
        let Reading {
            mut state,
            answered,
            output,
        } = reading;
        let next = entered.get(index + 1).copied();
        if answered {
            if let Some(output) = &output {
                state.decided = decisions.of(&state.name, output);
            }
        } else if let Some(last) = state.retries.pop() {
            if next.is_some() || state.left.is_some() {
                state.caught = Some(last);
            } else if execution.has_failed() {
                state.failed = Some(last);
            } else {
                state.retries.push(last);
            }
        }
        state.left = state.left.or(next).or(execution.stopped);
        states.push(state);
    }
    states
}

impl Reading {
    fn entered(name: &str, at: Timestamp) -> Self {
        Self {
            state: State {
                name: name.to_owned(),
                entered: at,
                left: None,
                decided: Vec::new(),
                retries: Vec::new(),
                caught: None,
                failed: None,
            },
            // A state without a task is not to be answered.
            answered: true,
            output: None,
        }
    }

    /// Takes what happened within the state.
    fn note(&mut self, event: &HistoryEvent, at: Timestamp) {
        if let Some((error, cause)) = failure(event) {
            self.answered = false;
            self.state.retries.push(Attempt { at, error, cause });
        } else if let Some(done) = event.task_succeeded_event_details() {
            self.answered = true;
            let answer = parsed(done.output());
            // The answer of a function is in a member of what Lambda answers.
            self.output = answer.map(|mut answer| match answer.get_mut("Payload") {
                Some(payload) => payload.take(),
                None => answer,
            });
        }
    }
}

/// What an event says has failed.
fn failure(event: &HistoryEvent) -> Option<(String, String)> {
    macro_rules! first_of {
        ($($details:ident),* $(,)?) => {
            $(if let Some(failed) = event.$details() {
                return Some((
                    failed.error().unwrap_or(unnamed(&event.r#type)).to_owned(),
                    failed.cause().unwrap_or_default().to_owned(),
                ));
            })*
        };
    }
    first_of!(
        task_failed_event_details,
        task_timed_out_event_details,
        task_start_failed_event_details,
        task_submit_failed_event_details,
        lambda_function_failed_event_details,
        lambda_function_timed_out_event_details,
        lambda_function_schedule_failed_event_details,
        lambda_function_start_failed_event_details,
        evaluation_failed_event_details,
    );
    None
}

/// The name of an error that has none.
fn unnamed(kind: &HistoryEventType) -> &'static str {
    match kind {
        HistoryEventType::TaskTimedOut | HistoryEventType::LambdaFunctionTimedOut => "States.Timeout",
        _ => "States.TaskFailed",
    }
}

fn parsed(text: Option<&str>) -> Option<Value> {
    serde_json::from_str(text?).ok()
}

impl State {
    /// How long it took.
    pub(super) fn seconds(&self) -> Option<f64> {
        self.left.map(|left| seconds_between(self.entered, left))
    }

    fn in_json(&self) -> Value {
        let mut told = json!({
            "name": self.name, "entered": self.entered.to_string(), "seconds": self.seconds(),
            "decided": self.decided,
            "retries": self.retries.iter().map(Attempt::in_json).collect::<Vec<_>>(),
        });
        for (name, attempt) in [("caught", &self.caught), ("failed", &self.failed)] {
            if let Some(attempt) = attempt {
                told[name] = attempt.in_json();
            }
        }
        told
    }
}

impl Attempt {
    /// The error and its cause on one line.
    pub(super) fn in_words(&self) -> String {
        let cause = Cause::of(&self.cause).in_short();
        let error = crate::account::aws::one_line(&self.error);
        if cause.is_empty() {
            error
        } else {
            format!("{error}: {cause}")
        }
    }

    fn in_json(&self) -> Value {
        json!({"at": self.at.to_string(), "error": self.error, "cause": Cause::of(&self.cause).in_short()})
    }
}
