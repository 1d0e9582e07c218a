//! A function's process dies just before and just after each call that it makes to AWS, one after the other; its stage
//! is run again with the same input, as Step Functions does, and then the rest. Whatever the point, the end is the one
//! without the crash.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::time::Duration;

use ec2_sim::{Call, Fault, Options};
use serde_json::Value;
use stage_tests::check::{ledger_agrees, sessions};
use stage_tests::pipeline::{Moment, Pipeline};
use stage_tests::scene::{Scene, interface_id};

/// What is left: the sessions, the assignments and the counters, without what every run makes anew.
fn left(pipeline: &Pipeline) -> BTreeSet<String> {
    let of_session = |session: &Value| {
        format!(
            "session of {} to {} number {}",
            session["NetworkInterfaceId"], session["TrafficMirrorTargetId"], session["SessionNumber"]
        )
    };
    let of_item = |item: &Value| match item["sk"].as_str().unwrap() {
        "ASSIGNMENT" => Some(format!(
            "{} to {} is {}, generation {}, refused {}",
            item["interfaceId"],
            item["targetId"],
            item["state"],
            item["generation"],
            item["refusal"]["count"]
        )),
        "LOAD" => Some(format!(
            "{} has {} and {}, is not full {}, not down {}",
            item["targetId"],
            item["sessions"],
            item["external"],
            item["fullUntil"].is_null(),
            item["downUntil"].is_null()
        )),
        _ => None,
    };
    let items = pipeline.aws.dynamo.items();
    let sessions = sessions(pipeline);
    sessions
        .iter()
        .map(of_session)
        .chain(items.iter().filter_map(of_item))
        .collect()
}

/// Runs a scene to its end without a crash, and then again with a crash at each of its calls.
async fn wherever_it_dies<F>(name: &str, scene: &Scene, run: F)
where
    F: AsyncFn(&Pipeline, Option<(usize, Moment)>) -> bool,
{
    let sound = scene.pipeline(Options::default());
    run(&sound, None).await;
    let expected = left(&sound);
    for moment in [Moment::Before, Moment::After] {
        let mut n = 0;
        loop {
            let pipeline = scene.pipeline(Options::default());
            if !run(&pipeline, Some((n, moment))).await {
                break;
            }
            assert_eq!(left(&pipeline), expected, "{name}: died {moment:?} call {n}");
            ledger_agrees(&pipeline);
            n += 1;
        }
        assert!(n > 2, "{name}: only {n} calls");
    }
}

/// Sets the crash, runs, and answers whether it has happened.
async fn with_crash(
    pipeline: &Pipeline,
    crash: Option<(usize, Moment)>,
    run: impl Future<Output = ()>,
) -> bool {
    let set = crash.map(|(n, moment)| pipeline.crash_at(n, moment));
    run.await;
    set.is_none_or(|crash| crash.has_happened())
}

fn scene() -> Scene {
    let mut scene = Scene::new();
    for _ in 0..2 {
        scene.sensor(0, "m5.24xlarge");
    }
    scene
}

