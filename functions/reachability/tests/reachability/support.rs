//! Small networks in a few words.

use std::collections::HashMap;

use mirrorstep_core::TargetId;
use mirrorstep_core::config::{Consent, FixedTags, UnverifiableTargets};
use mirrorstep_core::network::{
    Attachment, GroupIdentifier, NetworkAcl, NetworkInterface, PrefixListEntry, RouteTable, SecurityGroup,
    TrafficMirrorTarget,
};
use mirrorstep_core::pipeline::{
    Candidacy, Candidate, Endpoint, MirrorRequest, RejectedBy, Source, TargetKind,
};
use mirrorstep_reachability::{GatherSettings, VisibleTarget};
use serde_json::{Value, json};

/// The account of the source and the sensors' interfaces. Whose the targets are is left out, unless a test says so.
pub const ACCOUNT: &str = "123456789012";
pub const ZONE: &str = "us-east-1a";
pub const SOURCE_SUBNET: &str = "subnet-source";
pub const SENSOR_SUBNET: &str = "subnet-sensor";

pub fn tmt(number: usize) -> TargetId {
    format!("tmt-{number:017x}").parse().unwrap()
}

pub fn request() -> MirrorRequest {
    MirrorRequest {
        interface_id: "eni-00000000000000001".parse().unwrap(),
        instance_id: "i-00000000000000001".parse().unwrap(),
        instance_name: None,
        choices: Vec::new(),
        change: None,
    }
}

/// The attachment of an interface to an instance.
pub fn attached(instance_id: &str) -> Attachment {
    Attachment {
        instance_id: Some(instance_id.to_owned()),
        status: Some("attached".to_owned()),
        attach_time: Some("2026-03-02T08:14:07+00:00".to_owned()),
    }
}

/// The interface to be mirrored, without a public address as most are.
pub fn source_interface() -> NetworkInterface {
    NetworkInterface {
        network_interface_id: request().interface_id.to_string(),
        availability_zone: ZONE.into(),
        interface_type: "interface".into(),
        private_ip_address: "10.0.1.5".into(),
        subnet_id: SOURCE_SUBNET.into(),
        vpc_id: "vpc-1".into(),
        groups: vec![GroupIdentifier {
            group_id: "sg-source".into(),
        }],
        owner_id: ACCOUNT.into(),
        status: "in-use".into(),
        attachment: Some(attached(&request().instance_id.to_string())),
        ..NetworkInterface::default()
    }
}

/// A sensor's interface in `zone`.
pub fn sensor_interface(number: usize, zone: &str) -> NetworkInterface {
    NetworkInterface {
        network_interface_id: format!("eni-5e{number:015x}"),
        availability_zone: zone.into(),
        interface_type: "interface".into(),
        private_ip_address: format!("10.0.2.{}", number % 250 + 1),
        subnet_id: SENSOR_SUBNET.into(),
        vpc_id: "vpc-1".into(),
        groups: vec![GroupIdentifier {
            group_id: "sg-sensor".into(),
        }],
        owner_id: ACCOUNT.into(),
        status: "in-use".into(),
        attachment: Some(attached(&format!("i-5e{number:015x}"))),
        ..NetworkInterface::default()
    }
}

/// A target of type `network-interface` with its interface visible.
pub fn visible(number: usize, zone: &str) -> VisibleTarget {
    let endpoint = sensor_interface(number, zone);
    VisibleTarget {
        target_id: tmt(number),
        target: Some(TrafficMirrorTarget {
            traffic_mirror_target_id: tmt(number).to_string(),
            network_interface_id: Some(endpoint.network_interface_id.clone()),
            ..TrafficMirrorTarget::default()
        }),
        endpoints: vec![endpoint],
        gateway: None,
        instances: Vec::new(),
    }
}

/// A target of type `network-load-balancer` with an interface in each of `zones`.
pub fn balancer(number: usize, zones: &[&str]) -> VisibleTarget {
    VisibleTarget {
        target_id: tmt(number),
        target: Some(TrafficMirrorTarget {
            traffic_mirror_target_id: tmt(number).to_string(),
            network_load_balancer_arn: Some(format!(
                "arn:aws:elasticloadbalancing:…:loadbalancer/net/n/{number}"
            )),
            ..TrafficMirrorTarget::default()
        }),
        endpoints: zones
            .iter()
            .enumerate()
            .map(|(index, zone)| NetworkInterface {
                groups: Vec::new(),
                attachment: Some(Attachment {
                    instance_id: None,
                    ..attached("")
                }),
                interface_type: "network_load_balancer".into(),
                ..sensor_interface(number * 10 + index, zone)
            })
            .collect(),
        gateway: None,
        instances: Vec::new(),
    }
}

