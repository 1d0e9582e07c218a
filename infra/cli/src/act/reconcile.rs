//! `mirrorstep reconcile`: the ledger and EC2 brought together again now.

use std::process::ExitCode;

use serde_json::{Map, Value, json};
use terminal::{Terminal, print, printable};

use crate::account::deployment::Deployment;
use crate::act::watched;
use crate::cli::ReconcileOptions;
use crate::error::Error;
use crate::investigate::executions::Machine;

/// Starts it, waits for its end, and prints its summary.
pub async fn run(options: &ReconcileOptions, terminal: &Terminal) -> Result<ExitCode, Error> {
    let deployment = Deployment::find(&options.deployment).await?;
    let summary = to_its_end(&deployment, terminal).await?;
    print(&if options.json {
        Value::Object(summary).to_string()
    } else {
        in_words(&summary)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the state machine to its end: its summary, without what it has not done. Twice at once does no harm.
pub async fn to_its_end(deployment: &Deployment, terminal: &Terminal) -> Result<Map<String, Value>, Error> {
    let input = json!({"source": "mirrorstep reconcile"});
    let output = watched::to_its_end(deployment, Machine::Reconcile, &input, None, terminal).await?;
    let mut summary: Map<String, Value> =
        serde_json::from_value(output).map_err(|error| Error::Unreadable {
            what: "the summary of reconcile".to_owned(),
            cause: error.to_string(),
            next: "look at the execution in the console",
        })?;
    summary.retain(|_, count| *count != 0);
    terminal.step(&format!("it has ended: {}", counts(&summary)));
    Ok(summary)
}

fn counts(summary: &Map<String, Value>) -> String {
    let counts: Vec<_> = summary
        .iter()
        .filter(|(_, count)| count.is_number())
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    counts.join(", ")
}

/// What a count of the summary means (`mirrorstep_core::reconcile::Summary`).
fn meaning(name: &str) -> &str {
    match name {
        "activated" => "reservations whose session exists were completed",
        "adopted" => "sessions that the ledger did not know were taken over",
        "released" => "assignments whose session is gone were released",
        "expired" => "reservations whose execution has died were given back",
        "moved" => "sessions that somebody moved were followed",
        "externals" => "sensors' sessions of others were counted anew",
        "counters" => "counters were corrected",
        "secondSessions" => "second sessions to our targets on one interface were left alone: look at them",
        "unattached" => "sessions of interfaces that are attached to no instance were left alone",
        "trusted" => "assignments have no session that EC2 shows: made a moment ago, or deleted by hand",
        "left" => "corrections are left for the next time",
        "unreadable" => {
            "things that cannot be read were left alone: `mirrorstep status` names them and how to mend them"
        }
        "failed" => "corrections failed: the function's log says why",
        "instances" => "running instances were looked through",
        "started" => "instances with an uncovered interface were put on the bus",
        other => other,
    }
}

fn in_words(summary: &Map<String, Value>) -> String {
    if summary.is_empty() {
        return "There was nothing to do.".to_owned();
    }
    let mut lines: Vec<_> = summary
        .iter()
        .filter(|(_, count)| count.is_number())
        .map(|(name, count)| format!("{:>6} {}", count.to_string(), printable(meaning(name))))
        .collect();
    if let Some(until) = summary.get("trustedUntil").and_then(Value::as_str) {
        lines.push(format!(
            "EC2 shows its changes late: assignments without a session that EC2 shows are trusted until {}. Run it again \
             after that: it releases those whose session EC2 still does not show, and has their interfaces mirrored anew.",
            printable(until)
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_trusted_is_told_with_until_when_and_what_happens_then() {
        let summary = json!({"trusted": 2, "trustedUntil": "2026-01-01T00:05:00Z", "instances": 3});
        let words = in_words(summary.as_object().unwrap());
        assert!(
            words.contains("2 assignments have no session that EC2 shows"),
            "{words}"
        );
        assert!(
            words.contains("trusted until 2026-01-01T00:05:00Z. Run it again after that"),
            "{words}"
        );
        assert_eq!(words.lines().count(), 3, "{words}");
        assert_eq!(counts(summary.as_object().unwrap()), "trusted 2, instances 3");
    }
}
