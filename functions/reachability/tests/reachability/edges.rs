//! That the random worlds reach the edges: a property of networks that never come near them says nothing.

use std::collections::{BTreeMap, BTreeSet};

use mirrorstep_core::config::UnverifiableTargets;
use mirrorstep_core::network::{
    IpPermission, NetworkAclEntry, NetworkInterface, SecurityGroup, TrafficMirrorTarget,
};
use mirrorstep_reachability::snapshot::Snapshot;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use crate::naive::{self, Answer};
use crate::worlds::{self, World};

const WORLDS: usize = 4000;

/// In how many of them each edge must be met.
const OFTEN: usize = 20;

/// The same worlds in every run. Each edge counts once for a world.
#[test]
fn random_worlds_reach_every_edge() {
    let mut runner = TestRunner::new_with_rng(
        ProptestConfig::default(),
        TestRng::deterministic_rng(RngAlgorithm::XorShift),
    );
    let strategy = worlds::world();
    let mut met: BTreeMap<String, usize> = EDGES.iter().map(|edge| ((*edge).to_owned(), 0)).collect();
    for _ in 0..WORLDS {
        let world = strategy.new_tree(&mut runner).unwrap().current();
        for edge in edges(&world) {
            *met.entry(edge).or_default() += 1;
        }
    }
    let seldom: Vec<_> = met.iter().filter(|(_, worlds)| **worlds < OFTEN).collect();
    assert!(
        seldom.is_empty(),
        "of {WORLDS} worlds too few meet {seldom:?}; all: {met:#?}"
    );
    let unlisted: Vec<_> = met
        .keys()
        .filter(|edge| !EDGES.contains(&edge.as_str()))
        .collect();
    assert!(unlisted.is_empty(), "not in the list: {unlisted:?}");
}

/// A failing world is printed as JSON that `mirrorstep explain --snapshot` reads: the same world.
#[test]
fn what_is_printed_of_a_world_is_the_world() {
    let mut runner = TestRunner::new_with_rng(
        ProptestConfig::default(),
        TestRng::deterministic_rng(RngAlgorithm::XorShift),
    );
    let strategy = worlds::world();
    for _ in 0..200 {
        let world = strategy.new_tree(&mut runner).unwrap().current();
        let printed = format!("{world:?}");
        let (_, json) = printed.split_once('\n').unwrap();
        assert!(
            Snapshot::parse(json.as_bytes()).as_ref() == Ok(&world.snapshot),
            "{printed}"
        );
    }
}

const EDGES: &[&str] = &[
    "NetworkInterface is eligible",
    "NetworkInterface is not eligible",
    "NetworkLoadBalancer is eligible",
    "NetworkLoadBalancer is not eligible",
    "GatewayLoadBalancerEndpoint is eligible",
    "GatewayLoadBalancerEndpoint is not eligible",
    "rejected by Target",
    "rejected by SensorDown",
    "rejected by AvailabilityZone",
    "rejected by SecurityGroup",
    "rejected by NetworkAcl",
    "rejected by Route",
    "rejected by Unverifiable",
    "eligible only by what cannot be told",
    "the source is none",
    "local zones only",
    "any zone, and a remote target is eligible beside a local one",
    "any zone, and only remote targets are eligible",
    "a target is not shown",
    "a target names nothing",
    "a target's interface is not shown",
    "an endpoint has no address",
    "an endpoint's address is malformed",
    "an endpoint's zone is not known",
    "several endpoints, of which some are left",
    "a load balancer has groups",
    "a load balancer has no groups",
    "an interface has no groups",
    "a subnet is not shown",
    "an endpoint in the source's subnet",
    "the first or the last address of all",
    "sensor: this account's, and its interface is gone",
    "sensor: another account's, and its interface is not shown",
    "sensor: its interface is not in use",
    "sensor: its attachment is under way",
    "sensor: in use, and attached to nothing",
    "sensor: its status is not told",
    "sensor: its instance does not run",
    "sensor: its instance is not shown",
    "sensor: its gateway endpoint is pending",
    "sensor: its gateway endpoint is at its end",
    "sensor: several endpoints, of which one is down",
    "middlebox: only a group lets the source in, and there is one",
    "middlebox: only a group lets the source in, and there is none",
    "middlebox: only a group lets the source in, and it cannot be told",
    "middlebox: a group or what cannot be read lets the source in, and there is one",
    "middlebox: a group lets the source in, and so does its address",
    "middlebox: there is one, and the ACL rejects too",
    "middlebox: there is none, and the ACL rejects",
    "middlebox: there is one before some of several endpoints",
    "middlebox: a list of a service that is not read",
    "group: hidden",
    "group: empty",
    "group: rule admits by the last port",
    "group: rule admits by the first port",
    "group: rule misses by one port",
    "group: rule admits all protocols",
    "group: range 0.0.0.0/0 admits",
    "group: range /32 admits",
    "group: range with host bits set admits",
    "group: ranges that overlap admit",
    "group: range misses by one bit",
    "group: malformed range",
    "group: malformed protocol",
    "group: names a group that the source is in",
    "group: names a group that the source is not in",
    "group: names a group that names the source's",
    "group: names itself, and the source is in it",
    "group: names an actively peered group that the source is in",
    "group: names a no longer peered group that the source is in",
    "group: names an empty group",
    "group: prefix list admits",
    "group: prefix list with entries that overlap",
    "group: prefix list hidden",
    "acl: not shown",
    "acl: allow after deny",
    "acl: deny after allow",
    "acl: what decides is not first in the list",
    "acl: the last port decides",
    "acl: the first port decides",
    "acl: misses by one port",
    "acl: a range with host bits set decides",
    "acl: 32766 decides",
    "acl: 32767 decides",
    "acl: nothing decides",
    "acl: outbound entry that would decide",
    "acl: malformed",
    "route: the subnet's own table",
    "route: the main table",
    "route: no table",
    "route: none",
    "route: most specific of several",
    "route: most specific of several that differ",
    "route: equally specific",
    "route: local before a propagated one that is more specific",
    "route: by prefix list",
    "route: prefix list hidden",
    "route: blackhole",
    "route: out of AWS",
    "route: virtual private gateway",
    "route: peering",
    "route: transit gateway",
    "route: VPC endpoint",
    "route: 0.0.0.0/0",
    "route: /32",
    "route: malformed destination",
];

