//! Random networks: the engine and the naive implementation give the same verdicts.
//!
//! A failure prints the smallest network that shows it and keeps its seed in `properties.regressions` beside
//! this file, which is tried first from then on. `PROPTEST_CASES` sets how many networks are tried.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use mirrorstep_core::config::UnverifiableTargets;
use mirrorstep_core::network::{
    GroupIdentifier, IpPermission, IpRange, NetworkAcl, NetworkAclAssociation, NetworkAclEntry,
    NetworkInterface, PortRange, PrefixListEntry, PrefixListId, Route, RouteTable, RouteTableAssociation,
    SecurityGroup, TrafficMirrorTarget, UserIdGroupPair,
};
use mirrorstep_core::pipeline::{Candidacy, RejectedBy, TargetKind};
use mirrorstep_core::reachability::{
    GatherSettings, VisibleTarget, filter_network_acls, filter_routes, filter_security_groups,
    groups_to_describe, prefix_lists_to_read, route_prefix_lists_to_read, subnets_to_describe,
    vpc_to_describe,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::FileFailurePersistence;

use crate::naive::{self, Answer};
use crate::support::{endpoint, gathered, one, settings, source, source_interface, tmt};

fn networks() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(4000);
    ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    }
}

/// Mostly CIDRs around the address: those that hold it, their neighbours, any; host bits set or not. A few that
/// are IPv6 or malformed.
fn cidr(address: u32) -> impl Strategy<Value = String> {
    let near = (0_u32..=32, any::<u32>(), 0..3_u8).prop_map(move |(length, noise, mode)| {
        let host = u32::MAX.checked_shr(length).unwrap_or(0);
        let neighbour = if length == 0 { 0 } else { 1 << (32 - length) };
        let base = match mode {
            0 => (address & !host) | (noise & host),
            1 => ((address ^ neighbour) & !host) | (noise & host),
            _ => address & !host,
        };
        format!("{}/{length}", Ipv4Addr::from(base))
    });
    let any_block =
        (any::<u32>(), 0_u32..=32).prop_map(|(base, length)| format!("{}/{length}", Ipv4Addr::from(base)));
    let odd = select(vec![
        "::/0",
        "2001:db8::/32",
        "",
        "10.0.0.0",
        "10.0.0/8",
        "10.0.0.0/33",
        "256.0.0.0/0",
        "0.0.0.0/0 ",
        "oops",
        "01.0.0.0/0",
        "0.0.0.0/-1",
        "/0",
    ])
    .prop_map(str::to_owned);
    prop_oneof![12 => near, 3 => any_block, 1 => odd, 1 => Just("0.0.0.0/0".to_owned()), 1 => Just(format!("{}/32", Ipv4Addr::from(address)))]
}

fn protocol() -> impl Strategy<Value = String> {
    let udp = select(vec!["-1", "udp", "17", "UDP"]);
    let other = select(vec!["tcp", "6", "icmp", "icmpv6", "58", "50", "0", "255"]);
    let odd = select(vec!["", "upd", "256", "-2", "-17"]);
    prop_oneof![12 => udp, 4 => other, 1 => odd].prop_map(str::to_owned)
}

fn port_range() -> impl Strategy<Value = (Option<i32>, Option<i32>)> {
    let boundary = select(vec![0, 1, 4788, 4789, 4790, 65534, 65535]);
    let port = prop_oneof![3 => boundary, 1 => 0..=65535_i32];
    prop_oneof![
        8 => (port.clone(), port.clone()).prop_map(|(one, other)| (Some(one.min(other)), Some(one.max(other)))),
        1 => (port.clone(), port.clone()).prop_map(|(from, to)| (Some(from), Some(to))),
        2 => Just((None, None)),
        1 => Just((Some(-1), Some(-1))),
        1 => port.clone().prop_map(|from| (Some(from), None)),
        1 => port.prop_map(|to| (None, Some(to))),
    ]
}

