//! `mirrorstep ledger verify`: the ledger against itself and against EC2.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::aws::Account;
use crate::cli::VerifyOptions;
use crate::error::Error;
use crate::ledger;
use crate::terminal::print;

/// How late EC2 may be.
const PATIENCE: Duration = Duration::from_secs(30);

/// Prints where they differ. The exit code says whether they do.
pub async fn run(options: &VerifyOptions) -> Result<ExitCode, Error> {
    let account = Account::connect(&options.aws).await?;
    let table = &options.ledger_table;
    let sensors = ledger::read(&account.dynamodb, table).await?.loads;
    let sensors: Vec<String> = sensors.into_keys().collect();
    let audit = ledger::audit(
        &account.ec2_client,
        &account.dynamodb,
        table,
        &sensors,
        &[],
        PATIENCE,
    )
    .await?;
    let live = audit
        .ledger
        .assignments
        .iter()
        .filter(|assignment| assignment.is_live())
        .count();
    let events: usize = audit.ledger.events.values().map(Vec::len).sum();
    let differ = &audit.disagreements;
    let printed = if options.json {
        json!({
            "agree": differ.is_empty(), "sensors": sensors.len(), "assignments": live, "events": events,
            "sessions": audit.sessions.len(), "differences": differ,
        })
        .to_string()
    } else {
        let looked_at = format!(
            "{live} live assignments to {} sensors, {events} events, {} sessions in EC2",
            sensors.len(),
            audit.sessions.len()
        );
        if differ.is_empty() {
            format!("{looked_at}: they agree")
        } else {
            let differences: Vec<_> = differ.iter().map(|text| format!("- {text}")).collect();
            format!(
                "{looked_at}: they differ\n{}\nStart the state machine reconcile to put it right.",
                differences.join("\n")
            )
        }
    };
    print(&printed)?;
    Ok(if differ.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
