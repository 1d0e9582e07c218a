//! `mirrorstep history`: what happened to one interface, by the ledger's events and the executions for it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use comfy_table::ColumnConstraint;
use jiff::Timestamp;
use mirrorstep_core::assignment::{Assignment, AssignmentState, Change, LedgerEvent};
use mirrorstep_core::unreadable::Unreadable;
use mirrorstep_ledger::Entry;
use serde_json::{Value, json};
use terminal::{Terminal, print, printable, table};

use crate::account::aws::Service;
use crate::account::deployment::Deployment;
use crate::cli::HistoryOptions;
use crate::error::Error;
use crate::investigate::audit::{before, end};
use crate::investigate::executions::{self, Execution, Machine, Wanted, short_name, to_the_second};

/// Step Functions shows an execution for so long after its end.
const SHOWN_FOR: Duration = Duration::from_hours(90 * 24);

/// What the ledger holds of an interface.
#[derive(Debug, Default)]
struct Recorded {
    assignment: Option<Assignment>,
    events: Vec<LedgerEvent>,
    unreadable: Vec<Unreadable>,
}

/// One line of the table.
struct Line {
    at: Timestamp,
    what: String,
    execution: String,
}

/// Runs the command.
pub async fn run(options: &HistoryOptions, terminal: &Terminal) -> Result<ExitCode, Error> {
    let deployment = Deployment::find(&options.deployment).await?;
    let interface = options.interface.as_str();
    let recorded = recorded(&deployment, interface).await?;
    // An execution that failed before the first event is a part of the history too, and so the ledger does not say
    // how far back to look.
    let wanted = Wanted {
        machines: &[
            Machine::MirrorInterface,
            Machine::MoveInterface,
            Machine::UnmirrorInterface,
        ],
        failed: false,
        since: before(Timestamp::now(), SHOWN_FOR),
        instance: None,
        interfaces: &BTreeSet::from([interface]),
    };
    let executions = executions::newest(&deployment, &wanted, usize::MAX, terminal).await?;
    let executions = executions.newest;
    if recorded.is_empty() && executions.is_empty() {
        return Err(Error::NotShown {
            service: Service::DYNAMODB.name,
            what: format!("interface {interface}"),
            place: format!("the ledger {}", deployment.outputs.ledger_table),
        });
    }
    print(&if options.json {
        in_json(interface, &recorded, &executions)
    } else {
        in_words(interface, &recorded, &executions)
    })?;
    Ok(if recorded.unreadable.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Recorded {
    fn is_empty(&self) -> bool {
        self.assignment.is_none() && self.events.is_empty() && self.unreadable.is_empty()
    }
}

/// The interface's assignment and events, as they are now.
async fn recorded(deployment: &Deployment, interface: &str) -> Result<Recorded, Error> {
    let items: Vec<_> = deployment
        .account
        .dynamodb
        .query()
        .table_name(&deployment.outputs.ledger_table)
        .key_condition_expression("pk = :pk")
        .expression_attribute_values(":pk", AttributeValue::S(format!("ENI#{interface}")))
        .consistent_read(true)
        .into_paginator()
        .items()
        .send()
        .try_collect()
        .await
        .map_err(deployment.account.refusal(&Service::DYNAMODB, "Query"))?;
    let mut recorded = Recorded::default();
    for item in &items {
        match mirrorstep_ledger::entry(item) {
            Ok(Entry::Assignment(assignment)) => recorded.assignment = Some(assignment),
            Ok(Entry::Event(event)) => recorded.events.push(event),
            Ok(Entry::Load(_) | Entry::Correction(_)) => {}
            Err(unreadable) => recorded.unreadable.push(*unreadable),
        }
    }
    recorded.events.sort_by_key(|event| event.version);
    Ok(recorded)
}

/// What has happened, in words.
fn event_in_words(change: &Change) -> String {
    match change {
        Change::Reserved {
            target_id,
            generation,
            session_number,
            ..
        } => format!("reserved on {target_id}, generation {generation}, session number {session_number}"),
        Change::Activated { session_id } => format!("active as {session_id}"),
        Change::Adopted {
            target_id,
            generation,
            session_id,
            session_number,
            ..
        } => format!(
            "adopted {session_id} to {target_id}, generation {generation}, session number {session_number}"
        ),
        Change::Moved {
            target_id, reason, ..
        } => format!("moved to {target_id}: {reason}"),
        Change::Released { reason, .. } => format!("released: {reason}"),
    }
}

fn execution_in_words(execution: &Execution) -> String {
    match (execution.stopped, execution.outcome()) {
        (None, _) => format!("execution started, {}", execution.status.as_str()),
        (Some(_), Some(outcome)) => format!("execution ended: {outcome}"),
        (Some(_), None) => match end(execution).as_str() {
            "" => format!("execution ended: {}", execution.status.as_str()),
            end => format!("execution failed: {end}"),
        },
    }
}

fn assignment_in_words(recorded: &Recorded) -> String {
    if recorded.unreadable.iter().any(|item| item.assigned().is_some()) {
        return "its assignment cannot be read".to_owned();
    }
    let assignment = recorded.assignment.as_ref();
    let Some(assignment) = assignment.filter(|assignment| assignment.is_live()) else {
        return "no assignment".to_owned();
    };
    let Assignment {
        state,
        target_id,
        generation,
        session_number,
        ..
    } = assignment;
    let session = assignment.session_id.as_ref().map_or_else(
        || format!("session number {session_number}"),
        |id| format!("{id}, session number {session_number}"),
    );
    let state = match state {
        AssignmentState::Reserved => "reserved",
        AssignmentState::Active => "active",
        AssignmentState::Released => "released",
    };
    format!("{state} on {target_id}, {session}, generation {generation}")
}

/// Events and executions in the order of time. What an execution did comes before its end.
fn lines(recorded: &Recorded, executions: &[Execution]) -> Vec<Line> {
    let events = recorded.events.iter().map(|event| Line {
        at: event.at,
        what: event_in_words(&event.change),
        execution: short_name(&event.execution_arn).to_owned(),
    });
    let executions = executions.iter().map(|execution| Line {
        at: execution.stopped.unwrap_or(execution.started),
        what: execution_in_words(execution),
        execution: execution.name.clone(),
    });
    let mut lines: Vec<Line> = events.chain(executions).collect();
    lines.sort_by_key(|line| line.at);
    lines
}

fn in_words(interface: &str, recorded: &Recorded, executions: &[Execution]) -> String {
    let mut table = table(["time", "what", "by"]);
    for line in lines(recorded, executions) {
        table.add_row([
            to_the_second(line.at),
            printable(&line.what),
            printable(&line.execution),
        ]);
    }
    // Names are copied: they stay in one piece.
    for (at, column) in table.column_iter_mut().enumerate() {
        if at != 1 {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let mut text = format!("{interface}: {}\n", printable(&assignment_in_words(recorded)));
    // Writing to a string does not fail.
    let _ = writeln!(text, "{table}");
    for item in &recorded.unreadable {
        let item = printable(&item.to_string());
        let _ = writeln!(text, "{item}; `mirrorstep status` says how to mend it");
    }
    text
}

fn in_json(interface: &str, recorded: &Recorded, executions: &[Execution]) -> String {
    let executions: Vec<Value> = executions.iter().rev().map(Execution::in_json).collect();
    json!({
        "interfaceId": interface, "assignment": recorded.assignment, "events": recorded.events,
        "executions": executions, "unreadable": recorded.unreadable,
    })
    .to_string()
}