fn permission(address: u32) -> impl Strategy<Value = IpPermission> {
    let ranges = vec(cidr(address), 0..3);
    let groups = subsequence(vec!["sg-source", "sg-other", "sg-0", "sg-none"], 0..2);
    let lists = subsequence(vec!["pl-0", "pl-1", "pl-hidden"], 0..2);
    (protocol(), port_range(), ranges, groups, lists).prop_map(
        |(ip_protocol, ports, ranges, groups, lists)| IpPermission {
            ip_protocol,
            from_port: ports.0,
            to_port: ports.1,
            ip_ranges: ranges.into_iter().map(|cidr_ip| IpRange { cidr_ip }).collect(),
            user_id_group_pairs: groups
                .into_iter()
                .map(|id| UserIdGroupPair {
                    group_id: id.to_owned(),
                    ..UserIdGroupPair::default()
                })
                .collect(),
            prefix_list_ids: lists
                .into_iter()
                .map(|id| PrefixListId {
                    prefix_list_id: id.to_owned(),
                })
                .collect(),
        },
    )
}

fn acl_entry(address: u32) -> impl Strategy<Value = NetworkAclEntry> {
    let number = prop_oneof![4 => 1..8_i32, 1 => Just(32766), 1 => Just(32767)];
    let action = prop_oneof![8 => Just("allow"), 8 => Just("deny"), 1 => Just("permit")];
    let block = prop_oneof![9 => cidr(address).prop_map(Some), 1 => Just(None)];
    let egress = prop::bool::weighted(0.15);
    (
        number,
        action,
        protocol(),
        port_range(),
        any::<bool>(),
        block,
        egress,
    )
        .prop_map(
            |(rule_number, action, protocol, (from, to), with_ports, cidr_block, egress)| NetworkAclEntry {
                rule_number,
                egress,
                protocol,
                port_range: with_ports.then_some(PortRange { from, to }),
                cidr_block,
                ipv6_cidr_block: None,
                rule_action: action.to_owned(),
            },
        )
}

fn address() -> impl Strategy<Value = u32> {
    prop_oneof![4 => any::<u32>(), 1 => Just(0), 1 => Just(u32::MAX), 4 => Just(0x0a00_0105)]
}

/// Prefix lists `pl-0` and `pl-1`; `pl-hidden` cannot be seen.
fn lists(address: u32) -> impl Strategy<Value = HashMap<String, Vec<PrefixListEntry>>> {
    vec(
        vec(cidr(address).prop_map(|cidr| PrefixListEntry { cidr }), 0..4),
        2..=2,
    )
    .prop_map(|lists| {
        lists
            .into_iter()
            .enumerate()
            .map(|(index, entries)| (format!("pl-{index}"), entries))
            .collect()
    })
}

/// Groups `sg-0` to `sg-3`; `sg-hidden` cannot be seen.
fn groups(address: u32) -> impl Strategy<Value = HashMap<String, SecurityGroup>> {
    vec(vec(permission(address), 0..4), 4..=4).prop_map(|groups| {
        groups
            .into_iter()
            .enumerate()
            .map(|(index, ip_permissions)| {
                let group_id = format!("sg-{index}");
                (
                    group_id.clone(),
                    SecurityGroup {
                        group_id,
                        vpc_id: "vpc-1".into(),
                        ip_permissions,
                    },
                )
            })
            .collect()
    })
}

/// ACLs of `subnet-0` to `subnet-2`; that of `subnet-hidden` cannot be seen.
fn acls(address: u32) -> impl Strategy<Value = Vec<NetworkAcl>> {
    vec(vec(acl_entry(address), 0..6), 3..=3).prop_map(|acls| {
        acls.into_iter()
            .enumerate()
            .map(|(index, entries)| NetworkAcl {
                network_acl_id: format!("acl-{index}"),
                associations: vec![NetworkAclAssociation {
                    subnet_id: format!("subnet-{index}"),
                }],
                entries,
            })
            .collect()
    })
}

