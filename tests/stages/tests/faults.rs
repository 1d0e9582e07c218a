//! Calls that fail, or whose answer is lost: run again, the stages come to the same end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ec2_sim::{Fault, Options};
use mirrorstep_core::assignment::Assignment;
use mirrorstep_core::{ErrorName, InterfaceId};
use mirrorstep_ledger::Because;
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

/// An execution whose place is given back by somebody else before it creates the session: what `CreateSession` is called
/// with, and the ledger.
async fn released_before_creating(pipeline: &Pipeline, instance: &str) -> (Value, Assignment) {
    let ledger = pipeline.aws.ledger();
    let interface: InterfaceId = stage_tests::scene::interface_id(1).parse().unwrap();
    let payload = picks(pipeline, instance, "slow").await;
    let reserved = ledger.assignment(&interface).await.unwrap().unwrap();
    ledger
        .release(
            &reserved,
            Because::of("an operator"),
            "arn:aws:states:::execution:x:y",
        )
        .await
        .unwrap();
    (payload, reserved)
}

/// An execution reserves a place: what `CreateSession` is called with.
async fn picks(pipeline: &Pipeline, instance: &str, name: &str) -> Value {
    let arn = format!("arn:aws:states:us-east-1:000000000000:execution:mirror-interface:{name}");
    let interface = stage_tests::scene::interface_id(1);
    let picked = pipeline.picks(&interface, instance, &arn).await;
    serde_json::json!({"executionArn": arn, "input": picked})
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_reservation_was_released_meanwhile_is_taken_back() {
    let (scene, instance) = scene();
    let pipeline = scene.pipeline(Options::default());
    let (payload, _) = released_before_creating(&pipeline, &instance).await;
    // It cannot be deleted at once: the stage is run again.
    let calls = AtomicUsize::new(0);
    pipeline.aws.ec2.on_call(move |call| {
        let is_first =
            call.action == "DeleteTrafficMirrorSession" && calls.fetch_add(1, Ordering::SeqCst) == 0;
        is_first.then_some(Fault::Unavailable)
    });
    let error = pipeline.call("CreateSession", payload.clone()).await.unwrap_err();
    assert_eq!(error.name, ErrorName::Ec2Unavailable);
    let error = pipeline.call("CreateSession", payload).await.unwrap_err();
    assert_eq!(error.name, ErrorName::ReservationStale);
    assert_eq!(
        totals(&pipeline.aws),
        (0, 0, 0),
        "no session without an assignment"
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_that_was_taken_over_after_its_reservation_was_released_stays() {
    let (scene, instance) = scene();
    let pipeline = scene.pipeline(Options::default());
    let (payload, reserved) = released_before_creating(&pipeline, &instance).await;
    pipeline.aws.ec2_calls().create_session(&reserved).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_hours(1)).await;
    pipeline.reconcile("takes it over").await;
    assert_eq!(totals(&pipeline.aws), (1, 1, 1));
    let error = pipeline.call("CreateSession", payload).await.unwrap_err();
    assert_eq!(error.name, ErrorName::ReservationStale);
    assert_eq!(totals(&pipeline.aws), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_the_next_reservation_asks_for_is_left_to_it() {
    let mut scene = Scene::new();
    scene.sensor(0, "m5.24xlarge");
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    let (slow, _) = released_before_creating(&pipeline, &instance).await;
    let next = picks(&pipeline, &instance, "next").await;
    let error = pipeline.call("CreateSession", slow).await.unwrap_err();
    assert_eq!(error.name, ErrorName::ReservationStale);
    let made = pipeline.aws.ec2.snapshot()["TrafficMirrorSessions"].clone();
    assert_eq!(totals(&pipeline.aws), (1, 0, 1));
    let created = pipeline.call("CreateSession", next).await.unwrap();
    assert_eq!(created["sessionId"], made[0]["TrafficMirrorSessionId"]);
    assert_eq!(totals(&pipeline.aws), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_session_number_that_another_tool_has_just_taken_is_seen_before_long() {
    let (scene, instance) = scene();
    let pipeline = scene.pipeline(Options {
        lag: std::time::Duration::from_secs(30),
        ..Options::default()
    });
    tokio::time::sleep(std::time::Duration::from_mins(1)).await;
    pipeline
        .aws
        .ec2_client()
        .create_traffic_mirror_session()
        .network_interface_id(stage_tests::scene::interface_id(1))
        .traffic_mirror_target_id(scene.targets[0].as_str())
        .traffic_mirror_filter_id(stage_tests::scene::FILTER)
        .session_number(1)
        .packet_length(100)
        .send()
        .await
        .unwrap();
    // Only our reservation of the other sensor, so that the session is not the one it asks for.
    let pipeline = pipeline.with("TARGET_IDS", scene.targets[1].as_str());
    let ended = pipeline
        .mirror_instance("run", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["alreadyMirrored"]);
    assert_eq!(totals(&pipeline.aws), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_ec2_refuses_for_good_ends_under_its_name_and_holds_no_place() {
    for (action, code, outcome, left) in [
        (
            "CreateTrafficMirrorSession",
            "TrafficMirrorSessionsPerInterfaceLimitExceeded",
            "QuotaExceeded",
            (0, 0, 0),
        ),
        (
            "CreateTrafficMirrorSession",
            "TrafficMirrorSessionLimitExceeded",
            "QuotaExceeded",
            (0, 0, 0),
        ),
        (
            "CreateTrafficMirrorSession",
            "TrafficMirrorSourcesPerTargetLimitExceeded",
            "NoEligibleSensor",
            (0, 0, 0),
        ),
        (
            "CreateTrafficMirrorSession",
            "TrafficMirrorSessionsPerTargetLimitExceeded",
            "NoEligibleSensor",
            (0, 0, 0),
        ),
        (
            "CreateTrafficMirrorSession",
            "InvalidNetworkInterfaceId.NotFound",
            "gone",
            (0, 0, 0),
        ),
        (
            "CreateTrafficMirrorSession",
            "InvalidTrafficMirrorFilterId.NotFound",
            "InvalidConfiguration",
            (0, 0, 0),
        ),
        (
            "CreateTags",
            "InvalidTrafficMirrorSessionId.NotFound",
            "gone",
            (1, 1, 1),
        ),
    ] {
        let (scene, instance) = scene();
        let pipeline = scene.pipeline(Options::default());
        pipeline.aws.ec2.on_call(move |call| {
            (call.action == action).then(|| Fault::Error {
                code: code.into(),
                message: "refused".into(),
                status: 400,
            })
        });
        let ended = pipeline
            .mirror_instance("refused", Pipeline::running(&instance))
            .await;
        assert_eq!(ended.outcomes(), [outcome], "{code}");
        assert_eq!(totals(&pipeline.aws), left, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_has_its_settings_and_its_tag_from_the_create_call_on_and_can_be_deleted_twice() {
    let (scene, instance) = scene();
    let pipeline = scene
        .pipeline(Options::default())
        .with("VIRTUAL_NETWORK_ID", "4711")
        .with("PACKET_LENGTH", "128");
    let picked = picks(&pipeline, &instance, "dies").await;
    // Before it is tagged with anything else.
    let created = pipeline.call("CreateSession", picked).await.unwrap();
    let session = pipeline.aws.ec2.snapshot()["TrafficMirrorSessions"][0].clone();
    assert_eq!(session["VirtualNetworkId"], 4711);
    assert_eq!(session["PacketLength"], 128);
    assert_eq!(
        session["Tags"],
        serde_json::json!([{"Key": "mirrorstep:managed", "Value": "true"}])
    );
    let id = created["sessionId"].as_str().unwrap().parse().unwrap();
    let ec2 = pipeline.aws.ec2_calls();
    ec2.delete_session(&id).await.unwrap();
    ec2.delete_session(&id).await.unwrap();
    assert_eq!(totals(&pipeline.aws).0, 0, "and one that is not there is deleted");
}
