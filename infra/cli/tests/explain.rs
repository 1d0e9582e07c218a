//! `mirrorstep explain` as it is run: the built binary on snapshots as the AWS CLI would print them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use local_stack::options::FleetOptions;
use local_stack::scenario::{Blocked, Expected, Scenario};
use mirrorstep_core::TargetId;
use mirrorstep_core::config::{Consent, FixedTags, UnverifiableTargets};
use mirrorstep_reachability::explain::{Question, explain};
use mirrorstep_reachability::snapshot::Snapshot;
use serde_json::{Value, json};

const SOURCE: &str = "eni-00000000000000001";
const BY_RANGE: &str = "tmt-0000000000000000a";
const BY_GROUP: &str = "tmt-0000000000000000b";
const BY_LIST: &str = "tmt-0000000000000000c";
const BALANCER: &str = "tmt-0000000000000000d";
const GATEWAY: &str = "tmt-0000000000000000e";
const ALL: [&str; 5] = [BY_RANGE, BY_GROUP, BY_LIST, BALANCER, GATEWAY];
const BALANCER_ARN: &str =
    "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/net/sensors/50dc6c495c0c9188";

fn interface(id: &str, address: &str, zone: &str, subnet: &str, groups: &[&str]) -> Value {
    let groups: Vec<_> = groups
        .iter()
        .map(|id| json!({"GroupId": id, "GroupName": "any"}))
        .collect();
    json!({
        "AvailabilityZone": zone, "AvailabilityZoneId": "use1-az1", "Description": "", "Groups": groups,
        "Attachment": {
            "AttachmentId": "eni-attach-1", "DeviceIndex": 0, "InstanceId": id.replace("eni-", "i-"),
            "Status": "attached"
        },
        "InterfaceType": "interface", "Ipv6Addresses": [], "MacAddress": "02:00:00:00:00:01",
        "NetworkInterfaceId": id, "OwnerId": "123456789012", "PrivateIpAddress": address,
        "PrivateIpAddresses": [{"Primary": true, "PrivateIpAddress": address}], "SourceDestCheck": true,
        "Status": "in-use", "SubnetId": subnet, "TagSet": [], "VpcId": "vpc-1", "Operator": {"Managed": false}
    })
}

fn managed(mut interface: Value, description: &str, kind: &str) -> Value {
    interface["Description"] = json!(description);
    interface["InterfaceType"] = json!(kind);
    interface["Attachment"] = json!({"AttachmentId": "ela-attach-1", "InstanceOwnerId": "amazon-aws"});
    interface
}

fn group(id: &str, permissions: &Value) -> Value {
    json!({
        "GroupId": id, "GroupName": id, "OwnerId": "123456789012", "VpcId": "vpc-1", "IpPermissions": permissions,
        "IpPermissionsEgress": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    })
}

fn from_range(cidr: &str) -> Value {
    json!([{
        "FromPort": 4789, "IpProtocol": "udp", "IpRanges": [{"CidrIp": cidr, "Description": "mirrored"}],
        "Ipv6Ranges": [], "PrefixListIds": [], "ToPort": 4789, "UserIdGroupPairs": []
    }])
}

fn entry(number: i32, egress: bool, action: &str, cidr: &str) -> Value {
    json!({
        "CidrBlock": cidr, "Egress": egress, "Protocol": "17", "PortRange": {"From": 4000, "To": 5000},
        "RuleAction": action, "RuleNumber": number
    })
}

fn default_deny(egress: bool) -> Value {
    json!({
        "CidrBlock": "0.0.0.0/0", "Egress": egress, "Protocol": "-1", "RuleAction": "deny", "RuleNumber": 32767
    })
}

fn acl(id: &str, subnet: &str, entries: &[Value]) -> Value {
    let entries: Vec<_> = entries
        .iter()
        .cloned()
        .chain([default_deny(false), default_deny(true)])
        .collect();
    json!({
        "Associations": [{
            "NetworkAclAssociationId": "aclassoc-1", "NetworkAclId": id, "SubnetId": subnet
        }],
        "Entries": entries, "IsDefault": false, "NetworkAclId": id, "OwnerId": "123456789012", "Tags": [],
        "VpcId": "vpc-1"
    })
}

fn target(id: &str, member: &str, behind: &str) -> Value {
    let kind = match member {
        "NetworkInterfaceId" => "network-interface",
        "NetworkLoadBalancerArn" => "network-load-balancer",
        _ => "gateway-load-balancer-endpoint",
    };
    json!({
        "TrafficMirrorTargetId": id, member: behind, "Type": kind, "OwnerId": "123456789012", "Tags": []
    })
}

fn session(number: usize, target: &str) -> Value {
    json!({
        "TrafficMirrorSessionId": format!("tms-{number:017x}"), "TrafficMirrorTargetId": target,
        "TrafficMirrorFilterId": "tmf-00000000000000001", "NetworkInterfaceId": format!("eni-5{number:016x}"),
        "OwnerId": "123456789012", "SessionNumber": 1, "VirtualNetworkId": 42, "Tags": []
    })
}

