//! How long it takes to decide about one interface: 1,000 targets, each with 5 security groups of 60 rules, in 200
//! subnets, each with a network ACL of 40 entries, and a route table of 100 routes.
//!
//! `decision` is everything from what EC2 shows to the candidates that are left, `step` its parts with 5,000 groups
//! whose rules are all relevant. Reading EC2's answers is no part of it; what of that is done by the rules
//! themselves is `reading`. The rules that are looked at last are those that admit, or none does, so that none
//! is spared.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeSet, HashMap};
use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use mirrorstep_core::config::{Consent, FixedTags, UnverifiableTargets};
use mirrorstep_core::network::{
    GroupIdentifier, IpPermission, IpRange, NetworkAcl, NetworkAclAssociation, NetworkAclEntry,
    NetworkInterface, PortRange, PrefixListEntry, PrefixListId, Route, RouteTable, RouteTableAssociation,
    SecurityGroup, TrafficMirrorTarget,
};
use mirrorstep_core::pipeline::{Candidacy, MirrorRequest};
use mirrorstep_reachability::{
    GatherSettings, InboundRules, VisibleTarget, filter_network_acls, filter_routes, gather,
};

const TARGETS: u32 = 1000;
const GROUPS_OF_A_TARGET: u32 = 5;
const RULES_OF_A_GROUP: u32 = 60;
/// As many as a VPC may have, each with an ACL of its own (Amazon VPC quotas).
const SUBNETS: u32 = 200;
const ENTRIES_OF_AN_ACL: u32 = 40;
const ROUTES: u32 = 100;

const SOURCE: &str = "eni-00000000000000001";
const ZONE: &str = "us-east-1a";
const REJECT: UnverifiableTargets = UnverifiableTargets::Reject;

/// Whose groups the targets have.
#[derive(Clone, Copy)]
enum Groups {
    /// Each target has five of its own.
    Distinct,
    /// All targets have the same five, as sensors of one Auto Scaling group have.
    Shared,
}

/// What the rules of a group are for.
#[derive(Clone, Copy)]
enum Rules {
    /// A third each for other protocols, for other ports, and for mirrored packets.
    Mixed,
    /// All for mirrored packets.
    Relevant,
    /// All for mirrored packets, of which none admits the source.
    Shut,
}

struct Network {
    source: NetworkInterface,
    targets: Vec<VisibleTarget>,
    groups: HashMap<String, SecurityGroup>,
    rules: InboundRules,
    prefix_lists: HashMap<String, Vec<PrefixListEntry>>,
    acls: Vec<NetworkAcl>,
    route_tables: Vec<RouteTable>,
}

impl Network {
    fn new(whose: Groups, rules: Rules) -> Self {
        let target_groups = |target: u32| -> Vec<u32> {
            let first = match whose {
                Groups::Distinct => target * GROUPS_OF_A_TARGET,
                Groups::Shared => 0,
            };
            (first..first + GROUPS_OF_A_TARGET).collect()
        };
        let numbers: BTreeSet<u32> = (0..TARGETS).flat_map(target_groups).collect();
        let groups = numbers
            .into_iter()
            .map(|number| (group_id(number), group(number, rules)))
            .collect();
        Self {
            source: NetworkInterface {
                network_interface_id: SOURCE.to_owned(),
                availability_zone: ZONE.to_owned(),
                interface_type: "interface".to_owned(),
                private_ip_address: "10.0.1.5".to_owned(),
                subnet_id: "subnet-source".to_owned(),
                vpc_id: "vpc-1".to_owned(),
                groups: vec![member("sg-source")],
                ..NetworkInterface::default()
            },
            targets: (0..TARGETS)
                .map(|target| visible(target, &target_groups(target)))
                .collect(),
            rules: InboundRules::read(&groups),
            groups,
            prefix_lists: HashMap::from([(
                "pl-1".to_owned(),
                (0..60)
                    .map(|entry| PrefixListEntry {
                        cidr: format!("172.16.{entry}.0/24"),
                    })
                    .collect(),
            )]),
            acls: (0..SUBNETS).map(acl).chain([acl_of_the_source()]).collect(),
            route_tables: vec![route_table()],
        }
    }

