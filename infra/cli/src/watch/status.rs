//! `mirrorstep status`: how a deployment stands.

use std::fmt::{self, Write as _};
use std::process::ExitCode;

use crate::account::deployment::Deployment;
use crate::cli::StatusOptions;
use crate::error::Error;
use crate::watch::overview::{Coverage, Overview, observe};
use crate::watch::unreadable;
use terminal::{Terminal, print, printable, table};

/// How many interfaces are listed that are not mirrored. `--json` lists all.
const LISTED: usize = 50;

/// Prints it. The exit code says whether all is well.
pub async fn run(options: &StatusOptions, terminal: &Terminal) -> Result<ExitCode, Error> {
    let waiting = terminal.wait("asking EC2 and the ledger");
    let deployment = Deployment::find(&options.deployment).await?;
    let (overview, _) = observe(&deployment).await?;
    drop(waiting);
    let is_well = overview.is_well();
    print(&if options.json {
        overview.in_json().to_string()
    } else {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = in_words(&overview, &mut text);
        options.deployment.in_commands(&text)
    })?;
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn in_words(overview: &Overview, out: &mut String) -> fmt::Result {
    writeln!(
        out,
        "{} in {}, at {:.0}\n",
        printable(&overview.stack),
        overview.place,
        overview.at
    )?;
    sensors(overview, out)?;
    writeln!(out)?;
    interfaces(overview, out)?;
    writeln!(out)?;
    ledger(overview, out)
}

fn sensors(overview: &Overview, out: &mut String) -> fmt::Result {
    let mut table = table([
        "zone",
        "target",
        "sessions",
        "of",
        "in the ledger",
        "others'",
        "note",
    ]);
    for sensor in &overview.sensors {
        table.add_row([
            printable(&sensor.zones.join(", ")),
            sensor.target_id.clone(),
            sensor.sessions.to_string(),
            sensor.share(),
            sensor.assignments.to_string(),
            sensor.external.to_string(),
            sensor.note(),
        ]);
    }
    writeln!(out, "Sensors\n{table}")
}

fn interfaces(overview: &Overview, out: &mut String) -> fmt::Result {
    writeln!(out, "Interfaces of running instances")?;
    let coverage = overview.coverage();
    for (state, count) in &coverage {
        writeln!(out, "{count:>6} {}", state.in_words())?;
    }
    if coverage.is_empty() {
        writeln!(out, "  none")?;
    }
    not_mirrored(overview, out)
}

/// The interfaces that are to be mirrored and are not, and those that cannot be, each with why.
fn not_mirrored(overview: &Overview, out: &mut String) -> fmt::Result {
    let open: Vec<_> = overview
        .interfaces
        .iter()
        .filter(|interface| matches!(interface.state, Coverage::Uncovered | Coverage::NotMirrorable))
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    let mut table = table(["interface", "instance", "zone", "state", "why"]);
    for interface in open.iter().take(LISTED) {
        table.add_row([
            interface.interface_id.clone(),
            match &interface.instance_name {
                Some(name) => format!("{} {}", interface.instance_id, printable(name)),
                None => interface.instance_id.clone(),
            },
            printable(&interface.zone),
            interface.state.in_words().to_owned(),
            printable(interface.reason.as_deref().unwrap_or_default()),
        ]);
    }
    writeln!(out, "\n{table}")?;
    if let more @ 1.. = open.len().saturating_sub(LISTED) {
        writeln!(out, "and {more} more: `mirrorstep status --json` lists all")?;
    }
    Ok(())
}

/// What of the ledger cannot be read, and where it differs from EC2.
fn ledger(overview: &Overview, out: &mut String) -> fmt::Result {
    if !overview.unreadable.is_empty() {
        writeln!(
            out,
            "Of the ledger this cannot be read, or could not until lately. It is left out; all else goes on:\n{}\n",
            unreadable::in_words(&overview.unreadable)
        )?;
    }
    for senseless in &overview.senseless {
        writeln!(out, "- {}", printable(senseless))?;
    }
    if overview.differences.is_empty() {
        writeln!(out, "Ledger and EC2 agree")?;
    } else {
        writeln!(
            out,
            "Ledger and EC2 differ; `mirrorstep reconcile` brings them together again:"
        )?;
        for difference in &overview.differences {
            writeln!(out, "- {}", printable(difference))?;
        }
    }
    Ok(())
}
