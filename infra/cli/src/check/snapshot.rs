//! `mirrorstep snapshot`: what `mirrorstep explain` needs to know, from AWS to a file.

use std::process::ExitCode;

use mirrorstep_core::TargetId;
use mirrorstep_ec2::Wanted;
use mirrorstep_reachability::snapshot::Snapshot;
use terminal::{Terminal, print};

use crate::account::aws::Account;
use crate::account::collect::collect;
use crate::check::around;
use crate::cli::SnapshotOptions;
use crate::error::Error;

/// Prints the snapshot on standard output, and on standard error what can be asked of it.
pub async fn run(options: &SnapshotOptions, terminal: &Terminal) -> Result<ExitCode, Error> {
    let account = Account::connect(&options.aws).await?;
    let wanted = Wanted {
        instances: &options.instances,
        interfaces: &options.interfaces,
        targets: &options.targets,
        local_zone_only: false,
    };
    let looking = terminal.wait("asking EC2");
    let mut snapshot = collect(&account, wanted).await?;
    let of_instances = snapshot
        .instances
        .iter()
        .flat_map(|instance| &instance.network_interfaces);
    let sources = of_instances
        .map(|interface| interface.network_interface_id.clone())
        .chain(options.interfaces.iter().map(ToString::to_string))
        .collect();
    let note = around::complete(&account, &mut snapshot, &sources, false).await?;
    drop(looking);
    if let Some(note) = &note {
        terminal.line(note);
    }
    for line in notes(&snapshot, &options.targets) {
        terminal.line(&line);
    }
    print(&to_json(&snapshot)?)?;
    Ok(ExitCode::SUCCESS)
}

fn to_json(value: &Snapshot) -> Result<String, Error> {
    serde_json::to_string_pretty(value).map_err(|error| Error::Unreadable {
        what: "the snapshot".to_owned(),
        cause: error.to_string(),
        next: "report this",
    })
}

fn notes(snapshot: &Snapshot, asked: &[TargetId]) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    for instance in &snapshot.instances {
        let interfaces: Vec<&str> = instance
            .network_interfaces
            .iter()
            .map(|interface| interface.network_interface_id.as_str())
            .collect();
        notes.push(if interfaces.is_empty() {
            format!(
                "{} is {} and has no interfaces",
                instance.instance_id, instance.state.name
            )
        } else {
            format!("{}: {}", instance.instance_id, interfaces.join(", "))
        });
    }
    let shown = &snapshot.traffic_mirror_targets;
    let is_shown = |id: &TargetId| {
        shown
            .iter()
            .any(|target| target.traffic_mirror_target_id == id.as_str())
    };
    notes.extend(
        asked
            .iter()
            .filter(|id| !is_shown(id))
            .map(|id| format!("{id} is not visible and left out")),
    );
    if shown.is_empty() {
        notes.push("there are no traffic mirror targets".to_owned());
    }
    notes
}
