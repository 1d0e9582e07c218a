//! `mirrorstep ledger verify`: the ledger against itself and against EC2.

use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::account::deployment::Deployment;
use crate::act::reconcile;
use crate::cli::VerifyOptions;
use crate::error::Error;
use crate::watch::ledger::{self, Audit};
use crate::watch::unreadable::{self, Finding};
use terminal::{Terminal, print};

/// How late EC2 may be.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long what a reconciliation has started may take beyond that.
const PATIENCE_AFTER_REPAIR: Duration = Duration::from_mins(2);

/// Prints where they differ. The exit code says whether they do, after the repair if there was one.
pub async fn run(options: &VerifyOptions, terminal: &Terminal) -> Result<ExitCode, Error> {
    let deployment = Deployment::find(&options.deployment).await?;
    let mut audit = look(&deployment, PATIENCE, terminal).await?;
    let mut repair = Value::Null;
    if options.repair && !audit.is_well() {
        let before = std::mem::take(&mut audit.disagreements);
        if !before.is_empty() {
            terminal.line(&differences(&before));
        }
        let summary = reconcile::to_its_end(&deployment, terminal).await?;
        audit = look(&deployment, PATIENCE_AFTER_REPAIR, terminal).await?;
        repair = json!({"differences": before, "summary": summary});
    }
    let findings = findings(&deployment, &audit);
    print(&if options.json {
        in_json(&audit, &findings, &repair)
    } else {
        in_words(&audit, &findings, options)
    })?;
    Ok(if audit.is_well() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn look(deployment: &Deployment, patience: Duration, terminal: &Terminal) -> Result<Audit, Error> {
    let (account, table) = (&deployment.account, &deployment.outputs.ledger_table);
    let _comparing = terminal.wait("the ledger is compared with EC2");
    let ours = deployment.question("").await?.targets.unwrap_or_default();
    ledger::audit(account, table, &ours, &[], patience).await
}

/// What cannot be read now.
fn findings(deployment: &Deployment, audit: &Audit) -> Vec<Finding> {
    let mut findings =
        unreadable::findings(&audit.ledger, &deployment.outputs.ledger_table, Timestamp::now());
    findings.retain(|finding| finding.mended_at.is_none());
    findings
}

fn differences(differ: &[String]) -> String {
    let lines: Vec<_> = differ.iter().map(|text| format!("- {text}")).collect();
    format!("Ledger and EC2 differ:\n{}", lines.join("\n"))
}

fn in_json(audit: &Audit, findings: &[Finding], repair: &Value) -> String {
    let Looked { live, events } = Looked::at(audit);
    let mut told = json!({
        "agree": audit.is_well(), "sensors": audit.ledger.loads.len(), "assignments": live,
        "events": events, "sessions": audit.sessions.len(), "differences": audit.disagreements,
        "unreadable": findings,
    });
    if !repair.is_null() {
        told["repair"] = repair.clone();
    }
    told.to_string()
}

fn in_words(audit: &Audit, findings: &[Finding], options: &VerifyOptions) -> String {
    let Looked { live, events } = Looked::at(audit);
    let looked_at = format!(
        "{live} live assignments to {} sensors, {events} events, {} sessions in EC2",
        audit.ledger.loads.len(),
        audit.sessions.len()
    );
    let unreadable = if findings.is_empty() {
        String::new()
    } else {
        format!(
            "\nWhat cannot be read is left out:\n{}",
            unreadable::in_words(findings)
        )
    };
    if audit.disagreements.is_empty() {
        return format!("{looked_at}: they agree{unreadable}");
    }
    let next = if options.repair {
        "Reconcile has run: what still differs changes again, or needs a person's look."
    } else {
        "`--repair` runs the state machine reconcile to put it right."
    };
    format!(
        "{looked_at}\n{}\n{next}{unreadable}",
        differences(&audit.disagreements)
    )
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
