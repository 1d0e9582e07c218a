//! The rest of an assignment's life: its instance ends, its session goes, another tool's is taken over; and all of it
//! again by `reconcile`, whenever it runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use ec2_sim::{Fault, Options, Throttle};
use jiff::Timestamp;
use mirrorstep_core::assignment::SESSION_GRACE;
use mirrorstep_core::{ErrorName, TargetId};
use mirrorstep_ledger::Because;
use serde_json::{Value, json};
use stage_tests::check::{ledger_agrees, reservations, sessions, sessions_by_target};
use stage_tests::pipeline::{InstanceEnded, Pipeline};
use stage_tests::scene::{Scene, interface_id};

/// Two large sensors in one zone.
fn scene() -> Scene {
    let mut scene = Scene::new();
    for _ in 0..2 {
        scene.sensor(0, "m5.24xlarge");
    }
    scene
}

/// Longer than any grace: what EC2 shows then is true.
async fn much_later() {
    tokio::time::sleep(Duration::from_hours(1)).await;
}

async fn mirrored(pipeline: &Pipeline, instances: &[String]) {
    for instance in instances {
        let ended = pipeline
            .mirror_instance(&format!("start-{instance}"), Pipeline::running(instance))
            .await;
        assert!(
            ended.outcomes().iter().all(|outcome| outcome == "created"),
            "{:?}",
            ended.outcomes()
        );
    }
}

async fn terminate(pipeline: &Pipeline, instance: &str) {
    let ec2 = pipeline.aws.ec2_client();
    ec2.terminate_instances()
        .instance_ids(instance)
        .send()
        .await
        .unwrap();
}

/// Somebody deletes the session that the ledger has.
async fn delete_session(pipeline: &Pipeline, interface: &str) {
    let assignment = assignment(pipeline, interface);
    let ec2 = pipeline.aws.ec2_client();
    ec2.delete_traffic_mirror_session()
        .traffic_mirror_session_id(assignment["sessionId"].as_str().unwrap())
        .send()
        .await
        .unwrap();
}

/// Another tool makes a second session of an interface, to a target of ours.
async fn second_session(pipeline: &Pipeline, interface: &str, target: &TargetId) {
    pipeline
        .aws
        .ec2_client()
        .create_traffic_mirror_session()
        .network_interface_id(interface)
        .traffic_mirror_target_id(target.as_str())
        .traffic_mirror_filter_id(stage_tests::scene::FILTER)
        .session_number(7)
        .send()
        .await
        .unwrap();
}

/// An execution dies with a place reserved for the interface. What it picked.
async fn dies_after_picking(pipeline: &Pipeline, number: usize, instance: &str) -> Value {
    pipeline.picks(&interface_id(number), instance, "arn:dead").await
}

fn assignment(pipeline: &Pipeline, interface: &str) -> Value {
    let items = pipeline.aws.dynamo.items();
    items
        .into_iter()
        .find(|item| item["sk"] == "ASSIGNMENT" && item["interfaceId"] == interface)
        .unwrap()
}

fn load(pipeline: &Pipeline, target: &TargetId) -> Value {
    let items = pipeline.aws.dynamo.items();
    items
        .into_iter()
        .find(|item| item["sk"] == "LOAD" && item["targetId"] == json!(target))
        .unwrap()
}

