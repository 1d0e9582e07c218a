//! Replays an execution as it was planned, and waits for its end.

use std::time::{Duration, Instant};

use aws_sdk_sfn::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{AT_ONCE, Replay, Way, plan};
use crate::account::aws::{Service, one_line};
use crate::account::deployment::Deployment;
use crate::account::step_functions::Call;
use crate::error::{Error, Failure};
use crate::investigate::executions::{self, Execution};
use terminal::Terminal;

/// Between two looks at an execution, at least.
const EVERY: Duration = Duration::from_secs(1);
/// After so long Step Functions shows what was asked of it.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);

/// Does what is planned.
pub(super) async fn act(replay: &mut Replay, deployment: &Deployment) -> Result<(), Error> {
    match replay.way {
        Way::Redrive => redrive(replay, deployment).await,
        Way::StartAnew => start(replay, deployment).await,
        Way::Await => {
            replay.arn = Some(replay.newest.arn.clone());
            Ok(())
        }
        Way::Leave | Way::Cannot => Ok(()),
    }
}

async fn redrive(replay: &mut Replay, deployment: &Deployment) -> Result<(), Error> {
    let execution = &replay.newest;
    let answer = deployment
        .states
        .call(Call::RedriveExecution, |states| {
            let request = states.redrive_execution().execution_arn(&execution.arn);
            request.client_token(plan::token(execution)).send()
        })
        .await;
    let Err(error) = answer else {
        replay.arn = Some(execution.arn.clone());
        return Ok(());
    };
    let words = one_line(error.message().unwrap_or("it does not say why"));
    match error.code() {
        Some("ExecutionNotRedrivable") => {
            // Perhaps somebody else was faster.
            let now = executions::describe(deployment, execution.machine, execution.arn.clone()).await?;
            if now.is_some_and(|now| !now.has_failed()) {
                replay.way = Way::Await;
                "it was redriven meanwhile".clone_into(&mut replay.reason);
                replay.arn = Some(execution.arn.clone());
                return Ok(());
            }
            replay.reason = format!("Step Functions refuses to redrive it: {words}");
        }
        Some("ExecutionDoesNotExist") => {
            replay.reason = format!("Step Functions does not have it any more: {words}");
        }
        // The first is the local stack's, the other one AWS's, for an action that is not known.
        Some("InvalidAction" | "UnknownOperationException") => {
            "RedriveExecution is not known there".clone_into(&mut replay.reason);
        }
        _ => return Err(refused(deployment, "RedriveExecution", &error)),
    }
    replay.way = Way::StartAnew;
    start(replay, deployment).await
}

/// Starts a new execution with the same input. `StartExecution` answers for one that runs with this name and input as
/// if it had started it, and with `ExecutionAlreadyExists` where it has ended or has another input (API reference).
async fn start(replay: &mut Replay, deployment: &Deployment) -> Result<(), Error> {
    let Replay { newest, .. } = &*replay;
    let Some(input) = newest.input_text.clone() else {
        replay.way = Way::Cannot;
        "Step Functions does not show its input: start one by hand".clone_into(&mut replay.reason);
        return Ok(());
    };
    let machine = newest.machine;
    let name = plan::name(newest);
    let answer = deployment
        .states
        .call(Call::StartExecution, |states| {
            let request = states
                .start_execution()
                .state_machine_arn(machine.arn(&deployment.outputs));
            request.name(&name).input(&input).send()
        })
        .await;
    let error = match answer {
        Ok(started) => {
            replay.arn = Some(started.execution_arn);
            return Ok(());
        }
        Err(error) => error,
    };
    if error.code() != Some("ExecutionAlreadyExists") {
        return Err(refused(deployment, "StartExecution", &error));
    }
    let arn = executions::arn(deployment, machine, &name);
    match executions::describe(deployment, machine, arn.clone()).await? {
        Some(other) if other.input_text.as_ref() != Some(&input) => {
            replay.way = Way::Cannot;
            replay.reason = format!("an execution named {name} has another input: start one by hand");
        }
        _ => replay.arn = Some(arn),
    }
    Ok(())
}

fn refused<E>(deployment: &Deployment, call: &'static str, error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let account = &deployment.account;
    // A new execution would be refused as well.
    if error.code() == Some("ExecutionLimitExceeded") {
        return Error::Refused {
            call,
            failure: Failure::Unavailable,
            cause: format!(
                "Step Functions in {} has as many open executions of this account as it takes: {}",
                account.place(),
                one_line(error.message().unwrap_or("it says no more"))
            ),
            next: "run it again when some have ended".to_owned(),
        };
    }
    account.refused(&Service::STEP_FUNCTIONS, call, error)
}

/// Waits until all that runs has ended.
pub(super) async fn wait(
    replays: &mut [Replay],
    deployment: &Deployment,
    terminal: &Terminal,
) -> Result<(), Error> {
    let begun = Instant::now();
    let total = replays.iter().filter(|replay| replay.arn.is_some()).count();
    let mut left = total;
    let mut progress = terminal.progress("replayed executions have ended");
    loop {
        let must_be_shown = begun.elapsed() > SHOWN_WITHIN;
        let running = replays
            .iter_mut()
            .filter(|replay| replay.ended.is_none())
            .filter_map(|replay| Some((replay.arn.clone()?, replay)));
        let mut looked_at = stream::iter(running)
            .map(async |(arn, replay)| {
                let shown = executions::describe(deployment, replay.newest.machine, arn.clone()).await?;
                if shown.is_none() && must_be_shown {
                    return Err(executions::not_shown(deployment, &arn));
                }
                Ok((replay, shown))
            })
            .buffer_unordered(AT_ONCE);
        // Of many each look takes its time, and is told.
        while let Some((replay, shown)) = looked_at.try_next().await? {
            replay.ended = shown
                .filter(|shown| shown.has_ended() && (must_be_shown || !is_as_before(shown, &replay.newest)));
            left -= usize::from(replay.ended.is_some());
            progress.set(total - left, total);
        }
        drop(looked_at);
        if left == 0 {
            return Ok(());
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Whether this is still the end that was replayed: Step Functions shows a redrive late.
fn is_as_before(shown: &Execution, replayed: &Execution) -> bool {
    shown.arn == replayed.arn
        && shown.redrive_count == replayed.redrive_count
        && shown.stopped == replayed.stopped
}
