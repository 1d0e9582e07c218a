//! Random networks: the engine and the naive implementation give the same verdicts.
//!
//! A failure prints the smallest network that shows it and keeps its seed in `properties.regressions` beside
//! this file, which is tried first from then on. `PROPTEST_CASES` raises how many networks are tried.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use mirrorstep_core::TargetId;
use mirrorstep_core::config::UnverifiableTargets;
use mirrorstep_core::network::{
    IpPermission, IpRange, NetworkAcl, NetworkAclAssociation, NetworkAclEntry, PortRange, Route, RouteTable,
    RouteTableAssociation, SecurityGroup,
};
use mirrorstep_core::pipeline::{Candidacy, MirrorRequest, RejectedBy, Source, TargetKind};
use mirrorstep_reachability::explain::explain;
use mirrorstep_reachability::{
    GatherSettings, InboundRules, filter_network_acls, filter_routes, filter_security_groups, gather,
    groups_to_describe, route_prefix_lists_to_read, subnets_to_describe, visible_targets, vpc_to_describe,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::subsequence;
use proptest::test_runner::{FileFailurePersistence, RngAlgorithm};

use crate::naive::{self, Answer, NoSource};
use crate::support::{SENSOR_SUBNET, endpoint, one, request, source};
use crate::worlds::{self, World};

/// How many networks each property is tried on, at least.
const NETWORKS: u32 = 20_000;

fn networks() -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig {
        cases: asked.cases.max(NETWORKS),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        max_shrink_time: 30_000,
        // Making networks is most of the work, and ChaCha is slow without optimisation.
        rng_algorithm: RngAlgorithm::XorShift,
        ..asked
    }
}

/// What the stages decide, given of AWS only what they ask for.
fn by_stages(world: &World) -> Candidacy {
    let World { snapshot, question } = world;
    let unverifiable = question.unverifiable;
    let configured: Vec<TargetId> = naive::World::new(snapshot, question, false)
        .targets()
        .into_iter()
        .map(|id| id.parse().unwrap())
        .collect();
    let shown = snapshot
        .traffic_mirror_targets
        .iter()
        .map(|target| (target.traffic_mirror_target_id.parse().unwrap(), target.clone()))
        .collect();
    let targets = visible_targets(
        configured,
        shown,
        &snapshot.network_interfaces,
        &snapshot.vpc_endpoints,
        &[],
    );
    let request = MirrorRequest {
        interface_id: worlds::SOURCE.parse().unwrap(),
        instance_id: worlds::SOURCE_INSTANCE.parse().unwrap(),
        ..request()
    };
    let settings = GatherSettings {
        local_zone_only: question.local_zone_only,
        consent: question.consent.clone(),
        fixed: question.fixed.clone(),
        unverifiable,
    };
    let epoch = jiff::Timestamp::UNIX_EPOCH;
    let candidacy = gather(request, epoch, Vec::new(), world.source(), targets, &settings);

    let asked = groups_to_describe(&candidacy);
    let groups: HashMap<_, _> = snapshot
        .security_groups
        .iter()
        .filter(|group| asked.contains(&group.group_id))
        .map(|group| (group.group_id.clone(), group.clone()))
        .collect();
    let lists = &snapshot.prefix_list_entries;
    let read = |asked: &std::collections::BTreeSet<String>| -> HashMap<_, _> {
        lists
            .iter()
            .filter(|(id, _)| asked.contains(*id))
            .map(|(id, entries)| (id.clone(), entries.clone()))
            .collect()
    };
    let prefix_lists = read(&InboundRules::read(&groups).prefix_lists_to_read(&candidacy));
    let candidacy = filter_security_groups(candidacy, &groups, &prefix_lists, unverifiable);

    let asked = subnets_to_describe(&candidacy);
    let guards = |acl: &&NetworkAcl| {
        acl.associations
            .iter()
            .any(|association| asked.contains(&association.subnet_id))
    };
    let acls: Vec<_> = snapshot.network_acls.iter().filter(guards).cloned().collect();
    let candidacy = filter_network_acls(candidacy, &acls, unverifiable);

    let vpc = vpc_to_describe(&candidacy);
    let of_vpc = |table: &&RouteTable| Some(table.vpc_id.as_str()) == vpc;
    let tables: Vec<_> = snapshot.route_tables.iter().filter(of_vpc).cloned().collect();
    let prefix_lists = read(&route_prefix_lists_to_read(&candidacy, &tables));
    filter_routes(candidacy, &tables, &prefix_lists, unverifiable)
}

