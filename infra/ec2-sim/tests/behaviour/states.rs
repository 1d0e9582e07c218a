//! What sensors, sources and endpoints are in, what describes show of it, and what EC2 makes of it when a session is
//! created.

use std::time::Duration;

use ec2_sim::{Ec2Sim, Options};
use serde_json::json;
use tokio::time::advance;

use crate::{CREATE, ask, refusal, session, text, texts, world};

const MODIFY: &str = "ModifyTrafficMirrorSession";

/// How a session to the first sensor is refused: code and message.
fn refused(sim: &Ec2Sim) -> (String, String) {
    let (_, code, message) = ask(sim, CREATE, &session("eni-s000", "tmt-00", "1")).unwrap_err();
    (code, message.replace("&apos;", "'"))
}

fn shown(sim: &Ec2Sim, interface: &str) -> String {
    let by_id = [("NetworkInterfaceId.1", interface)];
    ask(sim, "DescribeNetworkInterfaces", &by_id).unwrap()
}

#[test]
fn a_sensor_that_is_stopped_is_refused_and_its_interface_looks_as_before() {
    let sim = world(Options::default(), 2, "m5.large", 2);
    let to_the_other = ask(&sim, CREATE, &session("eni-s001", "tmt-01", "1")).unwrap();
    let before = shown(&sim, "eni-t00");
    let of_sensor = [("InstanceId.1", "i-t00")];
    ask(&sim, "StopInstances", &of_sensor).unwrap();

    let down = (
        "InvalidTrafficMirrorTarget".to_owned(),
        "The interface ID 'eni-t00' does not exist".to_owned(),
    );
    assert_eq!(refused(&sim), down);
    let id = text(&to_the_other, "trafficMirrorSessionId");
    let back = [
        ("TrafficMirrorSessionId", id.as_str()),
        ("TrafficMirrorTargetId", "tmt-00"),
    ];
    assert_eq!(refusal(&sim, MODIFY, &back), down.0);
    // What does not change the target is not refused for the target's sake.
    let number = [("TrafficMirrorSessionId", id.as_str()), ("SessionNumber", "2")];
    ask(&sim, "StopInstances", &[("InstanceId.1", "i-t01")]).unwrap();
    ask(&sim, MODIFY, &number).unwrap();

    let after = shown(&sim, "eni-t00");
    assert_eq!(
        text(&after, "networkInterfaceSet"),
        text(&before, "networkInterfaceSet")
    );
    assert!(after.contains("<status>in-use</status>"), "{after}");
    let instance = ask(&sim, "DescribeInstances", &of_sensor).unwrap();
    assert!(instance.contains("<name>stopped</name>"), "{instance}");
    assert!(
        text(&instance, "reason").starts_with("User initiated ("),
        "{instance}"
    );
    let reason = text(&instance, "stateReason");
    assert_eq!(text(&reason, "code"), "Client.UserInitiatedShutdown");
    assert_eq!(
        text(&reason, "message"),
        "Client.UserInitiatedShutdown: User initiated shutdown"
    );

    ask(&sim, "StartInstances", &of_sensor).unwrap();
    let instance = ask(&sim, "DescribeInstances", &of_sensor).unwrap();
    assert!(texts(&instance, "stateReason").is_empty(), "{instance}");
    ask(&sim, CREATE, &session("eni-s000", "tmt-00", "1")).unwrap();
}

#[test]
fn a_sensor_that_is_terminated_or_detached_is_refused() {
    let sim = world(Options::default(), 2, "m5.large", 1);
    ask(&sim, "TerminateInstances", &[("InstanceId.1", "i-t00")]).unwrap();
    let by_id = [
        ("Filter.1.Name", "network-interface-id"),
        ("Filter.1.Value.1", "eni-t00"),
    ];
    let none = ask(&sim, "DescribeNetworkInterfaces", &by_id).unwrap();
    assert!(texts(&none, "networkInterfaceId").is_empty(), "{none}");
    assert_eq!(refused(&sim).0, "InvalidTrafficMirrorTarget");

    let sim = world(Options::default(), 1, "m5.large", 1);
    let keep = [
        ("NetworkInterfaceId", "eni-t00"),
        ("Attachment.AttachmentId", "eni-attach-t00"),
        ("Attachment.DeleteOnTermination", "false"),
    ];
    ask(&sim, "ModifyNetworkInterfaceAttribute", &keep).unwrap();
    ask(&sim, "TerminateInstances", &[("InstanceId.1", "i-t00")]).unwrap();
    let interface = shown(&sim, "eni-t00");
    assert_eq!(text(&interface, "status"), "available");
    assert!(texts(&interface, "attachment").is_empty(), "{interface}");
    assert_eq!(refused(&sim).0, "InvalidTrafficMirrorTarget");
}

#[test]
fn of_another_accounts_target_the_interface_is_not_looked_at() {
    let sim = world(Options::default(), 0, "", 1);
    sim.load_snapshot(&json!({"TrafficMirrorTargets": [
        {"TrafficMirrorTargetId": "tmt-shared", "NetworkInterfaceId": "eni-unseen", "OwnerId": "111111111111"},
        {"TrafficMirrorTargetId": "tmt-own", "NetworkInterfaceId": "eni-unseen", "OwnerId": "000000000000"},
    ]}))
    .unwrap();
    ask(&sim, CREATE, &session("eni-s000", "tmt-shared", "1")).unwrap();
    assert_eq!(
        refusal(&sim, CREATE, &session("eni-s000", "tmt-own", "2")),
        "InvalidTrafficMirrorTarget"
    );
}

