use std::collections::BTreeSet;

use ec2_sim::Options;
use serde_json::json;

use crate::{CREATE, DESCRIBE, ask, refusal, session, text, texts, world};

#[test]
fn what_does_not_exist_is_named() {
    let sim = world(Options::default(), 1, "m5.large", 1);
    let missing_eni = "eni-00000000000000001";
    assert_eq!(
        refusal(&sim, CREATE, &session(missing_eni, "tmt-00", "1")),
        "InvalidNetworkInterfaceID.NotFound"
    );
    assert_eq!(
        refusal(&sim, CREATE, &session("eni-s000", "tmt-9", "1")),
        "InvalidTrafficMirrorTargetId.NotFound"
    );
    let mut params = session("eni-s000", "tmt-00", "1");
    params[2].1 = "tmf-9";
    assert_eq!(
        refusal(&sim, CREATE, &params),
        "InvalidTrafficMirrorFilterId.NotFound"
    );
    assert_eq!(refusal(&sim, CREATE, &params[..3]), "MissingParameter");
}

#[test]
fn a_session_number_is_taken_once_on_an_interface() {
    let sim = world(Options::default(), 2, "m5.large", 2);
    for number in ["0", "32767", "-1", "x"] {
        assert_eq!(
            refusal(&sim, CREATE, &session("eni-s000", "tmt-00", number)),
            "InvalidParameterValue",
            "{number}"
        );
    }
    ask(&sim, CREATE, &session("eni-s000", "tmt-00", "1")).unwrap();
    let (status, code, message) = ask(&sim, CREATE, &session("eni-s000", "tmt-01", "1")).unwrap_err();
    assert_eq!((status, code.as_str()), (400, "InvalidParameterValue"));
    assert!(message.contains("already being used by"), "{message}");
    ask(&sim, CREATE, &session("eni-s000", "tmt-01", "32766")).unwrap();
    ask(&sim, CREATE, &session("eni-s001", "tmt-00", "1")).unwrap();
}

#[test]
fn an_interface_has_three_sessions() {
    let sim = world(Options::default(), 1, "m5.large", 1);
    for number in ["1", "2", "3"] {
        ask(&sim, CREATE, &session("eni-s000", "tmt-00", number)).unwrap();
    }
    let fourth = refusal(&sim, CREATE, &session("eni-s000", "tmt-00", "4"));
    assert_eq!(fourth, "TrafficMirrorSessionsPerInterfaceLimitExceeded");
}

#[test]
fn an_interface_target_has_10_sources_or_100_on_a_largest_size() {
    for (instance_type, most) in [("m5.large", 10), ("m5.24xlarge", 100)] {
        let sim = world(Options::default(), 2, instance_type, most + 1);
        for n in 0..most {
            ask(&sim, CREATE, &session(&format!("eni-s{n:03}"), "tmt-00", "1")).unwrap();
        }
        let one_more = format!("eni-s{most:03}");
        let (_, code, message) = ask(&sim, CREATE, &session(&one_more, "tmt-00", "1")).unwrap_err();
        assert_eq!(
            code, "TrafficMirrorSourcesPerTargetLimitExceeded",
            "{instance_type}"
        );
        assert_eq!(
            message,
            format!("Sources per interface-target limit reached ({})", most + 1)
        );
        // A second session of a source is no further source; and another target has room.
        ask(&sim, CREATE, &session("eni-s000", "tmt-00", "2")).unwrap();
        let elsewhere = ask(&sim, CREATE, &session(&one_more, "tmt-01", "1")).unwrap();
        let id = text(&elsewhere, "trafficMirrorSessionId");
        let back = [
            ("TrafficMirrorSessionId", id.as_str()),
            ("TrafficMirrorTargetId", "tmt-00"),
        ];
        let code = refusal(&sim, "ModifyTrafficMirrorSession", &back);
        assert_eq!(
            code, "TrafficMirrorSourcesPerTargetLimitExceeded",
            "{instance_type}"
        );
    }
}