/// What a world is an example of.
fn edges(world: &World) -> BTreeSet<String> {
    let mut met = BTreeSet::new();
    let World { snapshot, question } = world;
    let naive = naive::World::new(snapshot, question, true);
    let expected = naive.expected();
    if naive.no_source().is_some() {
        met.insert("the source is none".to_owned());
        return met;
    }
    let source = world.source();
    let mut note = |edge: &str, holds: bool| {
        if holds {
            met.insert(edge.to_owned());
        }
    };
    let eligible = |local: bool| {
        let one = |target: &naive::Expected| target.rejected_by.is_none() && target.local == local;
        expected.iter().any(one)
    };
    let near = question.local_zone_only;
    note("local zones only", near);
    note(
        "any zone, and a remote target is eligible beside a local one",
        !near && eligible(true) && eligible(false),
    );
    note(
        "any zone, and only remote targets are eligible",
        !near && !eligible(true) && eligible(false),
    );

    let mut strict = question.clone();
    strict.unverifiable = UnverifiableTargets::Reject;
    let strict = naive::World::new(snapshot, &strict, true).expected();
    let subnets: Vec<_> = snapshot
        .subnets
        .iter()
        .map(|subnet| subnet.subnet_id.as_str())
        .collect();
    for (target, strict) in expected.iter().zip(&strict) {
        let shown = snapshot
            .traffic_mirror_targets
            .iter()
            .find(|shown| shown.traffic_mirror_target_id == target.target_id);
        let Some(shown) = shown else {
            note("a target is not shown", true);
            continue;
        };
        let kind = match (&shown.network_interface_id, &shown.network_load_balancer_arn) {
            (Some(_), _) => "NetworkInterface",
            (_, Some(_)) => "NetworkLoadBalancer",
            _ if shown.gateway_load_balancer_endpoint_id.is_some() => "GatewayLoadBalancerEndpoint",
            _ => {
                note("a target names nothing", true);
                continue;
            }
        };
        let passes = target.rejected_by.is_none();
        note(
            &format!("{kind} is {}eligible", if passes { "" } else { "not " }),
            true,
        );
        if let Some(rule) = target.rejected_by {
            note(&format!("rejected by {rule:?}"), true);
        }
        note(
            "eligible only by what cannot be told",
            passes && strict.rejected_by.is_some(),
        );
        let interfaces = naive.interfaces(&target.target_id);
        sensor_edges(world, &naive, shown, &interfaces, &mut note);
        if kind != "GatewayLoadBalancerEndpoint" {
            middlebox_edges(&naive, &interfaces, &mut note);
        }
        note("a target's interface is not shown", interfaces.is_empty());
        note(
            "several endpoints, of which some are left",
            !target.left.is_empty() && target.left.len() < interfaces.len(),
        );
        for interface in interfaces {
            note(
                "an endpoint has no address",
                interface.private_ip_address.is_empty(),
            );
            note(
                "an endpoint's address is malformed",
                interface.private_ip_address == "10.0.2",
            );
            note(
                "an endpoint's zone is not known",
                interface.availability_zone.is_empty(),
            );
            let subnet = interface.subnet_id.as_str();
            note(
                "a subnet is not shown",
                !subnets.is_empty() && !subnets.contains(&subnet),
            );
            note("an endpoint in the source's subnet", subnet == source.subnet_id);
            let ends = [u32::MIN, u32::MAX].map(Some);
            note(
                "the first or the last address of all",
                [interface, source].iter().any(|it| ends.contains(&address(it))),
            );
            if kind == "NetworkLoadBalancer" {
                note("a load balancer has groups", !interface.groups.is_empty());
                note("a load balancer has no groups", interface.groups.is_empty());
            }
            if kind == "NetworkInterface" {
                note("an interface has no groups", interface.groups.is_empty());
            }
            if kind != "GatewayLoadBalancerEndpoint" {
                for group in &interface.groups {
                    let shown = snapshot
                        .security_groups
                        .iter()
                        .find(|shown| shown.group_id == group.group_id);
                    note("group: hidden", shown.is_none());
                    if let Some(group) = shown {
                        note("group: empty", group.ip_permissions.is_empty());
                        for rule in &group.ip_permissions {
                            rule_edges(world, group, rule, &mut note);
                        }
                    }
                }
            }
            if subnet != source.subnet_id {
                acl_edges(world, subnet, &mut note);
                if let Some(to) = address(interface) {
                    route_edges(world, to, &mut note);
                }
            }
        }
    }
    met
}

