//! Sensors that nobody listens behind, and middleboxes before sensors: what the stages decide by what they describe
//! anyway, and how it is told.

use super::*;

const CLOSED_ACL: &str = "acl-00000000000000002";
const BY_REFERENCE: &str = "sg-0000000000000000e";

/// One of the scene's interfaces.
fn interface<'a>(scene: &'a mut Scene, id: &str) -> &'a mut Value {
    let mut interfaces = scene.list("NetworkInterfaces").iter_mut();
    interfaces
        .find(|interface| interface["NetworkInterfaceId"] == id)
        .unwrap()
}

/// The sensors that were turned down, each with the rule and the evidence.
fn turned_down(pipeline: &stage_tests::pipeline::InstanceEnded) -> BTreeMap<String, (String, String)> {
    let rejections = match &pipeline.interfaces[0].1.result {
        Ok(output) => output["rejections"].clone(),
        Err(error) => serde_json::from_str::<Value>(&error.cause).unwrap()["rejections"].clone(),
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rejections
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let (rule, evidence) = (text(&one["stage"]), text(&one["evidence"]));
            (text(&one["targetId"]), (rule, evidence))
        })
        .collect()
}

/// Lets members of the instances' group in, and nobody by address.
fn by_reference(scene: &mut Scene, sensors: &[usize]) {
    scene.list("SecurityGroups").push(json!({
        "GroupId": BY_REFERENCE, "GroupName": "by-reference", "VpcId": "vpc-00000000000000001",
        "IpPermissions": [{"IpProtocol": "udp", "FromPort": 4789, "ToPort": 4789,
                           "UserIdGroupPairs": [{"GroupId": scene::INSTANCE_GROUP}]}],
    }));
    for sensor in sensors {
        scene.set_groups(&interface_id(0x5000 + sensor), &[BY_REFERENCE]);
    }
}

/// A route to these addresses through an appliance.
fn through_an_appliance(scene: &mut Scene, cidr: &str) {
    let routes = scene.list("RouteTables")[0]["Routes"].as_array_mut().unwrap();
    routes.push(
        json!({"DestinationCidrBlock": cidr, "NetworkInterfaceId": interface_id(0x5000), "State": "active"}),
    );
}

