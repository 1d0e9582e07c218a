//! The executions of both state machines, until all of them have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use aws_sdk_sfn::types::ExecutionStatus;
use futures::{StreamExt, TryStreamExt, stream};
use mirrorstep_core::pipeline::{LeftOut, Outcome, Rejection};
use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;
use crate::stack::Outputs;
use crate::world::some;
use terminal::Terminal;

/// How long at least between two listings of the executions.
const EVERY: Duration = Duration::from_millis(500);
/// And how many times as long as a listing takes: listing thousands keeps the stand-in from its work.
const REST: u32 = 3;
/// How long nothing may change before the wait is given up. An execution may wait a minute between two tries.
const STALLED_AFTER: Duration = Duration::from_mins(10);
/// How many executions are described at a time.
const DESCRIBED_AT_ONCE: usize = 8;

/// An execution that has ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// What it was started with.
    pub input: Value,
    /// What it ended with.
    pub end: End,
}

/// How an execution ended.
#[derive(Debug, Clone)]
pub enum End {
    /// Well, with this output.
    Succeeded(Value),
    /// Otherwise.
    Failed {
        /// The error's name.
        error: String,
        /// The cause, in words or in JSON.
        cause: String,
    },
}

/// An execution of `mirror-instance`.
#[derive(Debug, Clone)]
pub struct InstanceRun {
    /// The instance of its event.
    pub instance_id: String,
    /// What it was.
    pub result: Result<InstanceOutput, (String, String)>,
}

/// The output of `mirror-instance`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceOutput {
    /// The executions that it started.
    pub started: Vec<Started>,
    /// The interfaces that are not to be mirrored.
    pub left_out: Vec<LeftOut>,
    /// `gone`, where EC2 did not show the instance.
    pub outcome: Option<Outcome>,
}

/// An execution of `mirror-interface` that was started.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    /// Its interface.
    pub interface_id: String,
}

/// An execution of `mirror-interface`.
#[derive(Debug, Clone)]
pub struct InterfaceRun {
    /// The interface.
    pub interface_id: String,
    /// Its instance.
    pub instance_id: String,
    /// Its output, or its error and cause.
    pub result: Result<InterfaceOutput, (String, String)>,
}

/// The output of `mirror-interface`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceOutput {
    /// What became of the interface.
    pub outcome: Outcome,
    /// Its target, where a session was created.
    #[serde(default)]
    pub target_id: Option<String>,
    /// Why the other targets were turned down.
    #[serde(default)]
    pub rejections: Vec<Rejection>,
    /// In words, where no session was created.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Everything that ran.
#[derive(Debug, Default)]
pub struct Runs {
    /// The executions of `mirror-instance`.
    pub instances: Vec<InstanceRun>,
    /// The executions of `mirror-interface`.
    pub interfaces: Vec<InterfaceRun>,
}

/// Waits until each of `instances` has had an execution, and everything that these started has ended.
pub async fn all(
    states: &aws_sdk_sfn::Client,
    outputs: &Outputs,
    instances: &[String],
    terminal: &Terminal,
) -> Result<Runs, Error> {
    let mut watch = Watch {
        parents: Machine::new(states, &outputs.mirror_instance_state_machine_arn),
        children: Machine::new(states, &outputs.mirror_interface_state_machine_arn),
        instances,
    };
    let mut progress = terminal.progress("interfaces done");
    let mut last_change = (Instant::now(), (0, 0, 0, 0));
    loop {
        let begin = Instant::now();
        watch.update().await?;
        let silent = watch.silent();
        let now = watch.counts();
        let (_, _, ended, running) = now;
        progress.set(ended, ended + running);
        if silent.is_empty() && watch.running().next().is_none() {
            return watch.into_runs();
        }
        if now != last_change.1 {
            last_change = (Instant::now(), now);
        } else if last_change.0.elapsed() > STALLED_AFTER {
            return Err(watch.stalled(&silent));
        }
        tokio::time::sleep(EVERY.max(begin.elapsed() * REST)).await;
    }
}

/// Both state machines, while the executions of some instances run.
struct Watch<'a> {
    /// `mirror-instance`.
    parents: Machine<'a>,
    /// `mirror-interface`.
    children: Machine<'a>,
    /// The instances that have to have an execution.
    instances: &'a [String],
}

impl<'a> Watch<'a> {
    async fn update(&mut self) -> Result<(), Error> {
        self.parents.update().await?;
        // Listed after the parents: whatever an ended parent started is in it.
        self.children.update().await
    }