fn address(interface: &NetworkInterface) -> Option<u32> {
    let text = format!("{}/32", interface.private_ip_address);
    naive::addresses(&text).ok().flatten().map(|(first, _)| first)
}

fn source_address(world: &World) -> u32 {
    address(world.source()).unwrap()
}

/// Whether a CIDR holds an address, and how many bits it fixes.
fn holds(cidr: &str, address: u32) -> Option<u32> {
    let (first, last) = naive::addresses(cidr).ok().flatten()?;
    naive::within(&[(first, last)], address).then(|| 32 - (u64::from(last) - u64::from(first) + 1).ilog2())
}

fn has_host_bits(cidr: &str) -> bool {
    let (base, _) = cidr.split_once('/').unwrap();
    let range = naive::addresses(cidr).ok().flatten();
    let base = naive::addresses(&format!("{base}/32")).ok().flatten();
    range.is_some_and(|(first, _)| base.is_some_and(|(base, _)| base != first))
}

fn sensor_edges(
    world: &World,
    naive: &naive::World<'_>,
    target: &TrafficMirrorTarget,
    interfaces: &[&NetworkInterface],
    meet: &mut impl FnMut(&str, bool),
) {
    let own = target.owner_id == world.source().owner_id && !target.owner_id.is_empty();
    let gone = interfaces.is_empty();
    meet("sensor: this account's, and its interface is gone", gone && own);
    meet(
        "sensor: another account's, and its interface is not shown",
        gone && !own && !target.owner_id.is_empty(),
    );
    let gateway = naive.gateway(target);
    meet(
        "sensor: its gateway endpoint is pending",
        gateway == Answer::Unknown,
    );
    meet(
        "sensor: its gateway endpoint is at its end",
        gateway == Answer::Shut,
    );
    let down = |interface: &&&NetworkInterface| naive.by_attachment(interface) == Answer::Shut;
    let down = interfaces.iter().filter(down).count();
    meet(
        "sensor: several endpoints, of which one is down",
        down == 1 && interfaces.len() > 1,
    );
    for interface in interfaces {
        let status = interface.status.as_str();
        let attachment = interface.attachment.as_ref();
        let attached = attachment.and_then(|attachment| attachment.status.as_deref());
        meet(
            "sensor: its interface is not in use",
            !["", "in-use"].contains(&status),
        );
        meet(
            "sensor: its attachment is under way",
            attached.is_some_and(|status| status.ends_with("taching")),
        );
        meet(
            "sensor: in use, and attached to nothing",
            status == "in-use" && attachment.is_none(),
        );
        meet(
            "sensor: its status is not told",
            status.is_empty() && attachment.is_none(),
        );
        let Some(behind) = attachment.and_then(|attachment| attachment.instance_id.as_ref()) else {
            continue;
        };
        let mut shown = world.snapshot.instances.iter();
        let instance = shown.find(|instance| instance.instance_id == *behind);
        meet("sensor: its instance is not shown", instance.is_none());
        let state = instance.map_or("", |instance| instance.state.name.as_str());
        meet(
            "sensor: its instance does not run",
            !["", "running"].contains(&state) && attached == Some("attached"),
        );
    }
}

