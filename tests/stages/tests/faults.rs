//! Calls that fail, or whose answer is lost: run again, the stages come to the same end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ec2_sim::{Fault, Options};
use serde_json::Value;
use stage_tests::pipeline::Pipeline;
use stage_tests::scene::Scene;
use stage_tests::{Aws, DynamoFault};

fn scene() -> (Scene, String) {
    let mut scene = Scene::new();
    scene.sensor(0, "m5.24xlarge");
    scene.sensor(0, "m5.24xlarge");
    let instance = scene.instance(1, 0, 1);
    (scene, instance)
}

/// What is left after the run: the sessions' number, the live assignments' number, the counters' sum.
fn totals(aws: &Aws) -> (usize, usize, u64) {
    let items = aws.dynamo.items();
    let live = items
        .iter()
        .filter(|item| item["sk"] == "ASSIGNMENT" && item["state"] == "active")
        .count();
    let counters = items
        .iter()
        .filter(|item| item["sk"] == "LOAD")
        .map(|item| item["sessions"].as_u64().unwrap())
        .sum();
    let sessions = aws.ec2.snapshot()["TrafficMirrorSessions"]
        .as_array()
        .map_or(0, Vec::len);
    (sessions, live, counters)
}

/// The events of the one interface, as their kinds.
fn events(aws: &Aws) -> Vec<Value> {
    let mut events: Vec<Value> = aws
        .dynamo
        .items()
        .into_iter()
        .filter(|item| item["sk"].as_str().is_some_and(|sk| sk.starts_with("EVENT#")))
        .collect();
    events.sort_by_key(|event| event["version"].as_u64());
    events
        .into_iter()
        .map(|event| event["change"]["kind"].clone())
        .collect()
}

/// Fails the call of this number, counted over all calls.
fn nth<F: Clone + Send + Sync + 'static>(
    n: usize,
    fault: F,
) -> (impl Fn() -> Option<F> + Send + Clone, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    (
        move || (counter.fetch_add(1, Ordering::SeqCst) == n).then(|| fault.clone()),
        calls,
    )
}

