//! Runs the state machines' real definitions without Step Functions, on tokio's clock: with the clock paused, a
//! retry that waits an hour takes no time.
//!
//! What the project's definitions use is here: Task, Map (inline), Choice, Pass, Wait, Succeed and Fail;
//! JSONata, `Assign`, `Output`, `Retry` with backoff and jitter, `Catch`. Anything else is an error that names
//! it, not something that is passed over (Amazon States Language specification,
//! <https://states-language.net/spec.html>; Step Functions guide, "Transforming data with JSONata",
//! <https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html>). `tests/cases` holds it to
//! executions that were recorded on AWS.

mod jsonata;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use futures::stream::{StreamExt as _, TryStreamExt as _, iter};
use jiff::Timestamp;
use jsonata_core::value::{JMap, JValue};
use serde_json::Value;

use jsonata::{Scope, json};

/// A definition as it is deployed in a partition, such as `aws`. Functions and state machines keep the names of their
/// substitutions.
pub fn deployed(definition: &str, partition: &str) -> serde_json::Result<Value> {
    serde_json::from_str(&definition.replace("${Partition}", partition))
}

/// The values that `Assign` has given to variables.
type Variables = BTreeMap<String, JValue>;

/// An error of a state: its name, which `Retry` and `Catch` match, and its cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}: {cause}")]
pub struct StateError {
    /// The error's name.
    pub error: String,
    /// What it is in words, or the JSON that a Lambda function answered with.
    pub cause: String,
}

impl StateError {
    /// An error of this name and cause.
    pub fn new(error: impl Into<String>, cause: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            cause: cause.into(),
        }
    }

    fn query(cause: impl Into<String>) -> Self {
        Self::new("States.QueryEvaluationError", cause)
    }

    fn definition(cause: impl Into<String>) -> Self {
        Self::new("States.Runtime", cause)
    }
}

/// What a Task calls.
pub trait Tasks {
    /// Carries out the task of this resource with these arguments, both as in the definition.
    fn run<'a>(
        &'a self,
        resource: &'a str,
        arguments: Value,
    ) -> Pin<Box<dyn Future<Output = Result<Value, StateError>> + 'a>>;
}

/// How an execution ended, and what it went through.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// The output, or the error.
    pub result: Result<Value, StateError>,
    /// The states entered, in order, those of a Map's iterations among them. Step Functions charges a
    /// transition for each, and for each retry.
    pub path: Vec<String>,
    /// How often a state was tried again.
    pub retries: usize,
    /// Where it stopped, if it failed.
    pub stopped: Option<Stopped>,
}

/// Where an execution failed, with all that it goes on from when it is redriven.
#[derive(Debug, Clone, PartialEq)]
pub struct Stopped {
    state: String,
    input: JValue,
    variables: Variables,
}

/// An execution about to run.
pub struct Execution<'a> {
    /// The definition, its substitutions made.
    pub definition: &'a Value,
    /// The execution's ARN.
    pub arn: &'a str,
    /// The execution's name.
    pub name: &'a str,
    /// What its tasks call.
    pub tasks: &'a dyn Tasks,
    /// Where jitter is drawn from.
    pub random: Rc<RefCell<fastrand::Rng>>,
    /// What time it is, for a Wait until a time.
    pub now: &'a dyn Fn() -> Timestamp,
}

#[derive(Default)]
struct Trace {
    path: Vec<String>,
    retries: usize,
}

