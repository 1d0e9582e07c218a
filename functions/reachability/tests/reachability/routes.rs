//! The rule `route`.

use std::collections::{BTreeSet, HashMap};

use mirrorstep_core::config::UnverifiableTargets;
use mirrorstep_core::network::{PrefixListEntry, Route, RouteTable};
use mirrorstep_core::pipeline::{Candidacy, Endpoint, RejectedBy, TargetKind};
use mirrorstep_reachability::{filter_routes, route_prefix_lists_to_read, vpc_to_describe};
use serde_json::{Value, json};

use crate::support::{SENSOR_SUBNET, SOURCE_SUBNET, by_id, endpoint, one, prefix_list, route_table, verdict};

const REJECT: UnverifiableTargets = UnverifiableTargets::Reject;

/// The sensor of these tests is 10.0.2.9.
fn sensor() -> Candidacy {
    one(TargetKind::NetworkInterface, vec![endpoint(1, &["sg-1"])])
}

/// The table of the source's subnet.
fn own(routes: &Value) -> RouteTable {
    route_table(
        "rtb-own",
        &json!([{"Main": false, "SubnetId": SOURCE_SUBNET, "RouteTableId": "rtb-own"}]),
        routes,
    )
}

/// The main table of the source's VPC.
fn main(routes: &Value) -> RouteTable {
    route_table(
        "rtb-main",
        &json!([{"Main": true, "RouteTableId": "rtb-main"}]),
        routes,
    )
}

fn route(cidr: &str, member: &str, to: &str) -> Value {
    json!({"DestinationCidrBlock": cidr, member: to, "State": "active", "Origin": "CreateRoute"})
}

fn listed(list: &str, member: &str, to: &str) -> Value {
    json!({"DestinationPrefixListId": list, member: to, "State": "active", "Origin": "CreateRoute"})
}

fn blackhole(mut route: Value) -> Value {
    route["State"] = json!("blackhole");
    route
}

fn propagated(mut route: Value) -> Value {
    route["Origin"] = json!("EnableVgwRoutePropagation");
    route
}

fn local(cidr: &str) -> Value {
    json!({"DestinationCidrBlock": cidr, "GatewayId": "local", "State": "active", "Origin": "CreateRouteTable"})
}

fn judge(
    tables: &[RouteTable],
    lists: &HashMap<String, Vec<PrefixListEntry>>,
) -> Option<(RejectedBy, String)> {
    let left = filter_routes(sensor(), tables, lists, REJECT);
    verdict(&left).map(|(stage, evidence)| (stage, evidence.to_owned()))
}

#[track_caller]
fn passes(routes: &Value) {
    assert_eq!(judge(&[own(routes)], &HashMap::new()), None);
}

#[track_caller]
fn blocked(routes: &Value, evidence: &str) {
    let expected = Some((RejectedBy::Route, evidence.to_owned()));
    assert_eq!(judge(&[own(routes)], &HashMap::new()), expected);
}

#[track_caller]
fn unverifiable(routes: &Value, evidence: &str) {
    let expected = Some((RejectedBy::Unverifiable, evidence.to_owned()));
    assert_eq!(judge(&[own(routes)], &HashMap::new()), expected);
}

#[test]
fn what_leads_to_a_private_address_passes() {
    passes(&json!([local("10.0.0.0/16")]));
    for (member, to) in [
        ("VpcPeeringConnectionId", "pcx-1"),
        ("TransitGatewayId", "tgw-1"),
        ("GatewayId", "vpce-1"),
        ("NetworkInterfaceId", "eni-1"),
        ("InstanceId", "i-1"),
        (
            "CoreNetworkArn",
            "arn:aws:networkmanager::1:core-network/core-network-1",
        ),
    ] {
        passes(&json!([route("10.0.0.0/16", member, to)]));
        let dead = blackhole(route("10.0.0.0/16", member, to));
        blocked(
            &json!([dead]),
            &format!("rtb-own: 10.0.0.0/16 to {to} is a blackhole"),
        );
    }
    // EC2 names the interface of an instance too, and where it has one, the owner.
    passes(
        &json!([{"DestinationCidrBlock": "10.0.2.0/24", "InstanceId": "i-1", "NetworkInterfaceId": "eni-1",
                    "InstanceOwnerId": "000000000000", "State": "active", "Origin": "CreateRoute"}]),
    );
}

