//! `mirrorstep audit`: the executions of a time in a table, or one of them as a story.

mod decisions;
mod story;
mod words;

use std::collections::BTreeMap;
use std::process::ExitCode;

use aws_sdk_sfn::types::ExecutionStatus;
use jiff::Timestamp;
use mirrorstep_core::{InstanceId, InterfaceId};
use serde_json::{Value, json};
use terminal::{Terminal, print};

use crate::account::deployment::Deployment;
use crate::cli::AuditOptions;
use crate::error::Error;
use crate::investigate::executions::cause::Cause;
use crate::investigate::executions::{self, Execution, Listed, Listing, Machine, Wanted};

pub(crate) use words::{end, in_numbers};

/// Runs the command. The exit code says whether something that is told has failed.
pub async fn run(options: &AuditOptions, terminal: &Terminal) -> Result<ExitCode, Error> {
    let deployment = Deployment::find(&options.deployment).await?;
    let failed = match &options.execution {
        Some(reference) => tell(options, &deployment, reference).await?,
        None => list(options, &deployment, terminal).await?,
    };
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn list(options: &AuditOptions, deployment: &Deployment, terminal: &Terminal) -> Result<bool, Error> {
    let now = Timestamp::now();
    let interface = options.interface.as_ref().map(InterfaceId::as_str);
    let wanted = Wanted {
        // The executions of the others are for an instance, or for nothing in particular.
        machines: match (&options.interface, &options.instance) {
            (Some(_), _) => &[
                Machine::MirrorInterface,
                Machine::MoveInterface,
                Machine::UnmirrorInterface,
            ],
            (None, Some(_)) => &[
                Machine::MirrorInstance,
                Machine::MirrorInterface,
                Machine::ReleaseInstance,
            ],
            (None, None) => &Machine::ALL,
        },
        failed: options.failed,
        since: before(now, options.since),
        instance: options.instance.as_ref().map(InstanceId::as_str),
        interfaces: &interface.into_iter().collect(),
    };
    let listing = executions::newest(deployment, &wanted, options.limit, terminal).await?;
    let printed = if options.json {
        in_json(&listing)
    } else if listing.newest.is_empty() && listing.others.is_empty() {
        words::nothing(options)
    } else {
        words::table(&listing, now)
    };
    print(&printed)?;
    Ok(listing.newest.iter().any(Execution::has_failed) || listing.others.iter().any(Listed::has_failed))
}

/// So long before. Step Functions is not older than the epoch.
pub(crate) fn before(now: Timestamp, since: std::time::Duration) -> Timestamp {
    jiff::SignedDuration::try_from(since)
        .ok()
        .and_then(|since| now.checked_sub(since).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

async fn tell(options: &AuditOptions, deployment: &Deployment, reference: &str) -> Result<bool, Error> {
    let execution = executions::find(deployment, reference).await?;
    let history = executions::history(deployment, &execution.arn).await?;
    let story = story::Story::of(&execution, &history);
    print(&if options.json {
        story_in_json(&execution, &story)
    } else {
        words::story(&execution, &story, Timestamp::now())
    })?;
    Ok(execution.has_failed())
}

/// How many executions there are of each status.
pub(crate) fn counts<'a>(
    statuses: impl IntoIterator<Item = &'a ExecutionStatus>,
) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for status in statuses {
        *counts.entry(status_name(status)).or_default() += 1;
    }
    counts
}

/// The statuses of all of them, shown or not.
fn statuses(listing: &Listing) -> impl Iterator<Item = &ExecutionStatus> {
    let newest = listing.newest.iter().map(|execution| &execution.status);
    newest.chain(listing.others.iter().map(|listed| &listed.status))
}

fn status_name(status: &ExecutionStatus) -> &str {
    match status {
        ExecutionStatus::Aborted => "aborted",
        ExecutionStatus::Failed => "failed",
        ExecutionStatus::PendingRedrive => "pendingRedrive",
        ExecutionStatus::Running => "running",
        ExecutionStatus::Succeeded => "succeeded",
        ExecutionStatus::TimedOut => "timedOut",
        other => other.as_str(),
    }
}

fn in_json(listing: &Listing) -> String {
    let told: Vec<Value> = listing.newest.iter().map(Execution::in_json).collect();
    json!({"executions": told, "leftOut": listing.others.len(), "counts": counts(statuses(listing))})
        .to_string()
}

fn story_in_json(execution: &Execution, story: &story::Story) -> String {
    let error = execution.error_name();
    let cause = execution.cause.as_deref().map(Cause::of);
    let redriven: Vec<String> = story.redriven.iter().map(Timestamp::to_string).collect();
    json!({
        "execution": execution.in_json(), "states": story.in_json(), "redriven": redriven,
        "error": error, "cause": cause.as_ref().map(|cause| &cause.message),
        "rejections": cause.as_ref().map_or(&[][..], |cause| &cause.rejections),
        "rejectionsLeftOut": cause.as_ref().map_or(0, |cause| cause.left_out),
        "advice": execution.advice().map(|(_, words)| words),
    })
    .to_string()
}
