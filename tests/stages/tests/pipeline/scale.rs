//! Five hundred sensors: what the stages hand to one another stays small, and the verdicts stay right.

use super::*;

const SENSORS: usize = 500;
/// A quarter of what Step Functions takes as the state of an execution.
const LARGEST_STATE: usize = 64 * 1024;

fn many_sensors() -> Scene {
    let mut scene = Scene::new();
    for number in 0..SENSORS {
        scene.sensor(number % 3, "m5.24xlarge");
    }
    scene
}

/// Five groups of its own for every sensor. The first of them lets these addresses in, the others nobody.
fn groups_of_their_own(scene: &mut Scene, open_to: &str) {
    let range =
        json!([{"IpProtocol": "udp", "FromPort": 4789, "ToPort": 4789, "IpRanges": [{"CidrIp": open_to}]}]);
    groups_of_their_own_with(scene, &range);
}

/// The same with these rules in the first of them.
fn groups_of_their_own_with(scene: &mut Scene, open: &Value) {
    for sensor in 0..SENSORS {
        let ids: Vec<String> = (0..5)
            .map(|n| format!("sg-{:017x}", 0x1000 + 5 * sensor + n))
            .collect();
        for (n, id) in ids.iter().enumerate() {
            scene.list("SecurityGroups").push(json!({
                "GroupId": id, "GroupName": id, "VpcId": "vpc-00000000000000001",
                "IpPermissions": if n == 0 { open.clone() } else { json!([]) },
            }));
        }
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        scene.set_groups(&interface_id(0x5000 + sensor), &ids);
    }
}

#[track_caller]
#[allow(clippy::print_stdout, reason = "the measure, for who asks for it")]
fn states_are_small(pipeline: &Pipeline, world: &str) {
    let largest = pipeline.largest_outputs();
    println!("{world}: {largest:?}");
    for (function, bytes) in largest {
        assert!(
            bytes < LARGEST_STATE,
            "{world}: {function} hands on {bytes} bytes"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_state_stays_small_with_five_hundred_sensors_whatever_becomes_of_them() {
    let instance = |scene: &mut Scene| scene.instance(1, 0, 1);

    let mut scene = many_sensors();
    let only = instance(&mut scene);
    let pipeline = scene
        .pipeline(Options::default())
        .with("LOCAL_ZONE_ONLY", "false");
    let ended = pipeline.mirror_instance("all", Pipeline::running(&only)).await;
    assert_eq!(ended.outcomes(), ["created"]);
    states_are_small(&pipeline, "all can receive");

    let pipeline = scene.pipeline(Options::default());
    let ended = pipeline.mirror_instance("zone", Pipeline::running(&only)).await;
    assert_eq!(ended.outcomes(), ["created"]);
    let output = ended.interfaces[0].1.result.as_ref().unwrap();
    assert_eq!(output["rejections"].as_array().unwrap().len(), 333);
    states_are_small(&pipeline, "a third can receive");

    let mut scene = many_sensors();
    let only = instance(&mut scene);
    groups_of_their_own(&mut scene, "10.0.0.0/8");
    let pipeline = scene
        .pipeline(Options::default())
        .with("LOCAL_ZONE_ONLY", "false");
    let ended = pipeline.mirror_instance("open", Pipeline::running(&only)).await;
    assert_eq!(ended.outcomes(), ["created"]);
    states_are_small(&pipeline, "all can receive, each by groups of its own");

    let mut scene = many_sensors();
    let only = instance(&mut scene);
    groups_of_their_own(&mut scene, "192.168.0.0/16");
    let pipeline = scene
        .pipeline(Options::default())
        .with("LOCAL_ZONE_ONLY", "false");
    let ended = pipeline.mirror_instance("closed", Pipeline::running(&only)).await;
    assert_eq!(ended.outcomes(), ["NoEligibleSensor"]);
    states_are_small(&pipeline, "none can receive, each by groups of its own");
}

#[tokio::test(start_paused = true)]
async fn the_state_stays_small_where_the_route_is_to_decide_about_five_hundred_groups() {
    let reference = json!([{"IpProtocol": "udp", "FromPort": 4789, "ToPort": 4789,
                            "UserIdGroupPairs": [{"GroupId": scene::INSTANCE_GROUP}]}]);
    for (middlebox, open_acl, outcome) in [
        (false, true, "created"),
        (true, true, "NoEligibleSensor"),
        (false, false, "NoEligibleSensor"),
        (true, false, "NoEligibleSensor"),
    ] {
        let mut scene = many_sensors();
        let only = scene.instance(1, 0, 1);
        groups_of_their_own_with(&mut scene, &reference);
        if middlebox {
            let routes = scene.list("RouteTables")[0]["Routes"].as_array_mut().unwrap();
            for zone in 10..13 {
                routes.push(
                    json!({"DestinationCidrBlock": format!("10.0.{zone}.0/24"), "State": "active",
                                   "NetworkInterfaceId": interface_id(0x5000)}),
                );
            }
        }
        if !open_acl {
            scene.list("NetworkAcls")[0]["Entries"] = json!([]);
        }
        let pipeline = scene
            .pipeline(Options::default())
            .with("LOCAL_ZONE_ONLY", "false");
        let ended = pipeline.mirror_instance("all", Pipeline::running(&only)).await;
        assert_eq!(ended.outcomes(), [outcome]);
        states_are_small(
            &pipeline,
            &format!("only a group of its own lets in, middlebox: {middlebox}, open ACL: {open_acl}"),
        );
        if let Err(error) = &ended.interfaces[0].1.result {
            let cause: Value = serde_json::from_str(&error.cause).unwrap();
            let expected = if middlebox {
                "security-group"
            } else {
                "network-acl"
            };
            let rejections = cause["rejections"].as_array().unwrap();
            // A cause has a limit, and tells the first ones.
            assert!(!rejections.is_empty());
            assert!(rejections.iter().all(|rejection| rejection["stage"] == expected));
        }
    }
}