fn middlebox_edges(
    naive: &naive::World<'_>,
    interfaces: &[&NetworkInterface],
    meet: &mut impl FnMut(&str, bool),
) {
    let mut before = 0;
    for interface in interfaces.iter().filter(|interface| address(interface).is_some()) {
        let middlebox = naive.middlebox_before(interface);
        let is_member = naive.is_let_in_by_reference(interface);
        let acl = naive.by_acl(interface);
        let only_a_group = is_member && naive.groups_behind(Answer::Open, interface) == Answer::Shut;
        before += usize::from(is_member && middlebox == Answer::Open);
        let answers = [
            (Answer::Open, "there is one"),
            (Answer::Shut, "there is none"),
            (Answer::Unknown, "it cannot be told"),
        ];
        for (answer, words) in answers {
            meet(
                &format!("middlebox: only a group lets the source in, and {words}"),
                only_a_group && middlebox == answer,
            );
        }
        meet(
            "middlebox: a group or what cannot be read lets the source in, and there is one",
            is_member && !only_a_group && middlebox == Answer::Open,
        );
        meet(
            "middlebox: a group lets the source in, and so does its address",
            naive.names_a_group_of_the_source(interface)
                && naive.groups_behind(Answer::Open, interface) == Answer::Open
                && middlebox == Answer::Open,
        );
        meet(
            "middlebox: there is one, and the ACL rejects too",
            only_a_group && middlebox == Answer::Open && acl == Answer::Shut,
        );
        meet(
            "middlebox: there is none, and the ACL rejects",
            only_a_group && middlebox == Answer::Shut && acl == Answer::Shut,
        );
        meet(
            "middlebox: a list of a service that is not read",
            is_member && naive.has_an_unread_list_of_a_service(),
        );
    }
    meet(
        "middlebox: there is one before some of several endpoints",
        before > 0 && before < interfaces.len(),
    );
}