/// A network in which the source reaches a target of every kind, admitted in every way there is. Each target has
/// a subnet, an ACL and a group of its own.
fn sound() -> Value {
    let (a, b) = ("us-east-1a", "us-east-1b");
    let acls: Vec<_> = ["source", "a", "b", "c", "d1", "d2", "e"]
        .iter()
        .map(|name| {
            let entries = [
                entry(90, false, "deny", "192.0.2.0/24"),
                entry(100, false, "allow", "10.0.0.0/8"),
                entry(100, true, "allow", "0.0.0.0/0"),
            ];
            acl(&format!("acl-{name}"), &format!("subnet-{name}"), &entries)
        })
        .collect();
    let subnets: Vec<_> = ["source", "a", "b", "c", "d1", "d2", "e"]
        .iter()
        .map(|name| json!({"SubnetId": format!("subnet-{name}"), "VpcId": "vpc-1", "CidrBlock": "10.0.0.0/24"}))
        .collect();
    let balancer = "ELB net/sensors/50dc6c495c0c9188";
    json!({
        "Reservations": [{"ReservationId": "r-1", "Groups": [], "Instances": [{
            "InstanceId": "i-00000000000000001", "State": {"Code": 16, "Name": "running"},
            "NetworkInterfaces": [{"NetworkInterfaceId": SOURCE, "InterfaceType": "interface"}],
            "Tags": [{"Key": "Name", "Value": "web-1"}]
        }]}],
        "NetworkInterfaces": [
            interface(SOURCE, "10.0.1.5", a, "subnet-source", &["sg-client"]),
            interface("eni-0000000000000000a", "10.0.2.10", a, "subnet-a", &["sg-a"]),
            interface("eni-0000000000000000b", "10.0.3.10", a, "subnet-b", &["sg-b"]),
            interface("eni-0000000000000000c", "10.0.4.10", a, "subnet-c", &["sg-c"]),
            managed(interface("eni-000000000000000d1", "10.0.5.10", a, "subnet-d1", &["sg-d"]), balancer,
                "network_load_balancer"),
            managed(interface("eni-000000000000000d2", "10.0.6.10", b, "subnet-d2", &["sg-d"]), balancer,
                "network_load_balancer"),
            managed(interface("eni-0000000000000000e", "10.0.7.10", a, "subnet-e", &[]),
                "VPC Endpoint Interface vpce-0000000000000000e", "gateway_load_balancer_endpoint"),
        ],
        "TrafficMirrorTargets": [
            target(BY_RANGE, "NetworkInterfaceId", "eni-0000000000000000a"),
            target(BY_GROUP, "NetworkInterfaceId", "eni-0000000000000000b"),
            target(BY_LIST, "NetworkInterfaceId", "eni-0000000000000000c"),
            target(BALANCER, "NetworkLoadBalancerArn", BALANCER_ARN),
            target(GATEWAY, "GatewayLoadBalancerEndpointId", "vpce-0000000000000000e"),
        ],
        "TrafficMirrorFilters": [{"TrafficMirrorFilterId": "tmf-00000000000000001"}],
        "TrafficMirrorSessions": [session(1, BY_RANGE), session(2, BY_RANGE), session(3, BY_GROUP),
            session(4, BY_LIST), session(5, BALANCER)],
        "SecurityGroups": [
            group("sg-client", &json!([])),
            group("sg-a", &from_range("10.0.1.0/24")),
            group("sg-b", &json!([{
                "FromPort": 4789, "IpProtocol": "udp", "IpRanges": [], "ToPort": 4789,
                "UserIdGroupPairs": [{"GroupId": "sg-client", "UserId": "123456789012"}]
            }])),
            group("sg-c", &json!([{
                "FromPort": 0, "IpProtocol": "17", "IpRanges": [], "ToPort": 65535,
                "PrefixListIds": [{"PrefixListId": "pl-00000000000000001"}]
            }])),
            group("sg-d", &json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}])),
        ],
        "NetworkAcls": acls,
        "RouteTables": [{
            "Associations": [{"Main": true, "RouteTableAssociationId": "rtbassoc-1", "RouteTableId": "rtb-1",
                "AssociationState": {"State": "associated"}}],
            "PropagatingVgws": [], "RouteTableId": "rtb-1", "VpcId": "vpc-1", "OwnerId": "123456789012", "Tags": [],
            "Routes": [
                {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local", "Origin": "CreateRouteTable",
                    "State": "active"},
                {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-00000000000000001",
                    "Origin": "CreateRoute", "State": "active"},
            ]
        }],
        "Subnets": subnets,
        "VpcEndpoints": [{
            "VpcEndpointId": "vpce-0000000000000000e", "VpcEndpointType": "GatewayLoadBalancer",
            "NetworkInterfaceIds": ["eni-0000000000000000e"], "State": "available", "Groups": []
        }],
        "ManagedPrefixLists": [{"PrefixListId": "pl-00000000000000001", "PrefixListName": "clients"}],
        "PrefixListEntries": {"pl-00000000000000001": [{"Cidr": "172.16.0.0/12"}, {"Cidr": "10.0.1.0/28"}]},
    })
}