    fn gathered(&self, targets: Vec<VisibleTarget>) -> Candidacy {
        let request = MirrorRequest {
            interface_id: SOURCE.parse().unwrap(),
            instance_id: "i-00000000000000001".parse().unwrap(),
            instance_name: None,
            choices: Vec::new(),
            change: None,
        };
        let settings = GatherSettings {
            local_zone_only: true,
            consent: Consent::default(),
            fixed: FixedTags::default(),
            unverifiable: REJECT,
        };
        gather(
            request,
            Timestamp::UNIX_EPOCH,
            Vec::new(),
            &self.source,
            targets,
            &settings,
        )
    }

    fn by_groups(&self, candidacy: Candidacy) -> Candidacy {
        self.rules.filter(candidacy, &self.prefix_lists, REJECT)
    }

    fn by_acls(&self, candidacy: Candidacy) -> Candidacy {
        filter_network_acls(candidacy, &self.acls, REJECT)
    }

    fn by_routes(&self, candidacy: Candidacy) -> Candidacy {
        filter_routes(candidacy, &self.route_tables, &self.prefix_lists, REJECT)
    }

    fn decided(&self, targets: Vec<VisibleTarget>) -> Candidacy {
        self.by_routes(self.by_acls(self.by_groups(self.gathered(targets))))
    }
}

fn group_id(number: u32) -> String {
    format!("sg-{number:017x}")
}

fn subnet_id(number: u32) -> String {
    format!("subnet-{number:017x}")
}

fn member(id: &str) -> GroupIdentifier {
    GroupIdentifier {
        group_id: id.to_owned(),
    }
}

fn visible(target: u32, groups: &[u32]) -> VisibleTarget {
    let target_id = format!("tmt-{target:017x}");
    let interface_id = format!("eni-5e{target:015x}");
    VisibleTarget {
        target_id: target_id.parse().unwrap(),
        target: Some(TrafficMirrorTarget {
            traffic_mirror_target_id: target_id,
            network_interface_id: Some(interface_id.clone()),
            ..TrafficMirrorTarget::default()
        }),
        endpoints: vec![NetworkInterface {
            network_interface_id: interface_id,
            availability_zone: ZONE.to_owned(),
            interface_type: "interface".to_owned(),
            private_ip_address: Ipv4Addr::from(0x0a01_0000 + target * 16).to_string(),
            subnet_id: subnet_id(target % SUBNETS),
            vpc_id: "vpc-1".to_owned(),
            groups: groups.iter().map(|number| member(&group_id(*number))).collect(),
            ..NetworkInterface::default()
        }],
        gateway: None,
        instances: Vec::new(),
    }
}

/// A group of which only the last rule admits the source, and that only in a target's last group.
fn group(number: u32, rules: Rules) -> SecurityGroup {
    let last = number % GROUPS_OF_A_TARGET == GROUPS_OF_A_TARGET - 1;
    let rule = |index: u32| {
        let (protocol, port) = match rules {
            Rules::Mixed if index < RULES_OF_A_GROUP / 3 => ("tcp", 443),
            Rules::Mixed if index < RULES_OF_A_GROUP * 2 / 3 => ("udp", 53),
            _ => ("udp", 4789),
        };
        let admits = last && index == RULES_OF_A_GROUP - 1 && !matches!(rules, Rules::Shut);
        IpPermission {
            ip_protocol: protocol.to_owned(),
            from_port: Some(port),
            to_port: Some(port),
            ip_ranges: vec![IpRange {
                cidr_ip: if admits {
                    "10.0.0.0/8".to_owned()
                } else {
                    format!("192.168.{index}.{}/28", number % 256 / 16 * 16)
                },
            }],
            ..IpPermission::default()
        }
    };
    let mut ip_permissions: Vec<_> = (0..RULES_OF_A_GROUP).map(rule).collect();
    ip_permissions[0].prefix_list_ids = vec![PrefixListId {
        prefix_list_id: "pl-1".to_owned(),
    }];
    SecurityGroup {
        group_id: group_id(number),
        vpc_id: "vpc-1".to_owned(),
        ip_permissions,
    }
}