fn rule_edges(world: &World, group: &SecurityGroup, rule: &IpPermission, meet: &mut impl FnMut(&str, bool)) {
    let source = source_address(world);
    let lists = &world.snapshot.prefix_list_entries;
    let member_of: Vec<_> = world
        .source()
        .groups
        .iter()
        .map(|group| group.group_id.clone())
        .collect();
    let admits = naive::permission(rule, source, &member_of, lists, true) == Answer::Open;
    let is_udp = ["udp", "17"].contains(&rule.ip_protocol.as_str());
    let (from, to) = (rule.from_port, rule.to_port);
    meet(
        "group: rule admits by the last port",
        admits && is_udp && to == Some(4789) && from < to,
    );
    meet(
        "group: rule admits by the first port",
        admits && is_udp && from == Some(4789) && from < to,
    );
    meet(
        "group: rule admits all protocols",
        admits && rule.ip_protocol == "-1",
    );
    let ranges: Vec<_> = rule
        .ip_ranges
        .iter()
        .map(|range| range.cidr_ip.as_str())
        .collect();
    let holding: Vec<_> = ranges
        .iter()
        .filter(|cidr| holds(cidr, source).is_some())
        .collect();
    let by_one = to == Some(4788) || (from == Some(4790) && to > from);
    meet(
        "group: rule misses by one port",
        is_udp && by_one && !holding.is_empty(),
    );
    meet(
        "group: range 0.0.0.0/0 admits",
        admits && ranges.contains(&"0.0.0.0/0"),
    );
    meet(
        "group: range /32 admits",
        admits && ranges.iter().any(|cidr| holds(cidr, source) == Some(32)),
    );
    meet(
        "group: range with host bits set admits",
        admits && holding.len() == 1 && has_host_bits(holding[0]),
    );
    meet("group: ranges that overlap admit", admits && holding.len() > 1);
    let just_misses = |cidr: &&str| {
        let range = naive::addresses(cidr).ok().flatten();
        range.is_some_and(|(first, last)| source == last.wrapping_add(1) || source.wrapping_add(1) == first)
    };
    meet(
        "group: range misses by one bit",
        !admits && ranges.iter().any(just_misses),
    );
    meet(
        "group: malformed range",
        ranges.iter().any(|cidr| naive::addresses(cidr).is_err()),
    );
    meet(
        "group: malformed protocol",
        ["upd", "256", "-2", "-17", ""].contains(&rule.ip_protocol.as_str()),
    );
    for pair in &rule.user_id_group_pairs {
        let is_in = member_of.contains(&pair.group_id);
        let status = pair.peering_status.as_deref();
        meet(
            "group: names a group that the source is in",
            admits && is_in && status.is_none(),
        );
        meet(
            "group: names a group that the source is not in",
            !admits && !is_in,
        );
        meet(
            "group: names itself, and the source is in it",
            admits && is_in && pair.group_id == group.group_id,
        );
        meet(
            "group: names an actively peered group that the source is in",
            admits && is_in && status == Some("active") && holding.is_empty(),
        );
        meet(
            "group: names a no longer peered group that the source is in",
            !admits && is_in && status.is_some_and(|status| !["", "active"].contains(&status)),
        );
        let named = world
            .snapshot
            .security_groups
            .iter()
            .find(|group| group.group_id == pair.group_id);
        meet(
            "group: names an empty group",
            named.is_some_and(|group| group.ip_permissions.is_empty()),
        );
        let names_a_group_of_the_source = |group: &SecurityGroup| {
            let named = group
                .ip_permissions
                .iter()
                .flat_map(|rule| &rule.user_id_group_pairs);
            named.into_iter().any(|pair| member_of.contains(&pair.group_id))
        };
        meet(
            "group: names a group that names the source's",
            !admits && !is_in && named.is_some_and(names_a_group_of_the_source),
        );
    }
    for list in &rule.prefix_list_ids {
        let Some(entries) = lists.get(&list.prefix_list_id) else {
            meet("group: prefix list hidden", true);
            continue;
        };
        let holding_entries = entries
            .iter()
            .filter(|entry| holds(&entry.cidr, source).is_some())
            .count();
        meet(
            "group: prefix list admits",
            admits && holding.is_empty() && holding_entries > 0,
        );
        meet(
            "group: prefix list with entries that overlap",
            holding_entries > 1,
        );
    }
}

fn acl_edges(world: &World, subnet: &str, meet: &mut impl FnMut(&str, bool)) {
    let source = source_address(world);
    let acl = world.snapshot.network_acls.iter().find(|acl| {
        acl.associations
            .iter()
            .any(|association| association.subnet_id == subnet)
    });
    meet("acl: not shown", acl.is_none());
    let Some(acl) = acl else { return };
    let mut ordered: Vec<_> = acl.entries.iter().filter(|entry| !entry.egress).collect();
    ordered.sort_by_key(|entry| entry.rule_number);
    let malformed = ordered
        .iter()
        .any(|entry| naive::entry_holds(entry, source) == Answer::Unknown);
    meet("acl: malformed", malformed);
    if malformed {
        return;
    }
    let matching: Vec<_> = ordered
        .iter()
        .filter(|entry| naive::entry_holds(entry, source) == Answer::Open)
        .collect();
    let ports = |entry: &NetworkAclEntry| {
        let ports = entry.port_range.as_ref().filter(|_| entry.protocol != "-1")?;
        ports.from.zip(ports.to)
    };
    let misses = |entry: &&&NetworkAclEntry| {
        let held = entry
            .cidr_block
            .as_ref()
            .is_some_and(|cidr| holds(cidr, source).is_some());
        let is_udp = ["udp", "17"].contains(&entry.protocol.as_str());
        let by_one = ports(entry).is_some_and(|(from, to)| to == 4788 || (from == 4790 && to > from));
        held && is_udp && by_one
    };
    meet(
        "acl: misses by one port",
        ordered.iter().any(|entry| misses(&entry)),
    );
    let Some(first) = matching.first() else {
        meet("acl: nothing decides", true);
        return;
    };
    let later = |action: &str| {
        let own = |entry: &&&&NetworkAclEntry| entry.rule_number < 32767 && entry.rule_action == action;
        matching.iter().filter(own).count() > 0
    };
    meet(
        "acl: allow after deny",
        first.rule_action == "deny" && later("allow"),
    );
    meet(
        "acl: deny after allow",
        first.rule_action == "allow" && later("deny"),
    );
    let in_list = acl
        .entries
        .iter()
        .find(|entry| naive::entry_holds(entry, source) == Answer::Open);
    meet(
        "acl: what decides is not first in the list",
        in_list.is_some_and(|entry| entry.rule_action != first.rule_action),
    );
    meet(
        "acl: the last port decides",
        ports(first).is_some_and(|(from, to)| from < to && to == 4789),
    );
    meet(
        "acl: the first port decides",
        ports(first).is_some_and(|(from, to)| from < to && from == 4789),
    );
    meet(
        "acl: a range with host bits set decides",
        first.cidr_block.as_ref().is_some_and(|cidr| has_host_bits(cidr)),
    );
    meet("acl: 32766 decides", first.rule_number == 32766);
    meet("acl: 32767 decides", first.rule_number == 32767);
    let outbound = |entry: &NetworkAclEntry| {
        let inbound = NetworkAclEntry {
            egress: false,
            ..entry.clone()
        };
        entry.egress
            && entry.rule_number < first.rule_number
            && entry.rule_action != first.rule_action
            && naive::entry_holds(&inbound, source) == Answer::Open
    };
    meet(
        "acl: outbound entry that would decide",
        acl.entries.iter().any(outbound),
    );
}