impl Execution<'_> {
    /// Runs the execution to its end.
    pub async fn run(&self, input: Value) -> Ended {
        let start = text(self.definition, "StartAt").map(|state| Stopped {
            state: state.to_owned(),
            input: JValue::from(input),
            variables: Variables::new(),
        });
        match start {
            Ok(start) => self.resume(start).await,
            Err(error) => Ended {
                result: Err(error),
                path: Vec::new(),
                retries: 0,
                stopped: None,
            },
        }
    }

    /// Runs a failed execution from the state that failed, with the same input, to its end (Step Functions API
    /// reference, `RedriveExecution`). Of a Map that failed, every iteration is run again: the real service leaves
    /// out those that succeeded.
    pub async fn resume(&self, mut at: Stopped) -> Ended {
        let trace = RefCell::new(Trace::default());
        let result = self.machine(self.definition, &mut at, &trace).await;
        let Trace { path, retries } = trace.into_inner();
        Ended {
            stopped: result.is_err().then_some(at),
            result: result.and_then(|output| json(&output)),
            path,
            retries,
        }
    }

    /// Runs a machine from `at`, which moves with it, to its end.
    fn machine<'a>(
        &'a self,
        machine: &'a Value,
        at: &'a mut Stopped,
        trace: &'a RefCell<Trace>,
    ) -> Pin<Box<dyn Future<Output = Result<JValue, StateError>> + 'a>> {
        Box::pin(async move {
            loop {
                let name = at.state.clone();
                let state = machine["States"]
                    .get(&name)
                    .ok_or_else(|| StateError::definition(format!("there is no state {name}")))?;
                trace.borrow_mut().path.push(name.clone());
                let next = self
                    .state(&name, state, &at.input, &mut at.variables, trace)
                    .await?;
                match next {
                    Next::State(next, output) => (at.state, at.input) = (next, output),
                    Next::End(output) => return Ok(output),
                }
            }
        })
    }

    async fn state(
        &self,
        name: &str,
        state: &Value,
        input: &JValue,
        variables: &mut Variables,
        trace: &RefCell<Trace>,
    ) -> Result<Next, StateError> {
        known_fields(name, state)?;
        let execution = [("Id", JValue::from(self.arn)), ("Name", JValue::from(self.name))];
        let context = [
            ("Execution", object(execution)),
            ("State", object([("Name", JValue::from(name))])),
        ];
        let scope = Scope::new(
            name,
            [("input", input.clone()), ("context", object(context))],
            variables,
        );
        match text(state, "Type")? {
            "Pass" => leave(state, "Next", &scope, input, variables),
            "Succeed" => Ok(Next::End(output(state, &scope, input)?)),
            "Fail" => Err(failure(state, &scope)?),
            "Wait" => {
                tokio::time::sleep(pause(state, &scope, self.now)?).await;
                leave(state, "Next", &scope, input, variables)
            }
            "Choice" => {
                let (rule, next) = choice(name, state, &scope)?;
                leave(rule, next, &scope, input, variables)
            }
            "Task" | "Map" => match self.attempts(state, &scope, variables, trace).await {
                Ok(result) => leave(state, "Next", &scope.with("result", result), input, variables),
                Err(error) => caught(state, error, scope, variables),
            },
            other => Err(StateError::definition(format!(
                "{name} is of type {other}, which is not known here"
            ))),
        }
    }

    /// Carries out a Task or a Map, and again as long as its `Retry` says so.
    async fn attempts(
        &self,
        state: &Value,
        scope: &Scope<'_>,
        variables: &Variables,
        trace: &RefCell<Trace>,
    ) -> Result<JValue, StateError> {
        let mut tried = vec![0_u64; array(state, "Retry").count()];
        loop {
            let attempt = if state["Type"] == "Task" {
                self.task(state, scope).await
            } else {
                self.map(state, scope, variables, trace).await
            };
            let error = match attempt {
                Ok(result) => return Ok(result),
                Err(error) => error,
            };
            let Some(wait) = self.retry(state, &error, &mut tried) else {
                return Err(error);
            };
            trace.borrow_mut().retries += 1;
            tokio::time::sleep(wait).await;
        }
    }

    async fn task(&self, state: &Value, scope: &Scope<'_>) -> Result<JValue, StateError> {
        let arguments = match state.get("Arguments") {
            Some(template) => json(&scope.fill("Arguments", template)?)?,
            None => Value::Null,
        };
        let run = self.tasks.run(text(state, "Resource")?, arguments);
        let result = match state.get("TimeoutSeconds").and_then(Value::as_u64) {
            Some(seconds) => tokio::time::timeout(Duration::from_secs(seconds), run)
                .await
                .unwrap_or_else(|_| Err(StateError::new("States.Timeout", ""))),
            None => run.await,
        };
        result.map(JValue::from)
    }

    async fn map(
        &self,
        state: &Value,
        scope: &Scope<'_>,
        variables: &Variables,
        trace: &RefCell<Trace>,
    ) -> Result<JValue, StateError> {
        let items = items(state, scope)?;
        let machine = &state["ItemProcessor"];
        let start = text(machine, "StartAt")?;
        let iterations = items.into_iter().enumerate().map(|(index, input)| async move {
            let mut at = Stopped {
                state: start.to_owned(),
                input,
                variables: variables.clone(),
            };
            let result = self.machine(machine, &mut at, trace).await?;
            Ok::<_, StateError>((index, result))
        });
        let at_once = match state.get("MaxConcurrency").and_then(Value::as_u64) {
            None | Some(0) => MOST_AT_ONCE,
            Some(most) => usize::try_from(most).unwrap_or(usize::MAX).min(MOST_AT_ONCE),
        };
        // The first iteration that fails ends the others, and none is started after it.
        let mut results: Vec<(usize, JValue)> =
            iter(iterations).buffer_unordered(at_once).try_collect().await?;
        results.sort_by_key(|(index, _)| *index);
        let results: Vec<JValue> = results.into_iter().map(|(_, result)| result).collect();
        Ok(JValue::from(results))
    }

    /// How long to wait before the state is tried again, if it is to be.
    fn retry(&self, state: &Value, error: &StateError, tried: &mut [u64]) -> Option<Duration> {
        let (retrier, tried) = array(state, "Retry")
            .zip(tried.iter_mut())
            .find(|(retrier, _)| matches(retrier, error))?;
        let number =
            |field: &str, default: f64| retrier.get(field).and_then(Value::as_f64).unwrap_or(default);
        if *tried >= retrier.get("MaxAttempts").and_then(Value::as_u64).unwrap_or(3) {
            return None;
        }
        let exponent = i32::try_from(*tried).unwrap_or(i32::MAX);
        let wait = number("IntervalSeconds", 1.0) * number("BackoffRate", 2.0).powi(exponent);
        let wait = wait.min(number("MaxDelaySeconds", 31_622_400.0));
        *tried += 1;
        let share = if retrier["JitterStrategy"] == "FULL" {
            self.random.borrow_mut().f64()
        } else {
            1.0
        };
        Some(Duration::from_secs_f64(wait * share))
    }
}

