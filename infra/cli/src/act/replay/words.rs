//! What `mirrorstep replay` says to a person.

use std::fmt::Write as _;

use super::{Replay, Way, plan};
use crate::cli::ReplayOptions;
use crate::investigate::audit::{end, in_numbers};
use crate::investigate::executions::{Execution, short_name};
use terminal::printable;

/// An execution, what is done about it, and why.
pub(super) fn plan(replay: &Replay) -> String {
    let mut text = line(&replay.asked);
    if replay.newest.arn != replay.asked.arn {
        let _ = write!(text, "\n    replayed as {}", line(&replay.newest));
    }
    let name = match &replay.arn {
        Some(arn) => short_name(arn).to_owned(),
        None => plan::name(&replay.newest),
    };
    let what = match replay.way {
        Way::Redrive => "redrive".to_owned(),
        Way::StartAnew => format!("new execution {name}"),
        Way::Await => "nothing to start".to_owned(),
        Way::Leave => "nothing to do".to_owned(),
        Way::Cannot => "cannot be replayed".to_owned(),
    };
    let _ = write!(text, "\n    {}", printable(&format!("{what}: {}", replay.reason)));
    text
}

fn line(execution: &Execution) -> String {
    let mut line = format!(
        "{} {}: {}",
        execution.machine,
        execution.name,
        execution.status.as_str()
    );
    let end = end(execution);
    if !end.is_empty() {
        let _ = write!(line, ": {end}");
    }
    printable(&line)
}

/// What would be done, or what came of it.
pub(super) fn summary(replays: &[Replay], options: &ReplayOptions) -> String {
    if replays.is_empty() {
        return format!(
            "No failed execution has started in the last {}.",
            humantime::format_duration(options.since)
        );
    }
    let mut text = String::new();
    if options.dry_run {
        for replay in replays {
            let _ = writeln!(text, "{}", plan(replay));
        }
        let count = |way| replays.iter().filter(|replay| replay.way == way).count();
        let (redrives, starts) = (count(Way::Redrive), count(Way::StartAnew));
        let rest = replays.len() - redrives - starts;
        let _ = writeln!(
            text,
            "\n{redrives} would be redriven, {starts} started anew, {rest} left as they are"
        );
        return text;
    }
    let ended: Vec<&Execution> = replays
        .iter()
        .filter_map(|replay| replay.ended.as_ref())
        .collect();
    for execution in &ended {
        let _ = write!(text, "\n{}", line(execution));
    }
    if !ended.is_empty() {
        text.push('\n');
    }
    let replayed = replays.iter().filter(|replay| replay.arn.is_some()).count();
    let left = replays.len() - replayed;
    let _ = write!(text, "\n{replayed} replayed");
    if !ended.is_empty() {
        let _ = write!(
            text,
            ": {}",
            in_numbers(ended.iter().map(|execution| &execution.status))
        );
    }
    if left > 0 {
        let _ = write!(text, "; {left} left as they are");
    }
    if let Some(failed) = ended.iter().find(|execution| execution.has_failed()) {
        let _ = write!(
            text,
            "\nWhat happened, and what to do: `mirrorstep audit {}`",
            printable(&failed.name)
        );
    } else if options.no_wait && replayed > 0 {
        text.push_str("\n`mirrorstep audit EXECUTION` tells what becomes of each.");
    }
    text
}
