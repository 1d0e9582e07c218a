//! Which way an execution is replayed, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_sfn::types::{ExecutionRedriveStatus, ExecutionStatus};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use mirrorstep_core::{InstanceId, InterfaceId};
use sha2::{Digest as _, Sha256};
use terminal::Terminal;

use super::{AT_ONCE, Replay, Way};
use crate::account::deployment::Deployment;
use crate::error::Error;
use crate::investigate::advice::Remedy;
use crate::investigate::audit::before;
use crate::investigate::executions::{self, Execution, LastState, Listed, Machine, Wanted};

/// So long may an execution rest on what it saw of the network: the `TimeoutSeconds` of the definitions.
const DECISION_HOLDS: SignedDuration = SignedDuration::from_hours(6);
/// The states of `mirror-interface` that a decision does not go through any more, or has yet to go through.
const RESTS_ON_NOTHING: [&str; 3] = ["CheckExistingSession", "GatherCandidates", "TagSession"];

/// Those of these ARNs or names, in this order. Any that there is not is an error, before anything is done.
pub(super) async fn named(
    deployment: &Deployment,
    references: &[String],
    terminal: &Terminal,
) -> Result<Vec<Replay>, Error> {
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
    let asked = asked.into_iter().map(|execution| (execution, None)).collect();
    planned(deployment, asked, None, terminal).await
}

/// Those that failed in this time, newest first. Where a later one for the same subject has ended well, runs, or has
/// failed too, nothing is done about the earlier ones.
pub(super) async fn failed(
    deployment: &Deployment,
    since: Duration,
    terminal: &Terminal,
) -> Result<Vec<Replay>, Error> {
    let wanted = Wanted {
        machines: &Machine::REPLAYED,
        failed: true,
        since: before(Timestamp::now(), since),
        instance: None,
        interfaces: &BTreeSet::new(),
    };
    // All of them are described: what they were started with is needed.
    let failed = executions::newest(deployment, &wanted, usize::MAX, terminal).await?;
    let failed = failed.newest;
    let mut runs = Runs::default();
    for machine in Machine::ALL {
        runs.add(machine, &failed, deployment, terminal).await?;
    }
    let asked = failed.into_iter().map(|execution| {
        let later = runs
            .latest
            .get(&subject(&execution))
            .filter(|latest| latest.arn != execution.arn)
            .map(|latest| {
                let what = match latest.status {
                    _ if latest.has_failed() => "has failed too, and is looked at in its place",
                    ExecutionStatus::Succeeded => "has succeeded",
                    _ => "runs",
                };
                format!("a later one for the same, {}, {what}", latest.name)
            });
        (execution, later)
    });
    let asked = asked.collect();
    planned(deployment, asked, Some(&runs.arns), terminal).await
}

/// What has run since the first execution that failed.
#[derive(Debug, Default)]
struct Runs {
    /// The latest for each subject: the one that ended last, since one that was redriven may have started long before.
    latest: BTreeMap<(Machine, String), Listed>,
    /// All of them.
    arns: BTreeSet<String>,
}

impl Runs {
    /// Adds those of a state machine, if any of it have failed. Where its name does not say what an execution is for,
    /// and it is not among the failed, it is described.
    async fn add(
        &mut self,
        machine: Machine,
        failed: &[Execution],
        deployment: &Deployment,
        terminal: &Terminal,
    ) -> Result<(), Error> {
        let of_machine = || failed.iter().filter(|execution| execution.machine == machine);
        let Some(first) = of_machine().map(|execution| execution.started).min() else {
            return Ok(());
        };
        let known: BTreeMap<&str, &Execution> = of_machine().map(|one| (one.arn.as_str(), one)).collect();
        let wanted = Wanted {
            machines: &[machine],
            failed: false,
            since: first,
            instance: None,
            interfaces: &of_machine().filter_map(Execution::interface_id).collect(),
        };
        let mut untold = Vec::new();
        for listed in executions::list(deployment, &wanted, terminal).await? {
            self.arns.insert(listed.arn.clone());
            let told = match (known.get(listed.arn.as_str()), listed.interface_id()) {
                (Some(execution), _) => Some(subject(execution)),
                (None, Some(interface)) => Some((machine, interface.to_owned())),
                (None, None) if machine == Machine::Reconcile => Some((machine, String::new())),
                (None, None) => None,
            };
            match told {
                Some(subject) => self.keep(subject, listed),
                None => untold.push(listed),
            }
        }
        for execution in executions::describe_all(deployment, untold, terminal).await? {
            self.keep(subject(&execution), Listed::from(&execution));
        }
        Ok(())
    }

    fn keep(&mut self, subject: (Machine, String), listed: Listed) {
        let known = self.latest.entry(subject).or_insert_with(|| listed.clone());
        if end(&listed) > end(known) {
            *known = listed;
        }
    }
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

fn end(listed: &Listed) -> Timestamp {
    let has_ended = listed.has_failed() || listed.status == ExecutionStatus::Succeeded;
    listed.stopped.filter(|_| has_ended).unwrap_or(Timestamp::MAX)
}

async fn planned(
    deployment: &Deployment,
    asked: Vec<(Execution, Option<String>)>,
    there: Option<&BTreeSet<String>>,
    terminal: &Terminal,
) -> Result<Vec<Replay>, Error> {
    let mut progress = terminal.progress("executions looked at");
    let total = asked.len();
    let mut planned = stream::iter(asked)
        .map(async |(asked, later)| match later {
            Some(reason) => Ok(Replay::of(asked.clone(), asked, Way::Leave, reason)),
            None => plan(deployment, asked, there).await,
        })
        .buffered(AT_ONCE);
    let mut replays = Vec::with_capacity(total);
    while let Some(replay) = planned.try_next().await? {
        replays.push(replay);
        progress.set(replays.len(), total);
    }
    Ok(replays)
}

/// Looks for the newest of an execution's replays, among those that are there if that is known, and says which way that
/// one goes. A replay that Step Functions lists late is found when it is started again: by its name.
async fn plan(
    deployment: &Deployment,
    asked: Execution,
    there: Option<&BTreeSet<String>>,
) -> Result<Replay, Error> {
    let mut newest = asked.clone();
    // A replay that failed may have been replayed itself.
    while newest.has_failed() {
        let arn = executions::arn(deployment, newest.machine, &name(&newest));
        if there.is_some_and(|there| !there.contains(&arn)) {
            break;
        }
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