/// Iterations of an inline Map that run at once, at most
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/state-map-inline.html>).
const MOST_AT_ONCE: usize = 40;

/// The error of a Fail.
fn failure(state: &Value, scope: &Scope<'_>) -> Result<StateError, StateError> {
    let field = |field: &str| {
        let Some(template) = state.get(field) else {
            return Ok(String::new());
        };
        let value = scope.fill(field, template)?;
        let text = value.as_str().map(str::to_owned);
        text.ok_or_else(|| scope.unexpected(field, template, "string", &value))
    };
    Ok(StateError::new(field("Error")?, field("Cause")?))
}

/// How long a Wait takes: so many seconds, or until a time, which may be over.
fn pause(state: &Value, scope: &Scope<'_>, now: &dyn Fn() -> Timestamp) -> Result<Duration, StateError> {
    if let Some(template) = state.get("Timestamp") {
        let value = scope.fill("Timestamp", template)?;
        let until: Timestamp = value
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| scope.unexpected("Timestamp", template, "timestamp", &value))?;
        let left = until.duration_since(now());
        return Ok(Duration::try_from(left).unwrap_or_default());
    }
    let template = &state["Seconds"];
    let value = scope.fill("Seconds", template)?;
    let seconds = json(&value)?
        .as_u64()
        .ok_or_else(|| scope.unexpected("Seconds", template, "number", &value))?;
    Ok(Duration::from_secs(seconds))
}

/// What a Choice is left by, and the field of it that names what is next: the first rule whose condition holds, or the
/// state itself where it has a default.
fn choice<'a>(
    name: &str,
    state: &'a Value,
    scope: &Scope<'_>,
) -> Result<(&'a Value, &'static str), StateError> {
    for choice in array(state, "Choices") {
        let template = &choice["Condition"];
        match scope.fill("Condition", template)? {
            JValue::Bool(true) => return Ok((choice, "Next")),
            JValue::Bool(false) => {}
            other => return Err(scope.unexpected("Condition", template, "boolean", &other)),
        }
    }
    if state.get("Default").is_none() {
        return Err(StateError::new(
            "States.NoChoiceMatched",
            format!("no choice of {name} matched"),
        ));
    }
    Ok((state, "Default"))
}