#[test]
fn a_gateway_out_of_aws_cannot_carry_it() {
    for (member, to) in [
        ("GatewayId", "igw-1"),
        ("GatewayId", "vgw-1"),
        ("NatGatewayId", "nat-1"),
        ("CarrierGatewayId", "cagw-1"),
        ("LocalGatewayId", "lgw-1"),
        ("EgressOnlyInternetGatewayId", "eigw-1"),
    ] {
        blocked(
            &json!([local("10.9.0.0/16"), route("0.0.0.0/0", member, to)]),
            &format!("rtb-own: 0.0.0.0/0 to {to} cannot carry it"),
        );
    }
}

#[test]
fn without_a_route_it_is_blocked() {
    blocked(&json!([]), "rtb-own: no route to 10.0.2.9");
    let ipv6 = json!({"DestinationIpv6CidrBlock": "::/0", "GatewayId": "igw-1", "State": "active"});
    blocked(
        &json!([local("10.1.0.0/16"), ipv6]),
        "rtb-own: no route to 10.0.2.9",
    );
}

#[test]
fn the_most_specific_route_decides_in_whatever_order_they_come() {
    let (peering, internet) = (
        route("10.0.2.0/24", "VpcPeeringConnectionId", "pcx-1"),
        route("0.0.0.0/0", "GatewayId", "igw-1"),
    );
    passes(&json!([internet, peering]));
    passes(&json!([peering, internet]));
    let dead = blackhole(route("10.0.2.8/31", "TransitGatewayId", "tgw-1"));
    blocked(
        &json!([dead, peering, internet]),
        "rtb-own: 10.0.2.8/31 to tgw-1 is a blackhole",
    );
    // A neighbour of the address, and one that is more specific again.
    passes(&json!([
        blackhole(route("10.0.2.10/31", "TransitGatewayId", "tgw-1")),
        peering
    ]));
    passes(&json!([
        dead,
        route("10.0.2.9/32", "NetworkInterfaceId", "eni-1")
    ]));
    // Bits beyond the prefix do not count, and the evidence leaves them out.
    blocked(
        &json!([route("10.0.2.200/16", "NatGatewayId", "nat-1")]),
        "rtb-own: 10.0.0.0/16 to nat-1 cannot carry it",
    );
}

#[test]
fn static_goes_before_propagated_and_local_before_all_that_is_propagated() {
    let peering = route("10.0.2.0/24", "VpcPeeringConnectionId", "pcx-1");
    let gateway = |cidr| propagated(route(cidr, "GatewayId", "vgw-1"));
    passes(&json!([gateway("10.0.2.0/24"), peering]));
    blocked(
        &json!([gateway("10.0.2.8/30"), peering]),
        "rtb-own: 10.0.2.8/30 to vgw-1 cannot carry it",
    );
    passes(&json!([gateway("10.0.2.8/30"), local("10.0.0.0/16")]));
    // Where a route that a route server advertises stands is not documented.
    let mut advertised = route("10.0.2.0/24", "NetworkInterfaceId", "eni-1");
    advertised["Origin"] = json!("Advertisement");
    passes(&json!([advertised, peering]));
    unverifiable(
        &json!([advertised, route("10.0.2.0/24", "NatGatewayId", "nat-1")]),
        "rtb-own: 10.0.2.0/24 to eni-1 and 10.0.2.0/24 to nat-1, and either may be taken",
    );
    // A static route may be more specific than the local one.
    blocked(
        &json!([
            local("10.0.0.0/16"),
            route("10.0.2.0/24", "NatGatewayId", "nat-1")
        ]),
        "rtb-own: 10.0.2.0/24 to nat-1 cannot carry it",
    );
}