/// One route, mostly sound and mostly to a range around the address.
fn route(address: u32) -> impl Strategy<Value = Route> {
    let destination = prop_oneof![
        12 => cidr(address).prop_map(|cidr| Route { destination_cidr_block: Some(cidr), ..Route::default() }),
        4 => select(vec!["pl-0", "pl-1", "pl-hidden"]).prop_map(|list| Route {
            destination_prefix_list_id: Some(list.to_owned()), ..Route::default()
        }),
        1 => Just(Route { destination_ipv6_cidr_block: Some("::/0".to_owned()), ..Route::default() }),
        1 => Just(Route::default()),
    ];
    let to = prop_oneof![
        3 => Just("local"),
        12 => select(vec!["pcx-1", "tgw-1", "vpce-1", "eni-1", "i-1", "arn:aws:networkmanager::1:core-network/c"]),
        8 => select(vec!["igw-1", "vgw-1", "nat-1", "lgw-1", "cagw-1", "eigw-1"]),
        1 => select(vec!["", "new-1"]),
    ];
    let state = prop_oneof![
        12 => Just(Some("active")), 3 => Just(Some("blackhole")), 1 => Just(Some("filtered")), 1 => Just(None),
    ];
    let origin = prop_oneof![
        4 => Just("CreateRoute"), 2 => Just("EnableVgwRoutePropagation"), 1 => Just("Advertisement"),
    ];
    (destination, to, state, origin).prop_map(|(mut route, to, state, origin)| {
        let kind = to.split(['-', ':']).next();
        let member = match kind {
            Some("pcx") => &mut route.vpc_peering_connection_id,
            Some("tgw") => &mut route.transit_gateway_id,
            Some("eni") => &mut route.network_interface_id,
            Some("i") => &mut route.instance_id,
            Some("arn") => &mut route.core_network_arn,
            Some("nat") => &mut route.nat_gateway_id,
            Some("lgw") => &mut route.local_gateway_id,
            Some("cagw") => &mut route.carrier_gateway_id,
            Some("eigw") => &mut route.egress_only_internet_gateway_id,
            _ => &mut route.gateway_id,
        };
        *member = Some(to.to_owned()).filter(|to| !to.is_empty());
        route.state = state.map(str::to_owned);
        route.origin = Some(origin.to_owned());
        route
    })
}

/// Route tables of the source's VPC and others, of which one or the other decides, or none.
fn route_tables(address: u32) -> impl Strategy<Value = Vec<RouteTable>> {
    let own = || prop::bool::weighted(0.5);
    let vpc = || prop_oneof![6 => Just("vpc-1"), 1 => Just("vpc-2")];
    let table = (own(), own(), vpc(), vec(route(address), 0..6)).prop_map(|(own, main, vpc, routes)| {
        let association = |main: bool, subnet: Option<&str>| RouteTableAssociation {
            main,
            subnet_id: subnet.map(str::to_owned),
        };
        RouteTable {
            vpc_id: vpc.to_owned(),
            associations: [
                own.then(|| association(false, Some("subnet-source"))),
                main.then(|| association(true, None)),
                Some(association(false, Some("subnet-other"))),
            ]
            .into_iter()
            .flatten()
            .collect(),
            routes,
            ..RouteTable::default()
        }
    });
    vec(table, 1..4).prop_map(|mut tables| {
        for (index, table) in tables.iter_mut().enumerate() {
            table.route_table_id = format!("rtb-{index}");
        }
        tables
    })
}

type Judge<'a> = dyn Fn(&Place) -> Answer + 'a;

#[derive(Debug, Clone)]
struct Place {
    zone: &'static str,
    subnet: &'static str,
    groups: Vec<&'static str>,
}