/// Leaves a state that has failed by its first catcher of the error. Without one, the error stands.
fn caught(
    state: &Value,
    error: StateError,
    scope: Scope<'_>,
    variables: &mut Variables,
) -> Result<Next, StateError> {
    let Some(catcher) = array(state, "Catch").find(|catcher| matches(catcher, &error)) else {
        return Err(error);
    };
    let error = object([
        ("Error", JValue::from(error.error)),
        ("Cause", JValue::from(error.cause)),
    ]);
    leave(
        catcher,
        "Next",
        &scope.with("errorOutput", error.clone()),
        &error,
        variables,
    )
}

/// The items of a Map: what its field gives, or its input.
fn items(state: &Value, scope: &Scope<'_>) -> Result<Vec<JValue>, StateError> {
    let entries = |value: &JValue| match value {
        JValue::Array(items) => Some(items.iter().cloned().collect()),
        _ => None,
    };
    if let Some(template) = state.get("Items") {
        let items = scope.fill("Items", template)?;
        return entries(&items).ok_or_else(|| scope.unexpected("Items", template, "array", &items));
    }
    let input = scope.member("input").unwrap_or(&JValue::Null);
    entries(input).ok_or_else(|| {
        let input = json(input).unwrap_or_default();
        scope.failed(&format!("Map state input must be an array but was: {input}"))
    })
}

/// Leaves a state, a choice's rule or a catcher: assigns variables, makes the output, names what is next: what the
/// field `Next` or `Default` says.
fn leave(
    from: &Value,
    next: &str,
    scope: &Scope<'_>,
    fallback: &JValue,
    variables: &mut Variables,
) -> Result<Next, StateError> {
    let unchanged = scope.member("result").unwrap_or(fallback);
    // Both see the variables as they were.
    let output = output(from, scope, unchanged)?;
    if let Some(assign) = from.get("Assign") {
        let JValue::Object(values) = scope.fill("Assign", assign)? else {
            return Err(StateError::definition("Assign is not an object"));
        };
        variables.extend(values.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    Ok(match from.get(next).and_then(Value::as_str) {
        Some(next) => Next::State(next.to_owned(), output),
        None => Next::End(output),
    })
}

enum Next {
    State(String, JValue),
    End(JValue),
}

fn output(state: &Value, scope: &Scope<'_>, unchanged: &JValue) -> Result<JValue, StateError> {
    match state.get("Output") {
        Some(template) => scope.fill("Output", template),
        None => Ok(unchanged.clone()),
    }
}

/// The fields that are known here, of states of any type.
const FIELDS: [&str; 21] = [
    "Arguments",
    "Assign",
    "Catch",
    "Cause",
    "Choices",
    "Comment",
    "Default",
    "End",
    "Error",
    "ItemProcessor",
    "Items",
    "MaxConcurrency",
    "Next",
    "Output",
    "QueryLanguage",
    "Resource",
    "Retry",
    "Seconds",
    "TimeoutSeconds",
    "Timestamp",
    "Type",
];

fn known_fields(name: &str, state: &Value) -> Result<(), StateError> {
    let mut fields = state.as_object().into_iter().flat_map(|fields| fields.keys());
    match fields.find(|field| !FIELDS.contains(&field.as_str())) {
        Some(field) => Err(StateError::definition(format!(
            "{name} has the field {field}, which is not known here"
        ))),
        None => Ok(()),
    }
}

fn object<const N: usize>(members: [(&str, JValue); N]) -> JValue {
    let members = members.into_iter().map(|(name, value)| (name.to_owned(), value));
    JValue::Object(Rc::new(members.collect::<JMap>()))
}

fn text<'a>(state: &'a Value, field: &str) -> Result<&'a str, StateError> {
    state
        .get(field)
        .and_then(Value::as_str)
        .ok_or_else(|| StateError::definition(format!("{field} is missing in {state}")))
}

fn array<'a>(state: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    state.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn matches(rule: &Value, error: &StateError) -> bool {
    array(rule, "ErrorEquals")
        .filter_map(Value::as_str)
        .any(|name| match name {
            "States.ALL" => true,
            "States.TaskFailed" => error.error != "States.Timeout",
            name => name == error.error,
        })
}