#[tokio::test(start_paused = true)]
async fn an_interface_is_attaching_for_a_while_and_no_source_meanwhile() {
    let options = Options {
        attaching: Duration::from_secs(10),
        ..Options::default()
    };
    let sim = world(options, 1, "m5.large", 0);
    let run = [
        ("ImageId", "ami-1"),
        ("InstanceType", "m5.large"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("SubnetId", "subnet-1"),
    ];
    let ran = ask(&sim, "RunInstances", &run).unwrap();
    let (instance, interface) = (text(&ran, "instanceId"), text(&ran, "networkInterfaceId"));
    let spare = ask(&sim, "CreateNetworkInterface", &[("SubnetId", "subnet-1")]).unwrap();
    let spare = text(&spare, "networkInterfaceId");
    let create = |source: &str| ask(&sim, CREATE, &session(source, "tmt-00", "1"));
    let not_yet = |source: &str| {
        let (_, code, message) = create(source).unwrap_err();
        assert_eq!(code, "NetworkInterfaceNotSupported");
        assert_eq!(
            message,
            format!("{source} must be attached to a supported instance")
        );
    };
    not_yet(&spare);
    let attach = [
        ("NetworkInterfaceId", spare.as_str()),
        ("InstanceId", instance.as_str()),
        ("DeviceIndex", "1"),
    ];
    ask(&sim, "AttachNetworkInterface", &attach).unwrap();
    for source in [&interface, &spare] {
        not_yet(source);
        let described = shown(&sim, source);
        assert_eq!(
            texts(&described, "status"),
            ["in-use", "attaching"],
            "{described}"
        );
        assert!(!text(&described, "attachTime").is_empty());
    }
    advance(Duration::from_millis(9_999)).await;
    not_yet(&spare);
    // A change meanwhile does not end it.
    let renamed = [
        ("NetworkInterfaceId", spare.as_str()),
        ("Description.Value", "renamed"),
    ];
    ask(&sim, "ModifyNetworkInterfaceAttribute", &renamed).unwrap();
    not_yet(&spare);
    advance(Duration::from_millis(1)).await;
    for source in [&interface, &spare] {
        assert_eq!(texts(&shown(&sim, source), "status"), ["in-use", "attached"]);
        create(source).unwrap();
    }

    let attachment = text(&shown(&sim, &spare), "attachmentId");
    ask(&sim, "DetachNetworkInterface", &[("AttachmentId", &attachment)]).unwrap();
    assert_eq!(texts(&shown(&sim, &spare), "status"), ["in-use", "detaching"]);
    advance(Duration::from_secs(10)).await;
    assert_eq!(texts(&shown(&sim, &spare), "status"), ["available"]);
}

#[test]
fn an_interface_of_another_type_is_no_source() {
    let sim = world(Options::default(), 1, "m5.large", 0);
    sim.load_snapshot(&json!({"NetworkInterfaces": [{
        "NetworkInterfaceId": "eni-nat", "InterfaceType": "nat_gateway", "RequesterManaged": true,
        "Attachment": {"Status": "attached", "InstanceOwnerId": "amazon-aws"},
    }, {
        "NetworkInterfaceId": "eni-elb", "InterfaceType": "interface", "RequesterManaged": true,
        "Attachment": {"Status": "attached", "InstanceOwnerId": "amazon-elb"},
    }]}))
    .unwrap();
    assert_eq!(
        refusal(&sim, CREATE, &session("eni-nat", "tmt-00", "1")),
        "NetworkInterfaceNotSupported"
    );
    ask(&sim, CREATE, &session("eni-elb", "tmt-00", "1")).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_instance_is_shown_without_its_interfaces_at_first() {
    let options = Options {
        lag: Duration::from_secs(5),
        without_interfaces: Duration::from_secs(20),
        ..Options::default()
    };
    let sim = world(options, 0, "", 1);
    let run = [
        ("ImageId", "ami-1"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("SubnetId", "subnet-1"),
    ];
    let ran = ask(&sim, "RunInstances", &run).unwrap();
    let (id, interface) = (text(&ran, "instanceId"), text(&ran, "networkInterfaceId"));
    let interfaces = |id: &str| {
        let instance = ask(&sim, "DescribeInstances", &[("InstanceId.1", id)]).unwrap();
        assert!(instance.contains("<name>running</name>"), "{instance}");
        texts(&instance, "networkInterfaceId")
    };
    advance(Duration::from_secs(5)).await;
    assert!(interfaces(&id).is_empty());
    // By itself it is shown already, and so are the interfaces of an instance that was there before.
    assert_eq!(text(&shown(&sim, &interface), "instanceId"), id);
    assert_eq!(interfaces("i-s000"), ["eni-s000"]);
    advance(Duration::from_secs(19)).await;
    assert!(interfaces(&id).is_empty());
    advance(Duration::from_secs(1)).await;
    assert_eq!(interfaces(&id), [interface]);
}

#[test]
fn endpoints_are_shown_in_the_state_that_they_are_in() {
    let sim = world(Options::default(), 0, "", 0);
    let states = [
        "available",
        "pending",
        "pendingAcceptance",
        "rejected",
        "failed",
        "deleting",
    ];
    let endpoints: Vec<_> = states
        .iter()
        .map(|state| {
            json!({"VpcEndpointId": format!("vpce-{state}"), "VpcEndpointType": "GatewayLoadBalancer", "State": state})
        })
        .collect();
    sim.load_snapshot(&json!({"VpcEndpoints": endpoints})).unwrap();
    for state in states {
        let by_state = [
            ("Filter.1.Name", "vpc-endpoint-state"),
            ("Filter.1.Value.1", state),
        ];
        let found = ask(&sim, "DescribeVpcEndpoints", &by_state).unwrap();
        assert_eq!(texts(&found, "vpcEndpointId"), [format!("vpce-{state}")]);
        assert_eq!(texts(&found, "state"), [state]);
    }
}