fn place() -> impl Strategy<Value = Place> {
    let zone = prop_oneof![6 => Just("us-east-1a"), 3 => Just("us-east-1b"), 1 => Just("")];
    let subnet = select(vec![
        "subnet-0",
        "subnet-1",
        "subnet-2",
        "subnet-hidden",
        "subnet-source",
    ]);
    let groups = subsequence(vec!["sg-0", "sg-1", "sg-2", "sg-3", "sg-hidden"], 0..3);
    (zone, subnet, groups).prop_map(|(zone, subnet, groups)| Place { zone, subnet, groups })
}

fn kind() -> impl Strategy<Value = TargetKind> {
    select(vec![
        TargetKind::NetworkInterface,
        TargetKind::NetworkLoadBalancer,
        TargetKind::GatewayLoadBalancerEndpoint,
    ])
}

/// The address of the first endpoint of the first target: 172.16.0.0.
const FIRST_ENDPOINT: u32 = 0xac10_0000;

fn endpoint_address(number: usize, index: usize) -> u32 {
    FIRST_ENDPOINT + u32::try_from(number * 256 + index).unwrap()
}

#[derive(Debug, Clone)]
struct Network {
    address: u32,
    member_of: Vec<&'static str>,
    targets: Vec<(TargetKind, Vec<Place>)>,
    groups: HashMap<String, SecurityGroup>,
    lists: HashMap<String, Vec<PrefixListEntry>>,
    acls: Vec<NetworkAcl>,
    route_tables: Vec<RouteTable>,
    local_zone_only: bool,
    allow: bool,
}

fn network() -> impl Strategy<Value = Network> {
    address().prop_flat_map(|address| {
        let targets = vec((kind(), vec(place(), 0..4)), 1..5);
        let member_of = subsequence(vec!["sg-source", "sg-0"], 0..=2);
        (
            member_of,
            targets,
            groups(address),
            lists(address),
            acls(address),
            route_tables(FIRST_ENDPOINT),
            any::<bool>(),
            any::<bool>(),
        )
            .prop_map(
                move |(member_of, targets, groups, lists, acls, route_tables, local_zone_only, allow)| {
                    Network {
                        address,
                        member_of,
                        targets,
                        groups,
                        lists,
                        acls,
                        route_tables,
                        local_zone_only,
                        allow,
                    }
                },
            )
    })
}

impl Network {
    fn source(&self) -> NetworkInterface {
        NetworkInterface {
            private_ip_address: Ipv4Addr::from(self.address).to_string(),
            groups: self
                .member_of
                .iter()
                .map(|id| GroupIdentifier {
                    group_id: (*id).to_owned(),
                })
                .collect(),
            ..source_interface()
        }
    }

    fn visible(&self) -> Vec<VisibleTarget> {
        let visible = |(number, (kind, places)): (usize, &(TargetKind, Vec<Place>))| {
            let behind = Some(format!("behind-{number}"));
            let mut target = TrafficMirrorTarget::default();
            match kind {
                TargetKind::NetworkInterface => target.network_interface_id = behind,
                TargetKind::NetworkLoadBalancer => target.network_load_balancer_arn = behind,
                TargetKind::GatewayLoadBalancerEndpoint => target.gateway_load_balancer_endpoint_id = behind,
            }
            let endpoints = places
                .iter()
                .enumerate()
                .map(|(index, place)| NetworkInterface {
                    network_interface_id: format!("eni-{number}-{index}"),
                    availability_zone: place.zone.into(),
                    private_ip_address: Ipv4Addr::from(endpoint_address(number, index)).to_string(),
                    subnet_id: place.subnet.into(),
                    groups: place
                        .groups
                        .iter()
                        .map(|id| GroupIdentifier {
                            group_id: (*id).to_owned(),
                        })
                        .collect(),
                    ..NetworkInterface::default()
                })
                .collect();
            VisibleTarget {
                target_id: tmt(number),
                target: Some(target),
                endpoints,
            }
        };
        self.targets.iter().enumerate().map(visible).collect()
    }