/// An ACL of which the last entry admits the source.
fn acl(subnet: u32) -> NetworkAcl {
    let entry = |index: u32| NetworkAclEntry {
        rule_number: i32::try_from(index).unwrap() + 1,
        egress: false,
        protocol: "17".to_owned(),
        port_range: Some(PortRange {
            from: Some(0),
            to: Some(65535),
        }),
        cidr_block: Some(match index {
            _ if index == ENTRIES_OF_AN_ACL - 1 => "10.0.0.0/8".to_owned(),
            _ => format!("192.168.{index}.0/24"),
        }),
        ipv6_cidr_block: None,
        rule_action: if index.is_multiple_of(2) { "deny" } else { "allow" }.to_owned(),
    };
    NetworkAcl {
        network_acl_id: format!("acl-{subnet:017x}"),
        associations: vec![NetworkAclAssociation {
            subnet_id: subnet_id(subnet),
        }],
        entries: (0..ENTRIES_OF_AN_ACL).map(entry).collect(),
    }
}

/// The ACL of the source's own subnet, of which the last entry lets everything out.
fn acl_of_the_source() -> NetworkAcl {
    let mut acl = acl(SUBNETS);
    for entry in &mut acl.entries {
        entry.egress = true;
    }
    "subnet-source".clone_into(&mut acl.associations[0].subnet_id);
    acl
}

/// The table of the source's subnet: of its routes the one to the VPC itself leads to the targets.
fn route_table() -> RouteTable {
    let mut routes: Vec<_> = (1..ROUTES)
        .map(|index| Route {
            destination_cidr_block: Some(format!("172.16.{index}.0/24")),
            transit_gateway_id: Some("tgw-00000000000000001".to_owned()),
            state: Some("active".to_owned()),
            ..Route::default()
        })
        .collect();
    routes.push(Route {
        destination_cidr_block: Some("10.0.0.0/8".to_owned()),
        gateway_id: Some("local".to_owned()),
        state: Some("active".to_owned()),
        ..Route::default()
    });
    RouteTable {
        route_table_id: "rtb-00000000000000001".to_owned(),
        vpc_id: "vpc-1".to_owned(),
        associations: vec![RouteTableAssociation {
            main: false,
            subnet_id: Some("subnet-source".to_owned()),
        }],
        routes,
    }
}

fn decision(criterion: &mut Criterion) {
    let variants = [
        (
            "5000 groups, all rules relevant",
            Groups::Distinct,
            Rules::Relevant,
        ),
        ("5000 groups, none admits", Groups::Distinct, Rules::Shut),
        ("5000 groups, mixed rules", Groups::Distinct, Rules::Mixed),
        (
            "5 shared groups, all rules relevant",
            Groups::Shared,
            Rules::Relevant,
        ),
    ];
    let mut group = criterion.benchmark_group("decision");
    for (name, whose, rules) in variants {
        let network = Network::new(whose, rules);
        let left = network.decided(network.targets.clone());
        let expected = if matches!(rules, Rules::Shut) { 0 } else { TARGETS };
        assert_eq!(
            u32::try_from(left.candidates.len()),
            Ok(expected),
            "{:?}",
            left.rejections.first()
        );
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_batched(
                || network.targets.clone(),
                |targets| black_box(network.decided(targets)),
                BatchSize::LargeInput,
            );
        });
    }
}

/// Reading the texts of groups, which is done once for a decision, or for any number of them.
fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reading");
    for (name, whose) in [("5000 groups", Groups::Distinct), ("5 groups", Groups::Shared)] {
        let network = Network::new(whose, Rules::Relevant);
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(InboundRules::read(&network.groups)));
        });
    }
}

type Step = fn(&Network, Candidacy) -> Candidacy;

fn steps(criterion: &mut Criterion) {
    let network = Network::new(Groups::Distinct, Rules::Relevant);
    let mut group = criterion.benchmark_group("step");
    group.bench_function("gather", |bencher| {
        bencher.iter_batched(
            || network.targets.clone(),
            |targets| black_box(network.gathered(targets)),
            BatchSize::LargeInput,
        );
    });
    let gathered = network.gathered(network.targets.clone());
    let steps: [(&str, Step); 3] = [
        ("security groups", Network::by_groups),
        ("network ACLs", Network::by_acls),
        ("routes", Network::by_routes),
    ];
    group.bench_function("prefix lists to read", |bencher| {
        bencher.iter(|| black_box(network.rules.prefix_lists_to_read(&gathered)));
    });
    for (name, step) in steps {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || gathered.clone(),
                |candidacy| black_box(step(&network, candidacy)),
                BatchSize::LargeInput,
            );
        });
    }
}

criterion_group!(benches, decision, steps, reading);
criterion_main!(benches);
