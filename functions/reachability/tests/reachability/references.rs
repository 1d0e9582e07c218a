//! Rules that name a group, and middleboxes: what is asked of EC2 for them, what is handed on, and in which words it is
//! told. Which rule rejects is in the cases and the properties.

use std::collections::{BTreeSet, HashMap};

use mirrorstep_core::config::UnverifiableTargets;
use mirrorstep_core::network::{PrefixListEntry, RouteTable, SecurityGroup};
use mirrorstep_core::pipeline::{ByReference, Candidacy, Endpoint, Loss, RejectedBy, TargetKind};
use mirrorstep_reachability::{
    InboundRules, filter_network_acls, filter_routes, filter_security_groups, route_prefix_lists_to_read,
    subnets_to_describe, vpc_to_describe,
};
use serde_json::{Value, json};

use crate::support::{SOURCE_SUBNET, acl, by_id, endpoint, group, one, prefix_list, route_table, verdict};

const REJECT: UnverifiableTargets = UnverifiableTargets::Reject;
const ALLOW: UnverifiableTargets = UnverifiableTargets::Allow;

fn reference() -> Value {
    json!({"IpProtocol": "udp", "FromPort": 4789, "ToPort": 4789, "UserIdGroupPairs": [{"GroupId": "sg-source"}]})
}

fn list(id: &str) -> Value {
    json!({"IpProtocol": "udp", "FromPort": 4789, "ToPort": 4789, "PrefixListIds": [{"PrefixListId": id}]})
}

/// The sensor of these tests is 10.0.2.9, in another subnet than the source.
fn sensor() -> Candidacy {
    one(TargetKind::NetworkInterface, vec![endpoint(1, &["sg-1"])])
}

fn neighbour() -> Candidacy {
    let near = Endpoint {
        subnet_id: SOURCE_SUBNET.into(),
        ..endpoint(1, &["sg-1"])
    };
    one(TargetKind::NetworkInterface, vec![near])
}

fn groups(rules: &Value) -> HashMap<String, SecurityGroup> {
    by_id([group("sg-1", rules)])
}

fn table(routes: &Value) -> RouteTable {
    route_table("rtb-1", &json!([{"Main": true}]), routes)
}

fn to(cidr: &str, member: &str, id: &str) -> Value {
    json!({"DestinationCidrBlock": cidr, member: id, "State": "active", "Origin": "CreateRoute"})
}

fn listed(list: &str, member: &str, id: &str) -> Value {
    json!({"DestinationPrefixListId": list, member: id, "State": "active", "Origin": "CreateRoute"})
}

fn local() -> Value {
    to("10.0.0.0/16", "GatewayId", "local")
}

fn none() -> HashMap<String, Vec<PrefixListEntry>> {
    HashMap::new()
}

fn only(id: &str) -> BTreeSet<String> {
    BTreeSet::from([id.to_owned()])
}

/// What the group's rule lets in, with the route to be decided.
fn marked(candidacy: Candidacy) -> Candidacy {
    filter_security_groups(candidacy, &groups(&json!([reference()])), &none(), REJECT)
}

#[test]
fn an_endpoint_in_another_subnet_that_only_a_group_lets_in_is_marked() {
    let left = marked(sensor());
    assert_eq!(
        left.candidates[0].endpoints[0].by_reference,
        Some(ByReference {
            rule: "sg-1: udp 4789 from members of sg-source".into(),
            doubt: None
        })
    );
    assert_eq!(
        left.admissions[0].evidence,
        "sg-1: udp 4789 from members of sg-source"
    );
    let left = marked(neighbour());
    assert_eq!(left.candidates[0].endpoints[0].by_reference, None);
    // A rule of another of its groups with the address, whichever comes first.
    for own in [["sg-1", "sg-2"], ["sg-2", "sg-1"]] {
        let range = json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "10.0.1.0/24"}]}]);
        let both = by_id([group("sg-1", &json!([reference()])), group("sg-2", &range)]);
        let candidacy = one(TargetKind::NetworkInterface, vec![endpoint(1, &own)]);
        let left = filter_security_groups(candidacy, &both, &none(), REJECT);
        assert_eq!(left.candidates[0].endpoints[0].by_reference, None);
        assert_eq!(left.admissions[0].evidence, "sg-2: all traffic from 10.0.1.0/24");
    }
}

#[test]
fn the_lists_of_groups_are_read_where_the_route_may_take_the_reference_away() {
    let groups = groups(&json!([reference(), list("pl-1")]));
    let asked = |candidacy: &Candidacy| InboundRules::read(&groups).prefix_lists_to_read(candidacy);
    assert_eq!(asked(&sensor()), only("pl-1"));
    assert_eq!(asked(&neighbour()), BTreeSet::new());
    let lists = by_id([prefix_list("pl-1", &["10.0.1.0/24"])]);
    let left = filter_security_groups(sensor(), &groups, &lists, REJECT);
    assert_eq!(left.candidates[0].endpoints[0].by_reference, None);
    let left = filter_security_groups(sensor(), &groups, &none(), REJECT);
    let by_reference = left.candidates[0].endpoints[0].by_reference.clone().unwrap();
    assert_eq!(
        by_reference.doubt.as_deref(),
        Some("sg-1 has a rule with pl-1, which is not visible")
    );
}

