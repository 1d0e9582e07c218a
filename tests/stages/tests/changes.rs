//! `move-interface` and `unmirror-interface`: the session of an interface that is mirrored already is moved, given other
//! settings, or ended.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::Duration;

use ec2_sim::{Fault, Options, Throttle};
use mirrorstep_core::TargetId;
use serde_json::{Value, json};
use stage_tests::check::{ledger_agrees, sessions, sessions_by_target};
use stage_tests::pipeline::{Pipeline, outcome};
use stage_tests::scene::{FILTER, Scene, interface_id};
use workflow::Ended;

const OTHER_FILTER: &str = "tmf-0000000000000000e";

/// Three sensors in one zone, the third one's group closed to the instances; instances, mirrored one after the other.
async fn mirrored(instances: usize) -> (Scene, Pipeline) {
    let mut scene = Scene::new();
    for _ in 0..3 {
        scene.sensor(0, "m5.24xlarge");
    }
    scene.list("SecurityGroups").push(json!({
        "GroupId": "sg-0000000000000000c", "GroupName": "closed", "VpcId": "vpc-00000000000000001",
        "IpPermissions": [],
    }));
    scene.set_groups(&interface_id(0x5002), &["sg-0000000000000000c"]);
    scene
        .list("TrafficMirrorFilters")
        .push(json!({"TrafficMirrorFilterId": OTHER_FILTER}));
    let instances: Vec<String> = (1..=instances)
        .map(|number| scene.instance(number, 0, 1))
        .collect();
    let pipeline = scene
        .pipeline(Options::default())
        .with("FIXED_FILTER_TAG", "filter");
    for instance in &instances {
        let ended = pipeline
            .mirror_instance(instance, Pipeline::running(instance))
            .await;
        assert_eq!(ended.outcomes(), ["created"]);
    }
    (scene, pipeline)
}

fn item(pipeline: &Pipeline, sort_key: &str, of: impl Fn(&Value) -> bool) -> Value {
    let items = pipeline.aws.dynamo.items();
    let mut items = items.into_iter().filter(|item| item["sk"] == sort_key);
    items.find(|item| of(item)).unwrap()
}

fn assignment(pipeline: &Pipeline, number: usize) -> Value {
    item(pipeline, "ASSIGNMENT", |item| {
        item["interfaceId"] == interface_id(number)
    })
}

/// The only session of an interface.
fn session(pipeline: &Pipeline, number: usize) -> Value {
    let mut own = sessions(pipeline);
    own.retain(|session| session["NetworkInterfaceId"] == interface_id(number));
    assert_eq!(own.len(), 1, "{own:?}");
    own.remove(0)
}

