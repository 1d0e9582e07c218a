//! What EC2 refuses: every row of the table of refusals, on a create and on a move, each driven to the end of its
//! execution or its command; and what is remembered of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ec2_sim::{Call, Fault, Options};
use mirrorstep_core::TargetId;
use mirrorstep_ec2::refusals::REFUSALS;
use serde_json::{Value, json};
use stage_tests::check::{ledger_agrees, reservations, sessions};
use stage_tests::command::told_for;
use stage_tests::pipeline::{InstanceEnded, Pipeline};
use stage_tests::scene::{Scene, interface_id};

/// What becomes of an interface whose session EC2 refuses to create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Created {
    /// It succeeds with this outcome.
    Ends(&'static str),
    /// It succeeds with this outcome, and EC2 is not asked for its session again for a while.
    EndsRemembered(&'static str),
    /// It fails under this name, and EC2 is not asked for its session again for a while.
    Fails(&'static str),
    /// It is mirrored by another sensor, and the first one is left alone until the time in this attribute.
    Elsewhere(&'static str),
}

/// What becomes of a session that EC2 refuses to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moved {
    /// It stays where it is, and is told with EC2's words.
    Stays,
    /// It goes to another sensor, and the first one is left alone until the time in this attribute.
    Elsewhere(&'static str),
    /// It is taken for gone: it stays in the ledger while EC2 shows it.
    Gone,
}

use Created::{Ends, EndsRemembered, Fails};
use Moved::{Gone, Stays};

/// Every code and all words of the table, with what becomes of it on a create and on a move.
const EXPECTED: &[(&str, Created, Moved)] = &[
    (
        "NetworkInterfaceNotSupported",
        EndsRemembered("notMirrorable"),
        Stays,
    ),
    (
        "NetworkInterfaceNotSupportedException",
        EndsRemembered("notMirrorable"),
        Stays,
    ),
    (
        "must be attached to a supported instance",
        EndsRemembered("notMirrorable"),
        Stays,
    ),
    ("Unsupported", EndsRemembered("notMirrorable"), Stays),
    ("UnsupportedOperation", EndsRemembered("notMirrorable"), Stays),
    ("not support", EndsRemembered("notMirrorable"), Stays),
    ("unsupported", EndsRemembered("notMirrorable"), Stays),
    ("InvalidTrafficMirrorTarget", DOWN, MOVED_DOWN),
    ("InvalidTrafficMirrorTargetId.NotFound", DOWN, MOVED_DOWN),
    ("InvalidTrafficMirrorTargetNoFound", DOWN, MOVED_DOWN),
    ("InvalidTrafficMirrorTargetNotFound", DOWN, MOVED_DOWN),
    ("NetworkLoadBalancerNotFoundException", DOWN, MOVED_DOWN),
    ("NetworkLoadBalancerNotFound", DOWN, MOVED_DOWN),
    ("InvalidVpcEndpoint.NotFound", DOWN, MOVED_DOWN),
    ("InvalidVpcEndpointId.NotFound", DOWN, MOVED_DOWN),
    ("TrafficMirrorSourcesPerTargetLimitExceeded", FULL, MOVED_FULL),
    ("TrafficMirrorSessionsPerTargetLimitExceeded", FULL, MOVED_FULL),
    ("sources per interface-target limit reached", FULL, MOVED_FULL),
    (
        "TrafficMirrorSessionsPerInterfaceLimitExceeded",
        Fails("QuotaExceeded"),
        Stays,
    ),
    ("TrafficMirrorSessionLimitExceeded", Fails("QuotaExceeded"), Stays),
    ("InvalidNetworkInterfaceID.NotFound", Ends("gone"), Gone),
    ("InvalidNetworkInterface.NotFound", Ends("gone"), Gone),
    ("NetworkInterfaceNotFoundException", Ends("gone"), Gone),
    ("NetworkInterfaceNotFound", Ends("gone"), Gone),
    ("InvalidInstanceID.NotFound", Ends("gone"), Gone),
    (
        "InvalidTrafficMirrorSessionId.NotFound",
        Fails("SessionRefused"),
        Gone,
    ),
    (
        "InvalidTrafficMirrorSessionNotFound",
        Fails("SessionRefused"),
        Gone,
    ),
    (
        "InvalidTrafficMirrorFilterId.NotFound",
        Fails("InvalidConfiguration"),
        Stays,
    ),
    (
        "InvalidTrafficMirrorFilterNotFound",
        Fails("InvalidConfiguration"),
        Stays,
    ),
    ("UnauthorizedOperation", Fails("AccessDenied"), Stays),
    ("AccessDenied", Fails("AccessDenied"), Stays),
    ("AccessDeniedException", Fails("AccessDenied"), Stays),
    ("AuthFailure", Fails("AccessDenied"), Stays),
    ("Blocked", Fails("AccessDenied"), Stays),
    ("OptInRequired", Fails("AccessDenied"), Stays),
    ("PendingVerification", Fails("AccessDenied"), Stays),
    ("ExpiredToken", Fails("AccessDenied"), Stays),
    ("ExpiredTokenException", Fails("AccessDenied"), Stays),
    ("InvalidClientTokenId", Fails("AccessDenied"), Stays),
    ("UnrecognizedClientException", Fails("AccessDenied"), Stays),
    ("MissingAuthenticationToken", Fails("AccessDenied"), Stays),
    ("InvalidSignatureException", Fails("AccessDenied"), Stays),
    ("SignatureDoesNotMatch", Fails("AccessDenied"), Stays),
    // The interface is no target here.
    ("is in use by target", Fails("SessionRefused"), Stays),
    ("already being used", Fails("InterfaceNotReady"), Stays),
    ("already in use", Fails("InterfaceNotReady"), Stays),
    // What no row knows.
    ("SomethingNew", Fails("SessionRefused"), Stays),
];
const DOWN: Created = Created::Elsewhere("downUntil");
const FULL: Created = Created::Elsewhere("fullUntil");
const MOVED_DOWN: Moved = Moved::Elsewhere("downUntil");
const MOVED_FULL: Moved = Moved::Elsewhere("fullUntil");

/// EC2's answer with this code, or, of a text with a space, with these words under a code that no row knows.
fn refusal(text: &str) -> Fault {
    let (code, message) = if text.contains(' ') || text == "unsupported" {
        ("SomethingElse", format!("In EC2's words: it {text} (eni-…)"))
    } else {
        (text, "In EC2's words".to_owned())
    };
    Fault::Error {
        code: code.to_owned(),
        message,
        status: 400,
    }
}

/// From now on EC2 refuses this call so. What is a sensor's trouble it refuses only to the first target that it is
/// asked for, which is told.
fn refuse(
    pipeline: &Pipeline,
    action: &'static str,
    text: &str,
    only_the_first: bool,
) -> Arc<Mutex<Option<String>>> {
    let refused = Arc::new(Mutex::new(None));
    let (first, refusal) = (Arc::clone(&refused), refusal(text));
    pipeline.aws.ec2.on_call(move |call| {
        let target = call.params.get("TrafficMirrorTargetId")?;
        let mut first = first.lock().unwrap();
        let first = first.get_or_insert_with(|| target.clone());
        (call.action == action && (!only_the_first || first == target)).then(|| refusal.clone())
    });
    refused
}

fn item(pipeline: &Pipeline, sort_key: &str, of: impl Fn(&Value) -> bool) -> Value {
    let items = pipeline.aws.dynamo.items();
    let mut found = items
        .into_iter()
        .filter(|item| item["sk"] == sort_key && of(item));
    found.next().unwrap()
}

fn assignment(pipeline: &Pipeline, number: usize) -> Value {
    item(pipeline, "ASSIGNMENT", |item| {
        item["interfaceId"] == interface_id(number)
    })
}

fn load(pipeline: &Pipeline, target: &str) -> Value {
    item(pipeline, "LOAD", |item| item["targetId"] == target)
}

/// Which sensors are left alone, by the attribute that says until when.
fn left_alone(pipeline: &Pipeline) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    for item in pipeline.aws.dynamo.items() {
        for attribute in ["downUntil", "fullUntil"] {
            if item["sk"] == "LOAD" && item.get(attribute).is_some() {
                found.push((item["targetId"].as_str().unwrap().to_owned(), attribute));
            }
        }
    }
    found
}

fn creates(pipeline: &Pipeline) -> u64 {
    let calls = pipeline.aws.ec2.calls();
    calls
        .get("CreateTrafficMirrorSession")
        .map_or(0, |calls| calls.answered)
}

/// Two large sensors in one zone, and an instance that is to be mirrored.
fn scene() -> (Scene, String) {
    let mut scene = Scene::new();
    for _ in 0..2 {
        scene.sensor(0, "m5.24xlarge");
    }
    let instance = scene.instance(1, 0, 1);
    (scene, instance)
}

async fn mirror(pipeline: &Pipeline, name: &str, instance: &str) -> InstanceEnded {
    pipeline.mirror_instance(name, Pipeline::running(instance)).await
}

/// How many executions a reconciliation has started.
async fn started(pipeline: &Pipeline, name: &str) -> usize {
    let ended = pipeline.reconcile(name).await;
    assert!(ended.ended.result.is_ok(), "{:?}", ended.ended);
    ended.interfaces.len()
}

#[test]
fn every_row_of_the_table_is_expected_and_nothing_else() {
    let known: BTreeSet<&str> = REFUSALS
        .iter()
        .flat_map(|row| row.codes.iter().chain(row.words))
        .copied()
        .collect();
    let mut expected: BTreeSet<&str> = EXPECTED.iter().map(|(text, ..)| *text).collect();
    assert!(expected.remove("SomethingNew"));
    assert_eq!(known, expected);
}

#[tokio::test(start_paused = true)]
async fn every_refusal_of_a_create_ends_as_the_table_says() {
    for (text, expected, _) in EXPECTED {
        let (scene, instance) = scene();
        let pipeline = scene.pipeline(Options::default());
        let is_sensors = matches!(expected, Created::Elsewhere(_));
        let first = refuse(&pipeline, "CreateTrafficMirrorSession", text, is_sensors);
        let ended = mirror(&pipeline, "refused", &instance).await;
        let first = first.lock().unwrap().clone().unwrap();
        let (outcome, refused) = match *expected {
            Ends(outcome) => (outcome, None),
            EndsRemembered(outcome) => (outcome, Some("SourceNotMirrorable")),
            // Not the interface's: when it is mended, the next reconcile starts what has failed.
            Fails(error @ ("AccessDenied" | "InvalidConfiguration")) => (error, None),
            Fails(error) => (error, Some(error)),
            Created::Elsewhere(_) => ("created", None),
        };
        assert_eq!(ended.outcomes(), [outcome], "{text}: {:?}", ended.interfaces);
        if let Err(error) = &ended.interfaces[0].1.result {
            assert!(error.cause.contains("In EC2's words"), "{text}: {}", error.cause);
        }
        ledger_agrees(&pipeline);
        let assignment = assignment(&pipeline, 1);
        if let Created::Elsewhere(until) = *expected {
            assert_ne!(assignment["targetId"], first.as_str(), "{text}");
            assert_eq!(left_alone(&pipeline), [(first, until)], "{text}");
            assert_eq!(creates(&pipeline), 2, "{text}");
        } else {
            assert!(
                sessions(&pipeline).is_empty() && reservations(&pipeline) == 0,
                "{text}"
            );
            assert_eq!(left_alone(&pipeline), [], "{text}");
        }
        // What passes is asked for again at once, anything else once.
        if matches!(expected, EndsRemembered(_))
            || matches!(expected, Fails(error) if *error != "InterfaceNotReady")
        {
            assert_eq!(creates(&pipeline), 1, "{text}");
        }
        assert_eq!(
            assignment["refusal"]["error"],
            json!(refused),
            "{text}: {assignment}"
        );
        // And reconcile, run again and again, starts nothing that EC2 would refuse again.
        if refused.is_some() {
            assert_eq!(assignment["refusal"]["count"], 1, "{text}");
            let because = assignment["refusal"]["because"].as_str().unwrap();
            assert!(because.contains("In EC2's words"), "{text}: {because}");
            for name in ["1", "2", "3", "4", "5"] {
                assert_eq!(started(&pipeline, name).await, 0, "{text}");
            }
        }
        if matches!(expected, Fails("AccessDenied" | "InvalidConfiguration")) {
            assert_eq!(started(&pipeline, "mended").await, 1, "{text}");
        }
    }
}

/// An instance mirrored to a first sensor, which is to be drained to two others.
async fn mirrored() -> (Scene, Pipeline, String) {
    let (mut scene, instance) = scene();
    scene.sensor(0, "m5.24xlarge");
    let drained = scene.targets[0].to_string();
    let pipeline = scene.pipeline(Options::default()).with("TARGET_IDS", &drained);
    assert_eq!(
        mirror(&pipeline, "first", &instance).await.outcomes(),
        ["created"]
    );
    let targets: Vec<&str> = scene.targets.iter().map(TargetId::as_str).collect();
    pipeline.set("TARGET_IDS", &targets.join(","));
    (scene, pipeline, drained)
}

fn on(pipeline: &Pipeline) -> String {
    let sessions = sessions(pipeline);
    assert_eq!(sessions.len(), 1);
    sessions[0]["TrafficMirrorTargetId"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn every_refusal_of_a_move_ends_as_the_table_says() {
    for (text, _, expected) in EXPECTED {
        let (_, pipeline, drained) = mirrored().await;
        let is_sensors = matches!(expected, Moved::Elsewhere(_));
        let first = refuse(&pipeline, "ModifyTrafficMirrorSession", text, is_sensors);
        let drain = async || told_for(&pipeline, None, &["drain", &drained]).await;
        let ended = drain().await;
        let first = first.lock().unwrap().clone().unwrap();
        match *expected {
            Moved::Elsewhere(until) => {
                let (told, status) = ended.unwrap();
                assert!(status, "{text}: {told}");
                assert!(
                    on(&pipeline) != drained && on(&pipeline) != first,
                    "{text}: {told}"
                );
                assert_eq!(left_alone(&pipeline), [(first, until)], "{text}");
                ledger_agrees(&pipeline);
            }
            Stays => {
                let (told, status) = ended.unwrap();
                assert!(!status, "{text}: {told}");
                assert!(told.to_string().contains("In EC2's words"), "{text}: {told}");
                assert_eq!(on(&pipeline), drained, "{text}");
                assert_eq!(left_alone(&pipeline), [], "{text}");
                ledger_agrees(&pipeline);
            }
            Gone => {
                let (told, status) = ended.unwrap();
                assert!(!status, "{text}: {told}");
                assert_eq!(
                    (&told["moved"], &told["stuckCount"]),
                    (&json!(0), &json!(1)),
                    "{text}"
                );
                assert_eq!(left_alone(&pipeline), [], "{text}");
                // It is as EC2 says: reconcile sees it too, and the interface is mirrored anew.
                delete_session(&pipeline).await;
                tokio::time::sleep(Duration::from_hours(1)).await;
                assert_eq!(started(&pipeline, "later").await, 1, "{text}");
                ledger_agrees(&pipeline);
                assert_ne!(on(&pipeline), drained, "{text}");
            }
        }
    }
}

async fn delete_session(pipeline: &Pipeline) {
    let id = sessions(pipeline)[0]["TrafficMirrorSessionId"].clone();
    let ec2 = pipeline.aws.ec2_client();
    ec2.delete_traffic_mirror_session()
        .traffic_mirror_session_id(id.as_str().unwrap())
        .send()
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ec2_says_is_gone_is_deleted_in_any_spelling_and_any_other_refusal_is_told() {
    let (_, pipeline, _) = mirrored().await;
    let id = sessions(&pipeline)[0]["TrafficMirrorSessionId"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let ec2 = pipeline.aws.ec2_calls();
    for (text, expected) in [
        ("InvalidTrafficMirrorSessionId.NotFound", None),
        ("InvalidTrafficMirrorSessionID.NotFound", None),
        ("InvalidTrafficMirrorSessionNotFound", None),
        ("UnauthorizedOperation", Some("AccessDenied")),
        ("SomethingNew", Some("SessionRefused")),
    ] {
        let refusal = refusal(text);
        pipeline
            .aws
            .ec2
            .on_call(move |call| (call.action == "DeleteTrafficMirrorSession").then(|| refusal.clone()));
        let deleted = ec2.delete_session(&id).await;
        let error = deleted.err().map(|error| error.name.as_str());
        assert_eq!(error, expected, "{text}");
    }
}

/// The code and words with which EC2 refuses an interface that is not attached to an instance that it can mirror.
const NOT_SUPPORTED: &str = "NetworkInterfaceNotSupported";

/// The scene where the interface's attachment and its instance are in these states.
fn attached(scene: &Scene, status: &str, state: &str) -> Scene {
    let mut scene = scene.clone();
    let is_meant = |interface: &&mut Value| interface["NetworkInterfaceId"] == interface_id(1);
    for interface in scene.list("NetworkInterfaces").iter_mut().filter(is_meant) {
        interface["Attachment"]["Status"] = json!(status);
        if status == "detached" {
            interface["Attachment"] = Value::Null;
        }
    }
    for reservation in scene.list("Reservations") {
        let instance = &mut reservation["Instances"][0];
        let interfaces = instance["NetworkInterfaces"].as_array_mut().unwrap();
        if interfaces
            .iter()
            .any(|interface| interface["NetworkInterfaceId"] == interface_id(1))
        {
            interfaces[0]["Attachment"]["Status"] = json!(status);
            if status == "detached" {
                interfaces.clear();
            }
            instance["State"] = json!({"Name": state});
        }
    }
    scene
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_is_still_attaching_when_ec2_refuses_it_is_mirrored_when_it_is_attached() {
    for (status, state) in [("attaching", "running"), ("attached", "pending")] {
        let (scene, _) = scene();
        let pipeline = attached(&scene, status, state).pipeline(Options::default());
        let start = tokio::time::Instant::now();
        pipeline.aws.ec2.on_call(move |call| {
            let refused =
                call.action == "CreateTrafficMirrorSession" && start.elapsed() < Duration::from_secs(30);
            refused.then(|| refusal(NOT_SUPPORTED))
        });
        let request = json!({"interfaceId": interface_id(1), "instanceId": "i-00000000000000001"});
        let (ended, ()) = tokio::join!(pipeline.mirror_interface("attaching", request), async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            let attached = attached(&scene, "attached", "running").account(Options::default());
            pipeline.aws.ec2.load_snapshot(&attached.ec2.snapshot()).unwrap();
        });
        assert_eq!(ended.result.unwrap()["outcome"], "created", "{status} {state}");
        ledger_agrees(&pipeline);
    }
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_never_is_attached_fails_once_and_one_that_is_detached_is_gone() {
    for (status, state, outcome) in [
        ("attaching", "running", "InterfaceNotReady"),
        ("detaching", "running", "InterfaceNotReady"),
        ("attached", "pending", "InterfaceNotReady"),
        ("detached", "running", "gone"),
        ("attached", "stopping", "gone"),
        ("attached", "stopped", "gone"),
        ("attached", "running", "notMirrorable"),
    ] {
        let (scene, instance) = scene();
        let pipeline = scene.pipeline(Options::default());
        // It changes after the execution has looked.
        let picked = pipeline.picks(&interface_id(1), &instance, "arn:dies").await;
        assert_eq!(picked["assignment"]["state"], "reserved");
        let pipeline = {
            let changed = attached(&scene, status, state).account(Options::default());
            let ec2 = pipeline.aws.ec2.clone();
            ec2.load_snapshot(&changed.ec2.snapshot()).unwrap();
            pipeline
        };
        refuse(&pipeline, "CreateTrafficMirrorSession", NOT_SUPPORTED, false);
        let request = json!({"interfaceId": interface_id(1), "instanceId": instance});
        let ended = pipeline.mirror_interface("late", request).await;
        assert_eq!(
            stage_tests::pipeline::outcome(&ended),
            outcome,
            "{status} {state}: {ended:?}"
        );
        ledger_agrees(&pipeline);
        let is_remembered = assignment(&pipeline, 1).get("refusal").is_some();
        assert_eq!(is_remembered, outcome != "gone", "{status} {state}");
        if let Err(error) = ended.result {
            assert!(
                error.cause.contains(status) && error.cause.contains(state),
                "{}",
                error.cause
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_is_a_target_itself_is_not_mirrorable_whatever_the_words() {
    for text in ["is in use by target", "SomethingNew"] {
        let (mut scene, instance) = scene();
        scene.list("TrafficMirrorTargets").push(json!({
            "TrafficMirrorTargetId": "tmt-000000000000000aa", "NetworkInterfaceId": interface_id(1),
            "Type": "network-interface", "OwnerId": "000000000000",
        }));
        let pipeline = scene.pipeline(Options::default());
        refuse(&pipeline, "CreateTrafficMirrorSession", text, false);
        let ended = mirror(&pipeline, "refused", &instance).await;
        assert_eq!(ended.outcomes(), ["notMirrorable"], "{text}");
        let reason = ended.interfaces[0].1.result.as_ref().unwrap()["reason"].to_string();
        assert!(reason.contains("tmt-000000000000000aa"), "{reason}");
        ledger_agrees(&pipeline);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sensor_that_is_down_is_told_left_alone_for_ten_minutes_and_asked_again() {
    let (mut scene, instance) = scene();
    let late: Vec<String> = (2..6).map(|number| scene.instance(number, 0, 1)).collect();
    let pipeline = scene.pipeline(Options::default());
    let down = refuse(
        &pipeline,
        "CreateTrafficMirrorSession",
        "InvalidTrafficMirrorTarget",
        true,
    );
    let ended = mirror(&pipeline, "first", &instance).await;
    let down = down.lock().unwrap().clone().unwrap();
    let output = ended.interfaces[0].1.result.as_ref().unwrap();
    let told = &output["rejections"].as_array().unwrap()[0];
    assert_eq!(
        (&told["targetId"], &told["stage"]),
        (&json!(down), &json!("sensor-down"))
    );
    let evidence = told["evidence"].as_str().unwrap();
    assert!(
        evidence.contains("InvalidTrafficMirrorTarget: In EC2's words"),
        "{evidence}"
    );
    assert!(
        evidence.contains("left alone until 2026-01-01T00:10:"),
        "{evidence}"
    );
    let because = load(&pipeline, &down)["downBecause"].clone();
    assert!(because.as_str().unwrap().contains("In EC2's words"), "{because}");
    pipeline.aws.ec2.on_call(|_| None);
    // The other one has more and more, and is picked all the same.
    for (instance, wait) in late.iter().zip([0, 4, 5]) {
        tokio::time::sleep(Duration::from_mins(wait)).await;
        assert_eq!(
            mirror(&pipeline, instance, instance).await.outcomes(),
            ["created"]
        );
        assert_eq!(load(&pipeline, &down)["sessions"], 0);
    }
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(mirror(&pipeline, "last", &late[3]).await.outcomes(), ["created"]);
    assert_eq!(load(&pipeline, &down)["sessions"], 1);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn where_every_sensor_is_down_the_execution_fails_and_says_so_of_each() {
    let (scene, instance) = scene();
    let pipeline = scene.pipeline(Options::default());
    refuse(
        &pipeline,
        "CreateTrafficMirrorSession",
        "InvalidTrafficMirrorTarget",
        false,
    );
    let ended = mirror(&pipeline, "first", &instance).await;
    assert_eq!(ended.outcomes(), ["NoEligibleSensor"]);
    let cause: Value =
        serde_json::from_str(&ended.interfaces[0].1.result.as_ref().unwrap_err().cause).unwrap();
    let rejections = cause["rejections"].as_array().unwrap();
    assert_eq!(rejections.len(), 2);
    for rejection in rejections {
        assert_eq!(rejection["stage"], "sensor-down");
        assert!(
            rejection["evidence"].to_string().contains("In EC2's words"),
            "{rejection}"
        );
    }
    // It is not the interface's fault: it is asked for again as soon as reconcile runs.
    assert!(assignment(&pipeline, 1).get("refusal").is_none());
    pipeline.aws.ec2.on_call(|_| None);
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(pipeline.reconcile("later").await.outcomes(), ["created"]);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_known_is_asked_again_after_an_hour_then_two_and_at_last_once_a_day() {
    let (scene, instance) = scene();
    let pipeline = scene.pipeline(Options::default());
    refuse(&pipeline, "CreateTrafficMirrorSession", "SomethingNew", false);
    let ended = mirror(&pipeline, "first", &instance).await;
    assert_eq!(ended.outcomes(), ["SessionRefused"]);
    for (times, hours) in [1_u64, 2, 4, 8, 16, 24, 24].into_iter().enumerate() {
        assert_eq!(creates(&pipeline), times as u64 + 1);
        tokio::time::sleep(Duration::from_mins(60 * hours - 1)).await;
        assert_eq!(
            started(&pipeline, &format!("early-{times}")).await,
            0,
            "{hours} h"
        );
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(started(&pipeline, &format!("due-{times}")).await, 1, "{hours} h");
        assert_eq!(assignment(&pipeline, 1)["refusal"]["count"], times + 2);
    }
    // A person need not wait.
    pipeline.aws.ec2.on_call(|_| None);
    assert_eq!(
        mirror(&pipeline, "by hand", &instance).await.outcomes(),
        ["created"]
    );
    assert!(assignment(&pipeline, 1).get("refusal").is_none());
    ledger_agrees(&pipeline);
    // What was mirrored and is refused again begins at an hour.
    delete_session(&pipeline).await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    refuse(&pipeline, "CreateTrafficMirrorSession", "SomethingNew", false);
    assert_eq!(pipeline.reconcile("lost").await.outcomes(), ["SessionRefused"]);
    assert_eq!(assignment(&pipeline, 1)["refusal"]["count"], 1);
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(started(&pipeline, "after an hour").await, 1);
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_is_attached_anew_is_asked_for_at_once() {
    let (mut scene, _) = scene();
    let instance = scene.instance(10, 0, 2);
    let second = interface_id(11);
    let pipeline = scene.pipeline(Options::default());
    let of_second = second.clone();
    pipeline.aws.ec2.on_call(move |call: &Call| {
        let refused = call.action == "CreateTrafficMirrorSession"
            && call.params.get("NetworkInterfaceId") == Some(&of_second);
        refused.then(|| refusal("SomethingNew"))
    });
    mirror(&pipeline, "first", "i-00000000000000001").await;
    assert_eq!(
        mirror(&pipeline, "second", &instance).await.outcomes(),
        ["created", "SessionRefused"]
    );
    assert_eq!(started(&pipeline, "early").await, 0);
    // To the same instance, a minute later.
    tokio::time::sleep(Duration::from_mins(1)).await;
    attach_again(&pipeline, &second, &instance).await;
    let ended = pipeline.reconcile("attached anew").await;
    assert_eq!(ended.outcomes(), ["SessionRefused"]);
    let refusal = |pipeline: &Pipeline| assignment(pipeline, 11)["refusal"].clone();
    assert_eq!(
        refusal(&pipeline)["count"],
        1,
        "another attachment, and so the first refusal"
    );
    assert_eq!(started(&pipeline, "early again").await, 0);
    // To another instance.
    attach_again(&pipeline, &second, "i-00000000000000001").await;
    pipeline.aws.ec2.on_call(|_| None);
    let ended = pipeline.reconcile("moved").await;
    assert_eq!(ended.outcomes(), ["created"]);
    assert_eq!(refusal(&pipeline), Value::Null);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_refused_interface_is_not_asked_for_again_since_another_of_its_instance_is_uncovered() {
    let (mut scene, _) = scene();
    let instance = scene.instance(10, 0, 2);
    let pipeline = scene
        .pipeline(Options::default())
        .with("OPT_OUT_TAG", "Name=host-1");
    pipeline.aws.ec2.on_call(move |call: &Call| {
        let refused = call.action == "CreateTrafficMirrorSession"
            && call.params.get("NetworkInterfaceId") == Some(&interface_id(11));
        refused.then(|| refusal("SomethingNew"))
    });
    assert_eq!(
        mirror(&pipeline, "first", &instance).await.outcomes(),
        ["created", "SessionRefused"]
    );
    // Two hours later: refused twice by then, and so left alone for two hours.
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(pipeline.reconcile("due").await.outcomes(), ["SessionRefused"]);
    delete_session(&pipeline).await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(pipeline.reconcile("the other one").await.outcomes(), ["created"]);
    assert_eq!(assignment(&pipeline, 11)["refusal"]["count"], 2);
    ledger_agrees(&pipeline);
}

async fn attach_again(pipeline: &Pipeline, interface: &str, instance: &str) {
    let ec2 = pipeline.aws.ec2_client();
    let shown = ec2.describe_network_interfaces().network_interface_ids(interface);
    let shown = shown.send().await.unwrap();
    let attachment = shown.network_interfaces()[0].attachment().unwrap();
    ec2.detach_network_interface()
        .attachment_id(attachment.attachment_id().unwrap())
        .send()
        .await
        .unwrap();
    ec2.attach_network_interface()
        .network_interface_id(interface)
        .instance_id(instance)
        .device_index(1)
        .send()
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_that_exists_though_the_repeated_create_is_refused_is_taken() {
    for text in [
        "SomethingNew",
        "UnauthorizedOperation",
        "already being used",
        NOT_SUPPORTED,
    ] {
        let (scene, instance) = scene();
        let pipeline = scene.pipeline(Options::default());
        // The answer to the first is lost, and the next is refused.
        let (calls, refusal) = (Mutex::new(0), refusal(text));
        pipeline.aws.ec2.on_call(move |call| {
            if call.action != "CreateTrafficMirrorSession" {
                return None;
            }
            let mut calls = calls.lock().unwrap();
            *calls += 1;
            Some(if *calls == 1 {
                Fault::LoseAnswer
            } else {
                refusal.clone()
            })
        });
        assert_eq!(
            mirror(&pipeline, "first", &instance).await.outcomes(),
            ["created"],
            "{text}"
        );
        assert!(assignment(&pipeline, 1).get("refusal").is_none(), "{text}");
        ledger_agrees(&pipeline);
    }
}
