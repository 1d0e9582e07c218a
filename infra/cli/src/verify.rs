//! `mirrorstep ledger verify`: the ledger against itself and against EC2.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::aws::{Account, configure};
use crate::cli::VerifyOptions;
use crate::error::Error;
use crate::ledger::{self, Audit};
use crate::reconcile;
use crate::terminal::{Terminal, print};

/// How late EC2 may be.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long what a reconciliation has started may take beyond that.
const PATIENCE_AFTER_REPAIR: Duration = Duration::from_mins(2);

/// Prints where they differ. The exit code says whether they do, after the repair if there was one.
pub async fn run(options: &VerifyOptions, terminal: &Terminal) -> Result<ExitCode, Error> {
    let config = configure(&options.aws).await?;
    let account = Account::from_config(&config);
    let mut audit = look(&account, options, PATIENCE).await?;
    let mut repair = Value::Null;
    if let (false, Some(machine)) = (audit.disagreements.is_empty(), machine(options)) {
        let before = std::mem::take(&mut audit.disagreements);
        terminal.line(&differences(&before));
        let states = aws_sdk_sfn::Client::new(&config);
        let summary = reconcile::to_its_end(&account, &states, machine, terminal).await?;
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
    let sensors = ledger::read(account, table).await?.loads;
    let sensors: Vec<String> = sensors.into_keys().collect();
    ledger::audit(account, table, &sensors, &[], patience).await
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
