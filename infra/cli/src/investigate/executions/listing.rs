//! Executions in numbers: listed first, a thousand with a call, and described only as far as they are needed.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_sfn::types::{ExecutionListItem, ExecutionStatus};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use terminal::Terminal;

use super::{Execution, FAILED, Machine, PAGE, describe, timestamp};
use crate::account::aws::Service;
use crate::account::deployment::Deployment;
use crate::account::step_functions::Call;
use crate::error::Error;

/// How many executions are described at a time.
const DESCRIBED_AT_ONCE: usize = 16;
/// What takes longer is told before.
const WORTH_TELLING: Duration = Duration::from_secs(10);

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
    pub interfaces: &'a BTreeSet<&'a str>,
}

/// The executions that are wanted: the newest of them described, and the others as they are listed.
#[derive(Debug)]
pub struct Listing {
    /// Newest first.
    pub newest: Vec<Execution>,
    /// Those that started before, newest first.
    pub others: Vec<Listed>,
}

/// An execution, as Step Functions lists it.
#[derive(Debug, Clone)]
pub struct Listed {
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
}

impl Listed {
    fn of(machine: Machine, item: ExecutionListItem) -> Self {
        Self {
            started: timestamp(&item.start_date),
            stopped: item.stop_date.as_ref().map(timestamp),
            arn: item.execution_arn,
            name: item.name,
            machine,
            status: item.status,
        }
    }

    /// The interface that it is for, where its name says so: `mirror-instance` names those that it starts by their
    /// interface, a person may have chosen any name.
    pub fn interface_id(&self) -> Option<&str> {
        match self.machine {
            Machine::MirrorInterface | Machine::MoveInterface | Machine::UnmirrorInterface => {
                interface_of(&self.name)
            }
            _ => None,
        }
    }

    /// Whether it ended, and not well.
    pub fn has_failed(&self) -> bool {
        FAILED.contains(&self.status)
    }
}

impl From<&Execution> for Listed {
    fn from(execution: &Execution) -> Self {
        Self {
            arn: execution.arn.clone(),
            name: execution.name.clone(),
            machine: execution.machine,
            status: execution.status.clone(),
            started: execution.started,
            stopped: execution.stopped,
        }
    }
}

impl Wanted<'_> {
    /// Whether an execution is wanted that is listed. `None` where only its input says so.
    fn by_name(&self, listed: &Listed) -> Option<bool> {
        let by_interface = match listed.interface_id() {
            _ if self.interfaces.is_empty() => Some(true),
            Some(named) => Some(self.interfaces.contains(named)),
            None => None,
        };
        match (by_interface, self.instance) {
            (Some(true), Some(_)) => None,
            (told, _) => told,
        }
    }

    /// Whether an execution is wanted that was described.
    fn by_input(&self, execution: &Execution) -> bool {
        let is_of_interface = || {
            let id = execution.interface_id();
            id.is_some_and(|id| self.interfaces.contains(id))
        };
        self.instance.is_none_or(|id| execution.instance_id() == Some(id))
            && (self.interfaces.is_empty() || is_of_interface())
    }
}

/// Newest first.
fn by_age(one: (Timestamp, &str), other: (Timestamp, &str)) -> Ordering {
    other.0.cmp(&one.0).then_with(|| one.1.cmp(other.1))
}

/// The newest executions, at most so many, described: what is not shown costs no call of its own, unless only its input
/// says whether it is wanted.
pub async fn newest(
    deployment: &Deployment,
    wanted: &Wanted<'_>,
    limit: usize,
    terminal: &Terminal,
) -> Result<Listing, Error> {
    let listed = list(deployment, wanted, terminal).await?;
    let (told, untold): (Vec<_>, Vec<_>) = listed
        .into_iter()
        .partition(|item| wanted.by_name(item) == Some(true));
    let mut looked_at = describe_all(deployment, untold, terminal).await?;
    looked_at.retain(|execution| wanted.by_input(execution));
    let mut found: Vec<(Listed, Option<Execution>)> = told.into_iter().map(|item| (item, None)).collect();
    found.extend(looked_at.into_iter().map(|one| (Listed::from(&one), Some(one))));
    found.sort_by(|(one, _), (other, _)| by_age((one.started, &one.arn), (other.started, &other.arn)));
    let others = found.split_off(limit.min(found.len()));
    let (mut newest, mut left) = (Vec::new(), Vec::new());
    for (item, described) in found {
        match described {
            Some(execution) => newest.push(execution),
            None => left.push(item),
        }
    }
    newest.extend(describe_all(deployment, left, terminal).await?);
    newest.sort_by(|one, other| by_age((one.started, &one.arn), (other.started, &other.arn)));
    Ok(Listing {
        newest,
        others: others.into_iter().map(|(item, _)| item).collect(),
    })
}