    /// The instances of which no execution has ended.
    fn silent(&self) -> Vec<&'a String> {
        let announced: BTreeSet<&str> = self
            .parents
            .ended
            .values()
            .filter_map(|ended| ended.input["detail"]["instance-id"].as_str())
            .collect();
        self.instances
            .iter()
            .filter(|id| !announced.contains(id.as_str()))
            .collect()
    }

    /// How many executions of each machine have ended and still run.
    fn counts(&self) -> (usize, usize, usize, usize) {
        (
            self.parents.ended.len(),
            self.parents.running.len(),
            self.children.ended.len(),
            self.children.running.len(),
        )
    }

    /// The executions that still run.
    fn running(&self) -> impl Iterator<Item = &str> {
        self.parents
            .running
            .iter()
            .chain(&self.children.running)
            .map(String::as_str)
    }

    /// Everything that ran, unless something did not begin.
    fn into_runs(self) -> Result<Runs, Error> {
        let runs = Runs {
            instances: self.parents.ended.into_values().map(InstanceRun::from).collect(),
            interfaces: self
                .children
                .ended
                .into_values()
                .map(InterfaceRun::from)
                .collect(),
        };
        if let Some(missing) = runs.not_begun() {
            return Err(Error::Stalled { seconds: 0, missing });
        }
        Ok(runs)
    }

    /// The error that says what has not come.
    fn stalled(&self, silent: &[&String]) -> Error {
        let running: Vec<&str> = self.running().collect();
        let mut missing = Vec::new();
        if !silent.is_empty() {
            missing.push(format!(
                "no ended execution of mirror-instance for {}",
                some(silent)
            ));
        }
        if !running.is_empty() {
            missing.push(format!("still running: {}", some(&running)));
        }
        Error::Stalled {
            seconds: STALLED_AFTER.as_secs(),
            missing: missing.join("; "),
        }
    }
}

impl Runs {
    /// What ended executions say they started, and nobody has seen.
    fn not_begun(&self) -> Option<String> {
        let seen: BTreeSet<&str> = self
            .interfaces
            .iter()
            .map(|run| run.interface_id.as_str())
            .collect();
        let outputs = self.instances.iter().filter_map(|run| run.result.as_ref().ok());
        let missing: Vec<&str> = outputs
            .flat_map(|output| &output.started)
            .map(|started| started.interface_id.as_str())
            .filter(|interface| !seen.contains(interface))
            .collect();
        (!missing.is_empty()).then(|| format!("executions of mirror-interface for {}", some(&missing)))
    }
}

/// The executions of one state machine.
struct Machine<'a> {
    states: &'a aws_sdk_sfn::Client,
    arn: &'a str,
    running: BTreeSet<String>,
    ended: BTreeMap<String, Ended>,
}

impl<'a> Machine<'a> {
    fn new(states: &'a aws_sdk_sfn::Client, arn: &'a str) -> Self {
        Self {
            states,
            arn,
            running: BTreeSet::new(),
            ended: BTreeMap::new(),
        }
    }

    /// Lists the executions, and describes those that have ended since.
    async fn update(&mut self) -> Result<(), Error> {
        let listed: Vec<_> = self
            .states
            .list_executions()
            .state_machine_arn(self.arn)
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(Error::aws("ListExecutions"))?;
        let (running, ended): (Vec<_>, Vec<_>) = listed
            .into_iter()
            .partition(|item| *item.status() == ExecutionStatus::Running);
        self.running = running.into_iter().map(|item| item.execution_arn).collect();
        let new = ended
            .into_iter()
            .map(|item| item.execution_arn)
            .filter(|arn| !self.ended.contains_key(arn));
        let new: Vec<String> = new.collect();
        let states = self.states;
        let described: Vec<(String, Option<Ended>)> = stream::iter(new)
            .map(|arn| describe(states, arn))
            .buffer_unordered(DESCRIBED_AT_ONCE)
            .try_collect()
            .await?;
        for (arn, ended) in described {
            match ended {
                Some(ended) => drop(self.ended.insert(arn, ended)),
                None => drop(self.running.insert(arn)),
            }
        }
        Ok(())
    }
}

/// Describes an execution that was listed as ended. `None` where it has succeeded and its output is not there
/// yet: the stand-in sets the one after the other.
async fn describe(states: &aws_sdk_sfn::Client, arn: String) -> Result<(String, Option<Ended>), Error> {
    let execution = states
        .describe_execution()
        .execution_arn(&arn)
        .send()
        .await
        .map_err(Error::aws("DescribeExecution"))?;
    let json = |text: Option<&str>| {
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    };
    let end = if *execution.status() == ExecutionStatus::Succeeded {
        if execution.output().is_none() {
            return Ok((arn, None));
        }
        End::Succeeded(json(execution.output()))
    } else {
        End::Failed {
            error: execution
                .error()
                .unwrap_or_else(|| execution.status().as_str())
                .to_owned(),
            cause: execution.cause().unwrap_or_default().to_owned(),
        }
    };
    let input = json(execution.input());
    Ok((arn, Some(Ended { input, end })))
}

impl Ended {
    /// The output in its own type. An output of another shape is as bad as an error.
    fn result<T: for<'de> Deserialize<'de>>(self) -> Result<T, (String, String)> {
        match self.end {
            End::Succeeded(output) => serde_json::from_value(output)
                .map_err(|error| ("UnreadableOutput".to_owned(), error.to_string())),
            End::Failed { error, cause } => Err((error, cause)),
        }
    }

    fn input_text(&self, pointer: &str) -> String {
        self.input
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }
}

impl From<Ended> for InstanceRun {
    fn from(ended: Ended) -> Self {
        Self {
            instance_id: ended.input_text("/detail/instance-id"),
            result: ended.result(),
        }
    }
}

impl From<Ended> for InterfaceRun {
    fn from(ended: Ended) -> Self {
        Self {
            interface_id: ended.input_text("/interfaceId"),
            instance_id: ended.input_text("/instanceId"),
            result: ended.result(),
        }
    }
}
