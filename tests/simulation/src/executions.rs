//! Step Functions: starts, runs and redrives executions of the real definitions.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use futures::FutureExt as _;
use serde_json::{Value, json};
use stage_tests::pipeline::{Pipeline, definition, outcome};
use tokio::sync::Notify;
use workflow::{Ended, Execution, StateError, Stopped, Tasks};

use crate::functions;
use crate::journal::{Journal, Violation};
use crate::plant::Plant;
use crate::wire::Net;

/// A state machine of the stack: its name, its substitution in the other definitions, its definition.
macro_rules! machine {
    ($name:literal, $substitution:literal) => {
        (
            $name,
            concat!("${", $substitution, "StateMachineArn}"),
            definition(include_str!(concat!(
                "../../../statemachine/",
                $name,
                ".asl.json"
            ))),
        )
    };
}

/// Every state machine of the stack.
static MACHINES: LazyLock<Vec<(&str, &str, Value)>> = LazyLock::new(|| {
    vec![
        machine!("mirror-instance", "MirrorInstance"),
        machine!("mirror-interface", "MirrorInterface"),
        machine!("release-instance", "ReleaseInstance"),
        machine!("reconcile", "Reconcile"),
        machine!("move-interface", "MoveInterface"),
        machine!("unmirror-interface", "UnmirrorInterface"),
        machine!("change-sessions", "ChangeSessions"),
        machine!("drain-sensor", "DrainSensor"),
        machine!("rebalance", "Rebalance"),
        machine!("unmirror-all", "UnmirrorAll"),
    ]
});

/// More tasks than any execution needs: one that goes in circles is stopped.
const MOST_TASKS: usize = 1000;

/// An execution, of which there is one for each ARN.
struct Record {
    machine: &'static str,
    name: String,
    input: Value,
    /// How it ended, once it has.
    ended: Option<Ended>,
}

/// The state machines and their executions.
pub(crate) struct StepFunctions {
    pub(crate) pipeline: Pipeline,
    net: Net,
    journal: Journal,
    plant: Option<Plant>,
    random: Rc<RefCell<fastrand::Rng>>,
    executions: RefCell<BTreeMap<String, Record>>,
    running: Cell<usize>,
    ended: Notify,
}

impl StepFunctions {
    pub(crate) fn new(
        pipeline: Pipeline,
        net: Net,
        journal: Journal,
        plant: Option<Plant>,
        random: fastrand::Rng,
    ) -> Self {
        Self {
            pipeline,
            net,
            journal,
            plant,
            random: Rc::new(RefCell::new(random)),
            executions: RefCell::default(),
            running: Cell::new(0),
            ended: Notify::new(),
        }
    }

    /// Starts an execution, and answers with its ARN. One of this name that runs with the same input is the same
    /// execution; any other of this name is in the way (Step Functions API reference, `StartExecution`).
    pub(crate) fn start(
        self: &Rc<Self>,
        machine: &str,
        name: &str,
        input: Value,
    ) -> Result<String, StateError> {
        let (machine, _, _) = MACHINES
            .iter()
            .find(|(known, _, _)| *known == machine)
            .expect("the machine is one of the stack");
        let arn = format!("arn:aws:states:us-east-1:000000000000:execution:{machine}:{name}");
        let mut executions = self.executions.borrow_mut();
        if let Some(other) = executions.get(&arn) {
            if other.ended.is_none() && other.input == input {
                return Ok(arn);
            }
            return Err(StateError::new(
                "StepFunctions.ExecutionAlreadyExistsException",
                format!("Execution Already Exists: '{arn}'"),
            ));
        }
        self.journal.step(&format!("{machine} {name} starts"));
        executions.insert(
            arn.clone(),
            Record {
                machine,
                name: name.to_owned(),
                input: input.clone(),
                ended: None,
            },
        );
        drop(executions);
        self.go(arn.clone(), From::Start(input));
        Ok(arn)
    }