#[test]
fn the_lists_of_routes_are_read_where_they_may_lead_through_a_middlebox() {
    for (route, read) in [
        // The packet gets through by each, but not in each case from the source's own interface.
        (listed("pl-1", "NetworkInterfaceId", "eni-1"), true),
        (listed("pl-1", "InstanceId", "i-1"), true),
        (listed("pl-1", "GatewayId", "vpce-1"), true),
        (listed("pl-1", "TransitGatewayId", "tgw-1"), false),
    ] {
        let tables = [table(&json!([local(), route]))];
        let expected = if read { only("pl-1") } else { BTreeSet::new() };
        assert_eq!(
            route_prefix_lists_to_read(&marked(sensor()), &tables),
            expected,
            "{route}"
        );
        assert_eq!(
            route_prefix_lists_to_read(&sensor(), &tables),
            BTreeSet::new(),
            "{route}"
        );
    }
}

#[test]
fn a_list_that_is_not_visible_is_in_doubt_unless_it_is_taken_for_that_of_a_service() {
    let judge = |route: Value, lists: &HashMap<_, _>| {
        let left = filter_routes(
            marked(sensor()),
            &[table(&json!([local(), route]))],
            lists,
            REJECT,
        );
        verdict(&left).map(|(stage, evidence)| (stage, evidence.to_owned()))
    };
    let by_interface = listed("pl-1", "NetworkInterfaceId", "eni-1");
    let by_endpoint = listed("pl-1", "GatewayId", "vpce-1");
    assert_eq!(
        judge(by_interface.clone(), &none()),
        Some((
            RejectedBy::Unverifiable,
            "sg-1: udp 4789 from members of sg-source does not count where the route leads through a middlebox: rtb-1 \
             has a route to eni-1 for pl-1, which is not visible"
                .to_owned()
        ))
    );
    assert_eq!(judge(by_endpoint.clone(), &none()), None);
    let elsewhere = by_id([prefix_list("pl-1", &["192.0.2.0/24"])]);
    let here = by_id([prefix_list("pl-1", &["10.0.2.0/24"])]);
    for route in [by_interface, by_endpoint] {
        assert_eq!(judge(route.clone(), &elsewhere), None);
        assert_eq!(judge(route, &here).unwrap().0, RejectedBy::SecurityGroup);
    }
}

#[test]
fn the_evidence_names_the_rule_the_route_and_what_would_count() {
    let tables = [table(&json!([
        local(),
        to("10.0.2.0/24", "NetworkInterfaceId", "eni-1")
    ]))];
    let left = filter_routes(marked(sensor()), &tables, &none(), REJECT);
    assert_eq!(
        verdict(&left),
        Some((
            RejectedBy::SecurityGroup,
            "sg-1: udp 4789 from members of sg-source does not count, since rtb-1: 10.0.2.0/24 to eni-1 leads through a \
             middlebox: let the source's address in"
        ))
    );
    let left = filter_routes(marked(sensor()), &[table(&json!([local()]))], &none(), REJECT);
    assert_eq!(verdict(&left), None);
    assert_eq!(
        left.candidates[0].endpoints[0].by_reference, None,
        "decided, and not handed on"
    );
    let left = filter_routes(marked(sensor()), &[], &none(), REJECT);
    let (stage, evidence) = verdict(&left).unwrap();
    assert_eq!(stage, RejectedBy::Unverifiable);
    assert!(
        evidence.ends_with("the route table of subnet-source is not visible"),
        "{evidence}"
    );
}

#[test]
fn what_cannot_be_told_behind_a_middlebox_is_kept_with_an_advisory_where_that_is_allowed() {
    let groups = groups(&json!([reference(), list("pl-1")]));
    let left = filter_security_groups(sensor(), &groups, &none(), ALLOW);
    assert_eq!(
        left.advisories,
        Vec::<String>::new(),
        "the route may show that it is let in"
    );
    let tables = [table(&json!([local(), to("10.0.2.0/24", "InstanceId", "i-1")]))];
    let left = filter_routes(left, &tables, &none(), ALLOW);
    assert_eq!(verdict(&left), None);
    for words in ["tmt-00000000000000001", "pl-1, which is not visible", "middlebox"] {
        assert!(left.advisories[0].contains(words), "{:?}", left.advisories);
    }
}

#[test]
fn what_the_acl_takes_away_is_kept_until_the_route_is_known() {
    let closed = [acl(&json!([]))];
    let left = filter_network_acls(marked(sensor()), &closed, REJECT);
    let endpoint = &left.candidates[0].endpoints[0];
    assert!(matches!(
        &endpoint.lost,
        Some(Loss { stage: RejectedBy::NetworkAcl, unknown: false, evidence }) if evidence.contains("acl-1")
    ));
    assert!(!left.candidates[0].local, "nothing is left in the zone");
    assert!(
        left.rejections.is_empty()
            && left
                .admissions
                .iter()
                .all(|it| it.stage == RejectedBy::SecurityGroup)
    );
    assert_eq!(subnets_to_describe(&left), BTreeSet::new());
    assert_eq!(vpc_to_describe(&left), Some("vpc-1"));
    let by_appliance = json!([local(), to("10.0.2.0/24", "NetworkInterfaceId", "eni-1")]);
    let left = filter_routes(left, &[table(&by_appliance)], &none(), REJECT);
    assert_eq!(verdict(&left).unwrap().0, RejectedBy::SecurityGroup);
    // Where a rule with the address lets the source in, the ACL rejects at once.
    let range = json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "10.0.1.0/24"}]}]);
    let left = filter_security_groups(sensor(), &groups(&range), &none(), REJECT);
    let left = filter_network_acls(left, &closed, REJECT);
    assert_eq!(verdict(&left).unwrap().0, RejectedBy::NetworkAcl);
    assert_eq!(vpc_to_describe(&left), None);
}