pub fn settings() -> GatherSettings {
    GatherSettings {
        local_zone_only: true,
        consent: Consent::default(),
        fixed: FixedTags::default(),
        unverifiable: UnverifiableTargets::Reject,
    }
}

pub fn gathered(
    source: &NetworkInterface,
    targets: Vec<VisibleTarget>,
    settings: &GatherSettings,
) -> Candidacy {
    mirrorstep_reachability::gather(
        request(),
        jiff::Timestamp::UNIX_EPOCH,
        vec![3],
        source,
        targets,
        settings,
    )
}

pub fn source() -> Source {
    Source {
        private_ip: "10.0.1.5".parse().unwrap(),
        availability_zone: ZONE.into(),
        subnet_id: SOURCE_SUBNET.into(),
        vpc_id: "vpc-1".into(),
        groups: vec!["sg-source".into()],
        attached_at: attached("i").attached_at(),
    }
}

/// An endpoint in the source's zone, in the sensors' subnet.
pub fn endpoint(number: usize, groups: &[&str]) -> Endpoint {
    Endpoint {
        interface_id: format!("eni-5e{number:015x}"),
        private_ip: "10.0.2.9".parse().unwrap(),
        availability_zone: ZONE.into(),
        subnet_id: SENSOR_SUBNET.into(),
        groups: Some(groups.iter().map(|group| (*group).to_owned()).collect()),
        by_reference: None,
        lost: None,
    }
}

/// A candidacy with one candidate of this kind.
pub fn one(kind: TargetKind, endpoints: Vec<Endpoint>) -> Candidacy {
    Candidacy {
        request: request(),
        observed_at: jiff::Timestamp::UNIX_EPOCH,
        used_session_numbers: Vec::new(),
        left_out: None,
        source: Some(source()),
        candidates: vec![Candidate {
            target_id: tmt(1),
            kind,
            local: true,
            endpoints,
        }],
        rejections: Vec::new(),
        admissions: Vec::new(),
        advisories: Vec::new(),
    }
}

/// A group with these rules, as the AWS CLI prints them.
pub fn group(id: &str, permissions: &Value) -> (String, SecurityGroup) {
    let group =
        json!({"GroupId": id, "VpcId": "vpc-1", "IpPermissions": permissions, "Description": "unused"});
    (id.to_owned(), serde_json::from_value(group).unwrap())
}

pub fn prefix_list(id: &str, cidrs: &[&str]) -> (String, Vec<PrefixListEntry>) {
    (
        id.to_owned(),
        cidrs
            .iter()
            .map(|cidr| PrefixListEntry {
                cidr: (*cidr).to_owned(),
            })
            .collect(),
    )
}

/// The sensors' subnet's ACL with these entries, as the AWS CLI prints them.
pub fn acl(entries: &Value) -> NetworkAcl {
    serde_json::from_value(json!({
        "NetworkAclId": "acl-1",
        "Associations": [{"SubnetId": SENSOR_SUBNET, "NetworkAclId": "acl-1"}],
        "Entries": entries,
        "IsDefault": false,
    }))
    .unwrap()
}

/// A route table with these associations and routes, as the AWS CLI prints them.
pub fn route_table(id: &str, associations: &Value, routes: &Value) -> RouteTable {
    serde_json::from_value(json!({
        "RouteTableId": id, "VpcId": "vpc-1", "OwnerId": "000000000000", "PropagatingVgws": [],
        "Associations": associations, "Routes": routes,
    }))
    .unwrap()
}

/// An inbound entry.
pub fn entry(number: i32, action: &str, protocol: &str, ports: Option<(i32, i32)>, cidr: &str) -> Value {
    let mut entry = json!({
        "RuleNumber": number, "RuleAction": action, "Protocol": protocol, "CidrBlock": cidr, "Egress": false,
    });
    if let Some((from, to)) = ports {
        entry["PortRange"] = json!({"From": from, "To": to});
    }
    entry
}

/// Security groups or prefix lists by id.
pub fn by_id<T, const N: usize>(pairs: [(String, T); N]) -> HashMap<String, T> {
    HashMap::from(pairs)
}

/// Which rule rejected the only candidate and on what evidence, `None` if it is still one.
pub fn verdict(candidacy: &Candidacy) -> Option<(RejectedBy, &str)> {
    assert_eq!(
        candidacy.candidates.len() + candidacy.rejections.len(),
        1,
        "{candidacy:?}"
    );
    candidacy
        .rejections
        .first()
        .map(|rejection| (rejection.stage, rejection.evidence.as_str()))
}