#[test]
fn sessions_of_another_account_take_room_and_are_not_shown() {
    let sim = world(Options::default(), 1, "m5.large", 2);
    let foreign = |number: usize| {
        json!({
            "TrafficMirrorSessionId": format!("tms-{number}"), "NetworkInterfaceId": format!("eni-foreign-{number}"),
            "OwnerId": "111111111111", "TrafficMirrorTargetId": "tmt-00", "TrafficMirrorFilterId": "tmf-foreign",
            "SessionNumber": 1,
        })
    };
    let nine: Vec<_> = (0..9).map(foreign).collect();
    sim.load_snapshot(&json!({"TrafficMirrorSessions": nine}))
        .unwrap();
    ask(&sim, CREATE, &session("eni-s000", "tmt-00", "1")).unwrap();
    let code = refusal(&sim, CREATE, &session("eni-s001", "tmt-00", "1"));
    assert_eq!(code, "TrafficMirrorSourcesPerTargetLimitExceeded");
    let shown = ask(&sim, DESCRIBE, &[]).unwrap();
    assert_eq!(texts(&shown, "networkInterfaceId"), ["eni-s000"]);
    // A snapshot may be of any account: sessions of the interfaces in it are its own.
    let mut own = foreign(10);
    own["NetworkInterfaceId"] = json!("eni-s001");
    own["TrafficMirrorTargetId"] = json!("tmt-01");
    sim.load_snapshot(&json!({"TrafficMirrorSessions": [own]}))
        .unwrap();
    let shown = ask(&sim, DESCRIBE, &[]).unwrap();
    assert_eq!(texts(&shown, "networkInterfaceId").len(), 2);
}

#[test]
fn a_load_balancer_target_has_no_limit() {
    let sim = world(Options::default(), 0, "", 120);
    let arn = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/net/sensors/1";
    let target = ask(
        &sim,
        "CreateTrafficMirrorTarget",
        &[("NetworkLoadBalancerArn", arn)],
    )
    .unwrap();
    let target = text(&target, "trafficMirrorTargetId");
    for n in 0..120 {
        let created = ask(&sim, CREATE, &session(&format!("eni-s{n:03}"), &target, "1")).unwrap();
        assert_eq!(text(&created, "packetLength"), "8500");
    }
    let too_long = [session("eni-s000", &target, "2"), vec![("PacketLength", "8501")]].concat();
    assert_eq!(refusal(&sim, CREATE, &too_long), "InvalidParameterValue");
}

#[test]
fn an_account_has_10000_sessions() {
    let sim = world(Options::default(), 0, "", 2);
    let arn = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/net/sensors/1";
    let sessions: Vec<_> = (0..9_999)
        .map(|n| {
            json!({
                "TrafficMirrorSessionId": format!("tms-{n:05}"), "NetworkInterfaceId": format!("eni-x{n}"),
                "TrafficMirrorTargetId": "tmt-n", "TrafficMirrorFilterId": "tmf-1", "SessionNumber": 1,
            })
        })
        .collect();
    sim.load_snapshot(&json!({
        "TrafficMirrorTargets": [{"TrafficMirrorTargetId": "tmt-n", "NetworkLoadBalancerArn": arn}],
        "TrafficMirrorSessions": sessions,
    }))
    .unwrap();
    ask(&sim, CREATE, &session("eni-s000", "tmt-n", "1")).unwrap();
    assert_eq!(
        refusal(&sim, CREATE, &session("eni-s001", "tmt-n", "1")),
        "TrafficMirrorSessionLimitExceeded"
    );
    ask(
        &sim,
        "DeleteTrafficMirrorSession",
        &[("TrafficMirrorSessionId", "tms-00000")],
    )
    .unwrap();
    ask(&sim, CREATE, &session("eni-s001", "tmt-n", "1")).unwrap();
}

#[test]
fn a_source_is_no_target_and_a_target_no_source() {
    let sim = world(Options::default(), 1, "m5.large", 1);
    let (_, code, message) = ask(&sim, CREATE, &session("eni-t00", "tmt-00", "1")).unwrap_err();
    assert_eq!(code, "InvalidParameterValue");
    assert!(message.contains("is in use by target"), "{message}");
    ask(&sim, CREATE, &session("eni-s000", "tmt-00", "1")).unwrap();
    let as_target = [("NetworkInterfaceId", "eni-s000")];
    assert_eq!(
        refusal(&sim, "CreateTrafficMirrorTarget", &as_target),
        "InvalidParameterValue"
    );
}

