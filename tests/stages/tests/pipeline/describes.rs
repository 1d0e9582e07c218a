//! Every describe of the functions in an account with very many of everything: EC2 refuses those that are not
//! paginated, and each is read to its last page.

use std::collections::BTreeSet;

use ec2_sim::Options;
use mirrorstep_core::config::{TagSelector, Targets};
use mirrorstep_core::{InstanceId, InterfaceId, TargetId};
use serde_json::{Value, json};
use stage_tests::Aws;

/// More than a page of most things has.
const MANY: usize = 1_205;
/// More than two pages of what has small ones, or of running instances.
const FEW: usize = 205;

const ELB: &str = "ELB net/sensors/50dc6c495c0c9188";
const LIST: &str = "pl-00000000000000001";

fn id(prefix: &str, number: usize) -> String {
    format!("{prefix}-{number:017x}")
}

fn list(count: usize, object: impl Fn(usize) -> Value) -> Value {
    (1..=count).map(object).collect()
}

fn account() -> Aws {
    let aws = Aws::new(Options::default());
    let everything = json!({
        "Reservations": list(FEW, |n| json!({"ReservationId": id("r", n), "Instances": [{
            "InstanceId": id("i", n), "State": {"Code": 16, "Name": "running"},
        }]})),
        "NetworkInterfaces": list(MANY, |n| json!({"NetworkInterfaceId": id("eni", n), "Description": ELB})),
        "TrafficMirrorTargets": list(MANY, |n| json!({
            "TrafficMirrorTargetId": id("tmt", n), "NetworkInterfaceId": id("eni", n),
            "Tags": [{"Key": "sensor", "Value": "yes"}],
        })),
        "TrafficMirrorSessions": list(MANY, |n| json!({
            "TrafficMirrorSessionId": id("tms", n), "TrafficMirrorTargetId": id("tmt", 1),
            "TrafficMirrorFilterId": "tmf-00000000000000001", "NetworkInterfaceId": id("eni", 1), "SessionNumber": n,
        })),
        "SecurityGroups": list(FEW, |n| json!({"GroupId": id("sg", n)})),
        "NetworkAcls": list(FEW, |n| json!({
            "NetworkAclId": id("acl", n), "Associations": [{"SubnetId": id("subnet", n)}],
        })),
        "RouteTables": list(FEW, |n| json!({"RouteTableId": id("rtb", n), "VpcId": id("vpc", 1)})),
        "VpcEndpoints": list(FEW, |n| json!({
            "VpcEndpointId": id("vpce", n), "NetworkInterfaceIds": [id("eni", n)],
        })),
        "ManagedPrefixLists": [{"PrefixListId": LIST}],
        "PrefixListEntries": {LIST: list(FEW, |n| json!({"Cidr": format!("10.0.{n}.0/24")}))},
    });
    aws.ec2.load_snapshot(&everything).unwrap();
    aws
}

fn ids(prefix: &str) -> BTreeSet<String> {
    (1..=FEW).map(|number| id(prefix, number)).collect()
}

#[tokio::test]
async fn every_describe_is_paginated_and_read_to_its_last_page() {
    let aws = account();
    let ec2 = aws.ec2_calls();
    let interface: InterfaceId = id("eni", 1).parse().unwrap();
    let target: TargetId = id("tmt", 1).parse().unwrap();
    let tagged = Targets::Tagged(TagSelector {
        key: "sensor".to_owned(),
        value: "yes".to_owned(),
    });

    let mut running = (Vec::new(), None);
    loop {
        let (page, next) = ec2.running_instances(running.1.take()).await.unwrap();
        running.0.extend(page);
        match next {
            Some(token) => running.1 = Some(token),
            None => break,
        }
    }
    assert_eq!(running.0.len(), FEW);
    let instance: InstanceId = id("i", 1).parse().unwrap();
    assert!(ec2.instance(&instance).await.unwrap().is_some());
    assert_eq!(ec2.instances(ids("i")).await.unwrap().len(), FEW);
    assert_eq!(ec2.all_targets().await.unwrap().len(), MANY);
    assert_eq!(ec2.targets(&tagged).await.unwrap().len(), MANY);
    let one = Targets::Ids(vec![target.clone()]);
    assert_eq!(ec2.targets(&one).await.unwrap().len(), 1);
    assert!(ec2.target_at(&interface).await.unwrap().is_some());
    assert_eq!(ec2.interfaces("description", [ELB]).await.unwrap().len(), MANY);
    assert_eq!(ec2.all_sessions().await.unwrap().len(), MANY);
    assert_eq!(ec2.sessions_from(&interface).await.unwrap().len(), MANY);
    let of_interface = ec2.sessions_of(std::slice::from_ref(&interface)).await.unwrap();
    assert_eq!(of_interface.len(), MANY);
    let counted = ec2
        .count_sessions_to(std::slice::from_ref(&target))
        .await
        .unwrap();
    assert_eq!(counted[&target], MANY as u64);
    let endpoints = ec2.vpc_endpoints(&ids("vpce")).await.unwrap();
    assert_eq!(endpoints.len(), FEW);
    assert_eq!(ec2.security_groups(&ids("sg")).await.unwrap().len(), FEW);
    assert_eq!(ec2.network_acls(&ids("subnet")).await.unwrap().len(), FEW);
    assert_eq!(ec2.route_tables([id("vpc", 1)]).await.unwrap().len(), FEW);
    let lists = BTreeSet::from([LIST.to_owned()]);
    assert_eq!(ec2.prefix_lists(&lists).await.unwrap()[LIST].len(), FEW);

    // As few pages as there can be: 100 on one of these, 1000 on those of sessions, each read four times.
    let calls = aws.ec2.calls();
    for (action, pages) in [
        ("DescribeRouteTables", 3),
        ("GetManagedPrefixListEntries", 3),
        ("DescribeTrafficMirrorSessions", 8),
    ] {
        assert_eq!(calls[action].answered, pages, "{action}");
    }
}