    /// The whole engine, given of AWS only what it asks for.
    fn decided(&self) -> Candidacy {
        let unverifiable = if self.allow {
            UnverifiableTargets::Allow
        } else {
            UnverifiableTargets::Reject
        };
        let settings = GatherSettings {
            local_zone_only: self.local_zone_only,
            unverifiable,
            ..settings()
        };
        let candidacy = gathered(&self.source(), self.visible(), &settings);
        let asked = groups_to_describe(&candidacy);
        let groups: HashMap<_, _> = self
            .groups
            .clone()
            .into_iter()
            .filter(|(id, _)| asked.contains(id))
            .collect();
        let asked = prefix_lists_to_read(&candidacy, &groups);
        let lists: HashMap<_, _> = self
            .lists
            .clone()
            .into_iter()
            .filter(|(id, _)| asked.contains(id))
            .collect();
        let candidacy = filter_security_groups(candidacy, &groups, &lists, unverifiable);
        let asked = subnets_to_describe(&candidacy);
        let acls: Vec<_> = self
            .acls
            .iter()
            .filter(|acl| {
                acl.associations
                    .iter()
                    .any(|association| asked.contains(&association.subnet_id))
            })
            .cloned()
            .collect();
        let candidacy = filter_network_acls(candidacy, &acls, unverifiable);
        let vpc = vpc_to_describe(&candidacy);
        let tables: Vec<_> = self
            .route_tables
            .iter()
            .filter(|table| Some(table.vpc_id.as_str()) == vpc)
            .cloned()
            .collect();
        let asked = route_prefix_lists_to_read(&candidacy, &tables);
        let lists: HashMap<_, _> = self
            .lists
            .clone()
            .into_iter()
            .filter(|(id, _)| asked.contains(id))
            .collect();
        filter_routes(candidacy, &tables, &lists, unverifiable)
    }

    /// What is to be expected of a target: the rule that rejects it, or the places that are left of it.
    fn expected(&self, number: usize, kind: TargetKind, places: &[Place]) -> Result<Vec<usize>, RejectedBy> {
        let mut left: Vec<usize> = (0..places.len()).collect();
        if left.is_empty() {
            return if self.allow {
                Ok(left)
            } else {
                Err(RejectedBy::Unverifiable)
            };
        }
        let by_zone = |place: &Place| match place.zone {
            _ if !self.local_zone_only => Answer::Open,
            "us-east-1a" => Answer::Open,
            "" => Answer::Unknown,
            _ => Answer::Shut,
        };
        let by_group = |place: &Place| {
            let ids: Vec<_> = place.groups.iter().map(|id| (*id).to_owned()).collect();
            let member_of: Vec<_> = self.member_of.iter().map(|id| (*id).to_owned()).collect();
            match kind {
                TargetKind::GatewayLoadBalancerEndpoint => Answer::Open,
                TargetKind::NetworkLoadBalancer if ids.is_empty() => Answer::Open,
                _ => naive::groups(&ids, &self.groups, self.address, &member_of, &self.lists),
            }
        };
        let by_acl = |place: &Place| match place.subnet {
            "subnet-source" => Answer::Open,
            "subnet-hidden" => Answer::Unknown,
            subnet => {
                let guards = |acl: &&NetworkAcl| acl.associations[0].subnet_id == subnet;
                naive::acl(self.acls.iter().find(guards).unwrap(), self.address)
            }
        };
        let of_vpc: Vec<_> = self
            .route_tables
            .iter()
            .filter(|table| table.vpc_id == "vpc-1")
            .cloned()
            .collect();
        let by_route = |place: &Place| {
            let index = places
                .iter()
                .position(|other| std::ptr::eq(other, place))
                .unwrap();
            let to = endpoint_address(number, index);
            match place.subnet {
                "subnet-source" => Answer::Open,
                _ => naive::routes(&of_vpc, "subnet-source", "vpc-1", to, &self.lists),
            }
        };
        let rules: [(RejectedBy, &Judge); 4] = [
            (RejectedBy::AvailabilityZone, &by_zone),
            (RejectedBy::SecurityGroup, &by_group),
            (RejectedBy::NetworkAcl, &by_acl),
            (RejectedBy::Route, &by_route),
        ];
        for (rule, judge) in rules {
            let answers: Vec<_> = left.iter().map(|index| judge(&places[*index])).collect();
            let mut kept = answers
                .iter()
                .map(|answer| *answer == Answer::Open || (self.allow && *answer == Answer::Unknown));
            left.retain(|_| kept.next().unwrap());
            if left.is_empty() {
                return Err(if answers.contains(&Answer::Unknown) {
                    RejectedBy::Unverifiable
                } else {
                    rule
                });
            }
        }
        Ok(left)
    }
}

