//! `mirrorstep ledger verify`: the ledger against itself and against EC2.

use std::process::ExitCode;
use std::time::Duration;

use aws_sdk_sfn::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_sfn::types::ExecutionStatus;
use serde_json::{Map, Value, json};

use crate::aws::{Account, configure};
use crate::cli::VerifyOptions;
use crate::error::Error;
use crate::ledger::{self, Audit};
use crate::terminal::{Terminal, print};

/// How late EC2 may be.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long what a reconciliation has started may take beyond that.
const PATIENCE_AFTER_REPAIR: Duration = Duration::from_mins(2);
/// Between two looks at an execution.
const EVERY: Duration = Duration::from_secs(1);

/// Prints where they differ. The exit code says whether they do, after the repair if there was one.
pub async fn run(options: &VerifyOptions, terminal: &Terminal) -> Result<ExitCode, Error> {
    let config = configure(&options.aws).await?;
    let account = Account::from_config(&config);
    let mut audit = look(&account, options, PATIENCE).await?;
    let mut repair = Value::Null;
    if let (false, Some(machine)) = (audit.disagreements.is_empty(), machine(options)) {
        let before = std::mem::take(&mut audit.disagreements);
        terminal.line(&differences(&before));
        let summary = reconcile(&aws_sdk_sfn::Client::new(&config), machine, terminal).await?;
        audit = look(&account, options, PATIENCE_AFTER_REPAIR).await?;
        repair = json!({"differences": before, "summary": summary});
    }
    print(&if options.json {
        in_json(&audit, &repair)
    } else {
        in_words(&audit, options)
    })?;
    Ok(if audit.disagreements.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn machine(options: &VerifyOptions) -> Option<&str> {
    options
        .reconcile_state_machine
        .as_deref()
        .filter(|_| options.repair)
}

async fn look(account: &Account, options: &VerifyOptions, patience: Duration) -> Result<Audit, Error> {
    let table = &options.ledger_table;
    let sensors = ledger::read(&account.dynamodb, table).await?.loads;
    let sensors: Vec<String> = sensors.into_keys().collect();
    ledger::audit(
        &account.ec2_client,
        &account.dynamodb,
        table,
        &sensors,
        &[],
        patience,
    )
    .await
}

/// Runs the state machine to its end: its summary, without what it has not done.
async fn reconcile(
    states: &aws_sdk_sfn::Client,
    machine: &str,
    terminal: &Terminal,
) -> Result<Map<String, Value>, Error> {
    let failed = |cause: String| Error::NoAnswer {
        place: machine.to_owned(),
        cause,
    };
    let started = states
        .start_execution()
        .state_machine_arn(machine)
        .input(json!({"source": "mirrorstep ledger verify --repair"}).to_string())
        .send()
        .await
        .map_err(|error| failed(refusal("StartExecution", &error)))?;
    let arn = started.execution_arn;
    terminal.step(&format!("{arn} runs"));
    loop {
        let execution = states
            .describe_execution()
            .execution_arn(&arn)
            .send()
            .await
            .map_err(|error| failed(refusal("DescribeExecution", &error)))?;
        match execution.status() {
            ExecutionStatus::Running => tokio::time::sleep(EVERY).await,
            ExecutionStatus::Succeeded => {
                let output = execution.output().unwrap_or_default();
                let mut summary: Map<String, Value> =
                    serde_json::from_str(output).map_err(|error| Error::Unreadable {
                        what: format!("the output of {arn}"),
                        cause: error.to_string(),
                        next: "look at the execution in the console",
                    })?;
                summary.retain(|_, count| *count != 0);
                terminal.step(&format!("it has ended: {}", counts(&summary)));
                return Ok(summary);
            }
            other => {
                return Err(failed(format!(
                    "{arn} has ended as {other}: {}: {}; look at it in the console, and redrive it or run this again",
                    execution.error().unwrap_or("no error's name"),
                    execution.cause().unwrap_or("no cause"),
                )));
            }
        }
    }
}

/// What Step Functions said, or why it did not come to that.
fn refusal(call: &str, error: &(impl ProvideErrorMetadata + std::error::Error)) -> String {
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => {
            format!("{call}: {code}: {message}; check the ARN, the Region and the permission")
        }
        _ => format!(
            "{call}: {}; check the network, and run this again",
            DisplayErrorContext(error)
        ),
    }
}

fn counts(summary: &Map<String, Value>) -> String {
    let counts: Vec<_> = summary
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    counts.join(", ")
}

fn differences(differ: &[String]) -> String {
    let lines: Vec<_> = differ.iter().map(|text| format!("- {text}")).collect();
    format!("Ledger and EC2 differ:\n{}", lines.join("\n"))
}

fn in_json(audit: &Audit, repair: &Value) -> String {
    let Looked { live, events } = Looked::at(audit);
    let mut told = json!({
        "agree": audit.disagreements.is_empty(), "sensors": audit.ledger.loads.len(), "assignments": live,
        "events": events, "sessions": audit.sessions.len(), "differences": audit.disagreements,
    });
    if !repair.is_null() {
        told["repair"] = repair.clone();
    }
    told.to_string()
}

fn in_words(audit: &Audit, options: &VerifyOptions) -> String {
    let Looked { live, events } = Looked::at(audit);
    let looked_at = format!(
        "{live} live assignments to {} sensors, {events} events, {} sessions in EC2",
        audit.ledger.loads.len(),
        audit.sessions.len()
    );
    if audit.disagreements.is_empty() {
        return format!("{looked_at}: they agree");
    }
    let next = match machine(options) {
        Some(_) => "Reconcile has run: what still differs changes again, or needs a person's look.",
        None => "`--repair` runs the state machine reconcile to put it right.",
    };
    format!("{looked_at}\n{}\n{next}", differences(&audit.disagreements))
}

/// What an audit has looked at.
struct Looked {
    live: usize,
    events: usize,
}

impl Looked {
    fn at(audit: &Audit) -> Self {
        let assignments = audit.ledger.assignments.iter();
        Self {
            live: assignments.filter(|assignment| assignment.is_live()).count(),
            events: audit.ledger.events.values().map(Vec::len).sum(),
        }
    }
}
