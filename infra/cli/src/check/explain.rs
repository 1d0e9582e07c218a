//! `mirrorstep explain`: which targets could receive an interface's packets, and why not the others, by what EC2
//! shows or a snapshot holds.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;

use comfy_table::ColumnConstraint;
use mirrorstep_core::config::{Consent, FixedTags, UnverifiableTargets};
use mirrorstep_core::ids::MalformedId;
use mirrorstep_core::{InterfaceId, TargetId};
use mirrorstep_ec2::Wanted;
use mirrorstep_reachability::explain::{Explanation, Question, Verdict, explain};
use mirrorstep_reachability::snapshot::Snapshot;
use terminal::{Terminal, print, printable, table};

use crate::account::aws::{Account, with_options};
use crate::account::collect::collect;
use crate::account::deployment::Deployment;
use crate::check::around;
use crate::cli::{DeploymentOptions, ExplainOptions, Unverifiable};
use crate::error::Error;

/// Prints the answer. It ends well whatever the verdicts are.
pub async fn run(options: &ExplainOptions, terminal: &Terminal) -> Result<ExitCode, Error> {
    let looking = terminal.wait("asking EC2");
    let (question, snapshot, name) = match (&options.snapshot, &options.stack) {
        (Some(path), _) => (
            question(options),
            read_snapshot(path)?,
            path.display().to_string(),
        ),
        (None, Some(stack)) => {
            let deployment = Deployment::find(&DeploymentOptions {
                stack: stack.clone(),
                aws: options.aws.clone(),
            })
            .await?;
            let question = deployment.question(&options.interface).await?;
            let snapshot = ask_aws(&deployment.account, &question, terminal).await?;
            (question, snapshot, format!("stack {stack}"))
        }
        (None, None) => {
            let question = question(options);
            let snapshot = ask_aws(&Account::connect(&options.aws).await?, &question, terminal).await?;
            (question, snapshot, "AWS".to_owned())
        }
    };
    drop(looking);
    let mut explanation = explain(&snapshot, &question).map_err(|error| Error::NoAnswer {
        place: name,
        cause: printable(&error.to_string()),
    })?;
    for remedy in &mut explanation.remedies {
        remedy.command = with_options(&remedy.command, &options.aws);
    }
    let printed = if options.json {
        serde_json::to_string_pretty(&explanation).map_err(|error| Error::Unreadable {
            what: "the answer".to_owned(),
            cause: error.to_string(),
            next: "leave out --json",
        })?
    } else {
        in_words(&explanation)
    };
    print(&printed)?;
    Ok(ExitCode::SUCCESS)
}

async fn ask_aws(account: &Account, question: &Question, terminal: &Terminal) -> Result<Snapshot, Error> {
    // A snapshot may call its objects what it likes, AWS does not.
    let wrong = |option| {
        move |error: MalformedId| Error::Usage {
            option,
            cause: error.to_string(),
        }
    };
    let interface: InterfaceId = question.interface_id.parse().map_err(wrong("--interface"))?;
    let targets: Vec<TargetId> = question
        .targets
        .iter()
        .flatten()
        .map(|id| id.parse())
        .collect::<Result<_, _>>()
        .map_err(wrong("--targets"))?;
    let wanted = Wanted {
        interfaces: &[interface],
        targets: &targets,
        local_zone_only: question.local_zone_only,
        ..Wanted::default()
    };
    let mut snapshot = collect(account, wanted).await?;
    let sources = [question.interface_id.clone()].into();
    let note = around::complete(account, &mut snapshot, &sources, question.local_zone_only).await?;
    if let Some(note) = &note {
        terminal.line(note);
    }
    Ok(snapshot)
}

fn read_snapshot(path: &Path) -> Result<Snapshot, Error> {
    Snapshot::parse(&read(path)?).map_err(|error| Error::Unreadable {
        what: format!("the snapshot {}", path.display()),
        cause: printable(&error.to_string()),
        next: "give one JSON object of lists as the AWS CLI prints them: `mirrorstep snapshot` makes one, and \
               `jq -s add` over outputs of `aws ec2 describe-…`",
    })
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
    let mut table = table(["target", "verdict", "local", "sessions", "reason", "evidence"]);
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
        writeln!(out, "There are no traffic mirror targets.")?;
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
