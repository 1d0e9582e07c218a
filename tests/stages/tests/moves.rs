//! `drain-sensor` and `rebalance`, over AWS in process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ec2::types::{IpPermission, IpRange};
use ec2_sim::{Fault, Options};
use mirrorstep_core::TargetId;
use serde_json::{Value, json};
use stage_tests::check::{ledger_agrees, sessions, sessions_by_target};
use stage_tests::command::told_for;
use stage_tests::pipeline::Pipeline;
use stage_tests::scene::{SENSOR_GROUP, Scene, interface_id};
use workflow::StateError;

/// Runs the workflow that the command starts: whether all was done.
async fn run(pipeline: &Pipeline, words: &[&str]) -> Result<bool, StateError> {
    run_for(pipeline, None, words).await
}

/// The same, where only these targets are configured.
async fn run_for(
    pipeline: &Pipeline,
    targets: Option<&[TargetId]>,
    words: &[&str],
) -> Result<bool, StateError> {
    let (summary, is_done) = told_for(pipeline, targets, words).await?;
    println!("{words:?}: {summary}");
    Ok(is_done)
}

/// Its summary, and whether all was done.
async fn told(pipeline: &Pipeline, words: &[&str]) -> (Value, bool) {
    told_for(pipeline, None, words).await.unwrap()
}

#[track_caller]
fn ended_with(ended: Result<bool, StateError>, is_done: bool) {
    assert_eq!(ended.unwrap(), is_done);
}

/// The interfaces that are stuck.
fn stuck(summary: &Value) -> Vec<&String> {
    let stuck: Vec<&String> = summary["stuck"].as_object().unwrap().keys().collect();
    assert_eq!(summary["stuckCount"], stuck.len(), "{summary}");
    stuck
}

/// Three sensors in one zone, the third one's group closed to the instances; nine instances, mirrored.
async fn mirrored() -> (Scene, Pipeline) {
    let mut scene = Scene::new();
    for _ in 0..3 {
        scene.sensor(0, "m5.24xlarge");
    }
    scene.list("SecurityGroups").push(json!({
        "GroupId": "sg-0000000000000000c", "GroupName": "closed", "VpcId": "vpc-00000000000000001",
        "IpPermissions": [],
    }));
    scene.set_groups(&interface_id(0x5002), &["sg-0000000000000000c"]);
    let instances: Vec<String> = (1..10).map(|number| scene.instance(number, 0, 1)).collect();
    let pipeline = scene.pipeline(Options::default());
    for instance in &instances {
        let ended = pipeline
            .mirror_instance(instance, Pipeline::running(instance))
            .await;
        assert_eq!(ended.outcomes(), ["created"]);
    }
    (scene, pipeline)
}