#[test]
fn instance_types_that_cannot_be_mirrored_are_refused() {
    for instance_type in ["m5.metal", "m6i.large", "c7g.medium", "m8g.large", "t2.micro"] {
        let sim = world(Options::default(), 1, "m5.large", 0);
        sim.load_snapshot(&json!({"Reservations": [{"Instances": [{
            "InstanceId": "i-1", "InstanceType": instance_type, "NetworkInterfaces": [{"NetworkInterfaceId": "eni-1"}],
        }]}]}))
        .unwrap();
        let (_, code, message) = ask(&sim, CREATE, &session("eni-1", "tmt-00", "1")).unwrap_err();
        assert_eq!(code, "NetworkInterfaceNotSupported", "{instance_type}");
        assert_eq!(message, "eni-1 must be attached to a supported instance");
    }
}

#[test]
fn one_client_token_makes_one_session() {
    let sim = world(Options::default(), 2, "m5.large", 1);
    let with_token =
        |target, token| [session("eni-s000", target, "1"), vec![("ClientToken", token)]].concat();
    let first = ask(&sim, CREATE, &with_token("tmt-00", "a")).unwrap();
    let again = ask(&sim, CREATE, &with_token("tmt-00", "a")).unwrap();
    assert_eq!(
        text(&first, "trafficMirrorSession"),
        text(&again, "trafficMirrorSession")
    );
    assert_eq!(text(&again, "clientToken"), "a");
    assert_eq!(
        refusal(&sim, CREATE, &with_token("tmt-01", "a")),
        "IdempotentParameterMismatch"
    );
    // A refused request does not use its token up.
    assert_eq!(
        refusal(&sim, CREATE, &with_token("tmt-01", "b")),
        "InvalidParameterValue"
    );
    let id = text(&first, "trafficMirrorSessionId");
    ask(
        &sim,
        "DeleteTrafficMirrorSession",
        &[("TrafficMirrorSessionId", &id)],
    )
    .unwrap();
    ask(&sim, CREATE, &with_token("tmt-01", "b")).unwrap();
}

#[test]
fn network_identifiers_are_unique_when_aws_picks_them() {
    let sim = world(Options::default(), 1, "m5.24xlarge", 100);
    let ids: BTreeSet<String> = (0..100)
        .map(|n| {
            let created = ask(&sim, CREATE, &session(&format!("eni-s{n:03}"), "tmt-00", "1")).unwrap();
            text(&created, "virtualNetworkId")
        })
        .collect();
    assert_eq!(ids.len(), 100);
    for (name, value) in [
        ("VirtualNetworkId", "16777216"),
        ("VirtualNetworkId", "-1"),
        ("PacketLength", "0"),
    ] {
        let params = [session("eni-s000", "tmt-00", "2"), vec![(name, value)]].concat();
        assert_eq!(
            refusal(&sim, CREATE, &params),
            "InvalidParameterValue",
            "{name}={value}"
        );
    }
}

#[test]
fn termination_deletes_the_sessions_of_the_interfaces_that_go() {
    let sim = world(Options::default(), 1, "m5.large", 2);
    for source in ["eni-s000", "eni-s001"] {
        ask(&sim, CREATE, &session(source, "tmt-00", "1")).unwrap();
    }
    let keep = [
        ("NetworkInterfaceId", "eni-s001"),
        ("Attachment.AttachmentId", "eni-attach-s001"),
        ("Attachment.DeleteOnTermination", "false"),
    ];
    ask(&sim, "ModifyNetworkInterfaceAttribute", &keep).unwrap();
    ask(
        &sim,
        "TerminateInstances",
        &[("InstanceId.1", "i-s000"), ("InstanceId.2", "i-s001")],
    )
    .unwrap();

    let sessions = ask(&sim, DESCRIBE, &[]).unwrap();
    assert_eq!(texts(&sessions, "networkInterfaceId"), ["eni-s001"]);
    let kept = ask(
        &sim,
        "DescribeNetworkInterfaces",
        &[("NetworkInterfaceId.1", "eni-s001")],
    )
    .unwrap();
    assert_eq!(text(&kept, "status"), "available");
    let states: Vec<String> = sim
        .take_state_changes()
        .into_iter()
        .map(|change| change.instance_id + " " + &change.state)
        .collect();
    assert_eq!(
        states,
        [
            "i-s000 shutting-down",
            "i-s000 terminated",
            "i-s001 shutting-down",
            "i-s001 terminated"
        ]
    );
    // A terminated instance is still shown, without interfaces.
    let shown = ask(&sim, "DescribeInstances", &[("InstanceId.1", "i-s000")]).unwrap();
    assert!(
        shown.contains("<name>terminated</name>")
            && shown.contains("<networkInterfaceSet></networkInterfaceSet>")
    );
}