#[tokio::test(start_paused = true)]
async fn mirroring_an_instance() {
    let mut scene = scene();
    let instance = scene.instance(1, 0, 1);
    wherever_it_dies("mirror", &scene, async |pipeline, crash| {
        with_crash(pipeline, crash, async {
            let ended = pipeline
                .mirror_instance("first", Pipeline::running(&instance))
                .await;
            // An execution that died after it had created its session finds it, on looking again.
            for outcome in ended.outcomes() {
                assert!(
                    matches!(outcome.as_str(), "created" | "alreadyMirrored"),
                    "{outcome}"
                );
            }
        })
        .await
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn meeting_a_full_sensor() {
    let mut scene = Scene::new();
    let small = scene.sensor(0, "m5.large");
    let busy = scene.sensor(0, "m5.24xlarge");
    let instance = scene.instance(1, 0, 1);
    // Full with sources of another account; the other one has twelve of its own.
    scene.unseen_sources(&small, 10);
    for number in 0x900..0x90c {
        scene.instance(number, 0, 1);
        scene.session(number, &busy);
    }
    let sound = scene.pipeline(Options::default());
    sound.mirror_instance("sound", Pipeline::running(&instance)).await;
    let expected = left(&sound);
    for moment in [Moment::Before, Moment::After] {
        for n in 0.. {
            let pipeline = scene.pipeline(Options::default());
            let crash = pipeline.crash_at(n, moment);
            let ended = pipeline
                .mirror_instance("first", Pipeline::running(&instance))
                .await;
            if !crash.has_happened() {
                break;
            }
            assert_eq!(ended.outcomes().len(), 1);
            assert_eq!(left(&pipeline), expected, "died {moment:?} call {n}");
        }
    }
}

/// EC2 refuses every session to the first sensor that the interface asks for, or every session: wherever the execution
/// dies, between the refusal and the release, or between that and the next pick.
async fn refused(name: &str, code: &'static str, only_to: Option<String>, outcome: &str) {
    let mut scene = scene();
    let instance = scene.instance(1, 0, 1);
    let refusal = move |call: &Call| {
        let target = call.params.get("TrafficMirrorTargetId")?;
        let is_meant = only_to.as_ref().is_none_or(|only| only == target);
        (call.action == "CreateTrafficMirrorSession" && is_meant).then(|| Fault::Error {
            code: code.to_owned(),
            message: "In EC2's words".to_owned(),
            status: 400,
        })
    };
    wherever_it_dies(name, &scene, async |pipeline, crash| {
        let (n, moment) = crash.unwrap_or((usize::MAX, Moment::Before));
        let set = pipeline.crash_where(n, moment, refusal.clone());
        let ended = pipeline
            .mirror_instance("first", Pipeline::running(&instance))
            .await;
        assert_eq!(ended.outcomes(), [outcome], "{name}: died {moment:?} call {n}");
        crash.is_none() || set.has_happened()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn meeting_a_sensor_that_is_down() {
    let mut all = scene();
    let instance = all.instance(1, 0, 1);
    let sound = all.pipeline(Options::default());
    sound.mirror_instance("first", Pipeline::running(&instance)).await;
    let picked = sessions(&sound)[0]["TrafficMirrorTargetId"]
        .as_str()
        .unwrap()
        .to_owned();
    refused("down", "InvalidTrafficMirrorTarget", Some(picked), "created").await;
}

#[tokio::test(start_paused = true)]
async fn being_refused() {
    refused("unknown", "SomethingNew", None, "SessionRefused").await;
    refused(
        "not supported",
        "NetworkInterfaceNotSupported",
        None,
        "notMirrorable",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn releasing_an_instance() {
    let mut scene = scene();
    let instance = scene.instance(1, 0, 3);
    wherever_it_dies("release", &scene, async |pipeline, crash| {
        pipeline
            .mirror_instance("first", Pipeline::running(&instance))
            .await;
        let ec2 = pipeline.aws.ec2_client();
        ec2.terminate_instances()
            .instance_ids(&instance)
            .send()
            .await
            .unwrap();
        with_crash(pipeline, crash, async {
            let ended = pipeline
                .release_instance("ends", Pipeline::ending(&instance, "terminated"))
                .await;
            assert!(ended.result.is_ok(), "{ended:?}");
        })
        .await
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reconciling_everything_that_can_differ() {
    let mut scene = scene();
    let instances: Vec<String> = (1..=4).map(|number| scene.instance(number, 0, 1)).collect();
    let target = scene.targets[0].clone();
    for number in [0x900, 0x901] {
        scene.instance(number, 0, 1);
        scene.session(number, &target);
    }
    wherever_it_dies("reconcile", &scene, async |pipeline, crash| {
        // One is deleted, one is moved, one runs uncovered; two are another tool's.
        for instance in &instances[..3] {
            pipeline
                .mirror_instance(instance, Pipeline::running(instance))
                .await;
        }
        let ec2 = pipeline.aws.ec2_client();
        let session = |number: usize| {
            let session = sessions(pipeline)
                .into_iter()
                .find(|session| session["NetworkInterfaceId"] == interface_id(number))
                .unwrap();
            let id = |member: &str| session[member].as_str().unwrap().to_owned();
            (id("TrafficMirrorSessionId"), id("TrafficMirrorTargetId"))
        };
        ec2.delete_traffic_mirror_session()
            .traffic_mirror_session_id(session(1).0)
            .send()
            .await
            .unwrap();
        let (id, from) = session(2);
        let other = scene
            .targets
            .iter()
            .find(|target| target.as_str() != from)
            .unwrap();
        ec2.modify_traffic_mirror_session()
            .traffic_mirror_session_id(id)
            .traffic_mirror_target_id(other.as_str())
            .send()
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_hours(1)).await;
        with_crash(pipeline, crash, async {
            let ended = pipeline.reconcile("first").await;
            assert!(ended.ended.result.is_ok(), "{ended:?}");
        })
        .await
    })
    .await;
}

/// An instance is mirrored, without a crash.
async fn mirrored(pipeline: &Pipeline, instance: &str) -> Value {
    let event = Pipeline::running(instance);
    assert_eq!(
        pipeline.mirror_instance("start", event).await.outcomes(),
        ["created"]
    );
    sessions(pipeline)[0]["TrafficMirrorTargetId"].clone()
}

#[tokio::test(start_paused = true)]
async fn moving_a_session() {
    let mut scene = scene();
    let instance = scene.instance(1, 0, 1);
    wherever_it_dies("move", &scene, async |pipeline, crash| {
        let from = mirrored(pipeline, &instance).await;
        with_crash(pipeline, crash, async {
            let input =
                serde_json::json!({"interfaceId": interface_id(1), "leaves": from, "reason": "a test"});
            let ended = pipeline.move_interface("move", input).await;
            assert_eq!(ended.result.unwrap()["outcome"], "moved");
        })
        .await
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn moving_a_session_that_ec2_refuses_to_move() {
    let mut scene = scene();
    let instance = scene.instance(1, 0, 1);
    let refused = |call: &Call| {
        (call.action == "ModifyTrafficMirrorSession").then(|| Fault::Error {
            code: "TrafficMirrorSourcesPerTargetLimitExceeded".to_owned(),
            message: "Sources per interface-target limit reached (11)".to_owned(),
            status: 400,
        })
    };
    wherever_it_dies("refused move", &scene, async |pipeline, crash| {
        let from = mirrored(pipeline, &instance).await;
        let (n, moment) = crash.unwrap_or((usize::MAX, Moment::Before));
        let crashed = pipeline.crash_where(n, moment, refused);
        let input = serde_json::json!({"interfaceId": interface_id(1), "leaves": from, "reason": "a test"});
        let ended = pipeline.move_interface("move", input).await;
        assert_eq!(ended.result.unwrap()["outcome"], "stays");
        crash.is_none() || crashed.has_happened()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn ending_a_session() {
    let mut scene = scene();
    let instance = scene.instance(1, 0, 1);
    wherever_it_dies("end", &scene, async |pipeline, crash| {
        mirrored(pipeline, &instance).await;
        with_crash(pipeline, crash, async {
            let input = serde_json::json!({"interfaceId": interface_id(1), "reason": "a test"});
            let ended = pipeline.unmirror_interface("end", input).await;
            assert_eq!(ended.result.unwrap()["outcome"], "unmirrored");
        })
        .await
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn draining_a_sensor_and_unmirroring_everything() {
    let mut scene = scene();
    let instance = scene.instance(1, 0, 1);
    for drain in [true, false] {
        wherever_it_dies("plans", &scene, async |pipeline, crash| {
            let from = mirrored(pipeline, &instance).await;
            with_crash(pipeline, crash, async {
                let ended = if drain {
                    pipeline
                        .drain_sensor("drain", serde_json::json!({"targetId": from}))
                        .await
                } else {
                    pipeline
                        .unmirror_all("all", serde_json::json!({"all": true}))
                        .await
                };
                let outcome = ended.result.unwrap()["outcome"].clone();
                assert_eq!(outcome, if drain { "drained" } else { "unmirrored" });
            })
            .await
        })
        .await;
    }
}
