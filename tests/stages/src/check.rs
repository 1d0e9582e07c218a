//! What holds at rest.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use crate::pipeline::Pipeline;

/// The sessions in EC2.
pub fn sessions(pipeline: &Pipeline) -> Vec<Value> {
    pipeline.aws.ec2.snapshot()["TrafficMirrorSessions"]
        .as_array()
        .unwrap()
        .clone()
}

/// How many sessions each target has in EC2.
pub fn sessions_by_target(pipeline: &Pipeline) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for session in sessions(pipeline) {
        *counts
            .entry(session["TrafficMirrorTargetId"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    counts
}

/// The assignments that hold a place, and what each sensor's counter says: they must agree (I2), and with what
/// EC2 has (I6).
#[track_caller]
pub fn ledger_agrees(pipeline: &Pipeline) {
    let items = pipeline.aws.dynamo.items();
    let mut live = BTreeMap::<String, u64>::new();
    let mut assigned = HashSet::new();
    for item in items
        .iter()
        .filter(|item| item["sk"] == "ASSIGNMENT" && item["state"] != "released")
    {
        assert_eq!(item["state"], "active", "at rest nothing is reserved: {item}");
        *live
            .entry(item["targetId"].as_str().unwrap().to_owned())
            .or_default() += 1;
        assigned.insert((
            item["interfaceId"].clone().to_string(),
            item["sessionId"].to_string(),
        ));
    }
    for load in items.iter().filter(|item| item["sk"] == "LOAD") {
        let target = load["targetId"].as_str().unwrap();
        assert_eq!(
            load["sessions"].as_u64().unwrap(),
            live.get(target).copied().unwrap_or(0),
            "{load}"
        );
    }
    let in_ec2: HashSet<_> = sessions(pipeline)
        .iter()
        .map(|session| {
            (
                session["NetworkInterfaceId"].to_string(),
                session["TrafficMirrorSessionId"].to_string(),
            )
        })
        .collect();
    assert_eq!(
        assigned, in_ec2,
        "assignments and EC2's sessions are in one-to-one relation"
    );
}

/// How many assignments are live.
pub fn reservations(pipeline: &Pipeline) -> usize {
    pipeline
        .aws
        .dynamo
        .items()
        .iter()
        .filter(|item| item["sk"] == "ASSIGNMENT" && item["state"] != "released")
        .count()
}