fn route_edges(world: &World, to: u32, meet: &mut impl FnMut(&str, bool)) {
    let source = world.source();
    let tables = &world.snapshot.route_tables;
    let claiming = naive::tables_of(tables, &source.subnet_id, &source.vpc_id);
    let [table] = claiming.as_slice() else {
        meet("route: no table", claiming.is_empty());
        return;
    };
    let own = |association: &mirrorstep_core::network::RouteTableAssociation| association.subnet_id.is_some();
    let by_own = table
        .associations
        .iter()
        .any(|association| own(association) && association.subnet_id.as_ref() == Some(&source.subnet_id));
    meet("route: the subnet's own table", by_own);
    meet("route: the main table", !by_own);
    let mut holding = Vec::new();
    for route in &table.routes {
        if let Some(id) = &route.destination_prefix_list_id {
            match world.snapshot.prefix_list_entries.get(id) {
                None => meet("route: prefix list hidden", true),
                Some(entries) => {
                    holding.extend(
                        entries
                            .iter()
                            .filter_map(|entry| Some((holds(&entry.cidr, to)?, route))),
                    );
                }
            }
        } else if let Some(cidr) = &route.destination_cidr_block {
            meet("route: malformed destination", naive::addresses(cidr).is_err());
            holding.extend(holds(cidr, to).map(|length| (length, route)));
        }
    }
    let local = holding
        .iter()
        .find(|(_, route)| naive::place(route) == 0)
        .map(|(length, _)| *length);
    let by_vgw = |length: u32| {
        holding
            .iter()
            .any(|(other, route)| naive::place(route) == 3 && *other > length)
    };
    meet(
        "route: local before a propagated one that is more specific",
        local.is_some_and(by_vgw),
    );
    let longest = holding.iter().map(|(length, _)| *length).max();
    meet("route: none", longest.is_none());
    let Some(longest) = longest else { return };
    let first: Vec<_> = holding.iter().filter(|(length, _)| *length == longest).collect();
    meet("route: most specific of several", first.len() < holding.len());
    let answer = naive::beyond(first[0].1);
    meet(
        "route: most specific of several that differ",
        first.len() == 1 && holding.iter().any(|(_, route)| naive::beyond(route) != answer),
    );
    meet("route: equally specific", first.len() > 1);
    let [(length, route)] = first.as_slice() else {
        return;
    };
    meet("route: 0.0.0.0/0", *length == 0);
    meet("route: /32", *length == 32);
    meet(
        "route: by prefix list",
        route.destination_prefix_list_id.is_some(),
    );
    let blackhole = route.state.as_deref() == Some("blackhole");
    meet("route: blackhole", blackhole);
    let gateway = route.gateway_id.as_deref().unwrap_or_default();
    let out = gateway.starts_with("igw") || route.nat_gateway_id.is_some();
    meet("route: out of AWS", out && !blackhole);
    meet(
        "route: virtual private gateway",
        gateway.starts_with("vgw") && !blackhole,
    );
    meet(
        "route: peering",
        route.vpc_peering_connection_id.is_some() && !blackhole,
    );
    meet(
        "route: transit gateway",
        route.transit_gateway_id.is_some() && !blackhole,
    );
    meet("route: VPC endpoint", gateway.starts_with("vpce") && !blackhole);
}
