//! `mirrorstep explain`: which targets could receive an interface's packets, and why not the others, from a
//! snapshot and without AWS.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::process::ExitCode;

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use mirrorstep_core::TargetId;
use mirrorstep_core::config::{Consent, FixedTags, UnverifiableTargets};
use mirrorstep_core::explain::{Explanation, Question, Verdict, explain};
use mirrorstep_core::snapshot::Snapshot;

use crate::cli::{ExplainOptions, Unverifiable};
use crate::error::Error;

/// Prints the answer. It ends well whatever the verdicts are.
pub fn run(options: &ExplainOptions) -> Result<ExitCode, Error> {
    let name = options.snapshot.display();
    let text = read(&options.snapshot)?;
    let snapshot = Snapshot::parse(&text).map_err(|error| Error::Unreadable {
        what: format!("the snapshot {name}"),
        cause: printable(&error.to_string()),
        next: "give one JSON object of lists as the AWS CLI prints them: `jq -s add` over outputs of \
               `aws ec2 describe-…`",
    })?;
    let explanation = explain(&snapshot, &question(options)).map_err(|error| Error::NoAnswer {
        snapshot: options.snapshot.clone(),
        cause: printable(&error.to_string()),
    })?;
    let printed = if options.json {
        serde_json::to_string_pretty(&explanation).map_err(|error| Error::Unreadable {
            what: "the answer".to_owned(),
            cause: error.to_string(),
            next: "leave out --json",
        })?
    } else {
        in_words(&explanation)
    };
    writeln!(io::stdout().lock(), "{}", printed.trim_end())
        .map_err(Error::file("write", "standard output"))?;
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().read_to_end(&mut text)
    } else {
        File::open(path).and_then(|mut file| file.read_to_end(&mut text))
    }
    .map_err(Error::file("read", path))?;
    Ok(text)
}

fn question(options: &ExplainOptions) -> Question {
    Question {
        interface_id: options.interface.clone(),
        targets: (!options.targets.is_empty()).then(|| options.targets.clone()),
        local_zone_only: options.local_zone_only,
        consent: Consent {
            opt_in: options.opt_in_tag.clone(),
            opt_out: options.opt_out_tag.clone(),
        },
        fixed: FixedTags {
            target: options.fixed_target_tag.clone(),
            filter: options.fixed_filter_tag.clone(),
        },
        unverifiable: match options.unverifiable_targets {
            Unverifiable::Reject => UnverifiableTargets::Reject,
            Unverifiable::Allow => UnverifiableTargets::Allow,
        },
    }
}

fn in_words(explanation: &Explanation) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_words(explanation, &mut text);
    text
}

fn write_words(explanation: &Explanation, out: &mut String) -> fmt::Result {
    if let Some(left_out) = &explanation.left_out {
        writeln!(
            out,
            "{} is not to be mirrored: {}",
            printable(&explanation.interface),
            printable(&left_out.reason)
        )?;
    }
    for choice in &explanation.choices {
        writeln!(out, "Chosen by tag: {}", printable(&choice.reason))?;
    }
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        // As wide as the terminal, where there is one.
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["target", "verdict", "local", "sessions", "reason", "evidence"]);
    for verdict in &explanation.verdicts {
        table.add_row([
            printable(verdict.target_id.as_str()),
            verdict_name(verdict),
            if verdict.local { "yes" } else { "no" }.to_owned(),
            verdict.sessions.to_string(),
            printable(verdict.reason.as_deref().unwrap_or_default()),
            printable(verdict.evidence.as_deref().unwrap_or_default()),
        ]);
    }
    // Ids are copied: they stay in one piece.
    for column in table.column_iter_mut().take(4) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    if explanation.verdicts.is_empty() {
        writeln!(out, "The snapshot has no traffic mirror targets.")?;
    } else {
        writeln!(out, "{table}")?;
    }
    match &explanation.picked {
        Some(picked) => writeln!(out, "Picked: {}", printable(picked.as_str()))?,
        None => writeln!(out, "Picked: none")?,
    }
    for advisory in &explanation.advisories {
        writeln!(out, "Note: {}", printable(advisory))?;
    }
    if !explanation.remedies.is_empty() {
        writeln!(out, "\nTo let the mirrored packets in:")?;
    }
    for remedy in &explanation.remedies {
        let targets: Vec<_> = remedy.targets.iter().map(TargetId::as_str).collect();
        writeln!(out, "# {}\n{}", printable(&targets.join(", ")), remedy.command)?;
    }
    Ok(())
}

fn verdict_name(verdict: &Verdict) -> String {
    match verdict.rejected_by.map(serde_json::to_value) {
        None => "eligible".to_owned(),
        Some(Ok(serde_json::Value::String(name))) => name,
        Some(_) => "rejected".to_owned(),
    }
}

/// Texts of a snapshot are anyone's: nothing in them is to steer a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| {
            if letter.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                letter
            }
        })
        .collect()
}
