//! `mirrorstep drain` and `mirrorstep rebalance`, over AWS in process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Parser;
use ec2_sim::{Fault, Options};
use mirrorstep::aws::Account;
use mirrorstep::cli::{Cli, Command};
use mirrorstep::error::Error;
use mirrorstep::moves;
use mirrorstep::terminal::Terminal;
use mirrorstep_core::TargetId;
use mirrorstep_core::config::{Consent, FixedTags, UnverifiableTargets};
use mirrorstep_core::explain::Question;
use serde_json::json;
use stage_tests::check::{ledger_agrees, sessions, sessions_by_target};
use stage_tests::pipeline::Pipeline;
use stage_tests::scene::{Scene, interface_id};

/// Runs the command, as it is typed.
async fn run(pipeline: &Pipeline, words: &[&str]) -> Result<ExitCode, Error> {
    run_for(pipeline, None, words).await
}

/// The same, where only these targets are configured.
async fn run_for(
    pipeline: &Pipeline,
    targets: Option<&[TargetId]>,
    words: &[&str],
) -> Result<ExitCode, Error> {
    let cli = Cli::try_parse_from([&["mirrorstep"], words].concat()).unwrap();
    let account = Account::of(
        pipeline.aws.ec2_client(),
        pipeline.aws.dynamo_client(),
        "us-east-1",
    );
    let question = Question {
        interface_id: String::new(),
        targets: targets.map(|targets| targets.iter().map(ToString::to_string).collect()),
        local_zone_only: true,
        consent: Consent::default(),
        fixed: FixedTags::default(),
        unverifiable: UnverifiableTargets::Reject,
    };
    let (place, terminal) = ((&account, stage_tests::TABLE), Terminal::new());
    match &cli.command {
        Command::Drain(options) => moves::drain_in(place, &question, options, &terminal).await,
        Command::Rebalance(options) => moves::rebalance_in(place, &question, options, &terminal).await,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn ended_with(ended: Result<ExitCode, Error>, code: ExitCode) {
    assert_eq!(format!("{:?}", ended.unwrap()), format!("{code:?}"));
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
    // The closed one is a sensor that the ledger knows.
    let closed = vec![(scene.targets[2].clone(), 0)];
    pipeline.aws.ledger().enter_sensors(&closed).await.unwrap();
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
        ExitCode::SUCCESS,
    );
    assert_eq!(counts(&pipeline, &scene), before, "a dry run changes nothing");

    ended_with(
        run(&pipeline, &["drain", drained.as_str()]).await,
        ExitCode::SUCCESS,
    );
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
        ExitCode::SUCCESS,
    );
    ended_with(run(&pipeline, &["rebalance"]).await, ExitCode::SUCCESS);
    let evened = counts(&pipeline, &scene);
    assert_eq!(evened[2], 0, "never to one that cannot receive");
    assert!(evened[0].abs_diff(evened[1]) <= 1, "{evened:?}");
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn what_no_other_sensor_can_receive_stays_and_is_told() {
    let (scene, pipeline) = mirrored().await;
    ended_with(
        run(&pipeline, &["drain", scene.targets[0].as_str()]).await,
        ExitCode::SUCCESS,
    );
    ended_with(
        run(&pipeline, &["drain", scene.targets[1].as_str()]).await,
        ExitCode::FAILURE,
    );
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
        ExitCode::FAILURE,
    );
    assert_eq!(counts(&pipeline, &scene), before);
    // The sensor itself can be drained all the same.
    let gone = scene.targets[1].as_str();
    run(&pipeline, &["drain", left[0].as_str(), "--cancel"])
        .await
        .unwrap();
    ended_with(
        run_for(&pipeline, Some(&left), &["drain", gone]).await,
        ExitCode::SUCCESS,
    );
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
    ended_with(
        run(&pipeline, &["drain", drained.as_str()]).await,
        ExitCode::SUCCESS,
    );
    assert_eq!(counts(&pipeline, &scene), [0, 8, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_move_whose_command_died_is_finished_by_the_next_one() {
    let (scene, pipeline) = mirrored().await;
    let drained = scene.targets[0].clone();
    let calls = std::sync::atomic::AtomicUsize::new(0);
    pipeline.aws.ec2.on_call(move |call| {
        let is_move = call.action == "ModifyTrafficMirrorSession";
        (is_move && calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1).then_some(Fault::FailBefore)
    });
    let died = run(&pipeline, &["drain", drained.as_str()]).await;
    assert!(died.is_err(), "the second move's call never arrived");
    ended_with(
        run(&pipeline, &["drain", drained.as_str()]).await,
        ExitCode::SUCCESS,
    );
    assert_eq!(counts(&pipeline, &scene), [0, 9, 0]);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_sensor_that_turns_out_full_is_passed_over() {
    let mut scene = Scene::new();
    let drained = scene.sensor(0, "m5.24xlarge");
    let instances: Vec<String> = (1..16).map(|number| scene.instance(number, 0, 1)).collect();
    let small = scene.sensor(0, "m5.large");
    let large = scene.sensor(0, "m5.24xlarge");
    let pipeline = scene
        .pipeline(Options::default())
        .with("TARGET_IDS", drained.as_str());
    for instance in &instances {
        pipeline
            .mirror_instance(instance, Pipeline::running(instance))
            .await;
    }
    // Added later, the large one with sessions of others, so that the small one fills up.
    let entered = vec![(small.clone(), 0), (large.clone(), 30)];
    pipeline.aws.ledger().enter_sensors(&entered).await.unwrap();
    ended_with(
        run(&pipeline, &["drain", drained.as_str()]).await,
        ExitCode::SUCCESS,
    );
    assert_eq!(counts(&pipeline, &scene), [0, 10, 5]);
    ledger_agrees(&pipeline);
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
        let added: Vec<_> = scene.targets[1..]
            .iter()
            .map(|target| (target.clone(), 0))
            .collect();
        pipeline.aws.ledger().enter_sensors(&added).await.unwrap();
        (scene, pipeline)
    };
    assert_eq!(counts(&pipeline, &scene), [11, 0, 0]);
    ended_with(run(&pipeline, &["rebalance"]).await, ExitCode::SUCCESS);
    let evened = counts(&pipeline, &scene);
    assert!(
        evened.iter().max().unwrap() - evened.iter().min().unwrap() <= 1,
        "{evened:?}"
    );
    let moved = pipeline.aws.ec2.calls()["ModifyTrafficMirrorSession"].answered;
    assert_eq!(moved, 7, "no more than need be");
    ended_with(run(&pipeline, &["rebalance"]).await, ExitCode::SUCCESS);
    assert_eq!(
        pipeline.aws.ec2.calls()["ModifyTrafficMirrorSession"].answered,
        moved
    );
    ledger_agrees(&pipeline);
}
