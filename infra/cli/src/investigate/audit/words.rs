//! What `mirrorstep audit` says to a person.

use std::fmt::{self, Write as _};
use std::time::Duration;

use aws_sdk_sfn::types::{ExecutionRedriveStatus, ExecutionStatus};
use comfy_table::{ColumnConstraint, Width};
use jiff::Timestamp;

use super::story::{State, Story};
use crate::account::aws::one_line;
use crate::cli::AuditOptions;
use crate::investigate::advice::Remedy;
use crate::investigate::executions::cause::Cause;
use crate::investigate::executions::{Execution, Listing, to_the_second};
use terminal::{self, printable};

/// So long may an outcome or a cause be in the table.
const MOST_OF_A_CAUSE: usize = 160;
/// And so wide it is at least, where it is longer.
const LEAST_OF_A_CAUSE: u16 = 30;
/// The column of the outcome.
const OUTCOME: usize = 5;

/// What is said where there is nothing to list.
pub(super) fn nothing(options: &AuditOptions) -> String {
    let mut of = String::new();
    for (what, id) in [
        ("interface", options.interface.as_ref().map(ToString::to_string)),
        ("instance", options.instance.as_ref().map(ToString::to_string)),
    ] {
        if let Some(id) = id {
            let _ = write!(of, " for {what} {id}");
        }
    }
    let which = if options.failed {
        "No failed execution"
    } else {
        "No execution"
    };
    format!(
        "{which}{of} has started in the last {}.",
        humantime::format_duration(options.since)
    )
}

/// The executions, their number, and what to do next.
pub(super) fn table(listing: &Listing, now: Timestamp) -> String {
    let mut table = terminal::table([
        "started",
        "machine",
        "subject",
        "status",
        "duration",
        "outcome",
        "execution",
    ]);
    for execution in &listing.newest {
        table.add_row([
            to_the_second(execution.started),
            execution.machine.to_string(),
            printable(execution.subject()),
            printable(execution.status.as_str()),
            duration(execution.seconds(now)),
            end(execution),
            printable(&execution.name),
        ]);
    }
    // Names are copied: they stay in one piece. What is left of a narrow terminal is not to make a cause unreadable.
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_constraint(if at == OUTCOME {
            ColumnConstraint::LowerBoundary(Width::Fixed(LEAST_OF_A_CAUSE))
        } else {
            ColumnConstraint::ContentWidth
        });
    }
    let (shown, left_out) = (listing.newest.len(), listing.others.len());
    let all = shown + left_out;
    let plural = if all == 1 { "" } else { "s" };
    let mut text = format!(
        "{table}\n{all} execution{plural}: {}\n",
        in_numbers(super::statuses(listing))
    );
    if left_out > 0 {
        let _ = writeln!(
            text,
            "The newest {shown} are shown, {left_out} others are not: `--limit {all}` shows all, --failed only what failed."
        );
    }
    let failed = listing.newest.iter().find(|execution| execution.has_failed());
    let failed = failed.map(|execution| &execution.name).or_else(|| {
        let failed = listing.others.iter().find(|listed| listed.has_failed());
        failed.map(|listed| &listed.name)
    });
    if let Some(name) = failed {
        let _ = writeln!(
            text,
            "What happened, and what to do: `mirrorstep audit {}`",
            printable(name)
        );
    }
    text
}

/// How many there are of each status, in words.
pub(crate) fn in_numbers<'a>(statuses: impl IntoIterator<Item = &'a ExecutionStatus>) -> String {
    let counts: Vec<String> = super::counts(statuses)
        .iter()
        .map(|(status, count)| format!("{count} {}", in_two_words(status)))
        .collect();
    counts.join(", ")
}

fn in_two_words(status: &str) -> String {
    match status {
        "timedOut" => "timed out".to_owned(),
        "pendingRedrive" => "waiting to be redriven".to_owned(),
        other => printable(other),
    }
}

/// The outcome, or the error and its cause.
pub(crate) fn end(execution: &Execution) -> String {
    let text = match (
        execution.outcome(),
        execution.error_name(),
        execution.cause_in_short(),
    ) {
        (Some(outcome), ..) => outcome.to_owned(),
        (None, Some(error), Some(cause)) => format!("{error}: {cause}"),
        (None, Some(error), None) => error.to_owned(),
        (None, None, _) => String::new(),
    };
    shortened(&one_line(&text))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_OF_A_CAUSE) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A duration as it is read: milliseconds matter only to what is short.
fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{:.1}s", seconds.max(0.0));
    }
    let whole = Duration::try_from_secs_f64(seconds.round()).unwrap_or_default();
    humantime::format_duration(whole).to_string()
}

/// An execution as a story.
pub(super) fn story(execution: &Execution, story: &Story, now: Timestamp) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_story(execution, story, now, &mut text);
    text
}

fn write_story(execution: &Execution, story: &Story, now: Timestamp, out: &mut String) -> fmt::Result {
    writeln!(out, "{} {}", execution.machine, printable(&execution.name))?;
    match (execution.interface_id(), execution.instance_id()) {
        (Some(interface), Some(instance)) => writeln!(
            out,
            "subject:  interface {} of instance {}",
            printable(interface),
            printable(instance)
        )?,
        (Some(interface), None) => writeln!(out, "subject:  interface {}", printable(interface))?,
        (None, Some(instance)) => writeln!(out, "subject:  instance {}", printable(instance))?,
        (None, None) => {}
    }
    write!(out, "status:   {}", printable(execution.status.as_str()))?;
    if let Some(outcome) = execution.outcome() {
        write!(out, ", outcome {}", printable(outcome))?;
    }
    writeln!(out, "\nstarted:  {}", to_the_second(execution.started))?;
    let so_far = if execution.stopped.is_some() {
        ""
    } else {
        " so far"
    };
    writeln!(out, "duration: {}{so_far}", duration(execution.seconds(now)))?;
    if !story.redriven.is_empty() {
        let times: Vec<String> = story.redriven.iter().copied().map(to_the_second).collect();
        writeln!(out, "redriven: {}", times.join(", "))?;
    }
    writeln!(out)?;
    for state in &story.states {
        write_state(state, out)?;
    }
    if execution.has_failed() {
        write_end(execution, out)?;
    }
    Ok(())
}

fn write_state(state: &State, out: &mut String) -> fmt::Result {
    let took = state.seconds().map_or_else(|| "still in it".to_owned(), duration);
    writeln!(
        out,
        "{}  {}  {took}",
        to_the_second(state.entered),
        printable(&state.name)
    )?;
    for attempt in &state.retries {
        writeln!(
            out,
            "    failed at {}, tried again: {}",
            to_the_second(attempt.at),
            attempt.in_words()
        )?;
    }
    for decided in &state.decided {
        writeln!(out, "    {}", one_line(decided))?;
    }
    for (attempt, what) in [(&state.caught, ", and caught"), (&state.failed, ", for good")] {
        if let Some(attempt) = attempt {
            writeln!(
                out,
                "    failed at {}{what}: {}",
                to_the_second(attempt.at),
                attempt.in_words()
            )?;
        }
    }
    Ok(())
}

fn write_end(execution: &Execution, out: &mut String) -> fmt::Result {
    let error = execution.error_name().unwrap_or_default();
    let cause = execution.cause.as_deref().map(Cause::of).unwrap_or_default();
    let message = if cause.message.is_empty() {
        "no cause is told"
    } else {
        &cause.message
    };
    writeln!(out, "\n{}: {message}", one_line(error))?;
    for rejection in &cause.rejections {
        writeln!(out, "    {}", rejection.in_words())?;
    }
    if cause.left_out > 0 {
        writeln!(
            out,
            "    and {} more, which are in the states' outputs",
            cause.left_out
        )?;
    }
    let Some((remedy, advice)) = execution.advice() else {
        return Ok(());
    };
    writeln!(out, "\nWhat to do: {advice}")?;
    if remedy != Remedy::Correct {
        writeln!(
            out,
            "`mirrorstep replay {}` then redrives it or starts a new one, as is right.",
            printable(&execution.name)
        )?;
    }
    if execution.redrive_status == Some(ExecutionRedriveStatus::NotRedrivable) {
        writeln!(
            out,
            "Step Functions does not redrive this execution any more: start a new one with the same input."
        )?;
    }
    Ok(())
}