fn stage(answer: Answer, rule: RejectedBy) -> Option<RejectedBy> {
    match answer {
        Answer::Open => None,
        Answer::Shut => Some(rule),
        Answer::Unknown => Some(RejectedBy::Unverifiable),
    }
}

proptest! {
    #![proptest_config(networks())]

    #[test]
    fn security_groups_agree(
        (address, groups, lists) in address().prop_flat_map(|address| (Just(address), groups(address), lists(address))),
        attached in subsequence(vec!["sg-0", "sg-1", "sg-2", "sg-3", "sg-hidden"], 1..4),
        member_of in subsequence(vec!["sg-source", "sg-0"], 0..=2),
    ) {
        let mut candidacy = one(TargetKind::NetworkInterface, vec![endpoint(1, &attached)]);
        let member_of: Vec<_> = member_of.into_iter().map(str::to_owned).collect();
        candidacy.source = Some(mirrorstep_core::pipeline::Source {
            private_ip: Ipv4Addr::from(address), groups: member_of.clone(), ..source()
        });
        let left = filter_security_groups(candidacy, &groups, &lists, UnverifiableTargets::Reject);
        let attached: Vec<_> = attached.into_iter().map(str::to_owned).collect();
        let expected = naive::groups(&attached, &groups, address, &member_of, &lists);
        prop_assert_eq!(left.rejections.first().map(|rejection| rejection.stage), stage(expected, RejectedBy::SecurityGroup));
    }

    #[test]
    fn network_acls_agree(
        (address, entries) in address().prop_flat_map(|address| (Just(address), vec(acl_entry(address), 0..10))),
    ) {
        let mut candidacy = one(TargetKind::NetworkInterface, vec![endpoint(1, &[])]);
        candidacy.source = Some(mirrorstep_core::pipeline::Source { private_ip: Ipv4Addr::from(address), ..source() });
        let acl = NetworkAcl {
            network_acl_id: "acl-1".into(),
            associations: vec![NetworkAclAssociation { subnet_id: crate::support::SENSOR_SUBNET.into() }],
            entries,
        };
        let left = filter_network_acls(candidacy, std::slice::from_ref(&acl), UnverifiableTargets::Reject);
        let expected = naive::acl(&acl, address);
        prop_assert_eq!(left.rejections.first().map(|rejection| rejection.stage), stage(expected, RejectedBy::NetworkAcl));
    }

    #[test]
    fn routes_agree(
        (address, tables, lists) in address().prop_flat_map(|address| (Just(address), route_tables(address), lists(address))),
    ) {
        let to = mirrorstep_core::pipeline::Endpoint { private_ip: Ipv4Addr::from(address), ..endpoint(1, &[]) };
        let candidacy = one(TargetKind::NetworkInterface, vec![to]);
        let asked = route_prefix_lists_to_read(&candidacy, &tables);
        let expected = naive::routes(&tables, "subnet-source", "vpc-1", address, &lists);
        let read: HashMap<_, _> = lists.clone().into_iter().filter(|(id, _)| asked.contains(id)).collect();
        for lists in [lists, read] {
            let left = filter_routes(candidacy.clone(), &tables, &lists, UnverifiableTargets::Reject);
            prop_assert_eq!(left.rejections.first().map(|rejection| rejection.stage), stage(expected, RejectedBy::Route));
        }
    }

    #[test]
    fn whole_networks_agree(network in network()) {
        let decided = network.decided();
        prop_assert_eq!(&decided.left_out, &None);
        prop_assert_eq!(decided.candidates.len() + decided.rejections.len(), network.targets.len());
        for (number, (kind, places)) in network.targets.iter().enumerate() {
            let candidate = decided.candidates.iter().find(|candidate| candidate.target_id == tmt(number));
            let rejection = decided.rejections.iter().find(|rejection| rejection.target_id == tmt(number));
            match network.expected(number, *kind, places) {
                Err(rule) => {
                    prop_assert_eq!(rejection.map(|rejection| rejection.stage), Some(rule));
                    prop_assert!(rejection.is_some_and(|rejection| !rejection.evidence.is_empty()));
                }
                Ok(left) => {
                    let candidate = candidate.expect("a candidate");
                    let ids: Vec<_> = left.iter().map(|index| format!("eni-{number}-{index}")).collect();
                    let kept: Vec<_> = candidate.endpoints.iter().map(|e| e.interface_id.clone()).collect();
                    prop_assert_eq!(kept, ids);
                    prop_assert_eq!(candidate.local, left.iter().any(|index| places[*index].zone == "us-east-1a"));
                }
            }
        }
        // Where nothing unverifiable is allowed, the only advisories are those on load balancers' groups.
        if !network.allow {
            let on_balancers = |advisory: &String| advisory.to_lowercase().contains("load balancer");
            prop_assert!(decided.advisories.iter().all(on_balancers));
        }
    }

    /// Texts that nobody has thought of: no panic, and never eligible on a malformed rule alone.
    #[test]
    fn any_text_is_decided(cidr in "[0-9./: a-f]{0,20}", protocol in "[-0-9a-z]{0,6}", from in any::<Option<i32>>(), to in any::<Option<i32>>()) {
        let rule = IpPermission {
            ip_protocol: protocol.clone(), from_port: from, to_port: to,
            ip_ranges: vec![IpRange { cidr_ip: cidr.clone() }], ..IpPermission::default()
        };
        let groups = HashMap::from([("sg-1".to_owned(), SecurityGroup { ip_permissions: vec![rule], ..SecurityGroup::default() })]);
        let candidacy = one(TargetKind::NetworkInterface, vec![endpoint(1, &["sg-1"])]);
        let left = filter_security_groups(candidacy.clone(), &groups, &HashMap::new(), UnverifiableTargets::Reject);
        prop_assert!(left.candidates.is_empty() || cidr.contains('/'));
        let entry = NetworkAclEntry {
            rule_number: 1, protocol, port_range: Some(PortRange { from, to }), cidr_block: Some(cidr.clone()),
            rule_action: "allow".into(), ..NetworkAclEntry::default()
        };
        let acl = NetworkAcl {
            network_acl_id: "acl-1".into(),
            associations: vec![NetworkAclAssociation { subnet_id: crate::support::SENSOR_SUBNET.into() }],
            entries: vec![entry],
        };
        let left = filter_network_acls(candidacy.clone(), &[acl], UnverifiableTargets::Reject);
        prop_assert!(left.candidates.is_empty() || cidr.contains('/'));
        let table = RouteTable {
            associations: vec![RouteTableAssociation { main: false, subnet_id: Some("subnet-source".into()) }],
            routes: vec![Route {
                destination_cidr_block: Some(cidr.clone()), gateway_id: Some("local".into()), ..Route::default()
            }],
            ..RouteTable::default()
        };
        let left = filter_routes(candidacy, &[table], &HashMap::new(), UnverifiableTargets::Reject);
        prop_assert!(left.candidates.is_empty() || cidr.contains('/'));
    }
}
