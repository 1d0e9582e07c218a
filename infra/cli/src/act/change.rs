//! `mirrorstep drain`, `mirrorstep rebalance` and `mirrorstep unmirror`: each starts the workflow that does it, watches it,
//! and prints its summary. A dry run is an execution of the same workflow that changes nothing.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use mirrorstep_core::InterfaceId;
use mirrorstep_core::moves::MovesSummary;
use mirrorstep_core::unmirror::UnmirrorSummary;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use terminal::{Terminal, print, printable};

use crate::account::deployment::Deployment;
use crate::act::watched::{Children, to_its_end};
use crate::cli::{ChangeOptions, DrainOptions, RebalanceOptions, Subject, UnmirrorOptions};
use crate::error::Error;
use crate::investigate::executions::Machine;

const MOVES: Children = Children {
    machine: Machine::MoveInterface,
    counted: "sessions looked at",
};

const ENDS: Children = Children {
    machine: Machine::UnmirrorInterface,
    counted: "interfaces looked at",
};

/// Stops new placements on a sensor, and moves its sessions away.
pub async fn drain(options: &DrainOptions, terminal: &Terminal) -> Result<ExitCode, Error> {
    let input = json!({
        "targetId": options.target, "cancel": options.cancel, "dryRun": options.change.dry_run,
        "reason": reason("drain", &options.change),
    });
    let summary = run(Machine::DrainSensor, &input, MOVES, &options.change, terminal).await?;
    let summary: MovesSummary = told(&summary, &options.change, drained)?;
    Ok(status(&summary.outcome))
}

/// Evens the sensors' loads out, as after sensors were added.
pub async fn rebalance(options: &RebalanceOptions, terminal: &Terminal) -> Result<ExitCode, Error> {
    let input = json!({
        "dryRun": options.change.dry_run, "reason": reason("rebalance", &options.change),
    });
    let summary = run(Machine::Rebalance, &input, MOVES, &options.change, terminal).await?;
    let summary: MovesSummary = told(&summary, &options.change, rebalanced)?;
    Ok(status(&summary.outcome))
}

/// Ends sessions.
pub async fn unmirror(options: &UnmirrorOptions, terminal: &Terminal) -> Result<ExitCode, Error> {
    let of = |wanted: fn(&Subject) -> Option<String>| -> Vec<String> {
        options.subjects.iter().filter_map(wanted).collect()
    };
    let input = json!({
        "all": options.all,
        "interfaceIds": of(|subject| match subject {
            Subject::Interface(id) => Some(id.to_string()),
            Subject::Instance(_) => None,
        }),
        "instanceIds": of(|subject| match subject {
            Subject::Instance(id) => Some(id.to_string()),
            Subject::Interface(_) => None,
        }),
        "tag": options.tag.as_ref().map(|tag| format!("{}={}", tag.key, tag.value)),
        "adopted": options.adopted, "keepOff": true, "dryRun": options.change.dry_run,
        "reason": reason("unmirror", &options.change),
    });
    if options.all && !options.yes && !options.change.dry_run && !is_agreed(&options.change)? {
        return Ok(ExitCode::FAILURE);
    }
    let summary = run(Machine::UnmirrorAll, &input, ENDS, &options.change, terminal).await?;
    let summary: UnmirrorSummary = told(&summary, &options.change, unmirrored)?;
    Ok(status(&summary.outcome))
}

/// Who asks, by which command, and why: for the ledger's events.
fn reason(command: &str, options: &ChangeOptions) -> String {
    let who = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let who = who.map_or_else(|_| String::new(), |who| format!(" by {who}"));
    let why = options
        .reason
        .as_deref()
        .map_or_else(String::new, |why| format!(": {why}"));
    format!("mirrorstep {command}{who}{why}")
}

async fn run(
    machine: Machine,
    input: &Value,
    children: Children,
    options: &ChangeOptions,
    terminal: &Terminal,
) -> Result<Value, Error> {
    let deployment = Deployment::find(&options.deployment).await?;
    to_its_end(&deployment, machine, input, Some(children), terminal).await
}