#[tokio::test(start_paused = true)]
async fn a_sensor_that_its_interface_shows_to_be_down_is_not_picked_and_no_call_more_is_made() {
    let mut scene = Scene::new();
    for _ in 0..5 {
        scene.sensor(0, "m5.24xlarge");
    }
    let (first, second) = (scene.instance(1, 0, 1), scene.instance(2, 0, 1));
    for number in [1, 2] {
        interface(&mut scene, &interface_id(number))["OwnerId"] = json!("000000000000");
    }
    let detached = interface(&mut scene, &interface_id(0x5000));
    detached["Status"] = json!("available");
    detached.as_object_mut().unwrap().remove("Attachment");
    interface(&mut scene, &interface_id(0x5001))["Attachment"]["Status"] = json!("detaching");
    let attaching = interface(&mut scene, &interface_id(0x5002));
    attaching["Attachment"]["Status"] = json!("attaching");
    attaching["Attachment"]["AttachTime"] = json!("2026-11-26T10:00:00.000Z");
    // The snapshot's instances show their interfaces too: what of one is gone is taken out there as well.
    let gone = interface_id(0x5003);
    scene
        .list("NetworkInterfaces")
        .retain(|interface| interface["NetworkInterfaceId"] != gone);
    for number in [0, 1, 2, 3] {
        let instance = scene.list("Reservations")[number]["Instances"][0]
            .as_object_mut()
            .unwrap();
        instance["NetworkInterfaces"] = json!([]);
    }

    let pipeline = scene.pipeline(Options::default());
    pipeline.mirror_instance("first", Pipeline::running(&first)).await;
    let calls = ec2_calls_for_interfaces(&pipeline);
    let ended = pipeline
        .mirror_instance("second", Pipeline::running(&second))
        .await;
    assert_eq!(ended.outcomes(), ["created"]);
    assert!(ec2_calls_for_interfaces(&pipeline) - calls <= 8);
    let alive = scene.targets[4].as_str();
    for session in sessions(&pipeline) {
        assert_eq!(session["TrafficMirrorTargetId"], alive);
    }
    let turned_down = turned_down(&ended);
    let evidence = [
        format!("{} is `available`, attached to nothing", interface_id(0x5000)),
        "is `detaching`".to_owned(),
        "is `attaching` since 2026-11-26T10:00:00".to_owned(),
        format!("EC2 does not show {gone}, and the target is this account's own"),
    ];
    for (target, words) in scene.targets.iter().zip(&evidence) {
        let (rule, evidence) = &turned_down[target.as_str()];
        assert_eq!(rule, "sensor-down");
        assert!(evidence.contains(words), "`{evidence}` does not say `{words}`");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gateway_endpoint_is_down_by_its_state_without_a_call_more() {
    let endpoint = |number: usize, state: &str| {
        json!({
            "VpcEndpointId": format!("vpce-{number:017x}"), "VpcEndpointType": "GatewayLoadBalancer", "State": state,
            "VpcId": "vpc-00000000000000001", "ServiceName": "com.amazonaws.vpce.us-east-1.vpce-svc-1",
            "NetworkInterfaceIds": [interface_id(0x5000 + number)],
        })
    };
    let mut scene = Scene::new();
    for _ in 0..3 {
        scene.sensor(0, "m5.24xlarge");
    }
    let states = ["available", "rejected", "pendingAcceptance"];
    for (number, target) in scene.list("TrafficMirrorTargets").iter_mut().enumerate() {
        let target = target.as_object_mut().unwrap();
        target.remove("NetworkInterfaceId");
        target.insert("Type".into(), json!("gateway-load-balancer-endpoint"));
        target.insert(
            "GatewayLoadBalancerEndpointId".into(),
            json!(format!("vpce-{number:017x}")),
        );
    }
    let endpoints: Vec<_> = states
        .iter()
        .enumerate()
        .map(|(n, state)| endpoint(n, state))
        .collect();
    scene.set("VpcEndpoints", json!(endpoints));
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    let ended = pipeline
        .mirror_instance("one", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["created"]);
    assert_eq!(
        sessions(&pipeline)[0]["TrafficMirrorTargetId"],
        scene.targets[0].as_str()
    );
    let turned_down = turned_down(&ended);
    let rule = |number: usize| turned_down[scene.targets[number].as_str()].clone();
    assert_eq!(
        rule(1),
        (
            "sensor-down".into(),
            "vpce-00000000000000001 is `rejected`".into()
        )
    );
    assert_eq!(
        rule(2),
        (
            "unverifiable".into(),
            "vpce-00000000000000002 is `pendingAcceptance`".into()
        )
    );
    assert_eq!(pipeline.aws.ec2.calls()["DescribeVpcEndpoints"].answered, 1);
}

#[tokio::test(start_paused = true)]
async fn a_rule_with_a_group_does_not_count_behind_a_middlebox_and_the_first_rule_names_the_rejection() {
    // Three sensors by reference and one by range, in the subnet that the appliance is before; all but the last have
    // an ACL that lets nobody in.
    for (closed, rules) in [
        (false, ["security-group", "security-group", "security-group"]),
        (true, ["security-group", "security-group", "security-group"]),
    ] {
        let mut scene = Scene::new();
        for _ in 0..4 {
            scene.sensor(0, "m5.24xlarge");
        }
        by_reference(&mut scene, &[0, 1, 2]);
        through_an_appliance(&mut scene, "10.0.10.0/24");
        let open = "subnet-00000000000000900";
        if closed {
            scene.list("NetworkAcls").push(json!({
                "NetworkAclId": CLOSED_ACL, "VpcId": "vpc-00000000000000001", "IsDefault": false, "Entries": [],
                "Associations": [{"NetworkAclAssociationId": "aclassoc-00000000000000fff",
                                  "NetworkAclId": CLOSED_ACL, "SubnetId": scene::sensor_subnet(0)}],
            }));
            let associations = scene.list("NetworkAcls")[0]["Associations"]
                .as_array_mut()
                .unwrap();
            for association in associations {
                if association["SubnetId"] == scene::sensor_subnet(0).as_str() {
                    association["SubnetId"] = json!(open);
                }
            }
            scene.list("Subnets").push(json!({
                "SubnetId": open, "VpcId": "vpc-00000000000000001", "CidrBlock": "10.0.40.0/24",
                "AvailabilityZone": scene::zone(0),
            }));
            interface(&mut scene, &interface_id(0x5003))["SubnetId"] = json!(open);
        }
        let (first, second) = (scene.instance(1, 0, 1), scene.instance(2, 0, 1));
        let pipeline = scene.pipeline(Options::default());
        pipeline.mirror_instance("first", Pipeline::running(&first)).await;
        let calls = ec2_calls_for_interfaces(&pipeline);
        let ended = pipeline
            .mirror_instance("second", Pipeline::running(&second))
            .await;
        assert_eq!(ended.outcomes(), ["created"]);
        assert!(ec2_calls_for_interfaces(&pipeline) - calls <= 8);
        for session in sessions(&pipeline) {
            assert_eq!(session["TrafficMirrorTargetId"], scene.targets[3].as_str());
        }
        let turned_down = turned_down(&ended);
        for (target, expected) in scene.targets.iter().zip(rules) {
            let (rule, evidence) = &turned_down[target.as_str()];
            assert_eq!(rule, expected);
            for word in [BY_REFERENCE, "10.0.10.0/24", "middlebox"] {
                assert!(evidence.contains(word), "`{evidence}` does not say `{word}`");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_acl_rejects_what_a_group_lets_in_where_no_middlebox_is_before_it() {
    let mut scene = Scene::new();
    scene.sensor(0, "m5.24xlarge");
    by_reference(&mut scene, &[0]);
    scene.list("NetworkAcls")[0]["Entries"] = json!([]);
    let instance = scene.instance(1, 0, 1);
    let pipeline = scene.pipeline(Options::default());
    let ended = pipeline
        .mirror_instance("one", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["NoEligibleSensor"]);
    let (rule, evidence) = &turned_down(&ended)[scene.targets[0].as_str()];
    assert_eq!(rule, "network-acl");
    assert!(evidence.contains("acl-00000000000000001"), "{evidence}");
}
