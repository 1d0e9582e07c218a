//! A workflow that a command starts, and watches to its end. The command changes nothing by itself: stop it, and the
//! workflow goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput;
use aws_sdk_sfn::types::ExecutionStatus;
use jiff::Timestamp;
use mirrorstep_core::moves::{digest, page_name};
use serde_json::Value;
use terminal::{Terminal, printable};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::account::aws::Service;
use crate::account::deployment::Deployment;
use crate::account::step_functions::Call;
use crate::error::Error;
use crate::investigate::executions::{self, Machine, Wanted};

/// Between two looks at the execution.
const EVERY: Duration = Duration::from_secs(1);
/// Between two looks at those that it has started.
const EVERY_CHILDREN: Duration = Duration::from_secs(4);

/// The executions that a workflow starts by pages, and what one of them does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Children {
    /// Their state machine.
    pub machine: Machine,
    /// What a count of them is.
    pub counted: &'static str,
}

/// Starts an execution of this machine and watches it to its end: what it ends with. Started twice, it does no harm.
pub(super) async fn to_its_end(
    deployment: &Deployment,
    machine: Machine,
    input: &Value,
    children: Option<Children>,
    terminal: &Terminal,
) -> Result<Value, Error> {
    let (account, states) = (&deployment.account, &deployment.states);
    let state_machine = machine.arn(&deployment.outputs);
    let input = input.to_string();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Runtime)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Runtime)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(Error::Runtime)?;
    let started = states
        .call(Call::StartExecution, |states| {
            let request = states.start_execution().state_machine_arn(state_machine);
            request.input(&input).send()
        })
        .await
        .map_err(account.refusal(&Service::STEP_FUNCTIONS, "StartExecution"))?;
    let arn = started.execution_arn;
    terminal.step(&format!("{arn} runs"));
    let goes_on = |number: u8| Error::GoesOn {
        look: deployment
            .options
            .in_commands(&format!("`mirrorstep audit {arn}`")),
        exit_code: 128 + number,
    };
    tokio::select! {
        ended = watch(deployment, &arn, machine, children, terminal) => ended,
        _ = interrupt.recv() => Err(goes_on(2)),
        _ = terminate.recv() => Err(goes_on(15)),
        _ = hang_up.recv() => Err(goes_on(1)),
    }
}

async fn watch(
    deployment: &Deployment,
    arn: &str,
    machine: Machine,
    children: Option<Children>,
    terminal: &Terminal,
) -> Result<Value, Error> {
    let since = Timestamp::now();
    let mut looked = Instant::now();
    let mut progress = children.map(|children| (children, terminal.progress(children.counted)));
    let _waiting = children.is_none().then(|| terminal.wait("the workflow runs"));
    loop {
        let execution = describe(deployment, arn).await?;
        match execution.status() {
            ExecutionStatus::Running => {}
            ExecutionStatus::Succeeded => {
                let output = execution.output().unwrap_or_default();
                return serde_json::from_str(output).map_err(|error| Error::Unreadable {
                    what: format!("the output of {arn}"),
                    cause: error.to_string(),
                    next: "look at the execution in the console",
                });
            }
            other => {
                return Err(Error::NoAnswer {
                    place: machine.to_string(),
                    cause: printable(&format!(
                        "{arn} has ended as {other}: {}: {}; `mirrorstep audit {arn}` tells its story",
                        execution.error().unwrap_or("no error's name"),
                        execution.cause().unwrap_or("no cause"),
                    )),
                });
            }
        }
        tokio::time::sleep(EVERY).await;
        if let Some((children, progress)) = &mut progress
            && looked.elapsed() >= EVERY_CHILDREN
        {
            looked = Instant::now();
            progress.count(ended(deployment, arn, *children, since).await?);
        }
    }
}

async fn describe(deployment: &Deployment, arn: &str) -> Result<DescribeExecutionOutput, Error> {
    deployment
        .states
        .call(Call::DescribeExecution, |states| {
            states.describe_execution().execution_arn(arn).send()
        })
        .await
        .map_err(
            deployment
                .account
                .refusal(&Service::STEP_FUNCTIONS, "DescribeExecution"),
        )
}

/// How many of the executions that this one has started, through its pages, have ended.
async fn ended(
    deployment: &Deployment,
    arn: &str,
    children: Children,
    since: Timestamp,
) -> Result<usize, Error> {
    /// More pages than the sessions of an account fill.
    const PAGES: u64 = 200;
    let name = arn.rsplit(':').next().unwrap_or_default();
    let suffixes: BTreeSet<String> = (1..=PAGES).map(|plans| digest(&page_name(name, plans))).collect();
    let wanted = Wanted {
        machines: &[children.machine],
        failed: false,
        since,
        instance: None,
        interfaces: &BTreeSet::new(),
    };
    let listed = executions::list(deployment, &wanted, &Terminal::silent()).await?;
    let is_ours = |name: &str| {
        name.rsplit('-')
            .next()
            .is_some_and(|suffix| suffixes.contains(suffix))
    };
    let ours = listed.iter().filter(|listed| is_ours(&listed.name));
    Ok(ours.filter(|listed| listed.stopped.is_some()).count())
}