/// Prints a summary, and hands it on.
fn told<T: DeserializeOwned>(
    summary: &Value,
    options: &ChangeOptions,
    in_words: fn(&T) -> Vec<String>,
) -> Result<T, Error> {
    let read: T = T::deserialize(summary).map_err(|error| Error::Unreadable {
        what: "the summary of the execution".to_owned(),
        cause: error.to_string(),
        next: "the stack is of another version than this command",
    })?;
    print(&if options.json {
        summary.to_string()
    } else {
        options.deployment.in_commands(&in_words(&read).join("\n"))
    })?;
    Ok(read)
}

/// Asks before everything is ended.
fn is_agreed(options: &ChangeOptions) -> Result<bool, Error> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::Usage {
            option: "--all",
            cause: "it ends every session that mirrorstep made: give --yes where nobody can be asked, or --dry-run"
                .to_owned(),
        });
    }
    let mut screen = std::io::stderr().lock();
    let _ = write!(
        screen,
        "This ends every session that the stack {} made. Type yes to go on: ",
        options.deployment.stack
    );
    let _ = screen.flush();
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(Error::Runtime)?;
    Ok(answer.trim() == "yes")
}

fn status(outcome: &str) -> ExitCode {
    match outcome {
        "notDrained" | "notRebalanced" | "notUnmirrored" => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn drained(summary: &MovesSummary) -> Vec<String> {
    let sensor = summary.target_id.as_ref().map_or("", |target| target.as_str());
    if summary.outcome == "cancelled" {
        return vec![format!("{sensor} takes new sessions again")];
    }
    let mut lines = vec![format!("{sensor}: {}", moved(summary))];
    lines.extend(details(summary));
    if summary.reserved > 0 {
        lines.push(format!(
            "- {} under way: run it again",
            counted(summary.reserved, "reservation")
        ));
    }
    if summary.external > 0 {
        lines.push(format!(
            "- {} of others on it, which mirrorstep does not move",
            counted(summary.external, "session")
        ));
    }
    lines
}

fn rebalanced(summary: &MovesSummary) -> Vec<String> {
    let mut lines = vec![moved(summary)];
    lines.extend(details(summary));
    let loads = summary.sensors.iter();
    lines.extend(loads.map(|(target, sessions)| format!("- {target}: {}", counted(*sessions, "session"))));
    lines
}

/// How many sessions were moved or would be, and how many cannot be.
fn moved(summary: &MovesSummary) -> String {
    let moved = match summary.outcome.as_str() {
        "planned" => format!("{} would be moved", counted(summary.planned_count, "session")),
        _ => format!("{} moved", counted(summary.moved, "session")),
    };
    format!("{moved}, {} cannot be", summary.stuck_count)
}

/// The moves that a dry run tells, what is stuck, and what cannot be read.
fn details(summary: &MovesSummary) -> Vec<String> {
    let planned = summary.planned.iter();
    let mut lines: Vec<String> = planned
        .map(|a_move| format!("- {}: from {} to {}", a_move.interface_id, a_move.from, a_move.to))
        .collect();
    lines.extend(and_more(summary.planned_count, summary.planned.len()));
    lines.extend(stuck(&summary.stuck, summary.stuck_count));
    lines.extend(summary.unreadable.iter().map(|item| {
        format!(
            "- left out: {}; `mirrorstep status` says how to mend it",
            printable(&item.to_string())
        )
    }));
    lines
}

fn unmirrored(summary: &UnmirrorSummary) -> Vec<String> {
    let mut lines = vec![match summary.outcome.as_str() {
        "planned" => format!(
            "The sessions of {} would be ended",
            counted(summary.planned_count, "interface")
        ),
        _ => format!(
            "{} unmirrored, {} could not be",
            counted(summary.unmirrored, "interface"),
            summary.stuck_count
        ),
    }];
    lines.extend(summary.planned.iter().map(|interface| format!("- {interface}")));
    lines.extend(and_more(summary.planned_count, summary.planned.len()));
    lines.extend(stuck(&summary.stuck, summary.stuck_count));
    if summary.left_count > 0 {
        lines.push(format!(
            "- {} to our targets made by others, left alone: with --adopted they are ended too",
            counted(summary.left_count, "session")
        ));
    }
    lines
}

/// A line for each interface that is stuck.
fn stuck(stuck: &BTreeMap<InterfaceId, String>, count: u64) -> Vec<String> {
    let lines = stuck
        .iter()
        .map(|(interface, reason)| format!("- {interface}: {}", printable(reason)));
    lines.chain(and_more(count, stuck.len())).collect()
}

fn and_more(count: u64, shown: usize) -> Option<String> {
    let more = count.saturating_sub(shown as u64);
    (more > 0).then(|| format!("- and {more} more"))
}

fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENSOR: &str = "tmt-0123456789abcdef0";

    fn moves(outcome: &str, more: &Value) -> MovesSummary {
        let mut summary = json!({
            "targetId": SENSOR, "outcome": outcome, "moved": 3, "stuck": {}, "stuckCount": 0, "sensors": {SENSOR: 1},
        });
        let members = summary.as_object_mut().unwrap();
        members.extend(more.as_object().cloned().unwrap_or_default());
        serde_json::from_value(summary).unwrap()
    }

    #[test]
    fn a_drain_tells_what_it_moved_what_stays_and_why_and_what_to_do() {
        let words = drained(&moves("drained", &json!({}))).join("\n");
        assert_eq!(words, format!("{SENSOR}: 3 sessions moved, 0 cannot be"));
        let stuck = json!({
            "stuck": {"eni-0123456789abcdef0": "no other sensor can receive it"}, "stuckCount": 2, "reserved": 1,
            "external": 1,
        });
        let words = drained(&moves("notDrained", &stuck));
        assert_eq!(
            words[1..],
            [
                "- eni-0123456789abcdef0: no other sensor can receive it",
                "- and 1 more",
                "- 1 reservation under way: run it again",
                "- 1 session of others on it, which mirrorstep does not move",
            ]
        );
        let words = drained(&moves("cancelled", &json!({})));
        assert_eq!(words, [format!("{SENSOR} takes new sessions again")]);
    }

    #[test]
    fn a_dry_run_tells_each_move_and_how_many_more() {
        let planned = json!({
            "planned": [{"interfaceId": "eni-0123456789abcdef0", "from": SENSOR, "to": "tmt-0123456789abcdef1"}],
            "plannedCount": 2,
        });
        let words = rebalanced(&moves("planned", &planned));
        assert_eq!(
            words,
            [
                "2 sessions would be moved, 0 cannot be".to_owned(),
                format!("- eni-0123456789abcdef0: from {SENSOR} to tmt-0123456789abcdef1"),
                "- and 1 more".to_owned(),
                format!("- {SENSOR}: 1 session"),
            ]
        );
    }

    #[test]
    fn an_unmirroring_tells_what_is_left_and_whose_it_is() {
        let summary = json!({
            "outcome": "notUnmirrored", "unmirrored": 1, "stuck": {"eni-0123456789abcdef0": "a deny"}, "stuckCount": 1,
            "left": [], "leftCount": 2,
        });
        let words = unmirrored(&serde_json::from_value(summary).unwrap());
        assert_eq!(
            words,
            [
                "1 interface unmirrored, 1 could not be",
                "- eni-0123456789abcdef0: a deny",
                "- 2 sessions to our targets made by others, left alone: with --adopted they are ended too",
            ]
        );
        assert_eq!(status("notUnmirrored"), ExitCode::FAILURE);
        assert_eq!(status("unmirrored"), ExitCode::SUCCESS);
    }
}