fn target_of(session: &Value) -> TargetId {
    session["TrafficMirrorTargetId"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

fn other(scene: &Scene, target: &TargetId) -> TargetId {
    let open = &scene.targets[..2];
    open.iter().find(|open| *open != target).unwrap().clone()
}

async fn leave(pipeline: &Pipeline, name: &str, number: usize, target: &TargetId) -> Ended {
    let input = json!({"interfaceId": interface_id(number), "leaves": target, "reason": "a test"});
    pipeline.move_interface(name, input).await
}

async fn tag(pipeline: &Pipeline, id: &str, key: &str, value: &str) {
    let tag = aws_sdk_ec2::types::Tag::builder().key(key).value(value).build();
    let call = pipeline.aws.ec2_client().create_tags().resources(id).tags(tag);
    call.send().await.unwrap();
}

fn refuse(pipeline: &Pipeline, action: &'static str, code: &'static str, words: &'static str) {
    pipeline.aws.ec2.on_call(move |call| {
        (call.action == action).then(|| Fault::Error {
            status: 400,
            code: code.to_owned(),
            message: words.to_owned(),
        })
    });
}

#[tokio::test(start_paused = true)]
async fn a_session_leaves_its_sensor_for_the_least_loaded_that_can_receive_it_and_keeps_its_id() {
    let (scene, pipeline) = mirrored(4).await;
    let before = session(&pipeline, 1);
    let from = target_of(&before);
    let ended = leave(&pipeline, "first", 1, &from).await;
    let output = ended.result.as_ref().unwrap();
    let to = other(&scene, &from);
    assert_eq!(output["outcome"], "moved");
    assert_eq!((&output["from"], &output["targetId"]), (&json!(from), &json!(to)));
    let why: Vec<(&Value, &Value)> = output["rejections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rejection| (&rejection["targetId"], &rejection["stage"]))
        .collect();
    assert!(
        why.contains(&(&json!(scene.targets[2]), &json!("security-group"))),
        "{why:?}"
    );
    assert!(why.contains(&(&json!(from), &json!("capacity"))), "{why:?}");
    let after = session(&pipeline, 1);
    assert_eq!(after["TrafficMirrorSessionId"], before["TrafficMirrorSessionId"]);
    assert_eq!(target_of(&after), to);
    ledger_agrees(&pipeline);
    let event = item(&pipeline, "EVENT#0000000003", |event| {
        event["interfaceId"] == interface_id(1)
    });
    assert_eq!(event["change"]["reason"], "a test");

    // The same again has nothing left to do, and says so.
    let again = leave(&pipeline, "second", 1, &from).await;
    let output = again.result.as_ref().unwrap();
    assert_eq!(output["outcome"], "stays");
    assert_eq!(output["reason"], format!("its session is on {to} already"));
    assert_eq!(pipeline.aws.ec2.calls()["ModifyTrafficMirrorSession"].answered, 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_stays_where_no_other_sensor_can_receive_it_and_each_is_told() {
    let (scene, pipeline) = mirrored(1).await;
    let from = target_of(&session(&pipeline, 1));
    pipeline
        .aws
        .ledger()
        .set_draining(&other(&scene, &from), true)
        .await
        .unwrap();
    let ended = leave(&pipeline, "stays", 1, &from).await;
    let output = ended.result.as_ref().unwrap();
    assert_eq!(output["outcome"], "stays");
    assert_eq!(output["reason"], "no other sensor can receive it and has room");
    assert_eq!(output["rejections"].as_array().unwrap().len(), 3, "{output}");
    assert_eq!(target_of(&session(&pipeline, 1)), from);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_mirrored_or_not_to_be_mirrored_is_not_moved() {
    let (mut scene, pipeline) = mirrored(2).await;
    let from = target_of(&session(&pipeline, 1));
    tag(&pipeline, &stage_tests::scene::instance_id(1), "mirror", "off").await;
    assert_eq!(outcome(&leave(&pipeline, "off", 1, &from).await), "optedOut");
    let from = target_of(&session(&pipeline, 2));
    tag(&pipeline, &interface_id(2), "mirror", "off").await;
    assert_eq!(outcome(&leave(&pipeline, "own", 2, &from).await), "optedOut");
    scene.instance(3, 0, 1);
    assert_eq!(outcome(&leave(&pipeline, "none", 3, &from).await), "gone");
    assert!(
        !pipeline
            .aws
            .ec2
            .calls()
            .contains_key("ModifyTrafficMirrorSession")
    );
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn to_even_out_a_session_moves_only_where_two_less_are() {
    let (scene, pipeline) = mirrored(4).await;
    let from = target_of(&session(&pipeline, 1));
    let even_out =
        |number: usize| json!({"interfaceId": interface_id(number), "leaves": from, "evenOut": true});
    let ended = pipeline.move_interface("even", even_out(1)).await;
    assert_eq!(outcome(&ended), "stays", "{:?}", ended.result);
    // All on one sensor: from 0 and 4 the first move leads to 1 and 3, the second to 2 and 2, and that is even.
    let to = other(&scene, &from);
    for number in 1..=4 {
        if target_of(&session(&pipeline, number)) == to {
            assert_eq!(
                outcome(&leave(&pipeline, &format!("{number}"), number, &to).await),
                "moved"
            );
        }
    }
    let mut outcomes = Vec::new();
    for number in 1..=4 {
        outcomes.push(outcome(
            &pipeline
                .move_interface(&format!("even-{number}"), even_out(number))
                .await,
        ));
    }
    assert_eq!(outcomes, ["moved", "moved", "stays", "stays"]);
    assert_eq!(sessions_by_target(&pipeline)[from.as_str()], 2);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_session_gets_the_settings_that_it_should_have_and_stays_on_its_sensor() {
    let (_scene, pipeline) = mirrored(1).await;
    let from = target_of(&session(&pipeline, 1));
    let as_it_should = |name: &'static str| {
        let input = json!({"interfaceId": interface_id(1), "reason": "a setting has changed"});
        let pipeline = &pipeline;
        async move { outcome(&pipeline.move_interface(name, input).await) }
    };
    assert_eq!(as_it_should("nothing").await, "stays");
    pipeline.set("VIRTUAL_NETWORK_ID", "77");
    pipeline.set("PACKET_LENGTH", "128");
    assert_eq!(as_it_should("settings").await, "moved");
    let changed = session(&pipeline, 1);
    assert_eq!(
        (&changed["VirtualNetworkId"], &changed["PacketLength"]),
        (&json!(77), &json!(128))
    );
    tag(&pipeline, &interface_id(1), "filter", OTHER_FILTER).await;
    pipeline.set("VIRTUAL_NETWORK_ID", "");
    pipeline.set("PACKET_LENGTH", "");
    assert_eq!(as_it_should("filter").await, "moved");
    let changed = session(&pipeline, 1);
    assert_eq!(changed["TrafficMirrorFilterId"], OTHER_FILTER);
    assert_ne!(changed["VirtualNetworkId"], 77, "EC2 picks one again");
    assert_eq!(changed["PacketLength"], Value::Null);
    assert_eq!(assignment(&pipeline, 1)["filterId"], OTHER_FILTER);
    assert_eq!(target_of(&changed), from);
    assert_eq!(as_it_should("again").await, "stays");
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_fixed_target_that_a_tag_names_is_gone_to() {
    let (scene, pipeline) = mirrored(1).await;
    pipeline.set("FIXED_TARGET_TAG", "sensor");
    let from = target_of(&session(&pipeline, 1));
    let to = other(&scene, &from);
    tag(&pipeline, &interface_id(1), "sensor", to.as_str()).await;
    let input = json!({"interfaceId": interface_id(1), "reason": "a tag has changed"});
    assert_eq!(outcome(&pipeline.move_interface("fixed", input).await), "moved");
    assert_eq!(target_of(&session(&pipeline, 1)), to);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn where_ec2_refuses_the_move_it_is_taken_back_and_ends_as_the_refusal_says() {
    for (code, expected) in [
        ("TrafficMirrorSourcesPerTargetLimitExceeded", "stays"),
        ("InvalidTrafficMirrorTarget", "stays"),
        ("InvalidTrafficMirrorFilterId.NotFound", "InvalidConfiguration"),
        ("UnauthorizedOperation", "AccessDenied"),
        ("NetworkInterfaceNotSupported", "notMirrorable"),
        ("InvalidNetworkInterfaceID.NotFound", "gone"),
        ("SomethingNew", "SessionRefused"),
    ] {
        let (scene, pipeline) = mirrored(2).await;
        let from = target_of(&session(&pipeline, 1));
        refuse(&pipeline, "ModifyTrafficMirrorSession", code, "a reason");
        let ended = leave(&pipeline, "refused", 1, &from).await;
        assert_eq!(outcome(&ended), expected, "{code}: {:?}", ended.result);
        assert_eq!(target_of(&session(&pipeline, 1)), from, "{code}");
        assert_eq!(assignment(&pipeline, 1)["targetId"], json!(from), "{code}");
        let remembered = assignment(&pipeline, 1)["refusal"]["error"].clone();
        let is_of_the_interface = matches!(expected, "SessionRefused" | "notMirrorable");
        assert_eq!(
            remembered.is_string(),
            is_of_the_interface,
            "{code}: {remembered}"
        );
        let to = other(&scene, &from);
        let load = item(&pipeline, "LOAD", |load| load["targetId"] == json!(to));
        assert_eq!(
            load["fullUntil"].is_number() || load["downUntil"].is_number(),
            expected == "stays",
            "{code}: {load}"
        );
        ledger_agrees(&pipeline);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sensor_that_turns_out_full_is_passed_over_for_the_next_one() {
    let mut scene = Scene::new();
    for _ in 0..3 {
        scene.sensor(0, "m5.24xlarge");
    }
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    pipeline
        .mirror_instance("start", Pipeline::running(&instance))
        .await;
    let from = target_of(&session(&pipeline, 1));
    let mut first = true;
    pipeline.aws.ec2.on_call(move |call| {
        let refused = call.action == "ModifyTrafficMirrorSession" && std::mem::take(&mut first);
        refused.then(|| Fault::Error {
            status: 400,
            code: "TrafficMirrorSourcesPerTargetLimitExceeded".to_owned(),
            message: "Sources per interface-target limit reached (11)".to_owned(),
        })
    });
    let ended = leave(&pipeline, "full", 1, &from).await;
    assert_eq!(outcome(&ended), "moved");
    let on = target_of(&session(&pipeline, 1));
    assert_ne!(on, from);
    let output = ended.result.unwrap();
    let full: Vec<&Value> = output["rejections"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rejection| rejection["reason"] == "EC2 said that the target takes no more sessions")
        .collect();
    assert_eq!(full.len(), 1, "{output}");
    assert_ne!(full[0]["targetId"], json!(on));
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_somebody_deleted_is_gone_and_its_place_is_given_back() {
    let (_scene, pipeline) = mirrored(1).await;
    let from = target_of(&session(&pipeline, 1));
    let id = session(&pipeline, 1)["TrafficMirrorSessionId"]
        .as_str()
        .unwrap()
        .to_owned();
    let ec2 = pipeline.aws.ec2_client();
    ec2.delete_traffic_mirror_session()
        .traffic_mirror_session_id(id)
        .send()
        .await
        .unwrap();
    let ended = leave(&pipeline, "young", 1, &from).await;
    assert_eq!(outcome(&ended), "gone");
    let stands = assignment(&pipeline, 1);
    assert_eq!(
        (&stands["state"], &stands["targetId"]),
        (&json!("active"), &json!(from)),
        "it may only not be shown yet"
    );
    tokio::time::sleep(Duration::from_hours(1)).await;
    let ended = leave(&pipeline, "gone", 1, &from).await;
    assert_eq!(outcome(&ended), "gone");
    assert_eq!(assignment(&pipeline, 1)["state"], "released");
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_move_that_was_begun_elsewhere_is_finished_or_goes_on_to_a_sensor_that_can_receive() {
    let (scene, pipeline) = mirrored(1).await;
    let from = target_of(&session(&pipeline, 1));
    let to = other(&scene, &from);
    let ledger = pipeline.aws.ledger();
    let active = ledger
        .assignment(&interface_id(1).parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    ledger.move_to(&active, &to, "arn:dead").await.unwrap().unwrap();
    assert_eq!(target_of(&session(&pipeline, 1)), from, "EC2 has not heard of it");
    let ended = leave(&pipeline, "finish", 1, &from).await;
    assert_eq!(outcome(&ended), "moved", "{:?}", ended.result);
    assert_eq!(target_of(&session(&pipeline, 1)), to);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn of_two_moves_at_once_the_ledgers_last_word_is_what_ec2_has() {
    let mut scene = Scene::new();
    for _ in 0..4 {
        scene.sensor(0, "m5.24xlarge");
    }
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    pipeline
        .mirror_instance("start", Pipeline::running(&instance))
        .await;
    let first = target_of(&session(&pipeline, 1));
    // While the first move's call is on its way, a second execution moves the session on, and its call arrives before.
    let ledger = pipeline.aws.ledger();
    let (mut is_first, asked) = (true, std::sync::Arc::new(tokio::sync::Notify::new()));
    let heard = asked.clone();
    pipeline.aws.ec2.on_call(move |call| {
        if call.action == "ModifyTrafficMirrorSession" && std::mem::take(&mut is_first) {
            heard.notify_one();
            // The call is carried out, and its answer lost: it is made again, after all else.
            return Some(Fault::LoseAnswer);
        }
        None
    });
    let second = async {
        asked.notified().await;
        let active = ledger
            .assignment(&interface_id(1).parse().unwrap())
            .await
            .unwrap()
            .unwrap();
        let third = scene
            .targets
            .iter()
            .find(|target| **target != active.target_id && **target != first)
            .unwrap();
        let moved = ledger
            .move_to(&active, third, "arn:second")
            .await
            .unwrap()
            .unwrap();
        let session = moved.session_id.clone().unwrap();
        let modified = pipeline
            .aws
            .ec2_calls()
            .modify_session(&moved, &session, None)
            .await;
        modified.unwrap();
        third.clone()
    };
    let (ended, last) = tokio::join!(leave(&pipeline, "first", 1, &first), second);
    assert_eq!(outcome(&ended), "moved", "{:?}", ended.result);
    assert_eq!(target_of(&session(&pipeline, 1)), last);
    ledger_agrees(&pipeline);
}

async fn unmirror(pipeline: &Pipeline, name: &str, number: usize, more: Value) -> Ended {
    let mut input = json!({"interfaceId": interface_id(number), "reason": "jo: the host is retired"});
    input
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    pipeline.unmirror_interface(name, input).await
}

#[tokio::test(start_paused = true)]
async fn a_session_of_ours_is_ended_once_and_the_ledger_says_who_asked_and_why() {
    let (_scene, pipeline) = mirrored(2).await;
    let ended = unmirror(&pipeline, "first", 1, json!({})).await;
    let output = ended.result.as_ref().unwrap();
    assert_eq!(output["outcome"], "unmirrored");
    assert_eq!(output["ended"].as_array().unwrap().len(), 1);
    assert_eq!(sessions(&pipeline).len(), 1);
    assert_eq!(
        assignment(&pipeline, 1)["releasedBecause"],
        "jo: the host is retired"
    );
    ledger_agrees(&pipeline);
    assert_eq!(
        outcome(&unmirror(&pipeline, "second", 1, json!({})).await),
        "gone"
    );
    assert_eq!(outcome(&unmirror(&pipeline, "never", 9, json!({})).await), "gone");
    assert_eq!(pipeline.aws.ec2.calls()["DeleteTrafficMirrorSession"].answered, 1);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_others_made_is_ended_only_if_that_is_asked_for() {
    let (mut scene, pipeline) = mirrored(1).await;
    scene.instance(2, 0, 1);
    let later = scene.only_last_instance();
    pipeline.aws.ec2.load_snapshot(&later).unwrap();
    let made = async |number: i32, target: &str| {
        let ec2 = pipeline.aws.ec2_client();
        ec2.create_traffic_mirror_session()
            .network_interface_id(interface_id(2))
            .traffic_mirror_target_id(target)
            .traffic_mirror_filter_id(FILTER)
            .session_number(number)
            .send()
            .await
            .unwrap();
    };
    made(1, scene.targets[0].as_str()).await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    pipeline.reconcile("adopts").await;
    assert_eq!(assignment(&pipeline, 2)["state"], "active");
    let ended = unmirror(&pipeline, "others", 2, json!({})).await;
    let output = ended.result.as_ref().unwrap();
    assert_eq!(
        (&output["outcome"], output["left"].as_array().unwrap().len()),
        (&json!("notOurs"), 1)
    );
    assert_eq!(
        session(&pipeline, 2)["TrafficMirrorTargetId"],
        json!(scene.targets[0])
    );
    ledger_agrees(&pipeline);
    let ended = unmirror(&pipeline, "by-name", 2, json!({"adopted": true})).await;
    assert_eq!(outcome(&ended), "unmirrored");
    assert_eq!(sessions(&pipeline).len(), 1);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_session_of_ours_that_the_ledger_has_lost_is_known_by_its_tag() {
    let (_scene, pipeline) = mirrored(1).await;
    let lost: Vec<Value> = pipeline.aws.dynamo.items();
    for item in lost {
        pipeline
            .aws
            .dynamo_client()
            .delete_item()
            .table_name(stage_tests::TABLE)
            .key(
                "pk",
                aws_sdk_dynamodb::types::AttributeValue::S(item["pk"].as_str().unwrap().to_owned()),
            )
            .key(
                "sk",
                aws_sdk_dynamodb::types::AttributeValue::S(item["sk"].as_str().unwrap().to_owned()),
            )
            .send()
            .await
            .unwrap();
    }
    let ended = unmirror(&pipeline, "by-tag", 1, json!({})).await;
    assert_eq!(outcome(&ended), "unmirrored");
    assert!(sessions(&pipeline).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_only_reserved_is_given_back_and_its_session_is_not_made_after_all() {
    let mut scene = Scene::new();
    scene.sensor(0, "m5.24xlarge");
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    let picked = pipeline.picks(&interface_id(1), &instance, "arn:first").await;
    let ended = unmirror(&pipeline, "early", 1, json!({})).await;
    assert_eq!(outcome(&ended), "unmirrored");
    let payload = json!({"executionArn": "arn:first", "input": picked});
    let error = pipeline.call("CreateSession", payload).await.unwrap_err();
    assert_eq!(error.name.as_str(), "ReservationStale");
    assert!(sessions(&pipeline).is_empty());
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn what_ec2_refuses_to_end_fails_and_stays_mirrored() {
    let (_scene, pipeline) = mirrored(1).await;
    refuse(
        &pipeline,
        "DeleteTrafficMirrorSession",
        "UnauthorizedOperation",
        "not you",
    );
    assert_eq!(
        outcome(&unmirror(&pipeline, "refused", 1, json!({})).await),
        "AccessDenied"
    );
    assert_eq!(assignment(&pipeline, 1)["state"], "active");
    ledger_agrees(&pipeline);
}

/// The counts of a reconciliation that are not zero, and the outcomes of what it had changed.
async fn reconciled(pipeline: &Pipeline, name: &str) -> (Value, Vec<String>) {
    pipeline.take_waited_for();
    let ended = pipeline.reconcile(name).await.ended;
    let mut summary = ended.result.unwrap();
    summary.as_object_mut().unwrap().retain(|_, count| *count != 0);
    let waited_for = pipeline.take_waited_for();
    let changed = waited_for.iter().filter(|(name, _)| name.starts_with("eni-"));
    (summary, changed.map(|(_, ended)| outcome(ended)).collect())
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_tagged_off_later_loses_its_session_and_gets_it_back_when_the_tag_goes() {
    let (_scene, pipeline) = mirrored(3).await;
    tag(&pipeline, &stage_tests::scene::instance_id(1), "mirror", "off").await;
    tag(&pipeline, &interface_id(2), "mirror", "off").await;
    let (summary, changed) = reconciled(&pipeline, "off").await;
    // What an interface's own tags say, only its execution sees.
    assert_eq!(summary, json!({"unwanted": 2, "started": 1, "instances": 6}));
    assert_eq!(changed, ["unmirrored", "unmirrored"]);
    assert_eq!(sessions(&pipeline).len(), 1);
    let because = assignment(&pipeline, 1)["releasedBecause"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        because.contains("carries the opt-out tag mirror=off"),
        "{because}"
    );
    ledger_agrees(&pipeline);
    let (summary, changed) = reconciled(&pipeline, "again").await;
    assert_eq!(
        (summary, changed.len()),
        (json!({"started": 1, "instances": 6}), 0)
    );
    tag(&pipeline, &stage_tests::scene::instance_id(1), "mirror", "on").await;
    let (summary, _) = reconciled(&pipeline, "on").await;
    assert_eq!(summary, json!({"started": 2, "instances": 6}));
    assert_eq!(sessions(&pipeline).len(), 2);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_no_longer_opts_in_loses_its_session() {
    let (_scene, pipeline) = mirrored(2).await;
    pipeline.set("OPT_IN_TAG", "mirror=on");
    tag(&pipeline, &stage_tests::scene::instance_id(2), "mirror", "on").await;
    let (summary, changed) = reconciled(&pipeline, "in").await;
    assert_eq!(
        (summary["unwanted"].clone(), changed),
        (json!(1), vec!["unmirrored".to_owned()])
    );
    assert_eq!(
        session(&pipeline, 2)["NetworkInterfaceId"],
        json!(interface_id(2))
    );
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn what_the_settings_or_a_tag_say_anew_is_brought_to_every_session_and_then_rests() {
    let (scene, pipeline) = mirrored(3).await;
    let from = target_of(&session(&pipeline, 1));
    let to = other(&scene, &from);
    pipeline.set("FIXED_TARGET_TAG", "sensor");
    tag(
        &pipeline,
        &stage_tests::scene::instance_id(1),
        "sensor",
        to.as_str(),
    )
    .await;
    tag(&pipeline, &interface_id(2), "filter", OTHER_FILTER).await;
    pipeline.set("PACKET_LENGTH", "256");
    let (summary, changed) = reconciled(&pipeline, "settings").await;
    assert_eq!(summary, json!({"outdated": 3, "instances": 6}));
    assert_eq!(changed, ["moved", "moved", "moved"]);
    assert_eq!(target_of(&session(&pipeline, 1)), to);
    assert_eq!(session(&pipeline, 2)["TrafficMirrorFilterId"], OTHER_FILTER);
    for number in 1..=3 {
        assert_eq!(session(&pipeline, number)["PacketLength"], 256);
    }
    ledger_agrees(&pipeline);
    let (summary, changed) = reconciled(&pipeline, "rest").await;
    assert_eq!((summary, changed.len()), (json!({"instances": 6}), 0));
}

#[tokio::test(start_paused = true)]
async fn changes_of_intent_can_be_reported_alone() {
    let (_scene, pipeline) = mirrored(2).await;
    pipeline.set("INTENT_CHANGES", "report");
    tag(&pipeline, &interface_id(1), "mirror", "off").await;
    pipeline.set("PACKET_LENGTH", "256");
    let (summary, changed) = reconciled(&pipeline, "report").await;
    assert_eq!(summary, json!({"unwanted": 1, "outdated": 1, "instances": 5}));
    assert_eq!((changed.len(), sessions(&pipeline).len()), (0, 2));
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn what_ec2_refuses_to_change_is_not_asked_for_at_every_reconcile() {
    let (_scene, pipeline) = mirrored(1).await;
    refuse(
        &pipeline,
        "ModifyTrafficMirrorSession",
        "SomethingNew",
        "a reason",
    );
    pipeline.set("PACKET_LENGTH", "256");
    assert_eq!(reconciled(&pipeline, "first").await.1, ["SessionRefused"]);
    tokio::time::sleep(Duration::from_mins(30)).await;
    let (summary, changed) = reconciled(&pipeline, "second").await;
    assert_eq!((summary["outdated"].clone(), changed.len()), (json!(1), 0));
    tokio::time::sleep(Duration::from_mins(31)).await;
    assert_eq!(reconciled(&pipeline, "third").await.1, ["SessionRefused"]);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_session_of_others_that_is_not_to_be_is_told_and_left_alone() {
    let (mut scene, pipeline) = mirrored(1).await;
    let instance = scene.instance(2, 0, 1);
    let later = scene.only_last_instance();
    pipeline.aws.ec2.load_snapshot(&later).unwrap();
    let ec2 = pipeline.aws.ec2_client();
    ec2.create_traffic_mirror_session()
        .network_interface_id(interface_id(2))
        .traffic_mirror_target_id(scene.targets[0].as_str())
        .traffic_mirror_filter_id(FILTER)
        .session_number(1)
        .send()
        .await
        .unwrap();
    tag(&pipeline, &instance, "mirror", "off").await;
    let (summary, changed) = reconciled(&pipeline, "others").await;
    assert_eq!(
        summary,
        json!({"adopted": 1, "unwantedOfOthers": 1, "instances": 5})
    );
    assert_eq!((changed.len(), sessions(&pipeline).len()), (0, 2));
}

async fn unmirror_all(pipeline: &Pipeline, name: &str, input: Value) -> Value {
    pipeline.unmirror_all(name, input).await.result.unwrap()
}

#[tokio::test(start_paused = true)]
async fn everything_is_unmirrored_once_stays_so_and_is_mirrored_anew_by_the_events_of_the_starts() {
    let (scene, pipeline) = mirrored(70).await;
    let everything =
        |dry_run: bool| json!({"all": true, "keepOff": true, "dryRun": dry_run, "reason": "the end"});
    let would = unmirror_all(&pipeline, "would", everything(true)).await;
    assert_eq!(
        (&would["outcome"], &would["plannedCount"]),
        (&json!("planned"), &json!(70))
    );
    assert_eq!(sessions(&pipeline).len(), 70, "a dry run ends nothing");
    let told = unmirror_all(&pipeline, "all", everything(false)).await;
    assert_eq!(
        (&told["outcome"], &told["unmirrored"]),
        (&json!("unmirrored"), &json!(70)),
        "{told}"
    );
    assert!(sessions(&pipeline).is_empty());
    ledger_agrees(&pipeline);
    let told = unmirror_all(&pipeline, "twice", everything(false)).await;
    assert_eq!(
        (&told["outcome"], &told["unmirrored"]),
        (&json!("unmirrored"), &json!(0)),
        "{told}"
    );
    let (summary, _) = reconciled(&pipeline, "stays").await;
    assert_eq!(
        summary,
        json!({"instances": 73}),
        "what a person has ended stays so"
    );
    assert!(sessions(&pipeline).is_empty());
    for number in 1..=70 {
        let instance = stage_tests::scene::instance_id(number);
        let ended = pipeline
            .mirror_instance(&format!("anew-{number}"), Pipeline::running(&instance))
            .await;
        assert_eq!(ended.outcomes(), ["created"]);
    }
    let on = sessions_by_target(&pipeline);
    assert_eq!(
        (on[scene.targets[0].as_str()], on[scene.targets[1].as_str()]),
        (35, 35)
    );
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn some_are_unmirrored_by_instance_interface_or_tag_and_nothing_where_none_is_named() {
    let (_scene, pipeline) = mirrored(5).await;
    let instance = stage_tests::scene::instance_id;
    tag(&pipeline, &instance(4), "team", "blue").await;
    let by = |input: Value| unmirror_all(&pipeline, Box::leak(input.to_string().into_boxed_str()), input);
    assert_eq!(by(json!({"instanceIds": [instance(1)]})).await["unmirrored"], 1);
    assert_eq!(
        by(json!({"interfaceIds": [interface_id(2)]})).await["unmirrored"],
        1
    );
    assert_eq!(by(json!({"tag": "team=blue"})).await["unmirrored"], 1);
    assert_eq!(sessions(&pipeline).len(), 2);
    let ended = pipeline.unmirror_all("none", json!({"reason": "nobody"})).await;
    assert_eq!(outcome(&ended), "InvalidEvent");
    assert_eq!(sessions(&pipeline).len(), 2);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn what_ec2_refuses_to_end_is_named_with_the_reason_and_the_others_are_ended() {
    let (_scene, pipeline) = mirrored(3).await;
    let kept = session(&pipeline, 2)["TrafficMirrorSessionId"]
        .as_str()
        .unwrap()
        .to_owned();
    pipeline.aws.ec2.on_call(move |call| {
        let is_kept = call.params.get("TrafficMirrorSessionId") == Some(&kept);
        (call.action == "DeleteTrafficMirrorSession" && is_kept).then(|| Fault::Error {
            status: 403,
            code: "UnauthorizedOperation".to_owned(),
            message: "an explicit deny in a policy".to_owned(),
        })
    });
    let told = unmirror_all(&pipeline, "all", json!({"all": true})).await;
    assert_eq!(
        (&told["outcome"], &told["unmirrored"]),
        (&json!("notUnmirrored"), &json!(2)),
        "{told}"
    );
    let why = told["stuck"][interface_id(2)].as_str().unwrap();
    assert!(why.contains("an explicit deny in a policy"), "{why}");
    assert_eq!(sessions(&pipeline).len(), 1);
    ledger_agrees(&pipeline);
}

/// Another tool covers the interface as fast as its session is ended: that is a person's to settle.
#[tokio::test(start_paused = true)]
async fn a_session_that_is_made_again_as_fast_as_it_is_ended_is_named_and_given_up() {
    let (scene, pipeline) = mirrored(3).await;
    let ended = std::sync::Arc::new(tokio::sync::Notify::new());
    let heard = ended.clone();
    pipeline.aws.ec2.on_call(move |call| {
        if call.action == "DeleteTrafficMirrorSession" {
            heard.notify_one();
        }
        None
    });
    let (ec2, target) = (pipeline.aws.ec2_client(), scene.targets[0].clone());
    let again = async {
        loop {
            ended.notified().await;
            // Refused while the session that is to end has its number.
            let _ = ec2
                .create_traffic_mirror_session()
                .network_interface_id(interface_id(2))
                .traffic_mirror_target_id(target.as_str())
                .traffic_mirror_filter_id(FILTER)
                .session_number(1)
                .send()
                .await;
            tokio::task::yield_now().await;
        }
    };
    let told = tokio::select! {
        told = unmirror_all(&pipeline, "fight", json!({"all": true, "adopted": true})) => told,
        () = again => unreachable!(),
    };
    assert_eq!(
        (&told["outcome"], &told["unmirrored"], &told["stuckCount"]),
        (&json!("notUnmirrored"), &json!(2), &json!(1)),
        "{told}"
    );
    let why = told["stuck"][interface_id(2)].as_str().unwrap();
    assert!(why.contains("find out what makes it"), "{why}");
    assert_eq!(sessions(&pipeline).len(), 1);
}

/// Throttled as EC2 documents it, a hundred sessions leave a sensor in little more than EC2 takes for so many changes: 50 at
/// once, then 5 a second.
#[tokio::test(start_paused = true)]
async fn a_drain_of_a_hundred_sessions_takes_little_more_than_ec2_does() {
    let mut scene = Scene::new();
    let drained = scene.sensor(0, "m5.24xlarge");
    let instances: Vec<String> = (1..=100).map(|number| scene.instance(number, 0, 1)).collect();
    scene.sensor(0, "m5.24xlarge");
    let targets: Vec<&str> = scene.targets.iter().map(TargetId::as_str).collect();
    let pipeline = scene
        .pipeline(Options {
            throttle: Throttle::Aws,
            ..Options::default()
        })
        .with("TARGET_IDS", drained.as_str());
    for instance in &instances {
        let ended = pipeline
            .mirror_instance(instance, Pipeline::running(instance))
            .await;
        assert_eq!(ended.outcomes(), ["created"]);
    }
    pipeline.set("TARGET_IDS", &targets.join(","));
    tokio::time::sleep(Duration::from_hours(1)).await;
    let began = tokio::time::Instant::now();
    let ended = pipeline
        .drain_sensor("hundred", json!({"targetId": drained}))
        .await;
    let took = began.elapsed();
    assert_eq!(ended.result.unwrap()["moved"], 100);
    let floor = Duration::from_secs((100 - 50) / 5);
    assert!(took <= floor.mul_f64(1.1), "{took:?}, at least {floor:?}");
    let calls = pipeline.aws.ec2.calls()["ModifyTrafficMirrorSession"];
    assert_eq!(calls.answered, 100);
    ledger_agrees(&pipeline);
}
