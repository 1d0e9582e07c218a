//! Executions of the state machines: listed, described, and their histories read.

pub mod cause;
mod listing;

use std::fmt;

use aws_sdk_sfn::error::ProvideErrorMetadata as _;
use aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput;
use aws_sdk_sfn::operation::get_execution_history::GetExecutionHistoryOutput;
use aws_sdk_sfn::operation::get_execution_history::builders::GetExecutionHistoryFluentBuilder;
use aws_sdk_sfn::primitives::DateTime;
use aws_sdk_sfn::types::{ExecutionRedriveStatus, ExecutionStatus, HistoryEvent, HistoryEventType};
use jiff::Timestamp;
use local_stack::stack::Outputs;
use serde_json::{Value, json};

use crate::account::aws::Service;
use crate::account::deployment::Deployment;
use crate::account::step_functions::Call;
use crate::error::Error;
use crate::investigate::advice::{Remedy, advice};
use crate::investigate::executions::cause::Cause;

pub use listing::{Listed, Listing, Wanted, describe_all, list, newest};

/// So many are asked for at once: as many as Step Functions gives.
const PAGE: i32 = 1000;

/// The state machines of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Machine {
    /// One execution for each instance that starts.
    MirrorInstance,
    /// One execution for each interface that is to be mirrored.
    MirrorInterface,
    /// One execution for each instance that ends.
    ReleaseInstance,
    /// The ledger and EC2 brought together again.
    Reconcile,
    /// One execution for each session that is to be moved.
    MoveInterface,
    /// One execution for each session that is to end.
    UnmirrorInterface,
    /// A sensor is emptied.
    DrainSensor,
    /// The loads are evened out.
    Rebalance,
    /// The sessions of many interfaces are ended.
    UnmirrorAll,
    /// A page of what the last three do.
    ChangeSessions,
}