#[tokio::test(start_paused = true)]
async fn any_one_ec2_call_may_fail_in_any_way_and_the_interface_is_mirrored_once() {
    let faults = [
        Fault::Throttle,
        Fault::Unavailable,
        Fault::InternalError,
        Fault::LoseAnswer,
        Fault::FailBefore,
        Fault::Slow(std::time::Duration::from_secs(40)),
    ];
    for fault in faults {
        for n in 0.. {
            let (scene, instance) = scene();
            let pipeline = scene.pipeline(Options::default());
            let (fail, calls) = nth(n, fault.clone());
            pipeline.aws.ec2.on_call(move |_| fail());
            let ended = pipeline
                .mirror_instance("run", Pipeline::running(&instance))
                .await;
            if calls.load(Ordering::SeqCst) <= n {
                assert!(n >= 8, "every call of the run had its turn");
                break;
            }
            assert!(
                matches!(ended.outcomes()[0].as_str(), "created" | "alreadyMirrored"),
                "{fault:?} at call {n}: {ended:?}"
            );
            assert_eq!(totals(&pipeline.aws), (1, 1, 1), "{fault:?} at call {n}");
            assert_eq!(
                events(&pipeline.aws),
                ["reserved", "activated"],
                "{fault:?} at call {n}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn any_one_dynamodb_call_may_fail_in_any_way_and_the_interface_is_mirrored_once() {
    let faults = [
        DynamoFault::Throttle,
        DynamoFault::InternalError,
        DynamoFault::Conflict,
        DynamoFault::FailBefore,
        DynamoFault::LoseAnswer,
    ];
    for fault in faults {
        for n in 0.. {
            let (scene, instance) = scene();
            let pipeline = scene.pipeline(Options::default());
            let (fail, calls) = nth(n, fault);
            // Only a transaction meets a conflict.
            pipeline.aws.dynamo.on_call(move |action| {
                fail().filter(|fault| *fault != DynamoFault::Conflict || action == "TransactWriteItems")
            });
            let ended = pipeline
                .mirror_instance("run", Pipeline::running(&instance))
                .await;
            if calls.load(Ordering::SeqCst) <= n {
                assert!(n >= 5, "every call of the run had its turn");
                break;
            }
            assert_eq!(ended.outcomes(), ["created"], "{fault:?} at call {n}");
            assert_eq!(totals(&pipeline.aws), (1, 1, 1), "{fault:?} at call {n}");
            assert_eq!(
                events(&pipeline.aws),
                ["reserved", "activated"],
                "{fault:?} at call {n}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stage_run_again_with_its_recorded_input_comes_to_the_same_end() {
    let (scene, instance) = scene();
    let pipeline = scene.pipeline(Options::default());
    let arn = "arn:aws:states:us-east-1:000000000000:execution:mirror-interface:again";
    let twice = async |function: &str, input: Value| {
        let payload = serde_json::json!({"executionArn": arn, "input": input});
        let first = pipeline.call(function, payload.clone()).await;
        let second = pipeline.call(function, payload).await;
        (first, second)
    };
    let request = serde_json::json!({
        "interfaceId": stage_tests::scene::interface_id(1), "instanceId": instance
    });
    let (existing, _) = twice("CheckExistingSession", request).await;
    let (candidacy, _) = twice("GatherCandidates", existing.unwrap()).await;
    let (candidacy, _) = twice("FilterSecurityGroups", candidacy.unwrap()).await;
    let (candidacy, _) = twice("FilterNetworkAcls", candidacy.unwrap()).await;
    let (candidacy, _) = twice("FilterRoutes", candidacy.unwrap()).await;
    let candidacy = candidacy.unwrap();
    twice("CountSessions", candidacy.clone()).await.1.unwrap();
    let (picked, again) = twice("PickLeastLoaded", candidacy).await;
    let picked = picked.unwrap();
    assert_eq!(
        picked["assignment"],
        again.unwrap()["assignment"],
        "one reservation"
    );
    let (created, again) = twice("CreateSession", picked.clone()).await;
    let created = created.unwrap();
    assert_eq!(created, again.unwrap(), "one session");
    let (tagged, again) = twice("TagSession", created).await;
    assert_eq!(tagged.unwrap(), again.unwrap());
    // A compensation that comes late takes nothing away.
    let release = serde_json::json!({"assignment": picked["assignment"], "error": "AccessDenied"});
    let (released, again) = twice("ReleaseSession", release).await;
    assert_eq!(released.unwrap()["released"], false);
    assert_eq!(again.unwrap()["released"], false);
    assert_eq!(totals(&pipeline.aws), (1, 1, 1));
    assert_eq!(events(&pipeline.aws), ["reserved", "activated"]);
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_died_after_creating_is_completed_by_the_next_one() {
    let (scene, instance) = scene();
    let pipeline = scene.pipeline(Options::default());
    // Sensors are entered and the place reserved (calls 1 to 4); from the activation on the ledger is out.
    let (calls, dead) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(1)));
    let (counter, is_dead) = (Arc::clone(&calls), Arc::clone(&dead));
    pipeline.aws.dynamo.on_call(move |_| {
        let late = counter.fetch_add(1, Ordering::SeqCst) >= 4;
        (late && is_dead.load(Ordering::SeqCst) == 1).then_some(DynamoFault::InternalError)
    });
    let ended = pipeline
        .mirror_instance("dies", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["LedgerUnavailable"]);
    assert_eq!(
        totals(&pipeline.aws),
        (1, 0, 1),
        "the session exists, the assignment is still reserved"
    );

    dead.store(0, Ordering::SeqCst);
    let ended = pipeline
        .mirror_instance("next", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["alreadyMirrored"]);
    assert_eq!(totals(&pipeline.aws), (1, 1, 1));
    assert_eq!(events(&pipeline.aws), ["reserved", "activated"]);
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_reservation_was_released_meanwhile_is_taken_back() {
    let (scene, instance) = scene();
    let pipeline = scene.pipeline(Options::default());
    let ledger = pipeline.aws.ledger();
    let interface: mirrorstep_core::InterfaceId = stage_tests::scene::interface_id(1).parse().unwrap();
    let arn = "arn:aws:states:us-east-1:000000000000:execution:mirror-interface:slow";
    let request = serde_json::json!({"interfaceId": interface, "instanceId": instance});
    let mut value = request;
    for function in [
        "CheckExistingSession",
        "GatherCandidates",
        "FilterSecurityGroups",
        "FilterNetworkAcls",
        "FilterRoutes",
    ] {
        value = pipeline
            .call(function, serde_json::json!({"executionArn": arn, "input": value}))
            .await
            .unwrap();
    }
    let payload = serde_json::json!({"executionArn": arn, "input": value});
    pipeline.call("CountSessions", payload.clone()).await.unwrap();
    let picked = pipeline.call("PickLeastLoaded", payload).await.unwrap();
    let reserved = ledger.assignment(&interface).await.unwrap().unwrap();
    ledger
        .release(&reserved, "an operator", None, "arn:aws:states:::execution:x:y")
        .await
        .unwrap();

    let payload = serde_json::json!({"executionArn": arn, "input": picked});
    let error = pipeline.call("CreateSession", payload).await.unwrap_err();
    assert_eq!(error.name, mirrorstep_core::ErrorName::ReservationStale);
    assert_eq!(
        totals(&pipeline.aws),
        (0, 0, 0),
        "no session without an assignment"
    );
}
