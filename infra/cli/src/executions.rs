//! Executions of the state machines: listed, described, and their histories read.

pub mod cause;

use std::fmt;

use aws_sdk_sfn::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput;
use aws_sdk_sfn::operation::get_execution_history::GetExecutionHistoryError;
use aws_sdk_sfn::operation::get_execution_history::builders::GetExecutionHistoryFluentBuilder;
use aws_sdk_sfn::primitives::DateTime;
use aws_sdk_sfn::types::{
    ExecutionListItem, ExecutionRedriveStatus, ExecutionStatus, HistoryEvent, HistoryEventType,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::audit::{Remedy, advice};
use crate::aws::Service;
use crate::deployment::Deployment;
use crate::error::Error;
use crate::executions::cause::Cause;
use crate::stack::Outputs;
use crate::terminal::Terminal;

/// How many executions are described at a time.
const DESCRIBED_AT_ONCE: usize = 16;
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
}

impl Machine {
    /// All of them.
    pub const ALL: [Self; 4] = [
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
        }
    }

    /// Its ARN in this deployment.
    pub fn arn(self, outputs: &Outputs) -> &str {
        match self {
            Self::MirrorInstance => &outputs.mirror_instance_state_machine_arn,
            Self::MirrorInterface => &outputs.mirror_interface_state_machine_arn,
            Self::ReleaseInstance => &outputs.release_instance_state_machine_arn,
            Self::Reconcile => &outputs.reconcile_state_machine_arn,
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

/// Which executions are asked for.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// Of these state machines.
    pub machines: &'a [Machine],
    /// Only those that failed, timed out or were aborted.
    pub failed: bool,
    /// Only those that started at this time or later.
    pub since: Timestamp,
    /// Only those for this instance.
    pub instance: Option<&'a str>,
    /// Only those for these interfaces, if there are any.
    pub interfaces: &'a [&'a str],
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
            Machine::MirrorInterface => interface_of(&self.name),
            _ => None,
        })
    }

    /// What it is for: the interface, else the instance, else nothing in particular.
    pub fn subject(&self) -> &str {
        self.interface_id().or_else(|| self.instance_id()).unwrap_or("-")
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

/// Lists executions and describes each, newest first.
pub async fn list(
    deployment: &Deployment,
    wanted: &Wanted<'_>,
    terminal: &Terminal,
) -> Result<Vec<Execution>, Error> {
    let statuses: Vec<Option<ExecutionStatus>> = if wanted.failed {
        FAILED.into_iter().map(Some).collect()
    } else {
        vec![None]
    };
    let mut listed = Vec::new();
    for &machine in wanted.machines {
        for status in &statuses {
            let items = listed_of(deployment, machine, status.as_ref(), wanted).await?;
            listed.extend(items.into_iter().map(|item| (machine, item.execution_arn)));
        }
    }
    let mut progress = terminal.progress("executions described");
    let total = listed.len();
    progress.set(0, total);
    let mut described = stream::iter(listed)
        .map(|(machine, arn)| describe(deployment, machine, arn))
        .buffer_unordered(DESCRIBED_AT_ONCE);
    let mut executions = Vec::with_capacity(total);
    let mut done = 0;
    while let Some(execution) = described.try_next().await? {
        done += 1;
        progress.set(done, total);
        // One that is gone by now is none any more.
        executions.extend(execution);
    }
    executions.retain(|execution| {
        wanted
            .instance
            .is_none_or(|id| execution.instance_id() == Some(id))
            && (wanted.interfaces.is_empty()
                || execution
                    .interface_id()
                    .is_some_and(|id| wanted.interfaces.contains(&id)))
    });
    executions.sort_by(|a, b| b.started.cmp(&a.started).then_with(|| a.arn.cmp(&b.arn)));
    // One that failed in between is in two of the lists.
    executions.dedup_by(|a, b| a.arn == b.arn);
    Ok(executions)
}

/// The listed executions of one state machine that may be among those that are wanted.
async fn listed_of(
    deployment: &Deployment,
    machine: Machine,
    status: Option<&ExecutionStatus>,
    wanted: &Wanted<'_>,
) -> Result<Vec<ExecutionListItem>, Error> {
    let mut found = Vec::new();
    let mut next = None;
    let mut in_order = true;
    loop {
        let page = deployment
            .states
            .list_executions()
            .state_machine_arn(machine.arn(&deployment.outputs))
            .set_status_filter(status.cloned())
            .max_results(PAGE)
            .set_next_token(next)
            .send()
            .await
            .map_err(
                deployment
                    .account
                    .refusal(&Service::STEP_FUNCTIONS, "ListExecutions"),
            )?;
        let starts: Vec<Timestamp> = page
            .executions
            .iter()
            .map(|item| timestamp(&item.start_date))
            .collect();
        in_order &= starts.is_sorted_by(|a, b| a >= b);
        // AWS lists the newest first. Nothing is left out on another's word where the order says otherwise.
        let past = in_order && !starts.is_empty() && starts.iter().all(|start| *start < wanted.since);
        found.extend(page.executions.into_iter().filter(|item| {
            timestamp(&item.start_date) >= wanted.since && may_be_for(machine, &item.name, wanted.interfaces)
        }));
        next = page.next_token;
        if past || next.is_none() {
            return Ok(found);
        }
    }
}

/// Whether an execution of this name may be for one of the interfaces, or for any if there are none: `mirror-instance`
/// names those that it starts by their interface, a person may have chosen any name.
fn may_be_for(machine: Machine, name: &str, interfaces: &[&str]) -> bool {
    match (machine, interface_of(name)) {
        (Machine::MirrorInterface, Some(named)) => interfaces.is_empty() || interfaces.contains(&named),
        _ => true,
    }
}

/// The interface that an execution is named by.
fn interface_of(name: &str) -> Option<&str> {
    let length = name.match_indices('-').nth(1).map_or(name.len(), |(at, _)| at);
    let id = &name[..length];
    let digits = id.strip_prefix("eni-")?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

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
    match deployment
        .states
        .describe_execution()
        .execution_arn(arn)
        .send()
        .await
    {
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
        what: format!("execution {}", crate::aws::one_line(reference)),
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
                place: crate::aws::one_line(reference),
                cause: format!(
                    "it is an execution of {}, which is no state machine of the stack {}; give the stack with --stack",
                    crate::aws::one_line(&described.state_machine_arn),
                    deployment.stack
                ),
            })?;
        return Ok(Execution::of(machine, described));
    }
    let asked = Machine::ALL.map(|machine| {
        let arn = arn(deployment, machine, reference);
        describe(deployment, machine, arn)
    });
    let mut found: Vec<Execution> = futures::future::try_join_all(asked)
        .await?
        .into_iter()
        .flatten()
        .collect();
    if found.len() > 1 {
        let arns: Vec<&str> = found.iter().map(|execution| execution.arn.as_str()).collect();
        return Err(Error::NoAnswer {
            place: crate::aws::one_line(reference),
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
    let events = history_of(deployment, arn)
        .include_execution_data(true)
        .into_paginator()
        .items()
        .send();
    events.try_collect().await.map_err(no_history(deployment))
}

/// The state that an execution entered last.
pub async fn last_state(deployment: &Deployment, arn: &str) -> Result<Option<LastState>, Error> {
    let mut events = history_of(deployment, arn)
        .include_execution_data(false)
        .reverse_order(true)
        .into_paginator()
        .items()
        .send();
    while let Some(event) = events.try_next().await.map_err(no_history(deployment))? {
        let only_fails = event.r#type == HistoryEventType::FailStateEntered;
        if let Some(entered) = event.state_entered_event_details {
            return Ok(Some(LastState {
                name: entered.name,
                only_fails,
            }));
        }
    }
    Ok(None)
}

fn history_of(deployment: &Deployment, arn: &str) -> GetExecutionHistoryFluentBuilder {
    let request = deployment.states.get_execution_history();
    request.execution_arn(arn).max_results(PAGE)
}

fn no_history(deployment: &Deployment) -> impl Fn(SdkError<GetExecutionHistoryError, HttpResponse>) -> Error {
    deployment
        .account
        .refusal(&Service::STEP_FUNCTIONS, "GetExecutionHistory")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_that_is_named_by_its_interface_is_for_no_other() {
        let interface = "eni-0123456789abcdef0";
        assert_eq!(interface_of("eni-0123456789abcdef0-0a1b2c"), Some(interface));
        assert_eq!(interface_of("by-hand"), None);
        for (name, may_be) in [
            ("eni-0123456789abcdef0-0a1b2c", true),
            ("eni-0123456789abcdef0", true),
            ("eni-0123456789abcdef1-0a1b2c", false),
            ("by-hand", true),
        ] {
            assert_eq!(
                may_be_for(Machine::MirrorInterface, name, &[interface]),
                may_be,
                "{name}"
            );
        }
        assert!(may_be_for(Machine::Reconcile, "eni-1-2", &[interface]));
    }
}
