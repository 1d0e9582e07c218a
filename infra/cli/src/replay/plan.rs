//! Which way an execution is replayed, and why.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_sfn::types::ExecutionRedriveStatus;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use mirrorstep_core::{InstanceId, InterfaceId};
use sha2::{Digest as _, Sha256};

use super::{AT_ONCE, Replay, Way};
use crate::audit::{Remedy, before};
use crate::deployment::Deployment;
use crate::error::Error;
use crate::executions::{self, Execution, LastState, Machine, Wanted};
use crate::terminal::Terminal;

/// So long may an execution rest on what it saw of the network: the `TimeoutSeconds` of the definitions.
const DECISION_HOLDS: SignedDuration = SignedDuration::from_hours(6);
/// The states of `mirror-interface` that a decision does not go through any more, or has yet to go through.
const RESTS_ON_NOTHING: [&str; 3] = ["CheckExistingSession", "GatherCandidates", "TagSession"];

/// Those of these ARNs or names, in this order. Any that there is not is an error, before anything is done.
pub(super) async fn named(deployment: &Deployment, references: &[String]) -> Result<Vec<Replay>, Error> {
    let mut asked: Vec<Execution> = stream::iter(references)
        .map(|reference| executions::find(deployment, reference))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let mut arns = Vec::new();
    asked.retain(|execution| {
        let is_new = !arns.contains(&execution.arn);
        arns.push(execution.arn.clone());
        is_new
    });
    planned(deployment, asked.into_iter().map(|execution| (execution, None))).await
}

/// Those that failed in this time, newest first. Where a later one for the same subject has ended well, runs, or has
/// failed too, nothing is done about the earlier ones.
pub(super) async fn failed(
    deployment: &Deployment,
    since: Duration,
    terminal: &Terminal,
) -> Result<Vec<Replay>, Error> {
    let mut wanted = Wanted {
        machines: &Machine::ALL,
        failed: true,
        since: before(Timestamp::now(), since),
        instance: None,
        interfaces: &[],
    };
    let failed = executions::list(deployment, &wanted, terminal).await?;
    // The latest is the one that ended last: one that was redriven may have started long before.
    let mut latest: BTreeMap<(Machine, String), Execution> = BTreeMap::new();
    wanted.failed = false;
    for machine in Machine::ALL {
        let of_machine = || failed.iter().filter(|execution| execution.machine == machine);
        let Some(first) = of_machine().map(|execution| execution.started).min() else {
            continue;
        };
        let interfaces: Vec<&str> = of_machine().filter_map(Execution::interface_id).collect();
        let machines = [machine];
        let wanted = Wanted {
            machines: &machines,
            since: first,
            interfaces: &interfaces,
            ..wanted
        };
        for execution in executions::list(deployment, &wanted, terminal).await? {
            let known = latest.entry(subject(&execution));
            let known = known.or_insert_with(|| execution.clone());
            if end(&execution) > end(known) {
                *known = execution;
            }
        }
    }
    let asked = failed.into_iter().map(|execution| {
        let later = latest
            .get(&subject(&execution))
            .filter(|latest| latest.arn != execution.arn)
            .map(|latest| {
                let what = match latest.has_ended() {
                    false => "runs",
                    true if latest.has_failed() => "has failed too, and is looked at in its place",
                    true => "has succeeded",
                };
                format!("a later one for the same, {}, {what}", latest.name)
            });
        (execution, later)
    });
    planned(deployment, asked).await
}

/// What an execution is for, among those of its state machine. One that does not say so is alone.
fn subject(execution: &Execution) -> (Machine, String) {
    let subject = match (execution.machine, execution.subject()) {
        (Machine::Reconcile, _) => "",
        (_, "-") => &execution.arn,
        (_, subject) => subject,
    };
    (execution.machine, subject.to_owned())
}

fn end(execution: &Execution) -> Timestamp {
    execution
        .stopped
        .filter(|_| execution.has_ended())
        .unwrap_or(Timestamp::MAX)
}