fn run_on(snapshot: &[u8], arguments: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mirrorstep"))
        .args(["explain", "--snapshot", "-"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(snapshot);
    child.wait_with_output().unwrap()
}

#[track_caller]
fn answer(snapshot: &Value, arguments: &[&str]) -> Value {
    let arguments = [&["--interface", SOURCE, "--json"], arguments].concat();
    let output = run_on(snapshot.to_string().as_bytes(), &arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a person is told.
#[track_caller]
fn in_words(snapshot: &Value, arguments: &[&str]) -> String {
    let arguments = [&["--interface", SOURCE], arguments].concat();
    let output = run_on(snapshot.to_string().as_bytes(), &arguments);
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(snapshot: &[u8], arguments: &[&str], code: i32, words: &[&str]) {
    let output = run_on(snapshot, arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(output.stdout.is_empty());
    for word in words {
        assert!(message.contains(word), "`{message}` does not say `{word}`");
    }
}

fn verdict<'a>(answer: &'a Value, target: &str) -> &'a Value {
    let verdicts = answer["verdicts"].as_array().unwrap();
    verdicts
        .iter()
        .find(|verdict| verdict["targetId"] == target)
        .unwrap()
}

#[track_caller]
fn rejected(answer: &Value, target: &str, by: &str, words: &[&str]) {
    let verdict = verdict(answer, target);
    assert_eq!(
        (&verdict["eligible"], &verdict["rejectedBy"]),
        (&json!(false), &json!(by)),
        "{verdict}"
    );
    assert_ne!(answer["picked"], target);
    for word in words {
        assert!(
            verdict.to_string().contains(word),
            "{verdict} does not say `{word}`"
        );
    }
}

#[track_caller]
fn eligible(answer: &Value, targets: &[&str]) {
    let found: Vec<_> = answer["verdicts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|verdict| verdict["eligible"] == true)
        .map(|verdict| verdict["targetId"].as_str().unwrap())
        .collect();
    assert_eq!(found, targets, "{answer:#}");
}

/// The object of a list that has this id, to be changed.
fn object<'a>(snapshot: &'a mut Value, list: &str, id: &str) -> &'a mut Value {
    let objects = snapshot[list].as_array_mut().unwrap();
    objects
        .iter_mut()
        .find(|object| {
            object
                .as_object()
                .unwrap()
                .iter()
                .any(|(name, value)| name.ends_with("Id") && value == id)
        })
        .unwrap()
}

#[test]
fn the_answer_is_exactly_as_documented() {
    let answer = answer(&sound(), &["--targets", BY_RANGE]);
    assert_eq!(
        answer,
        json!({
            "interface": SOURCE,
            "verdicts": [{
                "targetId": BY_RANGE, "eligible": true, "rejectedBy": null, "reason": null,
                "evidence": "sg-a: udp 4789 from 10.0.1.0/24; acl-a rule 100: allow udp 4000-5000 from 10.0.0.0/8; \
                             rtb-1: 10.0.0.0/16 to local",
                "local": true
            }],
            "picked": BY_RANGE
        })
    );
}

/// The cases of the rules, as the command reads them.
#[test]
fn the_cases_are_answered_by_the_command_as_they_are_by_the_rules() {
    let cases =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../functions/reachability/tests/cases");
    for name in [
        "01-sensors-that-do-not-run",
        "16-prefix-lists-and-a-middlebox",
        "17-shapes-that-ec2-and-its-tools-print",
    ] {
        let read = |kind: &str| std::fs::read(cases.join(format!("{name}{kind}"))).unwrap();
        let case: Value = serde_json::from_slice(&read(".expect.json")).unwrap();
        let interface = case["interface"].as_str().unwrap();
        let targets: Vec<_> = case["targets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_str().unwrap())
            .collect();
        let output = run_on(
            &read(".json"),
            &[
                "--interface",
                interface,
                "--targets",
                &targets.join(","),
                "--local-zone-only",
                "true",
                "--json",
            ],
        );
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        for verdict in answer["verdicts"].as_array().unwrap() {
            let expected = &case["expect"][verdict["targetId"].as_str().unwrap()];
            assert_eq!(
                (&verdict["eligible"], &verdict["rejectedBy"]),
                (&expected["eligible"], &expected["rejectedBy"]),
                "{name}: {verdict}"
            );
        }
        if let Some(picked) = case.get("picked") {
            assert_eq!(answer["picked"], *picked, "{name}");
        }
    }
}

#[test]
fn a_sound_network_reaches_every_kind_of_target_and_the_least_loaded_is_picked() {
    let answer = answer(&sound(), &[]);
    eligible(&answer, &ALL);
    assert_eq!(answer["picked"], GATEWAY);
}

#[test]
fn objects_may_be_called_anything() {
    let text = sound()
        .to_string()
        .replace(SOURCE, "eni-web")
        .replace(BY_RANGE, "tmt-A");
    let output = run_on(
        text.as_bytes(),
        &["--interface", "eni-web", "--targets", "tmt-A,tmt-B", "--json"],
    );
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    eligible(&answer, &["tmt-A"]);
    rejected(&answer, "tmt-B", "target", &["not found"]);
    assert_eq!(answer["picked"], "tmt-A");
}

#[test]
fn verdicts_come_in_the_order_of_the_question_each_once() {
    let unknown = "tmt-000000000000000ff";
    let targets = [GATEWAY, unknown, BY_RANGE, GATEWAY].join(",");
    let answer = answer(&sound(), &["--targets", &targets]);
    let order: Vec<_> = answer["verdicts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|verdict| verdict["targetId"].as_str().unwrap())
        .collect();
    assert_eq!(order, [GATEWAY, unknown, BY_RANGE]);
    rejected(&answer, unknown, "target", &["not found"]);
}

#[test]
fn a_remote_target_is_rejected_or_comes_last() {
    let mut snapshot = sound();
    for sensor in [
        "eni-0000000000000000a",
        "eni-0000000000000000b",
        "eni-0000000000000000c",
    ] {
        object(&mut snapshot, "NetworkInterfaces", sensor)["AvailabilityZone"] = json!("us-east-1b");
    }
    let targets = [BY_RANGE, BY_GROUP, BALANCER].join(",");
    let strict = answer(&snapshot, &["--targets", &targets]);
    rejected(
        &strict,
        BY_RANGE,
        "availability-zone",
        &["us-east-1a", "us-east-1b"],
    );
    eligible(&strict, &[BALANCER]);

    // The load balancer has an endpoint in either zone. It has as many sessions as another, or more.
    let loose = ["--targets", &targets, "--local-zone-only", "false"];
    snapshot["TrafficMirrorSessions"] = json!([session(1, BALANCER), session(2, BALANCER)]);
    let preferred = answer(&snapshot, &loose);
    eligible(&preferred, &[BY_RANGE, BY_GROUP, BALANCER]);
    assert_eq!(preferred["picked"], BALANCER);
    assert_eq!(verdict(&preferred, BY_RANGE)["local"], false);
    assert_eq!(verdict(&preferred, BALANCER)["local"], true);

    // Without its local endpoint it is a remote one among others, and the most loaded.
    object(&mut snapshot, "NetworkAcls", "acl-d1")["Entries"] = json!([default_deny(false)]);
    let fallen_back = answer(&snapshot, &loose);
    eligible(&fallen_back, &[BY_RANGE, BY_GROUP, BALANCER]);
    assert_eq!(verdict(&fallen_back, BALANCER)["local"], false);
    assert_ne!(fallen_back["picked"], BALANCER);
}

#[test]
fn a_tag_that_fixes_the_target_is_the_reason_why_the_others_are_not_eligible() {
    let mut snapshot = sound();
    object(&mut snapshot, "NetworkInterfaces", SOURCE)["TagSet"] =
        json!([{"Key": "mirror-target", "Value": BY_GROUP}]);
    let free = answer(&snapshot, &[]);
    eligible(&free, &ALL);
    let fixed = answer(&snapshot, &["--fixed-target-tag", "mirror-target"]);
    eligible(&fixed, &[BY_GROUP]);
    assert_eq!(fixed["picked"], BY_GROUP);
    rejected(
        &fixed,
        BY_RANGE,
        "target",
        &[SOURCE, &format!("mirror-target={BY_GROUP}")],
    );
    let words = in_words(&snapshot, &["--fixed-target-tag", "mirror-target"]);
    assert!(words.contains("Chosen by tag: interface eni-"), "{words}");
}

#[test]
fn what_rejects_nothing_is_told_beside_the_verdicts() {
    let mut snapshot = sound();
    object(&mut snapshot, "NetworkInterfaces", "eni-0000000000000000a")["AvailabilityZone"] =
        json!("us-east-1b");
    object(&mut snapshot, "NetworkAcls", "acl-source")["Entries"]
        .as_array_mut()
        .unwrap()
        .push(entry(1, true, "deny", "10.0.0.0/8"));
    let options = ["--targets", BY_RANGE, "--local-zone-only", "false"];
    eligible(&answer(&snapshot, &options), &[BY_RANGE]);
    let words = in_words(&snapshot, &options);
    for told in [
        "is in us-east-1b, the source in us-east-1a: traffic between Availability Zones is charged",
        "acl-source rule 1: deny",
    ] {
        assert!(words.contains(told), "{words}");
    }
}

#[test]
fn a_security_group_rejects_what_it_does_not_admit() {
    let mut snapshot = sound();
    object(&mut snapshot, "SecurityGroups", "sg-a")["IpPermissions"] = from_range("10.0.2.0/24");
    object(&mut snapshot, "NetworkInterfaces", SOURCE)["Groups"] = json!([{"GroupId": "sg-other"}]);
    snapshot["PrefixListEntries"]["pl-00000000000000001"] = json!([{"Cidr": "10.0.1.0/30"}]);
    object(&mut snapshot, "SecurityGroups", "sg-d")["IpPermissions"][0]["IpProtocol"] = json!("tcp");
    let answer = answer(&snapshot, &[]);
    for (target, group) in [
        (BY_RANGE, "sg-a"),
        (BY_GROUP, "sg-b"),
        (BY_LIST, "sg-c"),
        (BALANCER, "sg-d"),
    ] {
        rejected(&answer, target, "security-group", &[group, "10.0.1.5"]);
    }
    eligible(&answer, &[GATEWAY]);
}

#[test]
fn the_first_acl_entry_that_matches_decides() {
    let mut snapshot = sound();
    let allow = |number| entry(number, false, "allow", "10.0.0.0/8");
    let deny = |number| entry(number, false, "deny", "10.0.1.0/24");
    object(&mut snapshot, "NetworkAcls", "acl-a")["Entries"] = json!([allow(100), deny(90)]);
    object(&mut snapshot, "NetworkAcls", "acl-b")["Entries"] = json!([deny(100), allow(90)]);
    object(&mut snapshot, "NetworkAcls", "acl-c")["Entries"] = json!([entry(1, true, "allow", "0.0.0.0/0")]);
    let targets = [BY_RANGE, BY_GROUP, BY_LIST].join(",");
    let answer = answer(&snapshot, &["--targets", &targets]);
    rejected(&answer, BY_RANGE, "network-acl", &["acl-a rule 90", "deny"]);
    eligible(&answer, &[BY_GROUP]);
    rejected(&answer, BY_LIST, "network-acl", &["acl-c", "default"]);
}

#[test]
fn the_most_specific_route_decides() {
    let mut snapshot = sound();
    let routes = snapshot["RouteTables"][0]["Routes"].as_array_mut().unwrap();
    routes.push(json!({
        "DestinationCidrBlock": "10.0.2.0/24", "VpcPeeringConnectionId": "pcx-00000000000000001",
        "State": "blackhole", "Origin": "CreateRoute"
    }));
    routes.push(json!({
        "DestinationCidrBlock": "10.0.3.0/24", "NatGatewayId": "nat-00000000000000001", "State": "active"
    }));
    routes.push(json!({
        "DestinationCidrBlock": "10.0.4.0/24", "TransitGatewayId": "tgw-00000000000000001", "State": "active"
    }));
    let answer = answer(&snapshot, &[]);
    rejected(
        &answer,
        BY_RANGE,
        "route",
        &["pcx-00000000000000001", "blackhole"],
    );
    rejected(&answer, BY_GROUP, "route", &["nat-00000000000000001"]);
    eligible(&answer, &[BY_LIST, BALANCER, GATEWAY]);
}

#[test]
fn what_is_missing_or_malformed_is_unverifiable_and_named() {
    let without = |list: &str, id: &str| {
        let mut snapshot = sound();
        let place = snapshot[list]
            .as_array()
            .unwrap()
            .iter()
            .position(|object| {
                object
                    .as_object()
                    .unwrap()
                    .iter()
                    .any(|(name, value)| name.ends_with("Id") && value == id)
            })
            .unwrap();
        snapshot[list].as_array_mut().unwrap().remove(place);
        snapshot
    };
    for (target, list, id) in [
        (BY_RANGE, "SecurityGroups", "sg-a"),
        (BY_RANGE, "NetworkAcls", "acl-a"),
        (BY_RANGE, "Subnets", "subnet-a"),
        (BALANCER, "SecurityGroups", "sg-d"),
    ] {
        let named = if list == "NetworkAcls" { "subnet-a" } else { id };
        rejected(&answer(&without(list, id), &[]), target, "unverifiable", &[named]);
    }
    // What is behind another account's target is not visible, what is behind one of this account's is gone.
    for (target, list, id) in [
        (BY_RANGE, "NetworkInterfaces", "eni-0000000000000000a"),
        (GATEWAY, "VpcEndpoints", "vpce-0000000000000000e"),
    ] {
        let mut snapshot = without(list, id);
        rejected(
            &answer(&snapshot, &[]),
            target,
            "sensor-down",
            &[id, "123456789012"],
        );
        object(&mut snapshot, "TrafficMirrorTargets", target)["OwnerId"] = json!("999999999999");
        rejected(&answer(&snapshot, &[]), target, "unverifiable", &[id]);
    }
    let answer_without_tables = answer(&without("RouteTables", "rtb-1"), &[]);
    rejected(
        &answer_without_tables,
        BY_RANGE,
        "unverifiable",
        &["subnet-source"],
    );
    eligible(&answer_without_tables, &[]);
    eligible(&answer(&without("Subnets", "subnet-source"), &[]), &[]);

    let mut snapshot = sound();
    snapshot["PrefixListEntries"] = json!({});
    object(&mut snapshot, "SecurityGroups", "sg-a")["IpPermissions"] = from_range("10.0.1.0/33");
    let malformed = answer(&snapshot, &[]);
    rejected(&malformed, BY_LIST, "unverifiable", &["pl-00000000000000001"]);
    rejected(&malformed, BY_RANGE, "unverifiable", &["sg-a", "10.0.1.0/33"]);
    // Unless it is asked to let them pass.
    object(&mut snapshot, "Subnets", "subnet-b")["SubnetId"] = json!("subnet-elsewhere");
    rejected(&answer(&snapshot, &[]), BY_GROUP, "unverifiable", &["subnet-b"]);
    eligible(&answer(&snapshot, &["--unverifiable-targets", "allow"]), &ALL);
}

#[test]
fn a_source_that_is_not_to_be_mirrored_has_no_eligible_target_and_the_reason_in_each() {
    let sensor = run_on(
        sound().to_string().as_bytes(),
        &["--interface", "eni-0000000000000000a", "--json"],
    );
    let sensor: Value = serde_json::from_slice(&sensor.stdout).unwrap();
    rejected(&sensor, BY_RANGE, "target", &["the source itself"]);
    rejected(&sensor, BY_GROUP, "target", &["sensor's own"]);

    let mut ipv6_only = sound();
    object(&mut ipv6_only, "NetworkInterfaces", SOURCE)
        .as_object_mut()
        .unwrap()
        .remove("PrivateIpAddress");
    let mut opted_out = sound();
    object(&mut opted_out, "NetworkInterfaces", SOURCE)["TagSet"] =
        json!([{"Key": "mirror", "Value": "off"}]);
    let out: &[&str] = &["--opt-out-tag", "mirror=off"];
    for (snapshot, arguments, reason) in [
        (&ipv6_only, &[][..], "IPv6-only"),
        (&opted_out, out, "mirror=off"),
        (&sound(), &["--opt-in-tag", "mirror=on"], "mirror=on"),
    ] {
        let answer = answer(snapshot, arguments);
        for target in ALL {
            rejected(&answer, target, "target", &[reason]);
        }
        assert_eq!(answer["picked"], Value::Null);
    }
    eligible(&answer(&sound(), out), &ALL);
    eligible(&answer(&sound(), &["--opt-in-tag", "Name=web-1"]), &ALL);
}

#[test]
fn nulls_and_members_that_nothing_knows_change_nothing() {
    let mut snapshot = sound();
    snapshot["NextToken"] = Value::Null;
    snapshot["FlowLogs"] = json!("whatever");
    snapshot["RouteTables"][0]["Routes"][0]["VpcPeeringConnectionId"] = Value::Null;
    for interface in snapshot["NetworkInterfaces"].as_array_mut().unwrap() {
        interface["OutpostArn"] = Value::Null;
        interface["InterfaceType"] = json!("a type of tomorrow");
        interface["ConnectionTrackingConfiguration"] = json!({"UdpTimeout": [null]});
    }
    for group in snapshot["SecurityGroups"].as_array_mut().unwrap() {
        group["SecurityGroupArn"] = json!("arn:aws:ec2:us-east-1:123456789012:security-group/sg");
        group["Tags"] = Value::Null;
        group["IpPermissionsEgress"] = json!(7);
    }
    assert_eq!(answer(&snapshot, &[]), answer(&sound(), &[]));
}

#[test]
fn what_cannot_be_answered_ends_with_status_1_and_names_the_cause() {
    let ask = ["--interface", SOURCE, "--json"];
    let text = sound().to_string();
    refused(
        text.as_bytes(),
        &["--interface", "eni-nowhere"],
        1,
        &["eni-nowhere"],
    );
    refused(b"{}", &ask, 1, &[SOURCE, "describe-network-interfaces"]);
    refused(b"", &ask, 1, &["not JSON"]);
    refused(
        &text.as_bytes()[..text.len() / 2],
        &ask,
        1,
        &["not JSON", "line 1 column"],
    );
    refused(b"[]", &ask, 1, &["jq -s add"]);
    refused(&[0xff, 0xfe], &ask, 1, &["not JSON"]);
    let mut snapshot = sound();
    object(&mut snapshot, "SecurityGroups", "sg-a")["IpPermissions"][0]["FromPort"] = json!("4789");
    let text = snapshot.to_string();
    refused(
        text.as_bytes(),
        &ask,
        1,
        &["SecurityGroups[1] (sg-a).IpPermissions[0].FromPort"],
    );
    let missing = Command::new(env!("CARGO_BIN_EXE_mirrorstep"))
        .args([
            "explain",
            "--snapshot",
            "no/such/file.json",
            "--interface",
            SOURCE,
        ])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no/such/file.json"));
}

#[test]
fn a_wrong_command_line_ends_with_status_2() {
    refused(
        b"{}",
        &["--interface", SOURCE, "--targets", "tmt-0000000000000000a,,"],
        2,
        &["--targets"],
    );
    refused(
        b"{}",
        &["--interface", SOURCE, "--local-zone-only", "maybe"],
        2,
        &["maybe"],
    );
    refused(b"{}", &["--json"], 2, &["--interface"]);
}

#[test]
fn a_person_gets_a_table_and_the_commands_that_mend_it() {
    let mut snapshot = sound();
    object(&mut snapshot, "SecurityGroups", "sg-a")["IpPermissions"] = json!([]);
    object(&mut snapshot, "NetworkAcls", "acl-b")["Entries"] =
        json!([entry(100, false, "deny", "0.0.0.0/0")]);
    object(&mut snapshot, "TrafficMirrorTargets", GATEWAY)["GatewayLoadBalancerEndpointId"] =
        json!("vpce-\u{1b}[2J");
    object(&mut snapshot, "TrafficMirrorTargets", GATEWAY)["OwnerId"] = json!("999999999999");
    let output = run_on(snapshot.to_string().as_bytes(), &["--interface", SOURCE]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for words in [
        "security-group",
        "network-acl",
        "unverifiable",
        "eligible",
        "aws ec2 authorize-security-group-ingress --group-id sg-a --protocol udp --port 4789 --cidr 10.0.1.5/32",
        "aws ec2 create-network-acl-entry --network-acl-id acl-b --ingress --rule-number 50 --protocol udp \
         --port-range From=4789,To=4789 --cidr-block 10.0.1.5/32 --rule-action allow",
    ] {
        assert!(text.contains(words), "{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");

    // What the commands would do does mend it.
    object(&mut snapshot, "SecurityGroups", "sg-a")["IpPermissions"] = from_range("10.0.1.5/32");
    let entries = object(&mut snapshot, "NetworkAcls", "acl-b")["Entries"]
        .as_array_mut()
        .unwrap();
    entries.push(entry(50, false, "allow", "10.0.1.5/32"));
    eligible(&answer(&snapshot, &[]), &[BY_RANGE, BY_GROUP, BY_LIST, BALANCER]);
}

/// Every place in a JSON value, as a pointer.
fn places(value: &Value, here: &str, found: &mut Vec<String>) {
    let mut add = |step: &str, value: &Value| {
        let place = format!("{here}/{}", step.replace('~', "~0").replace('/', "~1"));
        found.push(place.clone());
        places(value, &place, found);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| add(name, value)),
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .for_each(|(index, value)| add(&index.to_string(), value)),
        _ => {}
    }
}

fn without(snapshot: &Value, place: &str) -> Value {
    let mut snapshot = snapshot.clone();
    let (parent, step) = place.rsplit_once('/').unwrap();
    match snapshot.pointer_mut(parent).unwrap() {
        Value::Object(members) => {
            members.remove(&step.replace("~1", "/").replace("~0", "~"));
        }
        Value::Array(elements) => {
            elements.remove(step.parse().unwrap());
        }
        _ => unreachable!(),
    }
    snapshot
}

/// The targets that are eligible. None where there is no answer.
fn eligible_in(snapshot: &Value) -> Vec<String> {
    let question = Question {
        interface_id: SOURCE.to_owned(),
        targets: None,
        local_zone_only: true,
        consent: Consent::default(),
        fixed: FixedTags::default(),
        unverifiable: UnverifiableTargets::Reject,
    };
    let Ok(snapshot) = Snapshot::parse(snapshot.to_string().as_bytes()) else {
        return Vec::new();
    };
    let Ok(explanation) = explain(&snapshot, &question) else {
        return Vec::new();
    };
    let verdicts = explanation.verdicts.into_iter();
    verdicts
        .filter(|verdict| verdict.eligible)
        .map(|verdict| verdict.target_id.to_string())
        .collect()
}

/// What each target cannot be eligible without: list and object. The load balancer's endpoint in the other zone is
/// not among them.
const NEEDED: [(&str, &[(&str, &str)]); 5] = [
    (
        BY_RANGE,
        &[
            ("NetworkInterfaces", "eni-0000000000000000a"),
            ("SecurityGroups", "sg-a"),
            ("NetworkAcls", "acl-a"),
            ("Subnets", "subnet-a"),
        ],
    ),
    (
        BY_GROUP,
        &[
            ("NetworkInterfaces", "eni-0000000000000000b"),
            ("SecurityGroups", "sg-b"),
            ("NetworkAcls", "acl-b"),
            ("Subnets", "subnet-b"),
        ],
    ),
    (
        BY_LIST,
        &[
            ("NetworkInterfaces", "eni-0000000000000000c"),
            ("SecurityGroups", "sg-c"),
            ("NetworkAcls", "acl-c"),
            ("Subnets", "subnet-c"),
            ("PrefixListEntries", "pl-00000000000000001"),
        ],
    ),
    (
        BALANCER,
        &[
            ("NetworkInterfaces", "eni-000000000000000d1"),
            ("SecurityGroups", "sg-d"),
            ("NetworkAcls", "acl-d1"),
            ("Subnets", "subnet-d1"),
        ],
    ),
    (
        GATEWAY,
        &[
            ("NetworkInterfaces", "eni-0000000000000000e"),
            ("VpcEndpoints", "vpce-0000000000000000e"),
            ("NetworkAcls", "acl-e"),
            ("Subnets", "subnet-e"),
        ],
    ),
];

/// What no target can be eligible without.
const NEEDED_BY_ALL: [(&str, &str); 3] = [
    ("NetworkInterfaces", SOURCE),
    ("RouteTables", "rtb-1"),
    ("Subnets", "subnet-source"),
];

/// The targets that must not be eligible once this list, or this object of it, is gone. Without any subnets at all
/// nothing refers to one that is missing.
fn lost(list: &str, id: Option<&str>) -> Vec<&'static str> {
    let is_lost =
        |needed: &(&str, &str)| needed.0 == list && id.map_or(list != "Subnets", |id| needed.1 == id);
    let by_all = NEEDED_BY_ALL.iter().any(is_lost) || (list == "TrafficMirrorTargets" && id.is_none());
    NEEDED
        .iter()
        .filter(|(target, needed)| by_all || id == Some(*target) || needed.iter().any(is_lost))
        .map(|(target, _)| *target)
        .collect()
}

#[test]
fn without_a_list_or_an_object_no_target_that_needs_it_is_eligible() {
    let snapshot = sound();
    let mut cases = Vec::new();
    for (list, objects) in snapshot.as_object().unwrap() {
        cases.push((format!("/{list}"), lost(list, None)));
        match objects {
            Value::Array(objects) => {
                for (index, object) in objects.iter().enumerate() {
                    let ids = object.as_object().unwrap().iter();
                    let targets: Vec<_> = ids
                        .filter(|(name, _)| name.ends_with("Id"))
                        .flat_map(|(name, id)| {
                            // Ids of other objects stand in these too.
                            let own = match list.as_str() {
                                "NetworkInterfaces" => "NetworkInterfaceId",
                                "SecurityGroups" => "GroupId",
                                "NetworkAcls" => "NetworkAclId",
                                "RouteTables" => "RouteTableId",
                                "Subnets" => "SubnetId",
                                "VpcEndpoints" => "VpcEndpointId",
                                "TrafficMirrorTargets" => "TrafficMirrorTargetId",
                                _ => "",
                            };
                            if name == own {
                                lost(list, id.as_str())
                            } else {
                                Vec::new()
                            }
                        })
                        .collect();
                    cases.push((format!("/{list}/{index}"), targets));
                }
            }
            Value::Object(objects) => {
                for id in objects.keys() {
                    cases.push((format!("/{list}/{id}"), lost(list, Some(id))));
                }
            }
            _ => unreachable!(),
        }
    }
    assert!(cases.iter().filter(|(_, lost)| !lost.is_empty()).count() > 30);
    for (place, lost) in cases {
        let changed = without(&snapshot, &place);
        let output = run_on(changed.to_string().as_bytes(), &["--interface", SOURCE, "--json"]);
        if place == "/NetworkInterfaces" || place == "/NetworkInterfaces/0" {
            assert_eq!(output.status.code(), Some(1), "without {place}");
            continue;
        }
        assert_eq!(output.status.code(), Some(0), "without {place}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        for verdict in answer["verdicts"].as_array().unwrap() {
            let target = verdict["targetId"].as_str().unwrap();
            assert_eq!(
                verdict["eligible"] == true,
                !lost.contains(&target),
                "without {place}: {verdict}"
            );
            assert!(!lost.contains(&answer["picked"].as_str().unwrap_or_default()));
        }
    }
}

#[test]
fn whatever_is_missing_or_of_another_type_the_binary_ends_well() {
    let snapshot = sound();
    let mut all = Vec::new();
    places(&snapshot, "", &mut all);
    for (index, place) in all.iter().enumerate().step_by(7) {
        let changed = if index % 2 == 0 {
            without(&snapshot, place)
        } else {
            replaced(&snapshot, place, &json!("\u{0}"))
        };
        for mode in [&["--json"][..], &["--unverifiable-targets", "allow"]] {
            let arguments = [&["--interface", SOURCE][..], mode].concat();
            let output = run_on(changed.to_string().as_bytes(), &arguments);
            let message = String::from_utf8_lossy(&output.stderr);
            assert!(
                matches!(output.status.code(), Some(0 | 1)),
                "changed at {place}: {message}"
            );
            assert!(!message.contains("panicked"), "changed at {place}: {message}");
        }
    }
}

fn replaced(snapshot: &Value, place: &str, value: &Value) -> Value {
    let mut snapshot = snapshot.clone();
    *snapshot.pointer_mut(place).unwrap() = value.clone();
    snapshot
}

/// A network in which every target is rejected, each by what one small change might hide.
fn closed() -> Value {
    let mut snapshot = sound();
    for id in ["sg-a", "sg-d"] {
        object(&mut snapshot, "SecurityGroups", id)["IpPermissions"] = from_range("10.0.2.0/24");
    }
    for id in ["acl-b", "acl-c", "acl-e"] {
        object(&mut snapshot, "NetworkAcls", id)["Entries"] = json!([
            entry(90, false, "deny", "10.0.1.0/24"),
            entry(100, false, "allow", "10.0.0.0/8"),
            entry(80, true, "allow", "0.0.0.0/0"),
            default_deny(false),
        ]);
    }
    snapshot
}

#[test]
fn nothing_missing_or_malformed_makes_a_rejected_target_eligible() {
    let snapshot = closed();
    assert!(eligible_in(&snapshot).is_empty());
    let mut all = Vec::new();
    places(&snapshot, "", &mut all);
    let values = [
        json!(null),
        json!(7),
        json!(""),
        json!([]),
        json!({}),
        json!("x"),
        json!(true),
    ];
    for (index, place) in all.iter().enumerate() {
        let parts: Vec<_> = place.split('/').skip(1).collect();
        let means_something_else = |change: &Value| match parts.as_slice() {
            // A load balancer without groups is one that lets all in.
            ["NetworkInterfaces", "4", "Groups", ..] => true,
            // Without the entry that denies, or behind the one that allows, or outbound, it does not deny.
            ["NetworkAcls", _, "Entries", "0"] => change.is_null(),
            ["NetworkAcls", _, "Entries", "0", "Egress"] => *change == true,
            ["NetworkAcls", _, "Entries", "1", "RuleNumber"] => *change == 7,
            _ => false,
        };
        let changes = [(Value::Null, without(&snapshot, place))].into_iter().chain(
            // All values at some places, and at all places some.
            values
                .iter()
                .enumerate()
                .filter(|(number, _)| (index + number) % 3 == 0)
                .map(|(_, value)| (value.clone(), replaced(&snapshot, place, value))),
        );
        for (change, changed) in changes {
            if !means_something_else(&change) {
                assert!(eligible_in(&changed).is_empty(), "{change} at {place}");
            }
        }
    }
}
#[test]
fn the_demos_own_network_is_explained_as_the_demo_expects_it() {
    for seed in 1..=3 {
        let scenario = Scenario::generate(FleetOptions { instances: 60, seed });
        let mut snapshot = Snapshot::from_value(scenario.snapshot.clone()).unwrap();
        let stopped: BTreeSet<_> = scenario
            .sensors
            .iter()
            .filter(|sensor| sensor.blocked == Some(Blocked::Stopped))
            .map(|sensor| sensor.target_id.as_str())
            .collect();
        let stopped: BTreeSet<_> = snapshot
            .traffic_mirror_targets
            .iter()
            .filter(|target| stopped.contains(target.traffic_mirror_target_id.as_str()))
            .filter_map(|target| target.network_interface_id.clone())
            .collect();
        assert!(!stopped.is_empty());
        // The whole fleet is started, a sensor among it.
        for instance in snapshot.instances.iter_mut().filter(|instance| {
            let mut interfaces = instance.network_interfaces.iter();
            !interfaces.any(|interface| stopped.contains(&interface.network_interface_id))
        }) {
            "running".clone_into(&mut instance.state.name);
        }
        assert!(!scenario.expected.is_empty());
        // Which one is full only EC2's refusal tells.
        let is_full = |target: &TargetId| {
            scenario.sensors.iter().any(|sensor| {
                sensor.target_id == target.as_str() && sensor.blocked == Some(Blocked::Capacity)
            })
        };
        let sensors: BTreeSet<_> = snapshot
            .traffic_mirror_targets
            .iter()
            .filter_map(|target| target.network_interface_id.as_deref())
            .collect();
        assert!(
            scenario
                .expected
                .keys()
                .any(|interface| sensors.contains(interface.as_str()))
        );
        for (interface, expected) in &scenario.expected {
            let question = Question {
                interface_id: interface.clone(),
                targets: None,
                local_zone_only: true,
                consent: Consent::default(),
                fixed: FixedTags::default(),
                unverifiable: UnverifiableTargets::Reject,
            };
            let explanation = explain(&snapshot, &question).unwrap();
            let found: BTreeSet<_> = explanation
                .verdicts
                .iter()
                .filter(|verdict| verdict.eligible && !is_full(&verdict.target_id))
                .map(|verdict| verdict.target_id.to_string())
                .collect();
            match expected {
                Expected::Mirrored(targets) => assert_eq!(found, *targets, "{interface}"),
                // It is a sensor's own, or of an instance type that EC2 refuses, which only its answer tells.
                Expected::NotMirrorable => {
                    let is_sensor = sensors.contains(interface.as_str());
                    assert!(found.is_empty() || !is_sensor, "{interface}");
                }
                // By a tag that was not asked about.
                Expected::OptedOut => {}
            }
        }
    }
}