impl Machine {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::MirrorInstance,
        Self::MirrorInterface,
        Self::ReleaseInstance,
        Self::Reconcile,
        Self::MoveInterface,
        Self::UnmirrorInterface,
        Self::DrainSensor,
        Self::Rebalance,
        Self::UnmirrorAll,
        Self::ChangeSessions,
    ];

    /// Those whose failures are worth replaying all together. What an operator has started is planned anew by whoever
    /// starts it again: a session that was to end yesterday is not to end today.
    pub const REPLAYED: [Self; 4] = [
        Self::MirrorInstance,
        Self::MirrorInterface,
        Self::ReleaseInstance,
        Self::Reconcile,
    ];

    /// Its name, as its definition is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MirrorInstance => "mirror-instance",
            Self::MirrorInterface => "mirror-interface",
            Self::ReleaseInstance => "release-instance",
            Self::Reconcile => "reconcile",
            Self::MoveInterface => "move-interface",
            Self::UnmirrorInterface => "unmirror-interface",
            Self::DrainSensor => "drain-sensor",
            Self::Rebalance => "rebalance",
            Self::UnmirrorAll => "unmirror-all",
            Self::ChangeSessions => "change-sessions",
        }
    }

    /// Its ARN in this deployment.
    pub fn arn(self, outputs: &Outputs) -> &str {
        match self {
            Self::MirrorInstance => &outputs.mirror_instance_state_machine_arn,
            Self::MirrorInterface => &outputs.mirror_interface_state_machine_arn,
            Self::ReleaseInstance => &outputs.release_instance_state_machine_arn,
            Self::Reconcile => &outputs.reconcile_state_machine_arn,
            Self::MoveInterface => &outputs.move_interface_state_machine_arn,
            Self::UnmirrorInterface => &outputs.unmirror_interface_state_machine_arn,
            Self::DrainSensor => &outputs.drain_sensor_state_machine_arn,
            Self::Rebalance => &outputs.rebalance_state_machine_arn,
            Self::UnmirrorAll => &outputs.unmirror_all_state_machine_arn,
            Self::ChangeSessions => &outputs.change_sessions_state_machine_arn,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An execution, as Step Functions describes it.
#[derive(Debug, Clone)]
pub struct Execution {
    /// Its ARN.
    pub arn: String,
    /// Its name, the last part of the ARN.
    pub name: String,
    /// The state machine that it runs.
    pub machine: Machine,
    /// Whether it runs, and how it ended.
    pub status: ExecutionStatus,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub stopped: Option<Timestamp>,
    /// What it was started with.
    pub input: Value,
    /// The same, as it was written.
    pub input_text: Option<String>,
    /// What it ended with, where it ended well.
    pub output: Option<Value>,
    /// The name of the error that it ended with.
    pub error: Option<String>,
    /// The error's cause, in words or in JSON.
    pub cause: Option<String>,
    /// How often it was redriven.
    pub redrive_count: i32,
    /// Whether it can be redriven.
    pub redrive_status: Option<ExecutionRedriveStatus>,
    /// Why it cannot, in Step Functions' words.
    pub redrive_status_reason: Option<String>,
}

/// The state that an execution entered last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastState {
    /// Its name in the definition.
    pub name: String,
    /// Whether it is a Fail state.
    pub only_fails: bool,
}

impl Execution {
    /// The instance that it is for.
    pub fn instance_id(&self) -> Option<&str> {
        let known = self.input.pointer("/detail/instance-id");
        known.or_else(|| self.input.get("instanceId"))?.as_str()
    }

    /// The interface that it is for.
    pub fn interface_id(&self) -> Option<&str> {
        let told = self.input.get("interfaceId").and_then(Value::as_str);
        told.or_else(|| match self.machine {
            Machine::MirrorInterface | Machine::MoveInterface | Machine::UnmirrorInterface => {
                listing::interface_of(&self.name)
            }
            _ => None,
        })
    }

    /// What it is for: the interface, else the instance, else the sensor, else nothing in particular.
    pub fn subject(&self) -> &str {
        let sensor = || self.input.get("targetId").and_then(Value::as_str);
        let subject = self.interface_id().or_else(|| self.instance_id());
        subject.or_else(sensor).unwrap_or("-")
    }

    /// What became of it, where it ended well and says so.
    pub fn outcome(&self) -> Option<&str> {
        self.output.as_ref()?.get("outcome")?.as_str()
    }

    /// Whether it ended, and not well.
    pub fn has_failed(&self) -> bool {
        FAILED.contains(&self.status)
    }

    /// Whether it has come to an end, for now: it may be redriven.
    pub fn has_ended(&self) -> bool {
        self.has_failed() || self.status == ExecutionStatus::Succeeded
    }

    /// The error's name. One that timed out or was aborted may have none of its own.
    pub fn error_name(&self) -> Option<&str> {
        match self.status {
            _ if self.error.is_some() => self.error.as_deref(),
            ExecutionStatus::TimedOut => Some("States.Timeout"),
            ExecutionStatus::Aborted => Some("ABORTED"),
            ExecutionStatus::Failed => Some("an error without a name"),
            _ => None,
        }
    }

    /// What to do about its end: one that was stopped is to be gone on with, whatever the one who stopped it said.
    pub fn advice(&self) -> Option<(Remedy, &'static str)> {
        let error = self.error_name().filter(|_| self.has_failed())?;
        Some(match self.status {
            ExecutionStatus::Aborted => advice("ABORTED"),
            _ => advice(error),
        })
    }

    /// The cause in one line, as short as it can be said.
    pub fn cause_in_short(&self) -> Option<String> {
        let cause = self.cause.as_deref().filter(|cause| !cause.is_empty())?;
        Some(Cause::of(cause).in_short())
    }

    /// How long it took, or has taken so far.
    pub fn seconds(&self, now: Timestamp) -> f64 {
        seconds_between(self.started, self.stopped.unwrap_or(now))
    }

    /// The execution as a member of what `--json` prints.
    pub fn in_json(&self) -> Value {
        json!({
            "arn": self.arn, "name": self.name, "machine": self.machine.as_str(),
            "instanceId": self.instance_id(), "interfaceId": self.interface_id(),
            "status": self.status.as_str(), "started": self.started.to_string(),
            "stopped": self.stopped.map(|time| time.to_string()),
            "seconds": self.stopped.map(|time| seconds_between(self.started, time)),
            "outcome": self.outcome(), "error": self.error_name(), "cause": self.cause_in_short(),
            "redriveCount": self.redrive_count,
            "redriveStatus": self.redrive_status.as_ref().map(ExecutionRedriveStatus::as_str),
        })
    }

    fn of(machine: Machine, described: DescribeExecutionOutput) -> Self {
        let json = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        Self {
            name: short_name(&described.execution_arn).to_owned(),
            machine,
            status: described.status,
            started: timestamp(&described.start_date),
            stopped: described.stop_date.as_ref().map(timestamp),
            input: described.input.as_deref().map_or(Value::Null, json),
            input_text: described.input,
            output: described.output.as_deref().map(json),
            error: described.error.filter(|error| !error.is_empty()),
            cause: described.cause.filter(|cause| !cause.is_empty()),
            redrive_count: described.redrive_count.unwrap_or_default(),
            redrive_status: described.redrive_status,
            redrive_status_reason: described.redrive_status_reason,
            arn: described.execution_arn,
        }
    }
}

/// The ends that are not good.
const FAILED: [ExecutionStatus; 3] = [
    ExecutionStatus::Failed,
    ExecutionStatus::TimedOut,
    ExecutionStatus::Aborted,
];

/// Describes one. `None` where there is none of that ARN. Step Functions shows what happened a little late (API
/// reference, `DescribeExecution`).
pub async fn describe(
    deployment: &Deployment,
    machine: Machine,
    arn: String,
) -> Result<Option<Execution>, Error> {
    let described = described(deployment, &arn).await?;
    Ok(described.map(|described| Execution::of(machine, described)))
}

async fn described(deployment: &Deployment, arn: &str) -> Result<Option<DescribeExecutionOutput>, Error> {
    let answer = deployment
        .states
        .call(Call::DescribeExecution, |states| {
            states.describe_execution().execution_arn(arn).send()
        })
        .await;
    match answer {
        Ok(described) => Ok(Some(described)),
        // What cannot be an execution's name is none's.
        Err(error) if matches!(error.code(), Some("ExecutionDoesNotExist" | "InvalidArn")) => Ok(None),
        Err(error) => Err(deployment
            .account
            .refused(&Service::STEP_FUNCTIONS, "DescribeExecution", &error)),
    }
}

/// Step Functions answers, and shows no execution of this ARN or name.
pub fn not_shown(deployment: &Deployment, reference: &str) -> Error {
    Error::NotShown {
        service: Service::STEP_FUNCTIONS.name,
        what: format!("execution {}", crate::account::aws::one_line(reference)),
        place: deployment.account.place().to_owned(),
    }
}

/// The ARN of the execution of this name.
pub fn arn(deployment: &Deployment, machine: Machine, name: &str) -> String {
    let machine = machine
        .arn(&deployment.outputs)
        .replacen(":stateMachine:", ":execution:", 1);
    format!("{machine}:{name}")
}

/// The execution of this ARN or name.
pub async fn find(deployment: &Deployment, reference: &str) -> Result<Execution, Error> {
    let not_shown = || not_shown(deployment, reference);
    if reference.starts_with("arn:") {
        let described = described(deployment, reference).await?.ok_or_else(not_shown)?;
        let machine = Machine::ALL
            .into_iter()
            .find(|machine| machine.arn(&deployment.outputs) == described.state_machine_arn)
            .ok_or_else(|| Error::NoAnswer {
                place: crate::account::aws::one_line(reference),
                cause: format!(
                    "it is an execution of {}, which is no state machine of the stack {}; give the stack with --stack",
                    crate::account::aws::one_line(&described.state_machine_arn),
                    deployment.stack
                ),
            })?;
        return Ok(Execution::of(machine, described));
    }
    // Most names are of those that run by themselves: each machine that is asked costs a call.
    let (usual, others): (Vec<Machine>, Vec<Machine>) = Machine::ALL
        .into_iter()
        .partition(|machine| Machine::REPLAYED.contains(machine));
    let mut found = Vec::new();
    for machines in [usual, others] {
        let asked = machines.into_iter().map(|machine| {
            let arn = arn(deployment, machine, reference);
            describe(deployment, machine, arn)
        });
        found = futures::future::try_join_all(asked)
            .await?
            .into_iter()
            .flatten()
            .collect();
        if !found.is_empty() {
            break;
        }
    }
    if found.len() > 1 {
        let arns: Vec<&str> = found.iter().map(|execution| execution.arn.as_str()).collect();
        return Err(Error::NoAnswer {
            place: crate::account::aws::one_line(reference),
            cause: format!(
                "several executions have this name; give the ARN: {}",
                arns.join(" or ")
            ),
        });
    }
    found.pop().ok_or_else(not_shown)
}

/// Everything that happened in an execution, in order.
pub async fn history(deployment: &Deployment, arn: &str) -> Result<Vec<HistoryEvent>, Error> {
    let mut events = Vec::new();
    let mut next = None;
    loop {
        let page = history_page(deployment, arn, next, |request| {
            request.include_execution_data(true)
        })
        .await?;
        events.extend(page.events);
        next = page.next_token;
        if next.is_none() {
            return Ok(events);
        }
    }
}

/// The state that an execution entered last.
pub async fn last_state(deployment: &Deployment, arn: &str) -> Result<Option<LastState>, Error> {
    let mut next = None;
    loop {
        let page = history_page(deployment, arn, next, |request| {
            request.include_execution_data(false).reverse_order(true)
        })
        .await?;
        let entered = page.events.into_iter().find_map(|event| {
            Some(LastState {
                only_fails: event.r#type == HistoryEventType::FailStateEntered,
                name: event.state_entered_event_details?.name,
            })
        });
        next = page.next_token;
        if entered.is_some() || next.is_none() {
            return Ok(entered);
        }
    }
}

async fn history_page(
    deployment: &Deployment,
    arn: &str,
    next: Option<String>,
    how: impl Fn(GetExecutionHistoryFluentBuilder) -> GetExecutionHistoryFluentBuilder,
) -> Result<GetExecutionHistoryOutput, Error> {
    let answer = deployment
        .states
        .call(Call::GetExecutionHistory, |states| {
            let request = states.get_execution_history().execution_arn(arn);
            how(request.max_results(PAGE).set_next_token(next.clone())).send()
        })
        .await;
    answer.map_err(
        deployment
            .account
            .refusal(&Service::STEP_FUNCTIONS, "GetExecutionHistory"),
    )
}

/// The name at the end of an execution's ARN.
pub fn short_name(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or(arn)
}

/// A time of the SDK.
pub fn timestamp(time: &DateTime) -> Timestamp {
    let nanoseconds = i32::try_from(time.subsec_nanos()).unwrap_or_default();
    // A time beyond the year 9999 is none that an execution has.
    Timestamp::new(time.secs(), nanoseconds).unwrap_or(Timestamp::MAX)
}

/// Seconds from one time to another, to the millisecond.
pub fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    (to.duration_since(from).as_secs_f64() * 1000.0).round() / 1000.0
}

/// A time to the second, in UTC.
pub fn to_the_second(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second())
        .unwrap_or(time)
        .to_string()
}