async fn planned(
    deployment: &Deployment,
    asked: impl Iterator<Item = (Execution, Option<String>)>,
) -> Result<Vec<Replay>, Error> {
    stream::iter(asked)
        .map(async |(asked, later)| match later {
            Some(reason) => Ok(Replay::of(asked.clone(), asked, Way::Leave, reason)),
            None => plan(deployment, asked).await,
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

async fn plan(deployment: &Deployment, asked: Execution) -> Result<Replay, Error> {
    let mut newest = asked.clone();
    // A replay that failed may have been replayed itself.
    while newest.has_failed() {
        let arn = executions::arn(deployment, newest.machine, &name(&newest));
        match executions::describe(deployment, newest.machine, arn).await? {
            Some(replay) => newest = replay,
            None => break,
        }
    }
    let (way, reason) = way(deployment, &newest).await?;
    Ok(Replay::of(asked, newest, way, reason))
}

/// The way, and why.
///
/// A redrive re-enters the state that failed, with the same input and the definition of the first run; a Fail state
/// only fails again (Step Functions guide, "Redriving executions").
async fn way(deployment: &Deployment, execution: &Execution) -> Result<(Way, String), Error> {
    let Some((remedy, _)) = execution.advice() else {
        return Ok(if execution.has_ended() {
            (Way::Leave, "it has succeeded".to_owned())
        } else {
            (Way::Await, "it runs".to_owned())
        });
    };
    let error = execution.error_name().unwrap_or_default();
    match remedy {
        Remedy::Correct => {
            return Ok((
                Way::Cannot,
                format!(
                    "after {error} it would fail in the same way: correct the event, and start an execution with it"
                ),
            ));
        }
        Remedy::StartAnew => {
            return Ok((
                Way::StartAnew,
                format!(
                    "after {error} the decision is to be made again, on the network and the settings of now"
                ),
            ));
        }
        Remedy::Redrive => {}
    }
    if execution.redrive_status != Some(ExecutionRedriveStatus::Redrivable) {
        let why = execution.redrive_status_reason.as_deref();
        let reason = why.map_or_else(
            || "Step Functions does not say that it can be redriven".to_owned(),
            |why| format!("Step Functions does not redrive it: {why}"),
        );
        return Ok((Way::StartAnew, reason));
    }
    let last = executions::last_state(deployment, &execution.arn).await?;
    Ok(by_state(execution, last.as_ref(), error, Timestamp::now()))
}

/// The way of one that can be redriven, and that is right by its error.
fn by_state(execution: &Execution, last: Option<&LastState>, error: &str, now: Timestamp) -> (Way, String) {
    let name = last.map_or("the state that failed", |last| last.name.as_str());
    if last.is_some_and(|last| last.only_fails) {
        return (
            Way::StartAnew,
            format!("it ended in {name}, where a redrive would only fail again"),
        );
    }
    if execution.machine == Machine::MirrorInterface
        && now.duration_since(execution.started) > DECISION_HOLDS
        && !RESTS_ON_NOTHING.contains(&name)
    {
        return (
            Way::StartAnew,
            format!("what it saw of the network before {name} is too old to go on with"),
        );
    }
    (Way::Redrive, format!("after {error} it goes on from {name}"))
}

/// The name of an execution's replay: of what it is for and a hash of its ARN, as `mirror-instance` names what it
/// starts.
pub(super) fn name(replayed: &Execution) -> String {
    let subject = replayed.subject();
    let subject = if subject.parse::<InterfaceId>().is_ok() || subject.parse::<InstanceId>().is_ok() {
        subject
    } else {
        replayed.machine.as_str()
    };
    format!("{subject}-{}", hash(&replayed.arn))
}

/// The token of an execution's next redrive. Step Functions answers a token that it knows as it did before, for a
/// quarter of an hour (API reference, `RedriveExecution`).
pub(super) fn token(redriven: &Execution) -> String {
    let redrive = format!("{}/{}", redriven.arn, redriven.redrive_count);
    format!("mirrorstep-{}", hash(&redrive))
}

/// 32 hexadecimal digits: with an interface's id they are a name of 54 of the 80 letters that it may have.
fn hash(text: &str) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(16).fold(String::new(), |mut hash, byte| {
        let _ = write!(hash, "{byte:02x}");
        hash
    })
}

impl Replay {
    fn of(asked: Execution, newest: Execution, way: Way, reason: String) -> Self {
        Self {
            asked,
            newest,
            way,
            reason,
            arn: None,
            ended: None,
        }
    }
}