    /// Starts an execution of a name of its own, after a while.
    pub(crate) fn start_after(self: &Rc<Self>, after: Duration, machine: &'static str, input: Value) {
        let this = Rc::clone(self);
        let name = format!("{:032x}", self.random.borrow_mut().u128(..));
        self.running.set(self.running.get() + 1);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(after).await;
            let _ = this.start(machine, &name, input);
            this.has_ended();
        });
    }

    /// Runs an execution of a name of its own to its end: what it ends with.
    pub(crate) async fn to_its_end(
        self: &Rc<Self>,
        machine: &'static str,
        input: Value,
    ) -> Result<Value, StateError> {
        let name = format!("{:032x}", self.random.borrow_mut().u128(..));
        let arn = self.start(machine, &name, input)?;
        self.end_of(&arn).await
    }

    /// EventBridge hands an instance's change of state to the rule that it matches: at least once, some of them late,
    /// in no order.
    pub(crate) fn publish(self: &Rc<Self>, source: &str, instance_id: &str, state: &str) {
        let machine = match state {
            "running" => "mirror-instance",
            "shutting-down" | "terminated" => "release-instance",
            _ => return,
        };
        let mut event = Pipeline::running(instance_id);
        event["source"] = json!(source);
        event["detail"]["state"] = json!(state);
        let times = if self.below(8) == 0 { 2 } else { 1 };
        for _ in 0..times {
            let late = match self.below(12) {
                0 => self.below(600_000),
                1..=3 => self.below(20_000),
                _ => self.below(1_000),
            };
            self.start_after(Duration::from_millis(late), machine, event.clone());
        }
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().u64(0..bound)
    }

    fn has_ended(&self) {
        self.running.set(self.running.get() - 1);
        self.ended.notify_waiters();
    }

    /// Goes on with a failed execution from the state that failed.
    pub(crate) fn redrive(self: &Rc<Self>, arn: &str) {
        let stopped = {
            let mut executions = self.executions.borrow_mut();
            let execution = executions.get_mut(arn);
            execution.and_then(|execution| execution.ended.take_if(|ended| ended.stopped.is_some())?.stopped)
        };
        if let Some(stopped) = stopped {
            self.journal.step(&format!("redrive of {arn}"));
            self.go(arn.to_owned(), From::Stop(stopped));
        }
    }

    fn go(self: &Rc<Self>, arn: String, from: From) {
        let this = Rc::clone(self);
        self.running.set(self.running.get() + 1);
        tokio::task::spawn_local(async move {
            let (machine, name) = {
                let executions = this.executions.borrow();
                (executions[&arn].machine, executions[&arn].name.clone())
            };
            if let Ok(ended) = AssertUnwindSafe(this.run(machine, &arn, &name, from))
                .catch_unwind()
                .await
            {
                let cause = ended.result.as_ref().err().map_or("", |error| &error.cause);
                this.journal.check(fails_as_it_may(&arn, &ended));
                this.journal
                    .note(&format!("{machine} {name}: {} {cause}", outcome(&ended)));
                if let Some(execution) = this.executions.borrow_mut().get_mut(&arn) {
                    execution.ended = Some(ended);
                }
            } else {
                this.journal.check(Err(Violation::new(
                    "running",
                    "no panic",
                    format!("one in {arn}"),
                )));
            }
            this.has_ended();
        });
    }

    async fn run(self: &Rc<Self>, machine: &str, arn: &str, name: &str, from: From) -> Ended {
        let (_, _, definition) = MACHINES
            .iter()
            .find(|(known, _, _)| *known == machine)
            .expect("the machine is one of the stack");
        let tasks = Caller {
            functions: self,
            arn,
            called: Cell::new(0),
        };
        let execution = Execution {
            definition,
            arn,
            name,
            tasks: &tasks,
            random: Rc::clone(&self.random),
            now: &|| self.pipeline.aws.clock.now(),
        };
        let limit = Duration::from_secs(definition["TimeoutSeconds"].as_u64().unwrap_or(u64::MAX));
        let run = async {
            match from {
                From::Start(input) => execution.run(input).await,
                From::Stop(stopped) => execution.resume(stopped).await,
            }
        };
        tokio::time::timeout(limit, run).await.unwrap_or_else(|_| Ended {
            result: Err(StateError::new("States.Timeout", "the execution timed out")),
            path: Vec::new(),
            retries: 0,
            stopped: None,
        })
    }

    /// An execution starts another. The call may not arrive, and the answer may be lost.
    fn start_for(self: &Rc<Self>, arguments: &mut Value) -> Result<String, StateError> {
        if self.net.goes_wrong(0.2) {
            return Err(StateError::new(
                "StepFunctions.ThrottlingException",
                "Rate exceeded",
            ));
        }
        let (machine, _, _) = MACHINES
            .iter()
            .find(|(_, substitution, _)| arguments["StateMachineArn"] == **substitution)
            .expect("the machine is one of the stack");
        let name = arguments["Name"].as_str().unwrap_or_default().to_owned();
        let arn = self.start(machine, &name, arguments["Input"].take())?;
        // Started, though the caller does not get to know.
        if self.net.goes_wrong(0.2) {
            return Err(StateError::new("States.Timeout", "no answer"));
        }
        Ok(arn)
    }

    /// Waits for the end of an execution.
    async fn end_of(&self, arn: &str) -> Result<Value, StateError> {
        loop {
            let ended = self.ended.notified();
            let result = {
                let executions = self.executions.borrow();
                executions[arn].ended.as_ref().map(|ended| ended.result.clone())
            };
            match result {
                Some(result) => return result,
                None => ended.await,
            }
        }
    }

    /// Waits until no execution runs.
    pub(crate) async fn idle(&self) {
        while self.running.get() > 0 {
            self.ended.notified().await;
        }
    }

    /// Every execution of a machine, with its input, as they were started.
    pub(crate) fn inputs(&self) -> Vec<(&'static str, Value)> {
        let executions = self.executions.borrow();
        executions
            .values()
            .map(|execution| (execution.machine, execution.input.clone()))
            .collect()
    }

    /// The executions that failed and can be redriven.
    pub(crate) fn failed(&self) -> Vec<String> {
        let executions = self.executions.borrow();
        let failed = executions.iter().filter(|(_, execution)| {
            let ended = execution.ended.as_ref();
            ended.is_some_and(|ended| ended.stopped.is_some())
        });
        failed.map(|(arn, _)| arn.clone()).collect()
    }
}