/// Lists the executions that are wanted, or may be where only their input says so, newest first.
pub async fn list(
    deployment: &Deployment,
    wanted: &Wanted<'_>,
    terminal: &Terminal,
) -> Result<Vec<Listed>, Error> {
    let statuses: Vec<Option<ExecutionStatus>> = if wanted.failed {
        FAILED.into_iter().map(Some).collect()
    } else {
        vec![None]
    };
    let mut progress = terminal.progress("executions listed");
    let mut listed = Vec::new();
    for &machine in wanted.machines {
        for status in &statuses {
            list_of(deployment, machine, status.as_ref(), wanted, &mut |page: Vec<
                Listed,
            >| {
                listed.extend(page);
                progress.count(listed.len());
            })
            .await?;
        }
    }
    listed.sort_by(|one, other| by_age((one.started, &one.arn), (other.started, &other.arn)));
    // One that failed in between is in two of the lists.
    listed.dedup_by(|one, other| one.arn == other.arn);
    Ok(listed)
}

/// Describes each, no faster than Step Functions answers. One that is gone by now is none any more.
pub async fn describe_all(
    deployment: &Deployment,
    listed: Vec<Listed>,
    terminal: &Terminal,
) -> Result<Vec<Execution>, Error> {
    let total = listed.len();
    let (time, rate) = deployment.states.time_for(Call::DescribeExecution, total);
    if time > WORTH_TELLING {
        let time = Duration::from_secs(time.as_secs());
        terminal.line(&format!(
            "Describing {total} executions takes about {}: Step Functions answers {rate} of these calls a second",
            humantime::format_duration(time)
        ));
    }
    let mut progress = terminal.progress("executions described");
    progress.set(0, total);
    let mut described = stream::iter(listed)
        .map(|item| describe(deployment, item.machine, item.arn))
        .buffer_unordered(DESCRIBED_AT_ONCE);
    let mut executions = Vec::with_capacity(total);
    let mut done = 0;
    while let Some(execution) = described.try_next().await? {
        done += 1;
        progress.set(done, total);
        executions.extend(execution);
    }
    Ok(executions)
}

/// The listed executions of one state machine, page by page.
async fn list_of(
    deployment: &Deployment,
    machine: Machine,
    status: Option<&ExecutionStatus>,
    wanted: &Wanted<'_>,
    take: &mut impl FnMut(Vec<Listed>),
) -> Result<(), Error> {
    let mut next = None;
    let mut in_order = true;
    loop {
        let page = deployment
            .states
            .call(Call::ListExecutions, |states| {
                let request = states.list_executions().max_results(PAGE);
                request
                    .state_machine_arn(machine.arn(&deployment.outputs))
                    .set_status_filter(status.cloned())
                    .set_next_token(next.clone())
                    .send()
            })
            .await
            .map_err(
                deployment
                    .account
                    .refusal(&Service::STEP_FUNCTIONS, "ListExecutions"),
            )?;
        let items = page.executions.into_iter();
        let mut listed: Vec<Listed> = items.map(|item| Listed::of(machine, item)).collect();
        in_order &= listed.is_sorted_by(|one, other| one.started >= other.started);
        // AWS lists the newest first. Nothing is left out on another's word where the order says otherwise.
        let past = in_order && !listed.is_empty() && listed.iter().all(|item| item.started < wanted.since);
        listed.retain(|item| item.started >= wanted.since && wanted.by_name(item) != Some(false));
        take(listed);
        next = page.next_token;
        if past || next.is_none() {
            return Ok(());
        }
    }
}

/// The interface that an execution is named by.
pub(super) fn interface_of(name: &str) -> Option<&str> {
    let length = name.match_indices('-').nth(1).map_or(name.len(), |(at, _)| at);
    let id = &name[..length];
    let digits = id.strip_prefix("eni-")?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_that_is_named_by_its_interface_is_for_no_other() {
        let interface = "eni-0123456789abcdef0";
        assert_eq!(interface_of("eni-0123456789abcdef0-0a1b2c"), Some(interface));
        assert_eq!(interface_of("by-hand"), None);
        let listed = |machine, name: &str| Listed {
            arn: String::new(),
            name: name.to_owned(),
            machine,
            status: ExecutionStatus::Running,
            started: Timestamp::UNIX_EPOCH,
            stopped: None,
        };
        let interfaces = BTreeSet::from([interface]);
        let mut wanted = Wanted {
            machines: &Machine::ALL,
            failed: false,
            since: Timestamp::UNIX_EPOCH,
            instance: None,
            interfaces: &interfaces,
        };
        for (name, told) in [
            ("eni-0123456789abcdef0-0a1b2c", Some(true)),
            ("eni-0123456789abcdef0", Some(true)),
            ("eni-0123456789abcdef1-0a1b2c", Some(false)),
            ("by-hand", None),
        ] {
            let listed = listed(Machine::MirrorInterface, name);
            assert_eq!(wanted.by_name(&listed), told, "{name}");
        }
        let other = listed(Machine::Reconcile, "eni-1-2");
        assert_eq!(wanted.by_name(&other), None);
        // Which instance it was for then, the name does not say.
        wanted.instance = Some("i-0123456789abcdef0");
        let named = listed(Machine::MirrorInterface, "eni-0123456789abcdef0-0a1b2c");
        assert_eq!(wanted.by_name(&named), None);
        let none = BTreeSet::new();
        wanted.interfaces = &none;
        assert_eq!(wanted.by_name(&other), None);
        wanted.instance = None;
        assert_eq!(wanted.by_name(&other), Some(true));
    }
}
