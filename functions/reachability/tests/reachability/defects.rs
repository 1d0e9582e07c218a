//! The known defects of the function that people use today, each a case that is decided rightly here. The
//! defects of counting, calling and failing are cases of `tests/stages/tests/pipeline.rs`.

use std::collections::HashMap;

use mirrorstep_core::config::UnverifiableTargets;
use mirrorstep_core::network::GroupIdentifier;
use mirrorstep_core::pipeline::{Endpoint, Outcome, RejectedBy, TargetKind};
use mirrorstep_reachability::{GatherSettings, filter_network_acls, filter_security_groups};
use serde_json::json;

use crate::support::{
    SOURCE_SUBNET, acl, by_id, endpoint, entry, gathered, group, one, prefix_list, sensor_interface,
    settings, source_interface, tmt, verdict, visible,
};

const REJECT: UnverifiableTargets = UnverifiableTargets::Reject;

/// Most instances have no public address. `Association` is not even read.
#[test]
fn defect_01_an_interface_without_a_public_address_is_mirrored() {
    let printed = json!({
        "NetworkInterfaceId": "eni-00000000000000001", "AvailabilityZone": "us-east-1a", "SubnetId": "subnet-source",
        "VpcId": "vpc-1", "PrivateIpAddress": "10.0.1.5", "InterfaceType": "interface", "Groups": [],
        "PrivateIpAddresses": [{"Primary": true, "PrivateIpAddress": "10.0.1.5"}], "TagSet": [],
    });
    let candidacy = gathered(
        &serde_json::from_value(printed).unwrap(),
        vec![visible(1, "us-east-1a")],
        &settings(),
    );
    assert_eq!(candidacy.left_out, None);
    assert_eq!(candidacy.candidates.len(), 1);
}

#[test]
fn defect_02_acl_rules_with_ports_protocol_numbers_order_and_inclusive_end() {
    let judge = |entries| {
        let candidacy = one(TargetKind::NetworkInterface, vec![endpoint(1, &[])]);
        verdict(&filter_network_acls(candidacy, &[acl(&entries)], REJECT)).map(|(stage, _)| stage)
    };
    // With ports, by protocol number, and the last port belongs to the range.
    assert_eq!(
        judge(json!([entry(
            100,
            "allow",
            "17",
            Some((4000, 4789)),
            "10.0.0.0/8"
        )])),
        None
    );
    // A deny stops later allows; the order is that of the numbers, not of the list.
    let deny = entry(50, "deny", "17", Some((4789, 4789)), "10.0.1.0/24");
    let allow = entry(100, "allow", "-1", None, "0.0.0.0/0");
    assert_eq!(judge(json!([allow, deny])), Some(RejectedBy::NetworkAcl));
    // And an allow before a deny stands.
    let late_deny = entry(150, "deny", "17", Some((4789, 4789)), "10.0.1.0/24");
    assert_eq!(judge(json!([late_deny, allow])), None);
}