/// Errors that no execution may fail with here: a definition deals with them, or a person would have to act, though all
/// settings are right and everything is allowed.
const NEVER: [&str; 15] = [
    "AccessDenied",
    "InstanceNotFound",
    "InterfaceNotReady",
    "InvalidConfiguration",
    "InvalidEvent",
    "LedgerUnreadable",
    "QuotaExceeded",
    "ReservationStale",
    "SessionRefused",
    "SensorDown",
    "SensorFull",
    "SensorUncounted",
    "SourceNotMirrorable",
    "States.QueryEvaluationError",
    "States.Runtime",
];

fn fails_as_it_may(arn: &str, ended: &Ended) -> Result<(), Violation> {
    match &ended.result {
        Err(error) if NEVER.contains(&error.error.as_str()) => Err(Violation::new(
            "failures",
            format!("{arn} to fail with what passes, if at all"),
            format!("{}: {}", error.error, error.cause),
        )),
        _ => Ok(()),
    }
}

enum From {
    Start(Value),
    Stop(Stopped),
}

/// What the tasks of one execution call.
struct Caller<'a> {
    functions: &'a Rc<StepFunctions>,
    arn: &'a str,
    called: Cell<usize>,
}

impl Tasks for Caller<'_> {
    fn run<'a>(
        &'a self,
        resource: &'a str,
        mut arguments: Value,
    ) -> Pin<Box<dyn Future<Output = Result<Value, StateError>> + 'a>> {
        Box::pin(async move {
            let this = self.functions;
            self.called.set(self.called.get() + 1);
            if self.called.get() > MOST_TASKS {
                this.journal.check(Err(Violation::new(
                    "running",
                    "an execution that comes to an end",
                    format!("{} in circles", self.arn),
                )));
                return Err(StateError::new("States.Runtime", "too many events"));
            }
            match resource {
                "arn:aws:states:::lambda:invoke" => {
                    let function = arguments["FunctionName"].as_str().unwrap_or_default();
                    let function = function.trim_start_matches("${").trim_end_matches("FunctionArn}");
                    let function = function.to_owned();
                    let payload = arguments["Payload"].take();
                    functions::invoke(&this.pipeline, &this.net, this.plant, &function, payload).await
                }
                "arn:aws:states:::events:putEvents" => {
                    if this.net.goes_wrong(0.2) {
                        return Err(StateError::new(
                            "EventBridge.InternalException",
                            "Internal Service Error",
                        ));
                    }
                    for entry in arguments["Entries"].as_array().into_iter().flatten() {
                        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                        let detail = &entry["Detail"];
                        this.publish(
                            &text(&entry["Source"]),
                            &text(&detail["instance-id"]),
                            &text(&detail["state"]),
                        );
                    }
                    // On the bus, though the caller does not get to know.
                    if this.net.goes_wrong(0.2) {
                        return Err(StateError::new("States.Timeout", "no answer"));
                    }
                    Ok(json!({"FailedEntryCount": 0}))
                }
                "arn:aws:states:::states:startExecution" => {
                    let arn = this.start_for(&mut arguments)?;
                    Ok(json!({"ExecutionArn": arn}))
                }
                // Starts it and waits for its end
                // (<https://docs.aws.amazon.com/step-functions/latest/dg/connect-stepfunctions.html>).
                "arn:aws:states:::states:startExecution.sync:2" => {
                    let arn = this.start_for(&mut arguments)?;
                    match this.end_of(&arn).await {
                        Ok(output) => {
                            Ok(json!({"ExecutionArn": arn, "Output": output, "Status": "SUCCEEDED"}))
                        }
                        Err(error) => {
                            let cause =
                                json!({"Cause": error.cause, "Error": error.error, "Status": "FAILED"});
                            Err(StateError::new("States.TaskFailed", cause.to_string()))
                        }
                    }
                }
                other => panic!("no task of this stack is {other}"),
            }
        })
    }
}