#[test]
fn the_subnets_own_table_decides_and_the_main_one_where_it_has_none() {
    let (open, shut) = (json!([local("10.0.0.0/16")]), json!([]));
    let none = HashMap::new();
    assert_eq!(judge(&[main(&shut), own(&open)], &none), None);
    assert_eq!(judge(&[main(&open)], &none), None);
    let elsewhere = RouteTable {
        vpc_id: "vpc-2".into(),
        ..main(&open)
    };
    let other_subnet = route_table(
        "rtb-other",
        &json!([{"Main": false, "SubnetId": SENSOR_SUBNET}]),
        &open,
    );
    let expected = Some((RejectedBy::Route, "rtb-own: no route to 10.0.2.9".to_owned()));
    assert_eq!(
        judge(&[main(&open), own(&shut), other_subnet.clone()], &none),
        expected
    );
    let expected = Some((
        RejectedBy::Unverifiable,
        "the route table of subnet-source is not visible".to_owned(),
    ));
    for tables in [vec![], vec![elsewhere, other_subnet]] {
        assert_eq!(judge(&tables, &none), expected);
    }
}

#[test]
fn two_tables_that_claim_the_subnet_decide_nothing() {
    let second = RouteTable {
        route_table_id: "rtb-second".into(),
        ..own(&json!([]))
    };
    let first = own(&json!([local("10.0.0.0/16")]));
    let expected = Some((
        RejectedBy::Unverifiable,
        "rtb-own and rtb-second both claim subnet-source".to_owned(),
    ));
    assert_eq!(judge(&[first.clone(), second], &HashMap::new()), expected);
    // One that is there twice is one.
    assert_eq!(judge(&[first.clone(), first], &HashMap::new()), None);
}

#[test]
fn a_prefix_list_is_as_many_routes_as_it_has_entries() {
    let lists = by_id([
        prefix_list("pl-1", &["192.168.0.0/16", "10.0.2.0/24", "::/0"]),
        prefix_list("pl-2", &["10.0.2.0/24"]),
    ]);
    let peering = listed("pl-1", "VpcPeeringConnectionId", "pcx-1");
    let internet = route("0.0.0.0/0", "GatewayId", "igw-1");
    assert_eq!(judge(&[own(&json!([internet, peering]))], &lists), None);
    let dead = own(&json!([internet, blackhole(peering.clone())]));
    let expected = "rtb-own: 10.0.2.0/24 of pl-1 to pcx-1 is a blackhole";
    assert_eq!(
        judge(&[dead], &lists),
        Some((RejectedBy::Route, expected.to_owned()))
    );
    // As specific, a CIDR goes first; so does a list before what is propagated.
    let nat = route("10.0.2.0/24", "NatGatewayId", "nat-1");
    let expected = "rtb-own: 10.0.2.0/24 to nat-1 cannot carry it";
    assert_eq!(
        judge(&[own(&json!([peering, nat]))], &lists),
        Some((RejectedBy::Route, expected.to_owned()))
    );
    let gateway = propagated(route("10.0.2.0/24", "GatewayId", "vgw-1"));
    assert_eq!(judge(&[own(&json!([gateway, peering]))], &lists), None);
    // Of two lists AWS picks one at random.
    let second = listed("pl-2", "NatGatewayId", "nat-1");
    let expected =
        "rtb-own: 10.0.2.0/24 of pl-1 to pcx-1 and 10.0.2.0/24 of pl-2 to nat-1, and either may be taken";
    assert_eq!(
        judge(&[own(&json!([peering, second]))], &lists),
        Some((RejectedBy::Unverifiable, expected.to_owned()))
    );
    let second = listed("pl-2", "TransitGatewayId", "tgw-1");
    assert_eq!(judge(&[own(&json!([peering, second]))], &lists), None);
}

#[test]
fn a_prefix_list_that_is_not_visible_is_in_doubt_only_where_it_could_matter() {
    let internet = listed("pl-1", "GatewayId", "igw-1");
    let peering = listed("pl-1", "VpcPeeringConnectionId", "pcx-1");
    unverifiable(
        &json!([local("10.0.0.0/16"), internet]),
        "rtb-own has a route to igw-1 for pl-1, which is not visible",
    );
    unverifiable(
        &json!([peering]),
        "rtb-own has a route to pcx-1 for pl-1, which is not visible",
    );
    // Whichever route is taken, the packet gets through, or it does not.
    passes(&json!([local("10.0.0.0/16"), peering]));
    blocked(&json!([internet]), "rtb-own: no route to 10.0.2.9");
    // No entry of a list goes before a /32.
    passes(&json!([
        internet,
        route("10.0.2.9/32", "NetworkInterfaceId", "eni-1")
    ]));
}