#[test]
fn defect_03_security_groups_by_text_protocol_without_ports_by_group_by_prefix_list_and_inclusive_end() {
    let lists = by_id([prefix_list("pl-1", &["192.0.2.0/24", "10.0.0.0/16"])]);
    let admits = |rule| {
        let candidacy = one(TargetKind::NetworkInterface, vec![endpoint(1, &["sg-1"])]);
        verdict(&filter_security_groups(
            candidacy,
            &by_id([group("sg-1", &json!([rule]))]),
            &lists,
            REJECT,
        ))
        .is_none()
    };
    assert!(
        admits(json!({"IpProtocol": "-1", "IpRanges": [{"CidrIp": "10.0.0.0/16"}]})),
        "all protocols, no ports"
    );
    assert!(
        admits(json!({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-source"}]})),
        "by group"
    );
    assert!(
        admits(json!({"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": "pl-1"}]})),
        "by prefix list"
    );
    let last_port = json!({"IpProtocol": "udp", "FromPort": 4000, "ToPort": 4789, "IpRanges": [{"CidrIp": "10.0.1.5/32"}]});
    assert!(admits(last_port), "the last port");
    assert!(
        !admits(json!({"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]})),
        "IPv6 is another matter"
    );
}

/// An ACL guards its subnet in one VPC as between two.
#[test]
fn defect_04_acls_are_checked_within_a_vpc_and_only_between_subnets() {
    let shut = [acl(&json!([]))];
    let other_subnet = one(TargetKind::NetworkInterface, vec![endpoint(1, &[])]);
    assert_eq!(
        verdict(&filter_network_acls(other_subnet, &shut, REJECT))
            .unwrap()
            .0,
        RejectedBy::NetworkAcl
    );
    let same_subnet = Endpoint {
        subnet_id: SOURCE_SUBNET.into(),
        ..endpoint(1, &[])
    };
    let same_subnet = one(TargetKind::NetworkInterface, vec![same_subnet]);
    assert_eq!(verdict(&filter_network_acls(same_subnet, &shut, REJECT)), None);
}

/// A rule for the public or a secondary address lets no mirrored packet in: the primary private one sends.
#[test]
fn defect_05_only_the_primary_private_address_is_the_source() {
    let printed = json!({
        "NetworkInterfaceId": "eni-00000000000000001", "AvailabilityZone": "us-east-1a", "SubnetId": "subnet-source",
        "PrivateIpAddress": "10.0.1.5", "Association": {"PublicIp": "198.51.100.7"},
        "PrivateIpAddresses": [
            {"Primary": false, "PrivateIpAddress": "10.0.1.77"},
            {"Primary": true, "PrivateIpAddress": "10.0.1.5", "Association": {"PublicIp": "198.51.100.7"}},
        ],
    });
    let verdict_with = |cidr: &str| {
        let source = serde_json::from_value(printed.clone()).unwrap();
        let candidacy = gathered(&source, vec![visible(1, "us-east-1a")], &settings());
        let rule =
            json!([{"IpProtocol": "udp", "FromPort": 4789, "ToPort": 4789, "IpRanges": [{"CidrIp": cidr}]}]);
        let groups = by_id([group("sg-sensor", &rule)]);
        verdict(&filter_security_groups(
            candidacy,
            &groups,
            &HashMap::new(),
            REJECT,
        ))
        .map(|(stage, _)| stage)
    };
    assert_eq!(verdict_with("198.51.100.7/32"), Some(RejectedBy::SecurityGroup));
    assert_eq!(verdict_with("10.0.1.77/32"), Some(RejectedBy::SecurityGroup));
    assert_eq!(verdict_with("10.0.1.5/32"), None);
}

/// Other zones are candidates whenever they may be, not only where no sensor is local: a local one that is
/// blocked leaves the remote one.
#[test]
fn defect_10_a_remote_sensor_remains_where_the_local_one_is_blocked() {
    let mut local = visible(1, "us-east-1a");
    local.endpoints[0].groups = vec![GroupIdentifier {
        group_id: "sg-shut".into(),
    }];
    let any_zone = GatherSettings {
        local_zone_only: false,
        ..settings()
    };
    let candidacy = gathered(
        &source_interface(),
        vec![local, visible(2, "us-east-1b")],
        &any_zone,
    );
    let open = json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]);
    let groups = by_id([group("sg-shut", &json!([])), group("sg-sensor", &open)]);
    let left = filter_security_groups(candidacy, &groups, &HashMap::new(), REJECT);
    assert_eq!(left.candidates.len(), 1);
    assert_eq!(
        (&left.candidates[0].target_id, left.candidates[0].local),
        (&tmt(2), false)
    );
    assert_eq!(left.rejections[0].stage, RejectedBy::SecurityGroup);
}

#[test]
fn defect_11_a_sensor_mirrors_neither_itself_nor_another_sensor() {
    // Of the sensors' own interfaces, the one that receives, as a source.
    let receiving = sensor_interface(1, "us-east-1a");
    let targets = vec![visible(1, "us-east-1a"), visible(2, "us-east-1a")];
    let candidacy = gathered(&receiving, targets.clone(), &settings());
    assert_eq!(candidacy.left_out.unwrap().outcome, Outcome::NotMirrorable);
    assert!(candidacy.candidates.is_empty());
    // And the one that it is managed by.
    let mut managing = sensor_interface(9, "us-east-1a");
    managing.attachment = sensor_interface(1, "us-east-1a").attachment;
    let candidacy = gathered(&managing, targets, &settings());
    assert_eq!(candidacy.left_out.unwrap().outcome, Outcome::NotMirrorable);
    assert!(candidacy.candidates.is_empty());
}