fn stage(answer: Answer, rule: RejectedBy) -> Option<RejectedBy> {
    match answer {
        Answer::Open => None,
        Answer::Shut => Some(rule),
        Answer::Unknown => Some(RejectedBy::Unverifiable),
    }
}

fn rejected_by(candidacy: &Candidacy) -> Option<RejectedBy> {
    candidacy.rejections.first().map(|rejection| rejection.stage)
}

fn sensors_acl(entries: Vec<NetworkAclEntry>) -> NetworkAcl {
    NetworkAcl {
        network_acl_id: "acl-1".into(),
        associations: vec![NetworkAclAssociation {
            subnet_id: SENSOR_SUBNET.into(),
        }],
        entries,
    }
}

/// Two addresses: the one that a rule judges, and another.
fn two_addresses() -> impl Strategy<Value = Vec<u32>> {
    let address = prop_oneof![4 => any::<u32>(), 1 => Just(0), 1 => Just(u32::MAX), 4 => Just(0x0a00_0105)];
    vec(address, 2..=2)
}

/// The tables of the source's VPC and of another, of which one or the other decides, several or none.
fn tables() -> impl Strategy<Value = Vec<(bool, bool, &'static str, Vec<worlds::RoutePlan>)>> {
    let of = || prop_oneof![6 => Just(0_usize), 1 => Just(1)];
    let vpc = prop_oneof![6 => Just("vpc-1"), 1 => Just("vpc-2")];
    vec(
        (any::<bool>(), any::<bool>(), vpc, vec(worlds::route(of()), 0..6)),
        1..4,
    )
}

