//! The whole pipeline over AWS in process: outcomes, balance, budget, errors.
//!
//! The known defects of the function that people use today are cases here, where they are about counting,
//! calling and failing (`defect_06` to `defect_08`, `defect_12`); those about reachability and session numbers
//! are in `functions/core/tests`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod choices;
mod describes;
mod scale;
mod sensors;

use std::collections::{BTreeMap, HashSet};

use ec2_sim::{Fault, Options, Throttle};
use serde_json::{Value, json};
use stage_tests::check::{ledger_agrees, reservations, sessions, sessions_by_target};
use stage_tests::pipeline::{InstanceEnded, Pipeline, outcome};
use stage_tests::scene::{self, FILTER, Scene, interface_id};

/// A test's scene: two large sensors in each of two zones.
fn two_zones() -> Scene {
    let mut scene = Scene::new();
    for zone in [0, 0, 1, 1] {
        scene.sensor(zone, "m5.24xlarge");
    }
    scene
}

#[tokio::test(start_paused = true)]
async fn defect_06_every_interface_of_an_instance_is_mirrored_once_in_its_zone_with_tags_and_audit() {
    let mut scene = two_zones();
    let instance = scene.instance(1, 0, 3);
    let pipeline = scene.pipeline(Options::default());
    let ended = pipeline
        .mirror_instance("first", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["created", "created", "created"]);
    ledger_agrees(&pipeline);

    let local: HashSet<_> = scene.targets[..2]
        .iter()
        .map(|target| target.as_str().to_owned())
        .collect();
    let sessions = sessions(&pipeline);
    assert_eq!(sessions.len(), 3);
    for session in &sessions {
        assert!(local.contains(session["TrafficMirrorTargetId"].as_str().unwrap()));
        assert_eq!(session["SessionNumber"], 1);
        let tags: BTreeMap<_, _> = session["Tags"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tag| (tag["Key"].as_str().unwrap(), tag["Value"].as_str().unwrap()))
            .collect();
        assert_eq!(tags["mirrorstep:managed"], "true");
        assert_eq!(tags["Name"], "host-1");
        assert_eq!(tags["mirrorstep:instance"], instance);
        assert!(tags["mirrorstep:execution"].contains("execution:mirror-interface:eni-"));
    }
    for (_, ended) in &ended.interfaces {
        let rejections = ended.result.as_ref().unwrap()["rejections"].as_array().unwrap();
        assert_eq!(
            rejections.len(),
            2,
            "the sensors of the other zone, each with its reason"
        );
        for rejection in rejections {
            assert_eq!(rejection["stage"], "availability-zone");
            assert!(
                rejection["evidence"].as_str().unwrap().contains("us-east-1b"),
                "{rejection}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn defect_08_the_budget_holds_with_8_sensors_and_with_100() {
    for sensors in [8, 100] {
        let mut scene = Scene::new();
        for _ in 0..sensors {
            scene.sensor(0, "m5.24xlarge");
        }
        let (first, second) = (scene.instance(1, 0, 1), scene.instance(2, 0, 1));
        let pipeline = scene.pipeline(Options::default());
        let ended = pipeline.mirror_instance("first", Pipeline::running(&first)).await;
        assert!(
            ended.transitions() <= 16,
            "counting new sensors takes {} transitions",
            ended.transitions()
        );

        let ec2 = ec2_calls_for_interfaces(&pipeline);
        let dynamo: u64 = pipeline.aws.dynamo.calls().values().sum();
        let ended = pipeline
            .mirror_instance("second", Pipeline::running(&second))
            .await;
        assert_eq!(ended.outcomes(), ["created"]);
        let (ec2, dynamo) = (
            ec2_calls_for_interfaces(&pipeline) - ec2,
            pipeline.aws.dynamo.calls().values().sum::<u64>() - dynamo,
        );
        assert!(
            ended.transitions() <= 16,
            "{sensors} sensors: {} transitions",
            ended.transitions()
        );
        assert!(
            ec2 <= 8,
            "{sensors} sensors: {ec2} EC2 calls: {:?}",
            pipeline.aws.ec2.calls()
        );
        assert!(
            dynamo <= 3,
            "{sensors} sensors: {dynamo} DynamoDB calls: {:?}",
            pipeline.aws.dynamo.calls()
        );
        let termination = pipeline
            .aws
            .ec2_client()
            .terminate_instances()
            .instance_ids(&second);
        termination.send().await.unwrap();
        let released = pipeline
            .release_instance("ends", Pipeline::ending(&second, "terminated"))
            .await;
        assert!(released.result.is_ok());
        let items = pipeline.aws.dynamo.items();
        let whole_life = items
            .iter()
            .filter(|item| item["pk"] == format!("ENI#{}", interface_id(2)));
        let bytes: usize = whole_life.map(|item| item.to_string().len()).sum();
        eprintln!(
            "{sensors} sensors: {} transitions, {ec2} EC2 calls for the interface, {dynamo} DynamoDB calls; \
             {bytes} bytes of JSON in the ledger for its whole life",
            ended.transitions()
        );
    }
}

/// The EC2 calls answered, without the one that looks up the instance: that is made once for all its interfaces,
/// by `mirror-instance`, and the budget is an interface's.
fn ec2_calls_for_interfaces(pipeline: &Pipeline) -> u64 {
    let calls = pipeline.aws.ec2.calls();
    let instances = calls.get("DescribeInstances").map_or(0, |calls| calls.answered);
    pipeline.aws.ec2_answered() - instances
}

#[tokio::test(start_paused = true)]
async fn defect_07_two_hundred_interfaces_at_once_under_throttling_and_lag_are_balanced_exactly() {
    let mut scene = Scene::new();
    for zone in [0, 0, 0, 1, 1, 2] {
        scene.sensor(zone, "m5.24xlarge");
    }
    let instances: Vec<String> = (0..200).map(|n| scene.instance(n + 1, n % 3, 1)).collect();
    let pipeline = scene.pipeline(Options {
        throttle: Throttle::Aws,
        lag: std::time::Duration::from_secs(5),
        ..Options::default()
    });
    let runs = instances
        .iter()
        .map(|instance| pipeline.mirror_instance(instance, Pipeline::running(instance)));
    futures::future::join_all(runs).await;
    ledger_agrees(&pipeline);
    let counts = sessions_by_target(&pipeline);
    assert_eq!(counts.values().sum::<u64>(), 200);
    for zone in [0..3, 3..5, 5..6] {
        let loads: Vec<u64> = scene.targets[zone]
            .iter()
            .map(|target| counts[target.as_str()])
            .collect();
        let spread = loads.iter().max().unwrap() - loads.iter().min().unwrap();
        assert!(
            spread <= 1,
            "sensors with the same candidates differ by {spread}: {loads:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_delivery_and_a_replay_create_nothing_and_say_already_mirrored() {
    let mut scene = two_zones();
    let instance = scene.instance(1, 0, 2);
    let pipeline = scene.pipeline(Options::default());
    pipeline
        .mirror_instance("event", Pipeline::running(&instance))
        .await;
    let before = pipeline.aws.dynamo.items();
    for name in ["second-delivery", "replay-a-week-later"] {
        let again = pipeline.mirror_instance(name, Pipeline::running(&instance)).await;
        assert_eq!(again.outcomes(), ["alreadyMirrored", "alreadyMirrored"]);
    }
    assert_eq!(sessions(&pipeline).len(), 2);
    assert_eq!(pipeline.aws.dynamo.items(), before, "the ledger is as it was");
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_second_delivery_while_ec2_does_not_show_the_session_yet_waits_until_it_does() {
    let mut scene = two_zones();
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options {
        lag: std::time::Duration::from_secs(100),
        ..Options::default()
    });
    tokio::time::sleep(std::time::Duration::from_secs(200)).await;
    assert_eq!(
        pipeline
            .mirror_instance("a", Pipeline::running(&instance))
            .await
            .outcomes(),
        ["created"]
    );
    let before = tokio::time::Instant::now();
    let again = pipeline.mirror_instance("b", Pipeline::running(&instance)).await;
    assert_eq!(again.outcomes(), ["alreadyMirrored"]);
    // Not for the whole grace, and with an ever longer pause: few looks.
    assert!(
        before.elapsed() < std::time::Duration::from_secs(250),
        "{:?}",
        before.elapsed()
    );
    assert!(waits(&again) <= 8, "{:?}", again.interfaces);
    assert_eq!(sessions(&pipeline).len(), 1);
    ledger_agrees(&pipeline);
}

/// How often an execution waited for a session that EC2 did not show.
fn waits(ended: &InstanceEnded) -> usize {
    let paths = ended.interfaces.iter().flat_map(|(_, ended)| &ended.path);
    paths.filter(|state| *state == "WaitForSession").count()
}

#[tokio::test(start_paused = true)]
async fn a_second_delivery_of_a_session_that_ec2_shows_waits_for_nothing() {
    let mut scene = two_zones();
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    pipeline.mirror_instance("a", Pipeline::running(&instance)).await;
    let again = pipeline.mirror_instance("b", Pipeline::running(&instance)).await;
    assert_eq!(
        (again.outcomes(), waits(&again)),
        (vec!["alreadyMirrored".to_owned()], 0)
    );
}

#[tokio::test(start_paused = true)]
async fn events_delivered_twice_at_the_same_moment_make_one_session() {
    let mut scene = two_zones();
    let instance = scene.instance(1, 0, 3);
    let pipeline = scene.pipeline(Options {
        lag: std::time::Duration::from_secs(3),
        ..Options::default()
    });
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    let runs = ["a", "b", "c"].map(|name| pipeline.mirror_instance(name, Pipeline::running(&instance)));
    futures::future::join_all(runs).await;
    assert_eq!(sessions(&pipeline).len(), 3);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_ec2_never_shows_is_gone_after_about_a_minute() {
    let pipeline = two_zones().pipeline(Options::default());
    let start = tokio::time::Instant::now();
    let event = Pipeline::running("i-0123456789abcdef0");
    let ended = pipeline.mirror_instance("unknown", event).await;
    assert_eq!(outcome(&ended.ended), "gone");
    assert!(
        (45..=90).contains(&start.elapsed().as_secs()),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(reservations(&pipeline), 0);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_ec2_shows_late_is_mirrored() {
    let mut scene = two_zones();
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options {
        lag: std::time::Duration::from_secs(20),
        ..Options::default()
    });
    let ended = pipeline
        .mirror_instance("early", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["created"]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_shows_no_interface_at_first_is_looked_at_again_and_mirrored() {
    let pipeline = two_zones().pipeline(Options {
        without_interfaces: std::time::Duration::from_secs(90),
        ..Options::default()
    });
    let launched = pipeline
        .aws
        .ec2_client()
        .run_instances()
        .image_id("ami-00000000000000000")
        .instance_type(aws_sdk_ec2::types::InstanceType::M5Large)
        .min_count(1)
        .max_count(1)
        .subnet_id(scene::instance_subnet(0))
        .security_group_ids(scene::INSTANCE_GROUP)
        .send()
        .await
        .unwrap();
    let instance = launched.instances()[0].instance_id().unwrap();
    let start = tokio::time::Instant::now();
    let ended = pipeline
        .mirror_instance("early", Pipeline::running(instance))
        .await;
    assert_eq!(ended.outcomes(), ["created"]);
    assert!(start.elapsed().as_secs() >= 90, "{:?}", start.elapsed());
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_running_instance_that_never_shows_an_interface_is_a_failed_execution_and_no_success() {
    for state in ["pending", "running"] {
        let mut scene = two_zones();
        let instance = scene.instance(1, 0, 1);
        let shown = &mut scene.list("Reservations").last_mut().unwrap()["Instances"][0];
        shown["NetworkInterfaces"] = json!([]);
        shown["State"] = json!({"Name": state});
        scene.list("NetworkInterfaces").pop();
        let pipeline = scene.pipeline(Options::default());
        let start = tokio::time::Instant::now();
        let ended = pipeline
            .mirror_instance("bare", Pipeline::running(&instance))
            .await;
        let error = ended.ended.result.unwrap_err();
        assert_eq!(error.error, "Ec2Unavailable");
        let said = format!("EC2 shows {instance} as {state} and no network interface of it");
        assert!(error.cause.contains(&said), "{}", error.cause);
        // Longer than EC2 takes to show what there is.
        assert!(start.elapsed().as_secs() > 600, "{:?}", start.elapsed());
        assert_eq!(reservations(&pipeline), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn events_that_are_none_fail_with_invalid_event_and_leave_nothing_behind() {
    let pipeline = two_zones().pipeline(Options::default());
    let mut without = Pipeline::running("i-0123456789abcdef0");
    without["detail"].as_object_mut().unwrap().remove("instance-id");
    let mut wrong_type = Pipeline::running("i-0123456789abcdef0");
    wrong_type["detail"]["instance-id"] = json!(7);
    for event in [
        without,
        wrong_type,
        Pipeline::running("not-an-id"),
        json!({}),
        json!("running"),
    ] {
        let ended = pipeline.mirror_instance("wrong", event).await;
        assert_eq!(outcome(&ended.ended), "InvalidEvent");
        assert_eq!(
            ended.ended.retries, 0,
            "what a person must mend is not tried again"
        );
    }
    assert!(pipeline.aws.dynamo.items().is_empty());
    assert_eq!(pipeline.aws.ec2_answered(), 0);
}

#[tokio::test(start_paused = true)]
async fn wrong_settings_fail_with_invalid_configuration_that_names_them_and_leave_no_reservation() {
    let mut scene = two_zones();
    let instance = scene.instance(1, 0, 1);
    for (variable, value) in [
        ("TARGET_IDS", ""),
        ("TARGET_IDS", "tmt-1"),
        ("FILTER_ID", ""),
        ("FILTER_ID", "filter"),
        ("FILTER_ID", "tmf-0fedcba9876543210"),
        ("LOCAL_ZONE_ONLY", "sometimes"),
        ("UNVERIFIABLE_TARGETS", "perhaps"),
    ] {
        let pipeline = scene.pipeline(Options::default()).with(variable, value);
        let ended = pipeline
            .mirror_instance("misconfigured", Pipeline::running(&instance))
            .await;
        let [(_, interface)] = ended.interfaces.as_slice() else {
            panic!("{variable}: {ended:?}")
        };
        let error = interface.result.as_ref().unwrap_err();
        assert_eq!(error.error, "InvalidConfiguration", "{variable}={value}");
        let names_it = error.cause.contains(variable) || error.cause.contains(value) && !value.is_empty();
        assert!(names_it, "{variable}={value}: {}", error.cause);
        assert_eq!(
            (reservations(&pipeline), sessions(&pipeline).len()),
            (0, 0),
            "{variable}={value}"
        );
        ledger_agrees(&pipeline);
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_does_not_exist_is_rejected_by_name_and_the_others_are_used() {
    let mut scene = two_zones();
    let instance = scene.instance(1, 0, 1);
    let missing = "tmt-0fedcba9876543210";
    let both = format!("{missing},{}", scene.targets[0]);
    let pipeline = scene.pipeline(Options::default()).with("TARGET_IDS", &both);
    let ended = pipeline
        .mirror_instance("one", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["created"]);
    let rejections = &ended.interfaces[0].1.result.as_ref().unwrap()["rejections"];
    assert_eq!(
        (&rejections[0]["targetId"], &rejections[0]["stage"]),
        (&json!(missing), &json!("target"))
    );

    let pipeline = scene.pipeline(Options::default()).with("TARGET_IDS", missing);
    let ended = pipeline
        .mirror_instance("none", Pipeline::running(&instance))
        .await;
    let error = ended.interfaces[0].1.result.as_ref().unwrap_err();
    assert_eq!(error.error, "NoEligibleSensor");
    let cause: Value = serde_json::from_str(&error.cause).expect("the cause is JSON");
    assert_eq!(cause["rejections"][0]["targetId"], missing);
    assert_eq!(cause["rejections"][0]["stage"], "target");
    assert_eq!(reservations(&pipeline), 0);
}

#[tokio::test(start_paused = true)]
async fn sensors_blocked_by_group_and_by_acl_are_rejected_with_evidence() {
    let mut scene = two_zones();
    let instance = scene.instance(1, 0, 1);
    // The first sensor's group admits another network only; the second one's subnet denies the source.
    scene.list("SecurityGroups").push(json!({
        "GroupId": "sg-0000000000000000c", "GroupName": "closed", "VpcId": "vpc-00000000000000001",
        "IpPermissions": [{"IpProtocol": "17", "FromPort": 4789, "ToPort": 4789,
                           "IpRanges": [{"CidrIp": "192.168.0.0/16"}]}],
    }));
    scene.set_groups(&interface_id(0x5000), &["sg-0000000000000000c"]);
    let entries = scene.list("NetworkAcls")[0]["Entries"].as_array_mut().unwrap();
    entries.insert(
        0,
        json!({"RuleNumber": 90, "Egress": false, "Protocol": "17", "RuleAction": "deny",
                             "CidrBlock": "10.0.0.0/24", "PortRange": {"From": 4000, "To": 4789}}),
    );
    let pipeline = scene.pipeline(Options::default());
    let ended = pipeline
        .mirror_instance("blocked", Pipeline::running(&instance))
        .await;
    let error = ended.interfaces[0].1.result.as_ref().unwrap_err();
    let cause: Value = serde_json::from_str(&error.cause).unwrap();
    let stages: Vec<_> = cause["rejections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["stage"].clone())
        .collect();
    assert_eq!(
        stages,
        [
            "availability-zone",
            "availability-zone",
            "security-group",
            "network-acl"
        ]
    );
    assert!(
        cause["rejections"][2]["evidence"]
            .as_str()
            .unwrap()
            .contains("sg-0000000000000000c")
    );
    assert!(
        cause["rejections"][3]["evidence"]
            .as_str()
            .unwrap()
            .contains("rule 90")
    );
    assert_eq!(reservations(&pipeline), 0);
}

/// A sensor's address in a scene of this file, for a route that leads there alone.
fn route_to(address: &str, member: &str, to: &str, state: &str) -> Value {
    json!({"DestinationCidrBlock": format!("{address}/32"), member: to, "State": state, "Origin": "CreateRoute"})
}

#[tokio::test(start_paused = true)]
async fn sensors_behind_a_blackhole_and_an_internet_gateway_are_rejected_by_route_and_the_others_are_used() {
    let mut scene = Scene::new();
    for _ in 0..3 {
        scene.sensor(0, "m5.24xlarge");
    }
    let instance = scene.instance(1, 0, 1);
    let routes = scene.list("RouteTables")[0]["Routes"].as_array_mut().unwrap();
    routes.push(route_to(
        "10.0.10.10",
        "VpcPeeringConnectionId",
        "pcx-00000000000000001",
        "blackhole",
    ));
    routes.push(route_to(
        "10.0.10.11",
        "GatewayId",
        "igw-00000000000000001",
        "active",
    ));
    let pipeline = scene.pipeline(Options::default());
    let ended = pipeline
        .mirror_instance("routed", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["created"]);
    let output = ended.interfaces[0].1.result.as_ref().unwrap();
    assert_eq!(output["targetId"], json!(scene.targets[2]));
    let rejections: Vec<_> = output["rejections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rejection| (rejection["stage"].clone(), rejection["evidence"].clone()))
        .collect();
    assert_eq!(
        rejections,
        [
            (
                json!("route"),
                json!("rtb-00000000000000001: 10.0.10.10/32 to pcx-00000000000000001 is a blackhole")
            ),
            (
                json!("route"),
                json!("rtb-00000000000000001: 10.0.10.11/32 to igw-00000000000000001 cannot carry it")
            ),
        ]
    );
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn the_subnets_own_route_table_decides_and_a_prefix_list_is_read_where_a_verdict_hangs_on_it() {
    let mut scene = two_zones();
    let instance = scene.instance(1, 0, 1);
    // The instances' subnet goes by a table of its own, which leads to the sensors by a prefix list only.
    scene.list("RouteTables").push(json!({
        "RouteTableId": "rtb-00000000000000002", "VpcId": "vpc-00000000000000001",
        "Associations": [{"Main": false, "RouteTableId": "rtb-00000000000000002",
                          "RouteTableAssociationId": "rtbassoc-00000000000000002",
                          "SubnetId": scene::instance_subnet(0)}],
        "Routes": [
            {"DestinationCidrBlock": "10.0.0.0/24", "GatewayId": "local", "State": "active"},
            {"DestinationPrefixListId": "pl-00000000000000001", "TransitGatewayId": "tgw-00000000000000001",
             "State": "active", "Origin": "CreateRoute"},
        ],
    }));
    let mut without = scene.clone();
    scene.set(
        "PrefixListEntries",
        json!({"pl-00000000000000001": [{"Cidr": "10.0.10.0/24"}]}),
    );
    let pipeline = scene.pipeline(Options::default());
    let ended = pipeline
        .mirror_instance("listed", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["created"]);
    assert_eq!(
        pipeline.aws.ec2.calls()["GetManagedPrefixListEntries"].answered,
        1
    );

    without.list("RouteTables")[1]["Routes"]
        .as_array_mut()
        .unwrap()
        .truncate(1);
    let pipeline = without.pipeline(Options::default());
    let ended = pipeline
        .mirror_instance("unlisted", Pipeline::running(&instance))
        .await;
    let error = ended.interfaces[0].1.result.as_ref().unwrap_err();
    assert_eq!(error.error, "NoEligibleSensor");
    let cause: Value = serde_json::from_str(&error.cause).unwrap();
    assert_eq!(
        cause["rejections"][2]["evidence"],
        "rtb-00000000000000002: no route to 10.0.10.10"
    );
    assert_eq!(reservations(&pipeline), 0);
}

#[tokio::test(start_paused = true)]
async fn no_route_table_is_read_where_no_sensor_needs_a_route() {
    // The only sensor is next to the instance.
    let mut scene = Scene::new();
    scene.sensor(0, "m5.24xlarge");
    let instance = scene.instance(1, 0, 1);
    let beside = |interface: &mut Value| interface["SubnetId"] = json!(scene::sensor_subnet(0));
    for interface in scene.list("NetworkInterfaces") {
        beside(interface);
    }
    for reservation in scene.list("Reservations") {
        beside(&mut reservation["Instances"][0]["NetworkInterfaces"][0]);
    }
    let pipeline = scene.pipeline(Options::default());
    let ended = pipeline
        .mirror_instance("beside", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["created"]);
    assert!(!pipeline.aws.ec2.calls().contains_key("DescribeRouteTables"));

    // And with no sensor left there is nothing to ask about.
    let mut scene = Scene::new();
    scene.sensor(1, "m5.24xlarge");
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    let ended = pipeline
        .mirror_instance("none", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["NoEligibleSensor"]);
    assert!(!pipeline.aws.ec2.calls().contains_key("DescribeRouteTables"));
}

#[tokio::test(start_paused = true)]
async fn opted_out_instances_interfaces_and_sensors_are_left_out_with_their_reasons() {
    let mut scene = two_zones();
    let instance = scene.instance(1, 0, 1);
    scene.list("Reservations").last_mut().unwrap()["Instances"][0]["Tags"] =
        json!([{"Key": "mirror", "Value": "off"}]);
    let other = scene.instance(2, 0, 1);
    scene.list("NetworkInterfaces").last_mut().unwrap()["TagSet"] =
        json!([{"Key": "mirror", "Value": "off"}]);
    let pipeline = scene.pipeline(Options::default());

    let ended = pipeline
        .mirror_instance("instance", Pipeline::running(&instance))
        .await;
    let output = ended.ended.result.unwrap();
    assert_eq!(output["leftOut"][0]["outcome"], "optedOut");
    assert!(
        output["leftOut"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("mirror=off"),
        "{output}"
    );
    assert!(ended.interfaces.is_empty());

    let ended = pipeline
        .mirror_instance("interface", Pipeline::running(&other))
        .await;
    assert_eq!(ended.outcomes(), ["optedOut"]);

    let ended = pipeline
        .mirror_instance("sensor", Pipeline::running(&scene::instance_id(0x5000)))
        .await;
    assert_eq!(ended.outcomes(), ["notMirrorable"]);
    let reason = ended.interfaces[0].1.result.as_ref().unwrap()["reason"].clone();
    assert!(
        reason.as_str().unwrap().contains(scene.targets[0].as_str()),
        "{reason}"
    );
    assert!(sessions(&pipeline).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_full_sensor_is_remembered_and_another_one_picked() {
    let mut scene = Scene::new();
    scene.sensor(0, "m5.large");
    scene.sensor(0, "m5.24xlarge");
    let instances: Vec<String> = (0..40).map(|n| scene.instance(n + 1, 0, 1)).collect();
    let pipeline = scene.pipeline(Options::default());
    for instance in &instances {
        let ended = pipeline
            .mirror_instance(instance, Pipeline::running(instance))
            .await;
        assert_eq!(ended.outcomes(), ["created"]);
    }
    let counts = sessions_by_target(&pipeline);
    assert_eq!(
        counts[scene.targets[0].as_str()],
        10,
        "an interface target takes ten sources"
    );
    assert_eq!(counts[scene.targets[1].as_str()], 30);
    let tried = pipeline.aws.ec2.calls()["CreateTrafficMirrorSession"].answered;
    assert!(
        tried <= 43,
        "a full sensor is tried again only after a while: {tried} calls for 40 sessions"
    );
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_meets_a_full_sensor_tells_of_it() {
    let mut scene = Scene::new();
    let small = scene.sensor(0, "m5.large");
    let busy = scene.sensor(0, "m5.24xlarge");
    let instances: Vec<String> = (0..11).map(|n| scene.instance(n + 1, 0, 1)).collect();
    for number in 0x900..0x914 {
        scene.instance(number, 0, 1);
        scene.session(number, &busy);
    }
    let pipeline = scene.pipeline(Options::default());
    for instance in &instances[..10] {
        pipeline
            .mirror_instance(instance, Pipeline::running(instance))
            .await;
    }
    let ended = pipeline
        .mirror_instance("eleventh", Pipeline::running(&instances[10]))
        .await;
    let output = ended.interfaces[0].1.result.as_ref().unwrap();
    assert_eq!(output["targetId"], json!(busy));
    assert_eq!(output["rejections"].as_array().unwrap().len(), 1, "{output}");
    assert_eq!(output["rejections"][0]["targetId"], json!(small));
    assert_eq!(output["rejections"][0]["stage"], "capacity");
}

#[tokio::test(start_paused = true)]
async fn defect_12_when_every_sensor_is_full_the_execution_fails_and_says_so() {
    let mut scene = Scene::new();
    scene.sensor(0, "m5.large");
    let instances: Vec<String> = (0..11).map(|n| scene.instance(n + 1, 0, 1)).collect();
    let pipeline = scene.pipeline(Options::default());
    for instance in &instances[..10] {
        pipeline
            .mirror_instance(instance, Pipeline::running(instance))
            .await;
    }
    let ended = pipeline
        .mirror_instance("eleventh", Pipeline::running(&instances[10]))
        .await;
    let error = ended.interfaces[0].1.result.as_ref().unwrap_err();
    assert_eq!(error.error, "NoEligibleSensor");
    let cause: Value = serde_json::from_str(&error.cause).unwrap();
    assert_eq!(cause["rejections"][0]["stage"], "capacity");
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_mirrored_interface_is_known_as_such_also_when_every_sensor_is_full() {
    let mut scene = Scene::new();
    scene.sensor(0, "m5.large");
    let instances: Vec<String> = (0..11).map(|n| scene.instance(n + 1, 0, 1)).collect();
    // EC2 shows no session for a while, so that only the ledger knows.
    let pipeline = scene.pipeline(Options {
        lag: std::time::Duration::from_mins(4),
        ..Options::default()
    });
    tokio::time::sleep(std::time::Duration::from_mins(10)).await;
    let runs = instances
        .iter()
        .map(|instance| pipeline.mirror_instance(instance, Pipeline::running(instance)));
    let ended = futures::future::join_all(runs).await;
    let failed = ended
        .iter()
        .filter(|ended| ended.outcomes() == ["NoEligibleSensor"])
        .count();
    assert_eq!(failed, 1, "one of eleven finds no room");
    let mirrored = ended
        .iter()
        .position(|ended| ended.outcomes() == ["created"])
        .unwrap();
    let again = pipeline
        .mirror_instance("again", Pipeline::running(&instances[mirrored]))
        .await;
    assert_eq!(again.outcomes(), ["alreadyMirrored"]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_ec2_cannot_mirror_ends_as_not_mirrorable_without_a_reservation() {
    let mut scene = two_zones();
    let instance = scene.instance(1, 0, 1);
    scene.list("Reservations").last_mut().unwrap()["Instances"][0]["InstanceType"] = json!("m7i.large");
    let pipeline = scene.pipeline(Options::default());
    let ended = pipeline
        .mirror_instance("nitro", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["notMirrorable"]);
    assert_eq!(reservations(&pipeline), 0);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_session_of_somebody_else_counts_or_not_by_policy() {
    let mut scene = two_zones();
    let instance = scene.instance(1, 0, 1);
    scene.list("TrafficMirrorTargets").push(json!({
        "TrafficMirrorTargetId": "tmt-0000000000000ffff", "Type": "network-load-balancer",
        "NetworkLoadBalancerArn":
            "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/net/other/50dc6c495c0c9188",
        "OwnerId": "000000000000",
    }));
    scene.list("TrafficMirrorSessions").push(json!({
        "TrafficMirrorSessionId": "tms-0000000000000ffff", "TrafficMirrorTargetId": "tmt-0000000000000ffff",
        "TrafficMirrorFilterId": FILTER, "NetworkInterfaceId": interface_id(1), "OwnerId": "000000000000",
        "SessionNumber": 1, "VirtualNetworkId": 7,
    }));
    let any = scene.pipeline(Options::default());
    let ended = any.mirror_instance("any", Pipeline::running(&instance)).await;
    assert_eq!(ended.outcomes(), ["alreadyMirrored"]);

    let managed = scene
        .pipeline(Options::default())
        .with("EXISTING_SESSION_POLICY", "managed");
    let ended = managed
        .mirror_instance("managed", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["created"]);
    assert_eq!(
        ended.interfaces[0].1.result.as_ref().unwrap()["sessionNumber"],
        2,
        "number 1 is taken"
    );
}

#[tokio::test(start_paused = true)]
async fn targets_may_be_chosen_by_a_tag() {
    let mut scene = two_zones();
    let instance = scene.instance(1, 0, 2);
    scene.list("TrafficMirrorTargets")[1]["Tags"] = json!([{"Key": "role", "Value": "sensor"}]);
    let pipeline = scene
        .pipeline(Options::default())
        .with("TARGET_IDS", "")
        .with("TARGET_TAG", "role=sensor");
    let ended = pipeline
        .mirror_instance("tagged", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["created", "created"]);
    assert_eq!(
        sessions_by_target(&pipeline),
        BTreeMap::from([(scene.targets[1].to_string(), 2)])
    );
}

#[tokio::test(start_paused = true)]
async fn sensors_that_have_sessions_already_start_with_their_load() {
    let mut scene = two_zones();
    let instances: Vec<String> = (0..10).map(|n| scene.instance(n + 1, 0, 1)).collect();
    for n in 0..10 {
        let number = 0x900 + n;
        scene.instance(number, 0, 1);
        let target = scene.targets[0].clone();
        scene.session(number, &target);
    }
    let pipeline = scene.pipeline(Options::default());
    for instance in &instances {
        pipeline
            .mirror_instance(instance, Pipeline::running(instance))
            .await;
    }
    let counts = sessions_by_target(&pipeline);
    assert_eq!(
        (
            counts[scene.targets[0].as_str()],
            counts[scene.targets[1].as_str()]
        ),
        (10, 10)
    );
}

#[tokio::test(start_paused = true)]
async fn remote_sensors_are_picked_only_when_no_local_one_is_left() {
    let mut scene = Scene::new();
    scene.sensor(0, "m5.large");
    scene.sensor(1, "m5.24xlarge");
    let instances: Vec<String> = (0..12).map(|n| scene.instance(n + 1, 0, 1)).collect();
    let pipeline = scene
        .pipeline(Options::default())
        .with("LOCAL_ZONE_ONLY", "false");
    for instance in &instances {
        let ended = pipeline
            .mirror_instance(instance, Pipeline::running(instance))
            .await;
        assert_eq!(ended.outcomes(), ["created"]);
    }
    let counts = sessions_by_target(&pipeline);
    assert_eq!(
        (
            counts[scene.targets[0].as_str()],
            counts[scene.targets[1].as_str()]
        ),
        (10, 2)
    );

    // What a session to another zone costs is told with it, and the full sensor with why it was not taken.
    let instance = scene.instance(13, 0, 1);
    let aws = scene.account(Options::default());
    let pipeline = Pipeline::new(aws, &scene.targets[1..], FILTER).with("LOCAL_ZONE_ONLY", "false");
    let ended = pipeline
        .mirror_instance("remote", Pipeline::running(&instance))
        .await;
    let output = ended.interfaces[0].1.result.as_ref().unwrap();
    let advisory = output["advisories"][0].as_str().unwrap();
    for word in [scene.targets[1].as_str(), "us-east-1a", "us-east-1b", "charged"] {
        assert!(advisory.contains(word), "{advisory}");
    }
}

#[tokio::test(start_paused = true)]
async fn outbound_rules_that_may_hold_packets_back_are_told_and_reject_nothing() {
    let mut scene = two_zones();
    let instance = scene.instance(1, 0, 1);
    let entries = scene.list("NetworkAcls")[0]["Entries"].as_array_mut().unwrap();
    entries.push(
        json!({"RuleNumber": 50, "Egress": true, "Protocol": "17", "RuleAction": "deny",
               "CidrBlock": "10.0.0.0/8", "PortRange": {"From": 4789, "To": 4789}}),
    );
    let pipeline = scene.pipeline(Options::default());
    let ended = pipeline
        .mirror_instance("out", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["created"]);
    let advisories = &ended.interfaces[0].1.result.as_ref().unwrap()["advisories"];
    assert_eq!(advisories.as_array().unwrap().len(), 1, "{advisories}");
    let advisory = advisories[0].as_str().unwrap();
    for word in [
        scene.targets[0].as_str(),
        scene.targets[1].as_str(),
        "acl-00000000000000001 rule 50: deny udp 4789 to 10.0.0.0/8",
    ] {
        assert!(advisory.contains(word), "{advisory}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_fails_at_once_says_which_and_gives_the_place_back() {
    let mut scene = two_zones();
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    pipeline.aws.ec2.on_call(|call| {
        (call.action == "CreateTrafficMirrorSession").then(|| Fault::Error {
            code: "UnauthorizedOperation".into(),
            message: "You are not authorized to perform this operation.".into(),
            status: 403,
        })
    });
    let ended = pipeline
        .mirror_instance("denied", Pipeline::running(&instance))
        .await;
    let error = ended.interfaces[0].1.result.as_ref().unwrap_err();
    assert_eq!(error.error, "AccessDenied");
    assert!(
        error.cause.contains("allow ec2:CreateTrafficMirrorSession"),
        "{}",
        error.cause
    );
    assert_eq!(reservations(&pipeline), 0);
    ledger_agrees(&pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_function_may_call_what_its_role_in_the_template_allows_and_nothing_else() {
    let mut scene = two_zones();
    scene.instance(1, 0, 1);
    let aws = scene.account(Options::default());
    let interface = interface_id(1).parse().unwrap();
    // Every other test runs each function under its own role; here one reaches beyond it.
    let tagging = aws.with_role_of("TagSession");
    let error = tagging.ec2_calls().sessions_from(&interface).await.unwrap_err();
    assert_eq!(error.kind, mirrorstep_core::error::ServiceFailure::AccessDenied);
    let gathering = aws.with_role_of("GatherCandidates");
    let error = gathering.ledger().assignment(&interface).await.unwrap_err();
    assert_eq!(error.name, mirrorstep_core::ErrorName::AccessDenied);
    assert!(error.message.contains("dynamodb:GetItem"), "{}", error.message);
}

#[tokio::test(start_paused = true)]
async fn a_live_assignment_that_rests_on_nothing_any_more_is_released_and_made_anew() {
    let mut scene = two_zones();
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    assert_eq!(
        pipeline
            .mirror_instance("first", Pipeline::running(&instance))
            .await
            .outcomes(),
        ["created"]
    );
    let session = sessions(&pipeline)[0]["TrafficMirrorSessionId"]
        .as_str()
        .unwrap()
        .to_owned();
    pipeline
        .aws
        .ec2_client()
        .delete_traffic_mirror_session()
        .traffic_mirror_session_id(session)
        .send()
        .await
        .unwrap();
    // Somebody deleted it. For some minutes EC2 might just not show it yet: that is waited for, and no longer.
    let before = tokio::time::Instant::now();
    let ended = pipeline
        .mirror_instance("soon", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["created"]);
    assert!(waits(&ended) > 0);
    assert!(
        before.elapsed() < std::time::Duration::from_mins(6),
        "{:?}",
        before.elapsed()
    );
    assert_eq!(sessions(&pipeline).len(), 1);
    ledger_agrees(&pipeline);
}
