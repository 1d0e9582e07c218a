//! The workflows that an operator starts, by the words of the commands that start them.

use std::cell::Cell;

use mirrorstep_core::TargetId;
use serde_json::{Value, json};
use workflow::StateError;

use crate::pipeline::Pipeline;

thread_local! {
    static STARTED: Cell<u64> = const { Cell::new(0) };
}

/// Runs the workflow of `drain TMT [--dry-run|--cancel]` or `rebalance [--dry-run]`, where these targets are configured, or
/// all that there are: its summary, and whether all was done.
pub async fn told_for(
    pipeline: &Pipeline,
    targets: Option<&[TargetId]>,
    words: &[&str],
) -> Result<(Value, bool), StateError> {
    let all = || {
        let shown = pipeline.aws.ec2.snapshot_of(&["TrafficMirrorTargets"]);
        let shown = shown["TrafficMirrorTargets"].as_array().unwrap().iter();
        let ids = shown.map(|target| target["TrafficMirrorTargetId"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    let configured = targets.map_or_else(all, |targets| targets.iter().map(ToString::to_string).collect());
    pipeline.set("TARGET_IDS", &configured.join(","));
    let name = format!("operator-{}", STARTED.replace(STARTED.get() + 1));
    let (mut input, is_drain) = match words {
        ["drain", target, ..] => (json!({"targetId": target}), true),
        ["rebalance", ..] => (json!({}), false),
        other => panic!("no workflow is started by {other:?}"),
    };
    input["dryRun"] = json!(words.contains(&"--dry-run"));
    input["cancel"] = json!(words.contains(&"--cancel"));
    input["reason"] = json!("a test");
    let ended = if is_drain {
        pipeline.drain_sensor(&name, input).await
    } else {
        pipeline.rebalance(&name, input).await
    };
    let summary = ended.result?;
    let outcome = summary["outcome"].as_str().unwrap();
    let is_done = !matches!(outcome, "notDrained" | "notRebalanced");
    Ok((summary.clone(), is_done))
}