fn counts(pipeline: &Pipeline, scene: &Scene) -> Vec<u64> {
    let counts: BTreeMap<String, u64> = sessions_by_target(pipeline);
    let of = |target: &TargetId| counts.get(target.as_str()).copied().unwrap_or(0);
    scene.targets.iter().map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn a_drained_sensor_loses_its_sessions_to_those_that_can_receive_them_and_gets_no_new_ones() {
    let (scene, pipeline) = mirrored().await;
    let drained = scene.targets[0].clone();
    let mut later = scene.clone();
    let late = later.instance(20, 0, 1);
    let later = later.only_last_instance();
    let before = counts(&pipeline, &scene);
    let ids: Vec<_> = sessions(&pipeline)
        .iter()
        .map(|session| session["TrafficMirrorSessionId"].clone())
        .collect();
    ended_with(
        run(&pipeline, &["drain", drained.as_str(), "--dry-run"]).await,
        true,
    );
    assert_eq!(counts(&pipeline, &scene), before, "a dry run changes nothing");

    ended_with(run(&pipeline, &["drain", drained.as_str()]).await, true);
    assert_eq!(counts(&pipeline, &scene), [0, 9, 0]);
    let after: Vec<_> = sessions(&pipeline)
        .iter()
        .map(|session| session["TrafficMirrorSessionId"].clone())
        .collect();
    assert_eq!(ids, after, "the sessions are the same ones");
    ledger_agrees(&pipeline);

    // A new interface goes elsewhere, and is told why.
    pipeline.aws.ec2.load_snapshot(&later).unwrap();
    let ended = pipeline.mirror_instance("later", Pipeline::running(&late)).await;
    let output = ended.interfaces[0].1.result.as_ref().unwrap();
    assert_eq!(output["targetId"], json!(scene.targets[1]));
    let told = output["rejections"].as_array().unwrap().iter();
    let told = told.filter(|rejection| rejection["targetId"] == json!(drained));
    let told: Vec<_> = told.map(|rejection| rejection["reason"].clone()).collect();
    assert_eq!(told, ["the sensor is being drained"]);
    ended_with(
        run(&pipeline, &["drain", drained.as_str(), "--cancel"]).await,
        true,
    );
    ended_with(run(&pipeline, &["rebalance"]).await, true);
    let evened = counts(&pipeline, &scene);
    assert_eq!(evened[2], 0, "never to one that cannot receive");
    assert!(evened[0].abs_diff(evened[1]) <= 1, "{evened:?}");
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn what_no_other_sensor_can_receive_stays_and_is_told() {
    let (scene, pipeline) = mirrored().await;
    ended_with(run(&pipeline, &["drain", scene.targets[0].as_str()]).await, true);
    ended_with(run(&pipeline, &["drain", scene.targets[1].as_str()]).await, false);
    assert_eq!(counts(&pipeline, &scene), [0, 9, 0]);
    ledger_agrees(&pipeline);
    let unknown = run(&pipeline, &["drain", "tmt-0fedcba9876543210"])
        .await
        .unwrap_err();
    assert!(unknown.to_string().contains("tmt-0fedcba9876543210"), "{unknown}");
}

#[tokio::test(start_paused = true)]
async fn a_sensor_that_is_not_configured_any_more_gets_no_sessions() {
    let (scene, pipeline) = mirrored().await;
    let before = counts(&pipeline, &scene);
    let left = [scene.targets[0].clone(), scene.targets[2].clone()];
    ended_with(
        run_for(&pipeline, Some(&left), &["drain", left[0].as_str()]).await,
        false,
    );
    assert_eq!(counts(&pipeline, &scene), before);
    // The sensor itself can be drained all the same.
    let gone = scene.targets[1].as_str();
    run(&pipeline, &["drain", left[0].as_str(), "--cancel"])
        .await
        .unwrap();
    ended_with(run_for(&pipeline, Some(&left), &["drain", gone]).await, true);
    assert_eq!(counts(&pipeline, &scene), [9, 0, 0]);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_is_gone_does_not_stand_in_the_way() {
    let (scene, pipeline) = mirrored().await;
    let drained = &scene.targets[0];
    let on_it = sessions(&pipeline);
    let on_it = on_it
        .iter()
        .find(|session| session["TrafficMirrorTargetId"] == json!(drained))
        .unwrap();
    let interface = on_it["NetworkInterfaceId"].as_str().unwrap();
    let ec2 = pipeline.aws.ec2_client();
    let described = ec2.describe_network_interfaces().network_interface_ids(interface);
    let described = described.send().await.unwrap();
    let attachment = described.network_interfaces()[0].attachment().unwrap();
    let instance = attachment.instance_id().unwrap();
    ec2.terminate_instances()
        .instance_ids(instance)
        .send()
        .await
        .unwrap();
    ended_with(run(&pipeline, &["drain", drained.as_str()]).await, true);
    assert_eq!(counts(&pipeline, &scene), [0, 8, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_move_whose_call_did_not_arrive_is_made_again() {
    let (scene, pipeline) = mirrored().await;
    let drained = scene.targets[0].clone();
    let calls = std::sync::atomic::AtomicUsize::new(0);
    pipeline.aws.ec2.on_call(move |call| {
        let is_move = call.action == "ModifyTrafficMirrorSession";
        (is_move && calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1).then_some(Fault::FailBefore)
    });
    ended_with(run(&pipeline, &["drain", drained.as_str()]).await, true);
    assert_eq!(counts(&pipeline, &scene), [0, 9, 0]);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_sensor_that_turns_out_full_is_passed_over() {
    let mut scene = Scene::new();
    let drained = scene.sensor(0, "m5.24xlarge");
    let instances: Vec<String> = (1..16).map(|number| scene.instance(number, 0, 1)).collect();
    scene.sensor(0, "m5.large");
    let large = scene.sensor(0, "m5.24xlarge");
    for number in 100..130 {
        scene.instance(number, 0, 1);
        scene.session(number, &large);
    }
    let pipeline = scene
        .pipeline(Options::default())
        .with("TARGET_IDS", drained.as_str());
    for instance in &instances {
        pipeline
            .mirror_instance(instance, Pipeline::running(instance))
            .await;
    }
    // The large one has sessions of others, so that the small one fills up.
    ended_with(run(&pipeline, &["drain", drained.as_str()]).await, true);
    assert_eq!(counts(&pipeline, &scene), [0, 10, 30 + 5]);
}

#[tokio::test(start_paused = true)]
async fn where_the_emptiest_sensor_turns_out_full_the_loads_are_evened_out_over_the_others_at_once() {
    let mut scene = Scene::new();
    let first = scene.sensor(0, "m5.24xlarge");
    let instances: Vec<String> = (1..26).map(|number| scene.instance(number, 0, 1)).collect();
    let small = scene.sensor(0, "m5.large");
    let large = scene.sensor(0, "m5.24xlarge");
    for number in 100..127 {
        scene.instance(number, 0, 1);
        scene.session(number, if number < 110 { &small } else { &large });
    }
    let pipeline = scene
        .pipeline(Options::default())
        .with("TARGET_IDS", first.as_str());
    for instance in &instances {
        pipeline
            .mirror_instance(instance, Pipeline::running(instance))
            .await;
    }
    assert_eq!(counts(&pipeline, &scene), [25, 10, 17]);
    ended_with(run(&pipeline, &["rebalance"]).await, true);
    assert_eq!(counts(&pipeline, &scene), [21, 10, 21]);
}

#[tokio::test(start_paused = true)]
async fn loads_are_evened_out_after_a_sensor_was_added_and_a_second_time_nothing_moves() {
    let (scene, pipeline) = {
        let mut scene = Scene::new();
        let first = scene.sensor(0, "m5.24xlarge");
        let instances: Vec<String> = (1..12).map(|number| scene.instance(number, 0, 1)).collect();
        for _ in 0..2 {
            scene.sensor(0, "m5.24xlarge");
        }
        let pipeline = scene
            .pipeline(Options::default())
            .with("TARGET_IDS", first.as_str());
        for instance in &instances {
            pipeline
                .mirror_instance(instance, Pipeline::running(instance))
                .await;
        }
        (scene, pipeline)
    };
    assert_eq!(counts(&pipeline, &scene), [11, 0, 0]);
    let before = pipeline.aws.dynamo.items();
    let (would, _) = told(&pipeline, &["rebalance", "--dry-run"]).await;
    assert_eq!(would["plannedCount"], 7);
    assert_eq!(pipeline.aws.dynamo.items(), before, "a dry run enters nothing");
    ended_with(run(&pipeline, &["rebalance"]).await, true);
    let evened = counts(&pipeline, &scene);
    assert!(
        evened.iter().max().unwrap() - evened.iter().min().unwrap() <= 1,
        "{evened:?}"
    );
    let moved = pipeline.aws.ec2.calls()["ModifyTrafficMirrorSession"].answered;
    assert_eq!(moved, 7, "no more than need be");
    ended_with(run(&pipeline, &["rebalance"]).await, true);
    assert_eq!(
        pipeline.aws.ec2.calls()["ModifyTrafficMirrorSession"].answered,
        moved
    );
    ledger_agrees(&pipeline);
}

/// Four instances, mirrored to a first sensor; a second one of the same zone, added since.
async fn a_sensor_added() -> (Scene, Pipeline) {
    a_sensor_added_where(Options::default()).await
}

async fn a_sensor_added_where(options: Options) -> (Scene, Pipeline) {
    let mut scene = Scene::new();
    let first = scene.sensor(0, "m5.24xlarge");
    let instances: Vec<String> = (1..5).map(|number| scene.instance(number, 0, 1)).collect();
    scene.sensor(0, "m5.24xlarge");
    let lag = options.lag;
    let pipeline = scene.pipeline(options).with("TARGET_IDS", first.as_str());
    tokio::time::sleep(2 * lag).await;
    for instance in &instances {
        let ended = pipeline
            .mirror_instance(instance, Pipeline::running(instance))
            .await;
        assert_eq!(ended.outcomes(), ["created"]);
    }
    (scene, pipeline)
}

#[tokio::test(start_paused = true)]
async fn sessions_go_to_a_sensor_that_was_just_added() {
    let (scene, pipeline) = a_sensor_added().await;
    let drained = scene.targets[0].as_str();
    ended_with(run(&pipeline, &["drain", drained, "--dry-run"]).await, true);
    ended_with(run(&pipeline, &["drain", drained]).await, true);
    assert_eq!(counts(&pipeline, &scene), [0, 4]);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_sensor_that_was_just_added_can_be_drained_and_gets_no_sessions() {
    let (mut scene, pipeline) = a_sensor_added().await;
    let added = scene.targets[1].clone();
    ended_with(run(&pipeline, &["drain", added.as_str()]).await, true);
    pipeline.set("TARGET_IDS", &format!("{},{added}", scene.targets[0]));
    let late = scene.instance(20, 0, 1);
    let later = scene.only_last_instance();
    pipeline.aws.ec2.load_snapshot(&later).unwrap();
    let ended = pipeline.mirror_instance("late", Pipeline::running(&late)).await;
    assert_eq!(ended.outcomes(), ["created"]);
    assert_eq!(counts(&pipeline, &scene), [5, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_configured_sensor_that_ec2_does_not_show_is_not_entered() {
    let (scene, pipeline) = a_sensor_added().await;
    let missing: TargetId = "tmt-0fedcba9876543210".parse().unwrap();
    let configured = [scene.targets[0].clone(), missing.clone()];
    ended_with(run_for(&pipeline, Some(&configured), &["rebalance"]).await, true);
    assert_eq!(counts(&pipeline, &scene), [4, 0]);
    let items = pipeline.aws.dynamo.items();
    let sensors = items.iter().filter(|item| item["sk"] == "LOAD");
    let sensors: Vec<_> = sensors.map(|item| item["targetId"].clone()).collect();
    assert_eq!(sensors, [json!(scene.targets[0])]);
    let unknown = run_for(&pipeline, Some(&configured), &["drain", missing.as_str()]).await;
    assert!(unknown.is_err(), "{unknown:?}");
}

#[tokio::test(start_paused = true)]
async fn the_sessions_of_others_on_a_sensor_count_as_its_load_from_the_first_move_on() {
    let mut scene = Scene::new();
    let first = scene.sensor(0, "m5.24xlarge");
    let instances: Vec<String> = (1..9).map(|number| scene.instance(number, 0, 1)).collect();
    let second = scene.sensor(0, "m5.24xlarge");
    for number in 100..104 {
        scene.instance(number, 0, 1);
        scene.session(number, &second);
    }
    let pipeline = scene
        .pipeline(Options::default())
        .with("TARGET_IDS", first.as_str());
    for instance in &instances {
        pipeline
            .mirror_instance(instance, Pipeline::running(instance))
            .await;
    }
    let (would, _) = told(&pipeline, &["rebalance", "--dry-run"]).await;
    assert_eq!(would["plannedCount"], 2, "{would}");
    ended_with(run(&pipeline, &["rebalance"]).await, true);
    assert_eq!(counts(&pipeline, &scene), [6, 6]);
}

/// Starts an instance whose session EC2 fails to create for so long, and does this once its place is held.
async fn while_one_is_placed<T>(
    scene: &mut Scene,
    pipeline: &Pipeline,
    fails_for: Duration,
    meanwhile: impl Future<Output = T>,
) -> T {
    let late = scene.instance(20, 0, 1);
    let later = scene.only_last_instance();
    pipeline.aws.ec2.load_snapshot(&later).unwrap();
    let start = tokio::time::Instant::now();
    pipeline.aws.ec2.on_call(move |call| {
        let refused = call.action == "CreateTrafficMirrorSession" && start.elapsed() < fails_for;
        refused.then_some(Fault::Unavailable)
    });
    let meanwhile = async {
        // Until the place is held.
        while !pipeline
            .aws
            .dynamo
            .items()
            .iter()
            .any(|item| item["state"] == "reserved")
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        meanwhile.await
    };
    let event = Pipeline::running(&late);
    let placed = Box::pin(pipeline.mirror_instance("late", event));
    let (ended, met) = futures::future::join(placed, meanwhile).await;
    assert_eq!(ended.outcomes(), ["created"]);
    met
}

#[tokio::test(start_paused = true)]
async fn what_is_being_placed_on_a_drained_sensor_is_waited_for_and_moved() {
    let (mut scene, pipeline) = a_sensor_added().await;
    let drained = scene.targets[0].clone();
    let soon = Duration::from_secs(5);
    let words = ["drain", drained.as_str()];
    let drain = told(&pipeline, &words);
    let drain = while_one_is_placed(&mut scene, &pipeline, soon, drain).await;
    ended_with(Ok(drain.1), true);
    let told = drain.0;
    assert_eq!(
        (&told["moved"], &told["reserved"]),
        (&json!(5), &json!(0)),
        "{told}"
    );
    assert_eq!(counts(&pipeline, &scene), [0, 5]);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_sensor_on_which_something_is_still_being_placed_is_not_told_to_be_empty() {
    let (mut scene, pipeline) = a_sensor_added().await;
    let drained = scene.targets[0].clone();
    let words = ["drain", drained.as_str()];
    let late = Duration::from_mins(10);
    let drain = told(&pipeline, &words);
    let (told, is_done) = while_one_is_placed(&mut scene, &pipeline, late, drain).await;
    ended_with(Ok(is_done), false);
    assert_eq!(told["reserved"], 1, "{told}");
    assert_eq!(counts(&pipeline, &scene), [1, 4]);
    ended_with(run(&pipeline, &words).await, true);
    assert_eq!(counts(&pipeline, &scene), [0, 5]);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn the_sessions_of_others_on_a_drained_sensor_are_told() {
    let mut scene = Scene::new();
    let drained = scene.sensor(0, "m5.24xlarge");
    for number in 100..103 {
        scene.instance(number, 0, 1);
        scene.session(number, &drained);
    }
    let pipeline = scene.pipeline(Options::default());
    let (told, status) = told(&pipeline, &["drain", drained.as_str()]).await;
    ended_with(Ok(status), true);
    assert_eq!((&told["external"], &told["reserved"]), (&json!(3), &json!(0)));
    assert_eq!(counts(&pipeline, &scene), [3]);
}

/// From now on EC2 refuses to change the sessions of which this holds.
fn refuse_moves(pipeline: &Pipeline, refused: impl Fn(&str) -> bool + Send + 'static) {
    pipeline.aws.ec2.on_call(move |call| {
        let session = call.params.get("TrafficMirrorSessionId");
        let is_refused = call.action == "ModifyTrafficMirrorSession" && session.is_some_and(|id| refused(id));
        is_refused.then(|| Fault::Error {
            code: "UnauthorizedOperation".to_owned(),
            message: "an explicit deny in a policy".to_owned(),
            status: 403,
        })
    });
}

/// The session of which the first interface is the source.
fn first_session(pipeline: &Pipeline) -> (String, String) {
    let sessions = sessions(pipeline);
    let found = sessions.iter().map(|session| {
        let of = |member: &str| session[member].as_str().unwrap().to_owned();
        (of("NetworkInterfaceId"), of("TrafficMirrorSessionId"))
    });
    found.min().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ec2_refuses_to_move_stays_and_the_others_are_moved() {
    let (scene, pipeline) = a_sensor_added().await;
    let drained = scene.targets[0].as_str();
    let (interface, session) = first_session(&pipeline);
    refuse_moves(&pipeline, move |id| id == session);
    for _ in 0..2 {
        let (told, status) = told(&pipeline, &["drain", drained]).await;
        ended_with(Ok(status), false);
        assert_eq!(stuck(&told), [&interface], "{told}");
        let why = told["stuck"][&interface].as_str().unwrap();
        assert!(why.contains("an explicit deny in a policy"), "{why}");
        assert_eq!(counts(&pipeline, &scene), [1, 3]);
        ledger_agrees(&pipeline);
    }
    // The other sensor is not full for it.
    refuse_moves(&pipeline, |_| false);
    ended_with(run(&pipeline, &["drain", drained]).await, true);
    assert_eq!(counts(&pipeline, &scene), [0, 4]);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_somebody_deleted_just_before_its_move_stops_none_of_the_others() {
    let lag = Duration::from_secs(30);
    let (scene, pipeline) = a_sensor_added_where(Options {
        lag,
        ..Options::default()
    })
    .await;
    tokio::time::sleep(Duration::from_mins(10)).await;
    let (_, session) = first_session(&pipeline);
    let ec2 = pipeline.aws.ec2_client();
    ec2.delete_traffic_mirror_session()
        .traffic_mirror_session_id(&session)
        .send()
        .await
        .unwrap();
    let (told, status) = told(&pipeline, &["drain", scene.targets[0].as_str()]).await;
    ended_with(Ok(status), true);
    assert_eq!(counts(&pipeline, &scene), [0, 3]);
    assert_eq!(told["moved"], 3, "{told}");
    // Reconcile sees that the session is gone, and covers its interface anew.
    tokio::time::sleep(Duration::from_hours(1)).await;
    pipeline.set(
        "TARGET_IDS",
        &format!("{},{}", scene.targets[0], scene.targets[1]),
    );
    pipeline.reconcile("late").await;
    assert_eq!(counts(&pipeline, &scene), [0, 4]);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn loads_are_evened_out_by_others_where_ec2_refuses_to_move_a_session() {
    let (scene, pipeline) = a_sensor_added().await;
    let (interface, session) = first_session(&pipeline);
    refuse_moves(&pipeline, move |id| id == session);
    let (told, status) = told(&pipeline, &["rebalance"]).await;
    assert_eq!(counts(&pipeline, &scene), [2, 2]);
    ended_with(Ok(status), false);
    assert_eq!(stuck(&told), [&interface], "{told}");
    let why = told["stuck"][&interface].as_str().unwrap();
    assert!(why.contains("an explicit deny in a policy"), "{why}");
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn loads_are_evened_out_by_others_where_ec2_refuses_all_that_were_to_move() {
    let (scene, pipeline) = a_sensor_added().await;
    let sessions = sessions(&pipeline);
    let mut of_interfaces: Vec<_> = sessions
        .iter()
        .map(|session| (&session["NetworkInterfaceId"], &session["TrafficMirrorSessionId"]))
        .map(|(interface, session)| (interface.to_string(), session.as_str().unwrap().to_owned()))
        .collect();
    of_interfaces.sort();
    let first: Vec<String> = of_interfaces.drain(..2).map(|(_, session)| session).collect();
    refuse_moves(&pipeline, move |id| first.iter().any(|session| session == id));
    let (told, status) = told(&pipeline, &["rebalance"]).await;
    assert_eq!(counts(&pipeline, &scene), [2, 2]);
    ended_with(Ok(status), false);
    assert_eq!(stuck(&told).len(), 2, "{told}");
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn where_ec2_refuses_every_move_the_reasons_are_told_and_the_ledger_stays() {
    let (scene, pipeline) = a_sensor_added().await;
    refuse_moves(&pipeline, |_| true);
    let (told, status) = told(&pipeline, &["drain", scene.targets[0].as_str()]).await;
    ended_with(Ok(status), false);
    let refused = told.to_string().matches("an explicit deny in a policy").count();
    assert_eq!(refused, 4, "{told}");
    assert_eq!(counts(&pipeline, &scene), [4, 0]);
    ledger_agrees(&pipeline);
}

/// A move that the ledger has made, and of which EC2 has not heard: the execution was stopped before its call.
async fn die_at_the_first_move(pipeline: &Pipeline, scene: &Scene) {
    let ledger = pipeline.aws.ledger();
    let (interface, _) = first_session(pipeline);
    let active = ledger
        .assignment(&interface.parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    let counts = [(scene.targets[1].clone(), 0)];
    ledger.enter_sensors(&counts, "arn:dead").await.unwrap();
    let moved = ledger.move_to(&active, &scene.targets[1], "arn:dead").await;
    assert!(moved.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_move_that_was_begun_and_is_refused_by_then_is_taken_back() {
    let (scene, pipeline) = a_sensor_added().await;
    let drained = scene.targets[0].as_str();
    die_at_the_first_move(&pipeline, &scene).await;
    let (interface, session) = moved_in_the_ledger_alone(&pipeline);
    refuse_moves(&pipeline, move |id| id == session);
    let (told, status) = told(&pipeline, &["drain", drained]).await;
    ended_with(Ok(status), false);
    assert_eq!(stuck(&told), [&interface], "{told}");
    assert_eq!(counts(&pipeline, &scene), [1, 3]);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_move_that_was_begun_to_a_sensor_that_cannot_receive_by_now_is_taken_back() {
    let (scene, pipeline) = a_sensor_added().await;
    let drained = scene.targets[0].as_str();
    die_at_the_first_move(&pipeline, &scene).await;
    moved_in_the_ledger_alone(&pipeline);
    refuse_moves(&pipeline, |_| false);
    let ec2 = pipeline.aws.ec2_client();
    let closed = ec2
        .revoke_security_group_ingress()
        .group_id(SENSOR_GROUP)
        .ip_permissions(
            IpPermission::builder()
                .ip_protocol("udp")
                .from_port(4789)
                .to_port(4789)
                .ip_ranges(IpRange::builder().cidr_ip("10.0.0.0/8").build())
                .build(),
        );
    closed.send().await.unwrap();
    let (told, status) = told(&pipeline, &["drain", drained]).await;
    ended_with(Ok(status), false);
    assert_eq!(stuck(&told).len(), 4, "{told}");
    assert_eq!(counts(&pipeline, &scene), [4, 0]);
    ledger_agrees(&pipeline);
}

/// The interface whose assignment is on another sensor than its session, and the session.
fn moved_in_the_ledger_alone(pipeline: &Pipeline) -> (String, String) {
    let sessions = sessions(pipeline);
    let items = pipeline.aws.dynamo.items();
    let apart = items.iter().find(|item| {
        let of_it = |session: &&Value| session["TrafficMirrorSessionId"] == item["sessionId"];
        let shown = sessions.iter().find(of_it);
        item["sk"] == "ASSIGNMENT"
            && shown.is_some_and(|shown| shown["TrafficMirrorTargetId"] != item["targetId"])
    });
    let member = |name: &str| apart.unwrap()[name].as_str().unwrap().to_owned();
    (member("interfaceId"), member("sessionId"))
}

/// Somebody writes a text over an attribute.
fn spoil(pipeline: &Pipeline, pk: &str, sk: &str, attribute: &str) {
    let mut item = pipeline.aws.dynamo.raw_item(pk, sk).unwrap();
    item[attribute] = json!({"S": "spoilt"});
    pipeline.aws.dynamo.plant(&item);
}

#[tokio::test(start_paused = true)]
async fn a_drain_moves_what_can_be_read_and_names_what_cannot() {
    let (scene, pipeline) = mirrored().await;
    let drained = scene.targets[0].as_str();
    let on_it = counts(&pipeline, &scene)[0];
    let items = pipeline.aws.dynamo.items();
    let spoilt = items
        .iter()
        .find(|item| item["sk"] == "ASSIGNMENT" && item["targetId"] == drained)
        .unwrap();
    let pk = spoilt["pk"].as_str().unwrap();
    spoil(&pipeline, pk, "ASSIGNMENT", "generation");
    let (answer, status) = told(&pipeline, &["drain", drained]).await;
    assert!(!status);
    assert_eq!(answer["moved"], on_it - 1, "{answer}");
    assert_eq!(
        (stuck(&answer).len(), &answer["reserved"]),
        (0, &json!(0)),
        "{answer}"
    );
    assert_eq!(answer["unreadable"][0]["pk"], pk, "{answer}");
    assert_eq!(answer["unreadable"][0]["attribute"], "generation", "{answer}");
    assert_eq!(counts(&pipeline, &scene), [1, 8, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_sensor_with_an_unreadable_counter_gets_no_moves_and_gives_none_until_it_is_counted_anew() {
    let (scene, pipeline) = mirrored().await;
    let before = counts(&pipeline, &scene);
    let spoilt = scene.targets[0].as_str();
    let pk = format!("SENSOR#{spoilt}");
    spoil(&pipeline, &pk, "LOAD", "sessions");
    let (answer, status) = told(&pipeline, &["rebalance"]).await;
    assert!(!status);
    assert_eq!(answer["unreadable"][0]["pk"], pk, "{answer}");
    // Not to it, and not from it.
    let (answer, status) = told(&pipeline, &["drain", scene.targets[1].as_str()]).await;
    assert!(!status);
    assert_eq!(stuck(&answer).len() as u64, before[1], "{answer}");
    let (answer, status) = told(&pipeline, &["drain", scene.targets[1].as_str(), "--cancel"]).await;
    assert_eq!(
        (status, answer["unreadable"][0]["pk"].as_str()),
        (true, Some(pk.as_str()))
    );
    let (answer, status) = told(&pipeline, &["drain", spoilt]).await;
    assert!(!status);
    for reason in answer["stuck"].as_object().unwrap().values() {
        assert!(reason.as_str().unwrap().contains(&pk), "{answer}");
    }
    assert_eq!(stuck(&answer).len() as u64, before[0], "{answer}");
    assert_eq!(counts(&pipeline, &scene), before);

    let reconciled = pipeline.reconcile("mends").await.ended.result.unwrap();
    assert_eq!(reconciled["counters"], 1, "{reconciled}");
    ended_with(run(&pipeline, &["drain", spoilt]).await, true);
    assert_eq!(counts(&pipeline, &scene), [0, 9, 0]);
    ledger_agrees(&pipeline);
}