#[test]
fn a_prefix_list_is_read_only_where_a_verdict_hangs_on_it() {
    let read = |routes: &Value| route_prefix_lists_to_read(&sensor(), &[own(routes)]);
    let gateway_endpoint = listed("pl-s3", "GatewayId", "vpce-1");
    let internet = route("0.0.0.0/0", "GatewayId", "igw-1");
    assert_eq!(
        read(&json!([local("10.0.0.0/16"), internet, gateway_endpoint])),
        BTreeSet::new()
    );
    assert_eq!(
        read(&json!([internet, gateway_endpoint])),
        BTreeSet::from(["pl-s3".to_owned()])
    );
    // One that would not change the verdict alone may go before one that does.
    assert_eq!(
        read(&json!([
            local("10.0.0.0/16"),
            gateway_endpoint,
            listed("pl-2", "NatGatewayId", "nat-1")
        ])),
        BTreeSet::from(["pl-2".to_owned(), "pl-s3".to_owned()])
    );
    let mut neighbour = sensor();
    neighbour.candidates[0].endpoints[0].subnet_id = SOURCE_SUBNET.into();
    let tables = [own(&json!([internet, gateway_endpoint]))];
    assert_eq!(route_prefix_lists_to_read(&neighbour, &tables), BTreeSet::new());
    assert_eq!(route_prefix_lists_to_read(&sensor(), &[]), BTreeSet::new());
}

#[test]
fn what_is_malformed_is_in_doubt_where_it_could_matter() {
    for cidr in ["", "10.0.0.0", "10.0.0.0/33", "oops", "010.0.0.0/8"] {
        unverifiable(
            &json!([local("10.0.0.0/16"), route(cidr, "GatewayId", "igw-1")]),
            &format!("rtb-own has a route to igw-1 for the malformed destination `{cidr}`"),
        );
        unverifiable(
            &json!([route(cidr, "VpcPeeringConnectionId", "pcx-1")]),
            &format!("rtb-own has a route to pcx-1 for the malformed destination `{cidr}`"),
        );
        unverifiable(
            &json!([local(cidr)]),
            &format!("rtb-own has a route to local for the malformed destination `{cidr}`"),
        );
        passes(&json!([
            local("10.0.0.0/16"),
            route(cidr, "TransitGatewayId", "tgw-1")
        ]));
        passes(&json!([local("10.0.2.9/32"), route(cidr, "GatewayId", "igw-1")]));
    }
    unverifiable(
        &json!([{"NatGatewayId": "nat-1", "State": "active"}, local("10.0.0.0/16")]),
        "rtb-own has a route to nat-1 for no destination",
    );
    let lists = by_id([prefix_list("pl-1", &["oops"])]);
    let table = own(&json!([
        local("10.0.0.0/16"),
        listed("pl-1", "GatewayId", "igw-1")
    ]));
    let expected = "rtb-own has a route to igw-1 for pl-1, which has the malformed entry `oops`";
    assert_eq!(
        judge(&[table], &lists),
        Some((RejectedBy::Unverifiable, expected.to_owned()))
    );
}

#[test]
fn what_leads_nowhere_known_is_in_doubt() {
    unverifiable(
        &json!([route("10.0.0.0/16", "GatewayId", "new-1")]),
        "rtb-own: whether 10.0.0.0/16 to new-1 in state `active` carries it is not known",
    );
    unverifiable(
        &json!([{"DestinationCidrBlock": "10.0.0.0/16", "OdbNetworkArn": "arn:…", "State": "active"}]),
        "rtb-own: whether 10.0.0.0/16 to something unknown in state `active` carries it is not known",
    );
    let mut filtered = route("10.0.0.0/16", "NetworkInterfaceId", "eni-1");
    filtered["State"] = json!("filtered");
    unverifiable(
        &json!([filtered]),
        "rtb-own: whether 10.0.0.0/16 to eni-1 in state `filtered` carries it is not known",
    );
    // Whatever it leads to, it is dead.
    blocked(
        &json!([blackhole(json!({"DestinationCidrBlock": "10.0.0.0/16"}))]),
        "rtb-own: 10.0.0.0/16 to something unknown is a blackhole",
    );
    // Without a state it is taken for active.
    passes(&json!([{"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local"}]));
}