proptest! {
    #![proptest_config(networks())]

    /// All rules, on everything that EC2 shows: what `explain` answers and what the stages decide.
    #[test]
    fn whole_worlds_agree(world in worlds::world()) {
        let World { snapshot, question } = &world;
        let naive = naive::World::new(snapshot, question, true);
        let expected = naive.expected();
        let explained = explain(snapshot, question).unwrap();
        prop_assert_eq!(explained.left_out.is_some(), naive.no_source().is_some());
        prop_assert_eq!(explained.verdicts.len(), expected.len());
        for (verdict, expected) in explained.verdicts.iter().zip(&expected) {
            prop_assert_eq!(verdict.target_id.as_str(), &expected.target_id);
            prop_assert_eq!(
                (verdict.eligible, verdict.rejected_by, verdict.local),
                (expected.rejected_by.is_none(), expected.rejected_by, expected.local),
                "{} because {:?}: {:?}", verdict.target_id, verdict.reason, verdict.evidence
            );
            let has_reason = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
            prop_assert_eq!(has_reason(&verdict.reason), !verdict.eligible);
            // What lets a target through is told as well, unless nothing of it can be seen and that is allowed.
            if !verdict.eligible || question.unverifiable == UnverifiableTargets::Reject {
                prop_assert!(has_reason(&verdict.evidence), "{:?}", verdict);
            }
        }
        let least = naive.least_loaded(&expected);
        match &explained.picked {
            Some(picked) => prop_assert!(least.iter().any(|id| id == picked.as_str()), "{} of {:?}", picked, least),
            None => prop_assert!(least.is_empty(), "none of {:?}", least),
        }
        // What cannot be told is never let through unsaid, and where it is not allowed never at all.
        if question.unverifiable == UnverifiableTargets::Reject {
            prop_assert!(!explained.advisories.iter().any(|advisory| advisory.contains("kept")));
        }

        let staged = by_stages(&world);
        let naive = naive::World::new(snapshot, question, false);
        if matches!(naive.no_source(), Some(NoSource::InstanceOptedOut | NoSource::InstanceDidNotOptIn)) {
            // `resolve-interfaces` has left it out, and no other stage is asked.
            return Ok(());
        }
        prop_assert_eq!(staged.left_out.is_some(), naive.no_source().is_some());
        if staged.left_out.is_some() {
            prop_assert!(staged.candidates.is_empty());
            return Ok(());
        }
        let expected = naive.expected();
        prop_assert_eq!(staged.candidates.len() + staged.rejections.len(), expected.len());
        for expected in expected {
            let rejection = staged.rejections.iter().find(|rejection| rejection.target_id.as_str() == expected.target_id);
            prop_assert_eq!(rejection.map(|rejection| rejection.stage), expected.rejected_by, "{:?}", rejection);
            let candidate = staged.candidates.iter().find(|candidate| candidate.target_id.as_str() == expected.target_id);
            prop_assert_eq!(candidate.is_some(), rejection.is_none());
            if let Some(candidate) = candidate {
                let left: Vec<_> = candidate.endpoints.iter().map(|endpoint| endpoint.interface_id.clone()).collect();
                prop_assert_eq!((candidate.local, left), (expected.local, expected.left));
            }
        }
    }

    /// One endpoint with several groups, where in whole worlds there are rules before and after.
    #[test]
    fn security_groups_agree(
        addresses in two_addresses(),
        groups in vec(vec(worlds::rule(), 0..4), 6..=6),
        lists in vec(vec(worlds::block(0..2_usize), 0..4), 3..=3),
        attached in subsequence(vec!["sg-0", "sg-1", "sg-2", "sg-3", "sg-hidden"], 1..4),
        member_of in subsequence(vec!["sg-0", "sg-4", "sg-5"], 0..=3),
    ) {
        let group = |(number, rules): (usize, &Vec<worlds::RulePlan>)| {
            let group_id = format!("sg-{number}");
            let ip_permissions = rules.iter().map(|rule| rule.build(&addresses)).collect();
            (group_id.clone(), SecurityGroup { group_id, ip_permissions, ..SecurityGroup::default() })
        };
        let groups: HashMap<_, _> = groups.iter().enumerate().map(group).collect();
        let lists = worlds::lists(&lists, &addresses);
        let member_of: Vec<_> = member_of.into_iter().map(str::to_owned).collect();
        let mut candidacy = one(TargetKind::NetworkInterface, vec![endpoint(1, &attached)]);
        candidacy.source = Some(Source {
            private_ip: Ipv4Addr::from(addresses[0]), groups: member_of.clone(), ..source()
        });
        let left = filter_security_groups(candidacy, &groups, &lists, UnverifiableTargets::Reject);
        let attached: Vec<_> = attached.into_iter().map(str::to_owned).collect();
        let expected = naive::groups(&attached, &groups, addresses[0], &member_of, &lists, true);
        prop_assert_eq!(rejected_by(&left), stage(expected, RejectedBy::SecurityGroup));
    }

    /// Besides what AWS prints, entries that no ACL of AWS has: two of one number, half ranges, unknown actions.
    #[test]
    fn network_acls_agree(addresses in two_addresses(), entries in vec(worlds::entry(true), 0..10)) {
        let mut candidacy = one(TargetKind::NetworkInterface, vec![endpoint(1, &[])]);
        candidacy.source = Some(Source { private_ip: Ipv4Addr::from(addresses[0]), ..source() });
        let acl = sensors_acl(entries.iter().map(|entry| entry.build(&addresses)).collect());
        let left = filter_network_acls(candidacy, std::slice::from_ref(&acl), UnverifiableTargets::Reject);
        prop_assert_eq!(rejected_by(&left), stage(naive::acl(&acl, addresses[0]), RejectedBy::NetworkAcl));
    }

    /// Besides what AWS prints, several tables that claim the subnet.
    #[test]
    fn routes_agree(
        addresses in two_addresses(),
        tables in tables(),
        lists in vec(vec(worlds::block(0..2_usize), 0..4), 3..=3),
    ) {
        let table = |(number, (own, main, vpc, routes)): (usize, &(bool, bool, &'static str, Vec<worlds::RoutePlan>))| {
            let association = |main: bool, subnet: Option<&str>| RouteTableAssociation {
                main, subnet_id: subnet.map(str::to_owned),
            };
            RouteTable {
                route_table_id: format!("rtb-{number}"),
                vpc_id: (*vpc).to_owned(),
                associations: [
                    own.then(|| association(false, Some("subnet-source"))),
                    main.then(|| association(true, None)),
                    Some(association(false, Some("subnet-other"))),
                ].into_iter().flatten().collect(),
                routes: routes.iter().map(|route| route.build(&addresses)).collect(),
            }
        };
        let tables: Vec<_> = tables.iter().enumerate().map(table).collect();
        let lists = worlds::lists(&lists, &addresses);
        let to = mirrorstep_core::pipeline::Endpoint { private_ip: Ipv4Addr::from(addresses[0]), ..endpoint(1, &[]) };
        let candidacy = one(TargetKind::NetworkInterface, vec![to]);
        let asked = route_prefix_lists_to_read(&candidacy, &tables);
        let expected = naive::routes(&tables, "subnet-source", "vpc-1", addresses[0], &lists, naive::Asked::GetsOn);
        let read: HashMap<_, _> = lists.clone().into_iter().filter(|(id, _)| asked.contains(id)).collect();
        for lists in [lists, read] {
            let left = filter_routes(candidacy.clone(), &tables, &lists, UnverifiableTargets::Reject);
            prop_assert_eq!(rejected_by(&left), stage(expected, RejectedBy::Route));
        }
    }

    /// The exception of the rule `security-group`, which is decided with the route, with the ACL between: each rule on
    /// what the one before has left, and of several endpoints the last rule that takes one names the rejection.
    #[test]
    fn references_acls_and_routes_agree(
        addresses in vec(prop_oneof![4 => any::<u32>(), 4 => Just(0x0a00_0105)], 4..=4),
        groups in vec(vec(worlds::reference(), 1..3), 4..=4),
        lists in vec(vec(worlds::block(0..4_usize), 0..4), 3..=3),
        endpoints in vec((subsequence(vec!["sg-0", "sg-1", "sg-2", "sg-3", "sg-hidden"], 1..3), 0..3_usize), 1..4),
        acls in vec(option::weighted(0.9, vec(worlds::entry(false), 0..3)), 2..=2),
        routes in vec(worlds::route(1..4_usize), 0..5),
        read_all in any::<bool>(),
        allow in any::<bool>(),
    ) {
        let member_of = ["sg-0".to_owned(), "sg-4".to_owned()];
        let groups: HashMap<String, SecurityGroup> = groups.iter().enumerate().map(|(number, rules)| {
            let group_id = format!("sg-{number}");
            let ip_permissions = rules.iter().map(|rule| rule.build(&addresses)).collect();
            (group_id.clone(), SecurityGroup { group_id, ip_permissions, ..SecurityGroup::default() })
        }).collect();
        let lists = worlds::lists(&lists, &addresses);
        let acls: Vec<_> = acls.iter().enumerate().filter_map(|(number, entries)| {
            let entries: Vec<_> = entries.as_ref()?.iter().map(|entry| entry.build(&addresses)).collect();
            let mut numbers = std::collections::HashSet::new();
            let entries = entries.into_iter().filter(|entry| numbers.insert((entry.egress, entry.rule_number))).collect();
            let subnet_id = format!("subnet-{number}");
            let associations = vec![NetworkAclAssociation { subnet_id }];
            Some(NetworkAcl { network_acl_id: format!("acl-{number}"), associations, entries })
        }).collect();
        let table = RouteTable {
            route_table_id: "rtb-1".into(), vpc_id: "vpc-1".into(),
            associations: vec![RouteTableAssociation { main: true, subnet_id: None }],
            routes: routes.iter().map(|route| route.build(&addresses)).collect(),
        };
        // The third subnet is the source's own.
        let subnet = |number: usize| if number == 2 { "subnet-source".to_owned() } else { format!("subnet-{number}") };
        let places: Vec<_> = endpoints.iter().enumerate().map(|(number, (groups, place))| {
            mirrorstep_core::pipeline::Endpoint {
                private_ip: Ipv4Addr::from(addresses[number + 1]), subnet_id: subnet(*place), ..endpoint(number, groups)
            }
        }).collect();

        let mut candidacy = one(TargetKind::NetworkLoadBalancer, places.clone());
        candidacy.source = Some(Source {
            private_ip: Ipv4Addr::from(addresses[0]), groups: member_of.to_vec(), ..source()
        });
        let unverifiable = if allow { UnverifiableTargets::Allow } else { UnverifiableTargets::Reject };
        let asked = |asked: std::collections::BTreeSet<String>| -> HashMap<_, _> {
            lists.clone().into_iter().filter(|(id, _)| read_all || asked.contains(id)).collect()
        };
        let rules = InboundRules::read(&groups);
        let read = asked(rules.prefix_lists_to_read(&candidacy));
        let handed_on = |candidacy: Candidacy| -> Candidacy {
            serde_json::from_value(serde_json::to_value(candidacy).unwrap()).unwrap()
        };
        let left = handed_on(rules.filter(candidacy, &read, unverifiable));
        let left = handed_on(filter_network_acls(left, &acls, unverifiable));
        let tables = [table];
        let read = asked(route_prefix_lists_to_read(&left, &tables));
        let left = filter_routes(left, &tables, &read, unverifiable);

        let answers: Vec<[Answer; 3]> = endpoints.iter().zip(&places).map(|((own, _), place)| {
            let to = u32::from(place.private_ip);
            let is_home = place.subnet_id == "subnet-source";
            let by_table = |asked| naive::routes(&tables, "subnet-source", "vpc-1", to, &lists, asked);
            let middlebox = if is_home { Answer::Shut } else { by_table(naive::Asked::Middlebox) };
            let own: Vec<_> = own.iter().map(|id| (*id).to_owned()).collect();
            let guard = acls.iter().find(|acl| acl.associations[0].subnet_id == place.subnet_id);
            [
                naive::groups_behind(middlebox, &own, &groups, addresses[0], &member_of, &lists),
                if is_home { Answer::Open } else { guard.map_or(Answer::Unknown, |acl| naive::acl(acl, addresses[0])) },
                if is_home { Answer::Open } else { by_table(naive::Asked::GetsOn) },
            ]
        }).collect();
        let mut kept: Vec<usize> = (0..endpoints.len()).collect();
        let mut expected = None;
        for (index, rule) in [RejectedBy::SecurityGroup, RejectedBy::NetworkAcl, RejectedBy::Route].into_iter().enumerate() {
            let unclear = kept.iter().any(|number| answers[*number][index] == Answer::Unknown);
            kept.retain(|number| match answers[*number][index] {
                Answer::Open => true,
                Answer::Shut => false,
                Answer::Unknown => allow,
            });
            if kept.is_empty() {
                expected = Some(if unclear { RejectedBy::Unverifiable } else { rule });
                break;
            }
        }
        prop_assert_eq!(rejected_by(&left), expected, "{:?}", left.rejections);
        if let Some(candidate) = left.candidates.first() {
            let mut ids: Vec<_> = candidate.endpoints.iter().map(|endpoint| endpoint.interface_id.clone()).collect();
            ids.sort();
            let expected: Vec<_> = kept.iter().map(|number| places[*number].interface_id.clone()).collect();
            prop_assert_eq!(ids, expected);
            prop_assert!(candidate.endpoints.iter().all(|it| it.by_reference.is_none() && it.lost.is_none()));
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
        let left = filter_network_acls(candidacy.clone(), &[sensors_acl(vec![entry])], UnverifiableTargets::Reject);
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