/// The summary of a reconciliation, only what is not zero.
#[track_caller]
fn summary(ended: &InstanceEnded) -> Value {
    let mut summary = ended.ended.result.clone().unwrap();
    summary.as_object_mut().unwrap().retain(|_, count| *count != 0);
    summary
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_terminates_gives_its_places_back_and_a_second_event_changes_nothing() {
    let mut scene = scene();
    let instances = [scene.instance(1, 0, 3), scene.instance(10, 0, 1)];
    let pipeline = scene.pipeline(Options::default());
    mirrored(&pipeline, &instances).await;
    terminate(&pipeline, &instances[0]).await;
    let ended = pipeline
        .release_instance("ends", Pipeline::ending(&instances[0], "terminated"))
        .await;
    let output = ended.result.unwrap();
    assert_eq!(output["released"].as_array().unwrap().len(), 3, "{output}");
    assert_eq!(output["kept"], json!([]));
    assert_eq!(reservations(&pipeline), 1);
    ledger_agrees(&pipeline);
    assert!(
        assignment(&pipeline, &interface_id(1))["releasedBecause"]
            .as_str()
            .unwrap()
            .contains("is terminated")
    );

    let again = pipeline
        .release_instance("again", Pipeline::ending(&instances[0], "shutting-down"))
        .await;
    assert_eq!(again.result.unwrap()["released"], json!([]));
    // By hand, and wrong: the instance lives.
    let wrong = pipeline
        .release_instance("wrong", Pipeline::ending(&instances[1], "terminated"))
        .await;
    let output = wrong.result.unwrap();
    assert_eq!(output["kept"], json!([interface_id(10)]));
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn while_ec2_still_shows_the_interface_it_is_asked_again() {
    let mut scene = scene();
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options {
        lag: Duration::from_secs(30),
        ..Options::default()
    });
    tokio::time::sleep(Duration::from_mins(1)).await;
    mirrored(&pipeline, std::slice::from_ref(&instance)).await;
    much_later().await;
    terminate(&pipeline, &instance).await;
    let ended = pipeline
        .release_instance("ends", Pipeline::ending(&instance, "terminated"))
        .await;
    assert_eq!(
        ended.path.iter().filter(|state| *state == "WaitForEc2").count(),
        1
    );
    assert_eq!(ended.result.unwrap()["released"], json!([interface_id(1)]));
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn what_was_given_back_at_every_look_is_told_at_the_end() {
    let mut scene = scene();
    let instance = scene.instance(1, 0, 2);
    for interface in scene.list("NetworkInterfaces") {
        if interface["NetworkInterfaceId"] == interface_id(2) {
            interface["Attachment"]["DeleteOnTermination"] = json!(false);
        }
    }
    let pipeline = scene.pipeline(Options::default());
    mirrored(&pipeline, std::slice::from_ref(&instance)).await;
    much_later().await;
    terminate(&pipeline, &instance).await;
    let deleted_by_hand = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        let ec2 = pipeline.aws.ec2_client();
        let deletion = ec2
            .delete_network_interface()
            .network_interface_id(interface_id(2));
        deletion.send().await.unwrap();
    };
    let ending = pipeline.release_instance("ends", Pipeline::ending(&instance, "terminated"));
    let (ended, ()) = futures::future::join(ending, deleted_by_hand).await;
    let output = ended.result.unwrap();
    assert_eq!(
        output["released"],
        json!([interface_id(1), interface_id(2)]),
        "{output}"
    );
    assert_eq!(output["kept"], json!([]));
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn events_that_are_none_of_an_end_fail_by_name() {
    let pipeline = scene().pipeline(Options::default());
    for event in [
        Pipeline::running("i-00000000000000001"),
        json!({}),
        Pipeline::ending("vol-1", "terminated"),
    ] {
        let ended = pipeline.release_instance("wrong", event).await;
        assert_eq!(ended.result.unwrap_err().error, "InvalidEvent");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_agrees_is_left_as_it_is() {
    let mut scene = scene();
    let instances: Vec<String> = (0..6).map(|n| scene.instance(10 * n + 1, 0, 2)).collect();
    let pipeline = scene.pipeline(Options::default());
    mirrored(&pipeline, &instances).await;
    much_later().await;
    let before = pipeline.aws.dynamo.items();
    let ended = pipeline.reconcile("first").await;
    // The sensors' instances run too.
    assert_eq!(summary(&ended), json!({"instances": 8}));
    assert_eq!(pipeline.aws.dynamo.items(), before);
}

#[tokio::test(start_paused = true)]
async fn sessions_that_another_tool_made_are_taken_over_without_a_gap() {
    let mut scene = scene();
    let busy = scene.targets[0].clone();
    for number in 1..=5 {
        scene.instance(number, 0, 1);
        scene.session(number, &busy);
    }
    let other = scene.instance(20, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    // The ledger has counted them as load, before it takes them over.
    mirrored(&pipeline, &[other]).await;
    assert_eq!(load(&pipeline, &busy)["external"], 5);
    let before = sessions(&pipeline);
    let ended = pipeline.reconcile("first").await;
    assert_eq!(
        summary(&ended),
        json!({"adopted": 5, "externals": 1, "instances": 8})
    );
    assert_eq!(sessions(&pipeline), before, "no session was touched");
    ledger_agrees(&pipeline);
    assert_eq!(
        (
            load(&pipeline, &busy)["sessions"].clone(),
            load(&pipeline, &busy)["external"].clone()
        ),
        (json!(5), json!(0))
    );
    assert_eq!(
        summary(&pipeline.reconcile("second").await),
        json!({"instances": 8})
    );
}

#[tokio::test(start_paused = true)]
async fn a_second_session_of_an_interface_is_counted_and_left_alone() {
    let mut scene = scene();
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    mirrored(&pipeline, &[instance]).await;
    let taken: TargetId = assignment(&pipeline, &interface_id(1))["targetId"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let other = scene.targets.iter().find(|target| **target != taken).unwrap();
    second_session(&pipeline, &interface_id(1), other).await;
    much_later().await;
    let ended = pipeline.reconcile("first").await;
    assert_eq!(
        summary(&ended),
        json!({"secondSessions": 1, "externals": 1, "instances": 3})
    );
    assert_eq!(load(&pipeline, other)["external"], 1);
    assert_eq!(sessions(&pipeline).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_sensor_that_is_first_met_by_a_takeover_is_counted_in_the_same_run() {
    let mut scene = scene();
    let busy = scene.targets[0].clone();
    scene.instance(1, 0, 1);
    scene.session(1, &busy);
    let pipeline = scene.pipeline(Options::default());
    second_session(&pipeline, &interface_id(1), &busy).await;
    let ended = pipeline.reconcile("first").await;
    assert_eq!(
        summary(&ended),
        json!({"adopted": 1, "secondSessions": 1, "instances": 3})
    );
    let counted = load(&pipeline, &busy);
    assert_eq!(
        (&counted["sessions"], &counted["external"]),
        (&json!(1), &json!(1))
    );
    much_later().await;
    let again = summary(&pipeline.reconcile("second").await);
    assert_eq!(again, json!({"secondSessions": 1, "instances": 3}));
}

#[tokio::test(start_paused = true)]
async fn a_second_session_takes_the_place_of_the_first_that_is_gone_in_one_transition() {
    // To the other sensor, and to the same one.
    for at in 0..2 {
        let mut scene = scene();
        let instance = scene.instance(1, 0, 1);
        let pipeline = scene.pipeline(Options::default());
        mirrored(&pipeline, &[instance]).await;
        let other = scene.targets[at].clone();
        second_session(&pipeline, &interface_id(1), &other).await;
        much_later().await;
        // It is counted as load first.
        let counted = summary(&pipeline.reconcile("before").await);
        assert_eq!(counted["secondSessions"], 1);
        delete_session(&pipeline, &interface_id(1)).await;
        much_later().await;
        let ended = pipeline.reconcile("first").await;
        assert_eq!(
            summary(&ended),
            json!({"adopted": 1, "externals": 1, "instances": 3})
        );
        let assignment = assignment(&pipeline, &interface_id(1));
        assert_eq!(
            (
                &assignment["targetId"],
                &assignment["generation"],
                &assignment["version"]
            ),
            (&json!(other), &json!(2), &json!(3))
        );
        assert_eq!(load(&pipeline, &other)["external"], 0);
        ledger_agrees(&pipeline);
        assert_eq!(
            summary(&pipeline.reconcile("second").await),
            json!({"instances": 3})
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_somebody_deleted_is_placed_again_after_the_grace() {
    let mut scene = scene();
    let instances: Vec<String> = (1..4).map(|n| scene.instance(n, 0, 1)).collect();
    let pipeline = scene.pipeline(Options::default());
    mirrored(&pipeline, &instances).await;
    delete_session(&pipeline, &interface_id(2)).await;
    // EC2 may be late: a young assignment is trusted, and until when is told.
    let changed: Timestamp =
        serde_json::from_value(assignment(&pipeline, &interface_id(2))["changedAt"].clone()).unwrap();
    assert_eq!(
        summary(&pipeline.reconcile("early").await),
        json!({"trusted": 1, "trustedUntil": changed + SESSION_GRACE, "instances": 5})
    );
    much_later().await;
    let ended = pipeline.reconcile("late").await;
    assert_eq!(
        summary(&ended),
        json!({"released": 1, "started": 1, "instances": 5})
    );
    assert_eq!(ended.outcomes(), ["created"]);
    assert_eq!(assignment(&pipeline, &interface_id(2))["generation"], 2);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_reservation_whose_execution_died_is_completed_or_given_back() {
    let mut scene = scene();
    let (first, second) = (scene.instance(1, 0, 1), scene.instance(2, 0, 1));
    let pipeline = scene.pipeline(Options::default());
    // Both executions die: one after its session was created, one before.
    for (instance, is_created) in [(&first, true), (&second, false)] {
        let picked = dies_after_picking(&pipeline, if is_created { 1 } else { 2 }, instance).await;
        if is_created {
            let reserved = serde_json::from_value(picked["assignment"].clone()).unwrap();
            pipeline.aws.ec2_calls().create_session(&reserved).await.unwrap();
        }
    }
    assert_eq!(
        summary(&pipeline.reconcile("early").await),
        json!({"instances": 4})
    );
    // An execution that waits for EC2 is left the time for it.
    tokio::time::sleep(Duration::from_mins(30)).await;
    assert_eq!(
        summary(&pipeline.reconcile("between").await),
        json!({"activated": 1, "instances": 4})
    );
    much_later().await;
    let ended = pipeline.reconcile("late").await;
    assert_eq!(
        summary(&ended),
        json!({"expired": 1, "started": 1, "instances": 4})
    );
    assert_eq!(ended.outcomes(), ["created"]);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn an_assignment_follows_a_session_that_somebody_moved() {
    let mut scene = scene();
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    mirrored(&pipeline, &[instance]).await;
    let session = sessions(&pipeline).remove(0);
    let other = scene
        .targets
        .iter()
        .find(|target| session["TrafficMirrorTargetId"] != target.as_str())
        .unwrap();
    pipeline
        .aws
        .ec2_client()
        .modify_traffic_mirror_session()
        .traffic_mirror_session_id(session["TrafficMirrorSessionId"].as_str().unwrap())
        .traffic_mirror_target_id(other.as_str())
        .send()
        .await
        .unwrap();
    much_later().await;
    assert_eq!(
        summary(&pipeline.reconcile("first").await),
        json!({"moved": 1, "instances": 3})
    );
    assert_eq!(assignment(&pipeline, &interface_id(1))["targetId"], json!(other));
    ledger_agrees(&pipeline);
}

/// Somebody deletes an item by hand.
async fn delete_item(pipeline: &Pipeline, pk: String, sk: &str) {
    let table = pipeline.aws.dynamo_client();
    table
        .delete_item()
        .table_name(stage_tests::TABLE)
        .key("pk", AttributeValue::S(pk))
        .key("sk", AttributeValue::S(sk.into()))
        .send()
        .await
        .unwrap();
}

/// The corrections of a sensor's counter: from, to.
fn counter_corrections(pipeline: &Pipeline, target: &TargetId) -> Vec<(Value, Value)> {
    let items = pipeline.aws.dynamo.items();
    let of_sensor = items
        .into_iter()
        .filter(|item| item["pk"] == json!(format!("SENSOR#{target}")) && item["kind"] == "counterCorrected");
    of_sensor
        .map(|item| (item["from"].clone(), item["to"].clone()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_counter_that_is_wrong_is_corrected_and_told_as_an_event() {
    for wrong in [9, 1] {
        counter_is_corrected(wrong).await;
    }
}

async fn counter_is_corrected(wrong: u64) {
    let mut scene = scene();
    let instances: Vec<String> = (1..5).map(|n| scene.instance(n, 0, 1)).collect();
    let pipeline = scene.pipeline(Options::default());
    mirrored(&pipeline, &instances).await;
    let target = scene.targets[0].clone();
    pipeline.aws.set_counter(&target, wrong).await;
    assert_eq!(
        summary(&pipeline.reconcile("first").await),
        json!({"counters": 1, "instances": 6})
    );
    assert_eq!(
        counter_corrections(&pipeline, &target),
        [(json!(wrong), json!(2))]
    );
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_counter_that_is_too_low_is_corrected_before_its_assignments_are_released() {
    let mut scene = scene();
    let instances: Vec<String> = (1..5).map(|n| scene.instance(n, 0, 1)).collect();
    let pipeline = scene.pipeline(Options::default());
    mirrored(&pipeline, &instances).await;
    for target in &scene.targets {
        pipeline.aws.set_counter(target, 0).await;
    }
    delete_session(&pipeline, &interface_id(1)).await;
    much_later().await;
    assert_eq!(
        summary(&pipeline.reconcile("first").await),
        json!({"counters": 2, "released": 1, "started": 1, "instances": 6})
    );
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_counter_that_was_deleted_is_entered_again_as_often_as_that_happens() {
    let mut scene = scene();
    let instances: Vec<String> = (1..5).map(|n| scene.instance(n, 0, 1)).collect();
    let pipeline = scene.pipeline(Options::default());
    mirrored(&pipeline, &instances).await;
    let target = scene.targets[0].clone();
    for time in 1..4 {
        delete_item(&pipeline, format!("SENSOR#{target}"), "LOAD").await;
        assert_eq!(
            summary(&pipeline.reconcile(&format!("after-{time}")).await),
            json!({"counters": 1, "instances": 6})
        );
        let corrections = counter_corrections(&pipeline, &target);
        assert_eq!(corrections, vec![(Value::Null, json!(2)); time]);
        ledger_agrees(&pipeline);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_ledger_does_not_take_for_one_interface_holds_up_no_other() {
    let mut scene = scene();
    let instances: Vec<String> = (1..5).map(|n| scene.instance(n, 0, 1)).collect();
    let pipeline = scene.pipeline(Options::default());
    mirrored(&pipeline, &instances).await;
    // Its events stay, and stand in the way of an assignment that begins anew.
    delete_item(&pipeline, format!("ENI#{}", interface_id(1)), "ASSIGNMENT").await;
    delete_session(&pipeline, &interface_id(2)).await;
    much_later().await;
    assert_eq!(
        summary(&pipeline.reconcile("first").await),
        json!({"counters": 1, "failed": 1, "released": 1, "started": 1, "instances": 6})
    );
    assert_eq!(assignment(&pipeline, &interface_id(2))["state"], "active");
    assert_eq!(sessions(&pipeline).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_reconciliation_reads_no_assignments_that_are_long_over() {
    let mut scene = scene();
    let instances = [scene.instance(1, 0, 3), scene.instance(10, 0, 1)];
    let pipeline = scene.pipeline(Options::default());
    mirrored(&pipeline, &instances).await;
    let known = async || pipeline.aws.ledger().books().await.unwrap().assignments.len();
    terminate(&pipeline, &instances[0]).await;
    let ending = Pipeline::ending(&instances[0], "terminated");
    pipeline.release_instance("ends", ending).await;
    // EC2 may show their sessions yet.
    assert_eq!(known().await, 4);
    much_later().await;
    assert_eq!(known().await, 1);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_takeover_of_many_sessions_leaves_none_out_and_asks_for_each_interface_once() {
    // More than a page of EC2's, and in more than one call.
    const SESSIONS: usize = 1100;
    let mut scene = Scene::new();
    let targets: Vec<TargetId> = (0..11).map(|_| scene.sensor(0, "m5.24xlarge")).collect();
    for number in 1..=SESSIONS {
        scene.instance(number, 0, 1);
        scene.session(number, &targets[number % targets.len()]);
    }
    let pipeline = scene.pipeline(Options::default());
    assert_eq!(
        summary(&pipeline.reconcile("first").await),
        json!({"adopted": SESSIONS, "instances": SESSIONS + targets.len()})
    );
    // 200 at a time, to adopt their sessions, and again for their tags.
    assert_eq!(
        pipeline.aws.ec2.calls()["DescribeNetworkInterfaces"].answered,
        6 + 6
    );
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn an_account_full_of_running_instances_is_covered_within_ec2s_limits() {
    let mut scene = Scene::new();
    for _ in 0..4 {
        scene.sensor(0, "m5.24xlarge");
    }
    for number in 0..240 {
        scene.instance(number + 1, 0, 1);
    }
    scene.list("Reservations").last_mut().unwrap()["Instances"][0]["Tags"] =
        json!([{"Key": "mirror", "Value": "off"}]);
    let pipeline = scene.pipeline(Options {
        throttle: Throttle::Aws,
        ..Options::default()
    });
    let ended = pipeline.reconcile("backfill").await;
    assert_eq!(summary(&ended), json!({"started": 239, "instances": 244}));
    assert_eq!(sessions(&pipeline).len(), 239);
    let counts = sessions_by_target(&pipeline);
    assert!(counts.values().max().unwrap() - counts.values().min().unwrap() <= 1);
    ledger_agrees(&pipeline);
    much_later().await;
    assert_eq!(
        summary(&pipeline.reconcile("again").await),
        json!({"instances": 244})
    );
}

#[tokio::test(start_paused = true)]
async fn a_redrive_whose_page_ec2_has_forgotten_begins_at_the_first_one_again() {
    let mut scene = scene();
    scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    let redriven = json!({
        "executionArn": "arn:redriven",
        "input": {"next": {"step": "cover", "page": "forgotten"}, "summary": {"adopted": 2, "instances": 100}},
    });
    let answer = pipeline.call("Reconcile", redriven).await.unwrap();
    let summary = &answer["summary"];
    assert_eq!(
        (&summary["instances"], &summary["started"], &summary["adopted"]),
        (&json!(3), &json!(1), &json!(2))
    );
    // What EC2 refuses on the first page it refuses.
    pipeline.aws.ec2.on_call(|call| {
        (call.action == "DescribeInstances").then(|| Fault::Error {
            code: "InvalidParameterValue".to_owned(),
            message: "no".to_owned(),
            status: 400,
        })
    });
    let error = pipeline.call(
        "Reconcile",
        json!({"executionArn": "arn:other", "input": {"next": {"step": "cover"}}}),
    );
    assert_eq!(error.await.unwrap_err().name, ErrorName::InvalidConfiguration);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_stopped_is_not_started_with_before_it_runs() {
    let mut scene = scene();
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    let ec2 = pipeline.aws.ec2_client();
    let stop = ec2.stop_instances().instance_ids(&instance);
    stop.send().await.unwrap();
    assert_eq!(
        summary(&pipeline.reconcile("stopped").await),
        json!({"instances": 2})
    );
    let start = ec2.start_instances().instance_ids(&instance);
    start.send().await.unwrap();
    let ended = pipeline.reconcile("running").await;
    assert_eq!(summary(&ended), json!({"started": 1, "instances": 3}));
    assert_eq!(ended.outcomes(), ["created"]);
}

#[tokio::test(start_paused = true)]
async fn a_sensor_that_was_full_is_asked_again_after_ten_minutes() {
    let mut scene = Scene::new();
    let full = scene.sensor(0, "m5.large");
    scene.unseen_sources(&full, 10);
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    pipeline
        .mirror_instance("start", Pipeline::running(&instance))
        .await;
    let asked = || pipeline.aws.ec2.calls()["CreateTrafficMirrorSession"].answered;
    assert_eq!(asked(), 1);
    for (wait, name, expected) in [(9, "early", 1), (2, "late", 2)] {
        tokio::time::sleep(Duration::from_mins(wait)).await;
        pipeline.reconcile(name).await;
        assert_eq!(asked(), expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_was_refused_on_one_instance_is_mirrored_on_the_next() {
    let mut scene = scene();
    let refused = scene.instance(1, 0, 2);
    for reservation in scene.list("Reservations") {
        if reservation["Instances"][0]["InstanceId"] == refused.as_str() {
            reservation["Instances"][0]["InstanceType"] = json!("m7i.large");
        }
    }
    let other = scene.instance(10, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    let ended = pipeline
        .mirror_instance("start", Pipeline::running(&refused))
        .await;
    assert_eq!(ended.outcomes(), ["notMirrorable", "notMirrorable"]);
    mirrored(&pipeline, std::slice::from_ref(&other)).await;
    // Where it is, it is left alone.
    assert_eq!(
        summary(&pipeline.reconcile("early").await),
        json!({"instances": 4})
    );

    detach(&pipeline, &interface_id(2)).await;
    attach(&pipeline, &interface_id(2), &other).await;
    let ended = pipeline.reconcile("late").await;
    assert_eq!(summary(&ended), json!({"started": 1, "instances": 4}));
    assert!(
        ended.outcomes().contains(&"created".to_owned()),
        "{:?}",
        ended.outcomes()
    );
    assert_eq!(
        assignment(&pipeline, &interface_id(2))["instanceId"],
        json!(other)
    );
    ledger_agrees(&pipeline);
}

async fn detach(pipeline: &Pipeline, interface: &str) {
    let ec2 = pipeline.aws.ec2_client();
    let shown = ec2
        .describe_network_interfaces()
        .network_interface_ids(interface)
        .send()
        .await
        .unwrap();
    let attachment = shown.network_interfaces()[0].attachment().unwrap();
    ec2.detach_network_interface()
        .attachment_id(attachment.attachment_id().unwrap())
        .send()
        .await
        .unwrap();
}

async fn attach(pipeline: &Pipeline, interface: &str, instance: &str) {
    let ec2 = pipeline.aws.ec2_client();
    ec2.attach_network_interface()
        .network_interface_id(interface)
        .instance_id(instance)
        .device_index(1)
        .send()
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_of_a_detached_interface_is_load_until_it_is_attached_again() {
    let mut scene = scene();
    let first = scene.instance(1, 0, 2);
    let busy = scene.targets[0].clone();
    scene.session(2, &busy);
    let pipeline = scene.pipeline(Options::default());
    detach(&pipeline, &interface_id(2)).await;
    // Another one meets the sensors, and so they are in the ledger.
    mirrored(&pipeline, std::slice::from_ref(&first)).await;
    assert_eq!(
        summary(&pipeline.reconcile("detached").await),
        json!({"unattached": 1, "instances": 3})
    );
    assert_eq!(load(&pipeline, &busy)["external"], 1);

    attach(&pipeline, &interface_id(2), &first).await;
    assert_eq!(
        summary(&pipeline.reconcile("attached").await),
        json!({"adopted": 1, "externals": 1, "instances": 3})
    );
    assert_eq!(load(&pipeline, &busy)["external"], 0);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn two_reconciliations_at_once_come_to_what_one_would() {
    let mut scene = scene();
    let busy = scene.targets[0].clone();
    for number in 1..=8 {
        scene.instance(number, 0, 1);
        if number % 2 == 0 {
            scene.session(number, &busy);
        }
    }
    let pipeline = scene.pipeline(Options::default());
    futures::future::join(pipeline.reconcile("one"), pipeline.reconcile("other")).await;
    assert_eq!(sessions(&pipeline).len(), 8);
    ledger_agrees(&pipeline);
    much_later().await;
    assert_eq!(
        summary(&pipeline.reconcile("after").await),
        json!({"instances": 10})
    );
}

#[tokio::test(start_paused = true)]
async fn another_tools_session_to_the_same_sensor_is_not_taken_for_the_reserved_one() {
    let mut scene = scene();
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    let picked = dies_after_picking(&pipeline, 1, &instance).await;
    let taken: TargetId = picked["assignment"]["targetId"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    second_session(&pipeline, &interface_id(1), &taken).await;
    tokio::time::sleep(Duration::from_mins(30)).await;
    assert_eq!(
        summary(&pipeline.reconcile("early").await),
        json!({"secondSessions": 1, "externals": 1, "instances": 3})
    );
    assert_eq!(assignment(&pipeline, &interface_id(1))["state"], "reserved");
    // Abandoned, it makes way.
    much_later().await;
    assert_eq!(
        summary(&pipeline.reconcile("late").await),
        json!({"adopted": 1, "externals": 1, "instances": 3})
    );
    assert_eq!(assignment(&pipeline, &interface_id(1))["generation"], 2);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_place_was_given_back_lately_is_not_taken_over_yet() {
    let mut scene = scene();
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    mirrored(&pipeline, &[instance]).await;
    let ledger = pipeline.aws.ledger();
    let interface = interface_id(1).parse().unwrap();
    let active = ledger.assignment(&interface).await.unwrap().unwrap();
    ledger
        .release(&active, Because::of("an operator"), "arn:x")
        .await
        .unwrap();
    // Its session may be deleted, and EC2 show it still.
    assert_eq!(
        summary(&pipeline.reconcile("early").await),
        json!({"instances": 3})
    );
    much_later().await;
    assert_eq!(
        summary(&pipeline.reconcile("late").await),
        json!({"adopted": 1, "instances": 3})
    );
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_move_that_ec2_is_yet_to_hear_of_is_not_taken_back() {
    let mut scene = scene();
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    mirrored(&pipeline, &[instance]).await;
    let ledger = pipeline.aws.ledger();
    let interface = interface_id(1).parse().unwrap();
    let active = ledger.assignment(&interface).await.unwrap().unwrap();
    let other = scene
        .targets
        .iter()
        .find(|target| **target != active.target_id)
        .unwrap();
    ledger.move_to(&active, other, "arn:x").await.unwrap().unwrap();
    assert_eq!(
        summary(&pipeline.reconcile("early").await),
        json!({"instances": 3})
    );
    assert_eq!(assignment(&pipeline, &interface_id(1))["targetId"], json!(other));
    // Whoever moved it has died in between: what EC2 shows is what there is.
    much_later().await;
    assert_eq!(
        summary(&pipeline.reconcile("late").await),
        json!({"moved": 1, "instances": 3})
    );
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn an_instance_of_several_interfaces_is_started_once() {
    let mut scene = scene();
    scene.instance(1, 0, 3);
    let pipeline = scene.pipeline(Options::default());
    let ended = pipeline.reconcile("first").await;
    assert_eq!(summary(&ended), json!({"started": 1, "instances": 3}));
    assert_eq!(ended.outcomes(), ["created", "created", "created"]);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn an_interface_on_a_sensor_that_is_not_configured_any_more_stays_as_it_is() {
    let mut scene = scene();
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene
        .pipeline(Options::default())
        .with("EXISTING_SESSION_POLICY", "managed");
    mirrored(&pipeline, std::slice::from_ref(&instance)).await;
    let before = sessions(&pipeline);
    let other = scene
        .targets
        .iter()
        .find(|target| before[0]["TrafficMirrorTargetId"] != target.as_str())
        .unwrap();
    pipeline.set("TARGET_IDS", other.as_str());
    much_later().await;
    let ended = pipeline
        .mirror_instance("again", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["alreadyMirrored"]);
    assert_eq!(sessions(&pipeline), before);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_session_of_another_sensor_does_not_complete_a_reservation() {
    let mut scene = scene();
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    let picked = dies_after_picking(&pipeline, 1, &instance).await;
    let other = scene
        .targets
        .iter()
        .find(|target| picked["assignment"]["targetId"] != target.as_str())
        .unwrap();
    second_session(&pipeline, &interface_id(1), other).await;
    let ended = pipeline
        .mirror_instance("next", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["alreadyMirrored"]);
    let standing = assignment(&pipeline, &interface_id(1));
    assert_eq!(
        (&standing["state"], &standing["targetId"]),
        (&json!("reserved"), &picked["assignment"]["targetId"])
    );
}

#[tokio::test(start_paused = true)]
async fn a_reservation_too_is_given_back_with_its_instance() {
    let mut scene = scene();
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    dies_after_picking(&pipeline, 1, &instance).await;
    terminate(&pipeline, &instance).await;
    let ended = pipeline
        .release_instance("ends", Pipeline::ending(&instance, "terminated"))
        .await;
    assert_eq!(ended.result.unwrap()["released"], json!([interface_id(1)]));
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_sensor_of_somebody_else_is_no_source_and_is_left_alone() {
    let mut scene = scene();
    let foreign = scene.sensor(0, "m5.large");
    let pipeline = scene.pipeline(Options::default());
    let ours: Vec<String> = scene.targets.iter().map(ToString::to_string).collect();
    pipeline.set("TARGET_IDS", &ours[..2].join(","));
    assert_eq!(ours[2], foreign.to_string());
    let first = pipeline.reconcile("first").await;
    assert_eq!(summary(&first), json!({"started": 1, "instances": 3}));
    assert_eq!(first.outcomes(), ["notMirrorable"]);
    assert_eq!(reservations(&pipeline), 0);
    tokio::time::sleep(Duration::from_mins(59)).await;
    let again = pipeline.reconcile("again").await;
    assert_eq!(summary(&again), json!({"instances": 3}));
}