#[test]
fn a_sensor_in_the_sources_subnet_needs_no_route() {
    let mut candidacy = sensor();
    candidacy.candidates[0].endpoints[0].subnet_id = SOURCE_SUBNET.into();
    assert_eq!(vpc_to_describe(&candidacy), None);
    let left = filter_routes(candidacy, &[], &HashMap::new(), REJECT);
    assert_eq!(verdict(&left), None);

    assert_eq!(vpc_to_describe(&sensor()), Some("vpc-1"));
    let mut none = sensor();
    none.candidates.clear();
    assert_eq!(vpc_to_describe(&none), None);
}

#[test]
fn a_target_stays_while_one_endpoint_has_a_route() {
    let far = Endpoint {
        private_ip: "10.8.0.1".parse().unwrap(),
        ..endpoint(2, &[])
    };
    let balancer = one(
        TargetKind::NetworkLoadBalancer,
        vec![endpoint(1, &[]), far.clone()],
    );
    let table = own(&json!([local("10.0.0.0/16")]));
    let left = filter_routes(balancer, std::slice::from_ref(&table), &HashMap::new(), REJECT);
    assert_eq!(left.candidates[0].endpoints, [endpoint(1, &[])]);
    let left = filter_routes(
        one(TargetKind::NetworkLoadBalancer, vec![far]),
        &[table],
        &HashMap::new(),
        REJECT,
    );
    assert_eq!(
        verdict(&left),
        Some((RejectedBy::Route, "rtb-own: no route to 10.8.0.1"))
    );
    assert_eq!(
        left.rejections[0].reason,
        "the route table of the source's subnet does not lead to it"
    );
}

#[test]
fn unverifiable_targets_may_be_allowed_and_an_advisory_tells() {
    let left = filter_routes(sensor(), &[], &HashMap::new(), UnverifiableTargets::Allow);
    assert_eq!(verdict(&left), None);
    assert!(
        left.advisories[0].contains("the route table of subnet-source is not visible"),
        "{:?}",
        left.advisories
    );
    let unseen = one(TargetKind::NetworkInterface, Vec::new());
    let left = filter_routes(unseen, &[], &HashMap::new(), UnverifiableTargets::Allow);
    assert!(left.advisories[0].contains("the route to it unchecked"));
    // What is blocked stays so.
    let left = filter_routes(
        sensor(),
        &[own(&json!([]))],
        &HashMap::new(),
        UnverifiableTargets::Allow,
    );
    assert_eq!(verdict(&left).map(|(stage, _)| stage), Some(RejectedBy::Route));
}

#[test]
fn a_source_whose_subnet_or_vpc_is_not_known_has_no_table() {
    let tables = [main(&json!([local("10.0.0.0/16")]))];
    let mut candidacy = sensor();
    candidacy.source.as_mut().unwrap().vpc_id.clear();
    assert_eq!(vpc_to_describe(&candidacy), None);
    let left = filter_routes(candidacy, &tables, &HashMap::new(), REJECT);
    assert_eq!(
        verdict(&left),
        Some((
            RejectedBy::Unverifiable,
            "the route table of subnet-source is not visible"
        ))
    );
    let mut candidacy = sensor();
    candidacy.source.as_mut().unwrap().subnet_id.clear();
    let left = filter_routes(candidacy, &tables, &HashMap::new(), REJECT);
    assert_eq!(
        verdict(&left),
        Some((RejectedBy::Unverifiable, "the source's subnet is not known"))
    );
}

#[test]
fn a_route_reads_as_the_cli_prints_it_and_writes_back_what_it_has() {
    let printed = local("10.0.0.0/16");
    let route: Route = serde_json::from_value(printed.clone()).unwrap();
    assert_eq!(serde_json::to_value(route).unwrap(), printed);
}
