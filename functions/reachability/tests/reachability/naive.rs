//! A second implementation of the rules, as naive as can be: every rule is written out as ranges of addresses,
//! with a parser of its own, and decided by brute force. It shares nothing with the first but the shapes of the
//! AWS objects.

use std::collections::HashMap;

use mirrorstep_core::config::{TagSelector, UnverifiableTargets};
use mirrorstep_core::network::{
    IpPermission, NetworkAcl, NetworkAclEntry, NetworkInterface, PrefixListEntry, Route, RouteTable,
    SecurityGroup, Tag, TrafficMirrorTarget,
};
use mirrorstep_core::pipeline::RejectedBy;
use mirrorstep_reachability::explain::Question;
use mirrorstep_reachability::snapshot::Snapshot;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Open,
    Shut,
    Unknown,
}

/// The address that four decimal numbers mean.
fn address(text: &str) -> Result<u32, ()> {
    let octets: Vec<&str> = text.split('.').collect();
    if octets.len() != 4 {
        return Err(());
    }
    let mut address: u64 = 0;
    for octet in octets {
        let plain = !octet.is_empty() && octet.len() <= 3 && octet.chars().all(|c| c.is_ascii_digit());
        if !plain || (octet.len() > 1 && octet.starts_with('0')) {
            return Err(());
        }
        let value: u64 = octet
            .chars()
            .fold(0, |sum, c| sum * 10 + u64::from(c as u8 - b'0'));
        if value > 255 {
            return Err(());
        }
        address = address * 256 + value;
    }
    u32::try_from(address).map_err(|_| ())
}

/// First and last address of an IPv4 CIDR; nothing for an IPv6 one; an error for anything else.
pub fn addresses(cidr: &str) -> Result<Option<(u32, u32)>, ()> {
    if cidr.contains(':') {
        return Ok(None);
    }
    let pieces: Vec<&str> = cidr.split('/').collect();
    let [base, length] = pieces[..] else {
        return Err(());
    };
    let base = u64::from(address(base)?);
    if length.is_empty() || !length.chars().all(|c| c.is_ascii_digit()) {
        return Err(());
    }
    let length: u64 = length.parse().map_err(|_| ())?;
    if length > 32 {
        return Err(());
    }
    let size = 1_u64 << (32 - length);
    let first = base / size * size;
    let ends = (u32::try_from(first), u32::try_from(first + size - 1));
    if let (Ok(first), Ok(last)) = ends {
        Ok(Some((first, last)))
    } else {
        Err(())
    }
}

pub fn within(ranges: &[(u32, u32)], address: u32) -> bool {
    ranges
        .iter()
        .any(|(first, last)| *first <= address && address <= *last)
}

/// Whether a protocol's text means UDP: everything, nothing, or who knows.
fn udp(protocol: &str) -> Answer {
    match protocol.to_lowercase().as_str() {
        "-1" | "udp" | "17" => Answer::Open,
        "tcp" | "icmp" | "icmpv6" => Answer::Shut,
        other if (0..256).any(|number: i32| number.to_string() == other) => Answer::Shut,
        _ => Answer::Unknown,
    }
}

/// Whether a rule is for UDP 4789. Only UDP's ports count: what an unreadable protocol means is open whatever
/// ports come with it, and all protocols have none.
fn packets(protocol: &str, from: Option<i32>, to: Option<i32>, minus_one_is_all: bool) -> Answer {
    let of_udp = udp(protocol);
    if of_udp != Answer::Open || protocol == "-1" {
        return of_udp;
    }
    match (from, to) {
        (None, None) => Answer::Open,
        (Some(-1), _) if minus_one_is_all => Answer::Open,
        (None, _) | (_, None) => Answer::Unknown,
        (Some(from), Some(_)) if from < 0 && !minus_one_is_all => Answer::Unknown,
        (Some(from), Some(to)) if from <= 4789 && to >= 4789 => Answer::Open,
        (Some(_), Some(_)) => Answer::Shut,
    }
}

fn both(left: Answer, right: Answer) -> Answer {
    match (left, right) {
        (Answer::Shut, _) | (_, Answer::Shut) => Answer::Shut,
        (Answer::Open, Answer::Open) => Answer::Open,
        _ => Answer::Unknown,
    }
}

fn either(left: Answer, right: Answer) -> Answer {
    match (left, right) {
        (Answer::Open, _) | (_, Answer::Open) => Answer::Open,
        (Answer::Shut, Answer::Shut) => Answer::Shut,
        _ => Answer::Unknown,
    }
}

pub fn permission(
    rule: &IpPermission,
    source: u32,
    member_of: &[String],
    lists: &HashMap<String, Vec<PrefixListEntry>>,
    references_count: bool,
) -> Answer {
    let for_mirrored = packets(&rule.ip_protocol, rule.from_port, rule.to_port, true);
    let mut ranges = Vec::new();
    let mut unclear = false;
    for pair in &rule.user_id_group_pairs {
        let peered = match &pair.peering_status {
            None => true,
            Some(status) => status.is_empty() || status == "active",
        };
        // A rule that is malformed is in doubt whatever it names.
        let counts = references_count || for_mirrored == Answer::Unknown;
        if counts && peered && member_of.contains(&pair.group_id) {
            ranges.push((source, source));
        }
    }
    let mut cidrs: Vec<&str> = rule
        .ip_ranges
        .iter()
        .map(|range| range.cidr_ip.as_str())
        .collect();
    for list in &rule.prefix_list_ids {
        match lists.get(&list.prefix_list_id) {
            Some(entries) => cidrs.extend(entries.iter().map(|entry| entry.cidr.as_str())),
            None => unclear = true,
        }
    }
    for cidr in cidrs {
        match addresses(cidr) {
            Ok(Some(range)) => ranges.push(range),
            Ok(None) => {}
            Err(()) => unclear = true,
        }
    }
    let from_source = match (within(&ranges, source), unclear) {
        (true, _) => Answer::Open,
        (false, true) => Answer::Unknown,
        (false, false) => Answer::Shut,
    };
    both(for_mirrored, from_source)
}

/// What an endpoint's groups say, all together. Behind a middlebox rules that name groups do not count.
pub fn groups_behind(
    middlebox: Answer,
    ids: &[String],
    all: &HashMap<String, SecurityGroup>,
    source: u32,
    member_of: &[String],
    lists: &HashMap<String, Vec<PrefixListEntry>>,
) -> Answer {
    let counting = |references| groups(ids, all, source, member_of, lists, references);
    let (with, without) = (counting(true), counting(false));
    match middlebox {
        Answer::Shut => with,
        Answer::Open => without,
        Answer::Unknown if with == without => with,
        Answer::Unknown => Answer::Unknown,
    }
}

/// What they say where rules that name groups count, or not.
pub fn groups(
    ids: &[String],
    groups: &HashMap<String, SecurityGroup>,
    source: u32,
    member_of: &[String],
    lists: &HashMap<String, Vec<PrefixListEntry>>,
    references_count: bool,
) -> Answer {
    let mut answer = Answer::Shut;
    for id in ids {
        match groups.get(id) {
            None => answer = either(answer, Answer::Unknown),
            Some(group) => {
                for rule in &group.ip_permissions {
                    answer = either(
                        answer,
                        permission(rule, source, member_of, lists, references_count),
                    );
                }
            }
        }
    }
    answer
}

/// Whether an ACL's entry is for an inbound packet.
pub fn entry_holds(entry: &NetworkAclEntry, source: u32) -> Answer {
    let Some(cidr) = entry.cidr_block.as_ref().filter(|_| !entry.egress) else {
        return Answer::Shut;
    };
    let from_source = match addresses(cidr) {
        Ok(Some(range)) if within(&[range], source) => Answer::Open,
        Ok(_) => Answer::Shut,
        Err(()) => Answer::Unknown,
    };
    let (from, to) = entry
        .port_range
        .as_ref()
        .map_or((None, None), |ports| (ports.from, ports.to));
    both(packets(&entry.protocol, from, to, false), from_source)
}

/// What an ACL says of an inbound packet: from the default deny upwards, each entry that matches overrules what
/// comes after it.
pub fn acl(acl: &NetworkAcl, source: u32) -> Answer {
    let mut answer = Answer::Shut;
    let mut numbers: Vec<i32> = acl.entries.iter().map(|entry| entry.rule_number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    for number in numbers.into_iter().rev() {
        // The first of two with one number overrules the second.
        for entry in acl
            .entries
            .iter()
            .rev()
            .filter(|entry| entry.rule_number == number)
        {
            answer = match (entry_holds(entry, source), entry.rule_action.as_str()) {
                (Answer::Shut, _) => answer,
                (Answer::Open, "allow") => Answer::Open,
                (Answer::Open, "deny") => Answer::Shut,
                _ => Answer::Unknown,
            };
        }
    }
    answer
}

/// Whether a packet gets on by a route once it is on it.
pub fn beyond(route: &Route) -> Answer {
    if route.state.as_deref() == Some("blackhole") {
        return Answer::Shut;
    }
    let all = [
        &route.gateway_id,
        &route.nat_gateway_id,
        &route.transit_gateway_id,
        &route.vpc_peering_connection_id,
        &route.network_interface_id,
        &route.instance_id,
        &route.local_gateway_id,
        &route.carrier_gateway_id,
        &route.egress_only_internet_gateway_id,
        &route.core_network_arn,
    ];
    let Some(to) = all.into_iter().flatten().next() else {
        return Answer::Unknown;
    };
    let kind: String = to.chars().take_while(char::is_ascii_alphanumeric).collect();
    match kind.as_str() {
        "igw" | "vgw" | "nat" | "lgw" | "cagw" | "eigw" => Answer::Shut,
        "local" | "pcx" | "tgw" | "vpce" | "eni" | "i" | "arn" => match route.state.as_deref() {
            None | Some("active") => Answer::Open,
            Some(_) => Answer::Unknown,
        },
        _ => Answer::Unknown,
    }
}

/// Whether a route hands the packet to a middlebox.
pub fn middlebox(route: &Route) -> Answer {
    let gateway = route.gateway_id.as_ref().filter(|id| id.starts_with("vpce"));
    let named = [&route.network_interface_id, &route.instance_id, &gateway.cloned()]
        .iter()
        .any(|id| id.is_some());
    if named && route.state.as_deref() != Some("blackhole") {
        Answer::Open
    } else {
        Answer::Shut
    }
}

/// What is asked of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    GetsOn,
    Middlebox,
}

impl Asked {
    fn of(self, route: &Route) -> Answer {
        match self {
            Self::GetsOn => beyond(route),
            Self::Middlebox => middlebox(route),
        }
    }
}

/// A route's place among those for as many addresses: the smallest first.
pub fn place(route: &Route) -> u8 {
    match (route.gateway_id.as_deref(), route.origin.as_deref()) {
        _ if route.destination_prefix_list_id.is_some() => 2,
        (Some("local"), _) => 0,
        (Some(gateway), Some("EnableVgwRoutePropagation")) if gateway.starts_with("vgw") => 3,
        _ => 1,
    }
}

/// How many addresses a route that holds the address is for, its place, and what comes of it.
type Held = (u64, u8, Answer);

fn taken(held: &[Held]) -> Answer {
    let is_local = held.iter().any(|(_, place, _)| *place == 0);
    let held: Vec<_> = held
        .iter()
        .filter(|(_, place, _)| !is_local || *place != 3)
        .collect();
    let first = |one: &&&Held| held.iter().all(|other| (one.0, one.1) <= (other.0, other.1));
    let answers: Vec<_> = held.iter().filter(first).map(|(_, _, answer)| *answer).collect();
    match answers.as_slice() {
        [] => Answer::Shut,
        [one, ..] if answers.iter().all(|other| other == one) => *one,
        _ => Answer::Unknown,
    }
}

/// What a route table says of a packet to an address: the same in every world that is possible, or unknown. In
/// each world what is unclear is no route, one for this address alone, or one for all. `asked` is what is asked of the
/// route that is taken.
fn table(table: &RouteTable, to: u32, lists: &HashMap<String, Vec<PrefixListEntry>>, asked: Asked) -> Answer {
    let mut certain: Vec<Held> = Vec::new();
    let mut unclear: Vec<(u8, Answer)> = Vec::new();
    for route in &table.routes {
        let cidrs: Option<Vec<&str>> =
            match (&route.destination_prefix_list_id, &route.destination_cidr_block) {
                (Some(list), _) => lists
                    .get(list)
                    .map(|entries| entries.iter().map(|entry| entry.cidr.as_str()).collect()),
                (None, Some(cidr)) => Some(vec![cidr]),
                (None, None) if route.destination_ipv6_cidr_block.is_some() => Some(Vec::new()),
                (None, None) => None,
            };
        let Some(cidrs) = cidrs else {
            // A list that nobody shows, and that leads to a VPC endpoint, is the one of S3 or DynamoDB.
            let of_a_service = route.destination_prefix_list_id.is_some()
                && route.gateway_id.as_ref().is_some_and(|id| id.starts_with("vpce"));
            if asked != Asked::Middlebox || !of_a_service {
                unclear.push((place(route), asked.of(route)));
            }
            continue;
        };
        for cidr in cidrs {
            match addresses(cidr) {
                Ok(Some((first, last))) if within(&[(first, last)], to) => {
                    certain.push((
                        u64::from(last) - u64::from(first) + 1,
                        place(route),
                        asked.of(route),
                    ));
                }
                Ok(_) => {}
                Err(()) => unclear.push((place(route), asked.of(route))),
            }
        }
    }
    let mut worlds = vec![certain];
    unclear.dedup();
    for (place, answer) in unclear {
        let with = |size: u64| {
            let added = move |world: &Vec<Held>| [world.as_slice(), &[(size, place, answer)]].concat();
            worlds.iter().map(added).collect::<Vec<_>>()
        };
        let (narrow, wide) = (with(1), with(1 << 32));
        worlds.extend(narrow);
        worlds.extend(wide);
    }
    let answers: Vec<_> = worlds.iter().map(|world| taken(world)).collect();
    if answers.iter().all(|answer| *answer == answers[0]) {
        answers[0]
    } else {
        Answer::Unknown
    }
}

/// The route tables that claim a subnet of a VPC: those associated with it, else the VPC's main ones.
pub fn tables_of<'a>(tables: &'a [RouteTable], subnet: &str, vpc: &str) -> Vec<&'a RouteTable> {
    let mut own = Vec::new();
    let mut main = Vec::new();
    for table in tables {
        for association in &table.associations {
            if association.subnet_id.as_deref() == Some(subnet) {
                own.push(table);
            }
            if association.main && table.vpc_id == vpc {
                main.push(table);
            }
        }
    }
    if own.is_empty() { main } else { own }
}

/// What the route tables say of a packet from a subnet of a VPC to an address: whether it gets on, or whether it is
/// handed to a middlebox.
pub fn routes(
    tables: &[RouteTable],
    subnet: &str,
    vpc: &str,
    to: u32,
    lists: &HashMap<String, Vec<PrefixListEntry>>,
    asked: Asked,
) -> Answer {
    match tables_of(tables, subnet, vpc).as_slice() {
        [one] => table(one, to, lists, asked),
        _ => Answer::Unknown,
    }
}

/// What is to be expected of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    pub target_id: String,
    pub rejected_by: Option<RejectedBy>,
    /// In the source's zone: by the endpoints that are left, or where none is by all.
    pub local: bool,
    /// The endpoints that are left.
    pub left: Vec<String>,
}

/// Why an interface is no source at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoSource {
    InstanceOptedOut,
    InstanceDidNotOptIn,
    OptedOut,
    OfAnotherType,
    WithoutAddress,
    MalformedAddress,
    IsATarget,
    OnASensor,
}

/// A rule's answer about an endpoint.
type Judge<'a> = dyn Fn(&NetworkInterface) -> Answer + 'a;

/// A whole world, with the rules one after another.
pub struct World<'a> {
    snapshot: &'a Snapshot,
    question: &'a Question,
    /// What no stage knows, only a snapshot: an interface whose subnet is not among those shown, and what state a
    /// sensor's instance is in.
    subnets_are_told: bool,
    instances_are_told: bool,
    source: &'a NetworkInterface,
}

impl<'a> World<'a> {
    pub fn new(snapshot: &'a Snapshot, question: &'a Question, by_snapshot: bool) -> Self {
        let mut source = None;
        for interface in &snapshot.network_interfaces {
            if interface.network_interface_id == question.interface_id {
                source = Some(interface);
            }
        }
        Self {
            snapshot,
            question,
            subnets_are_told: by_snapshot,
            instances_are_told: by_snapshot,
            source: source.expect("the source is shown"),
        }
    }

    /// The targets asked for, each once.
    pub fn targets(&self) -> Vec<String> {
        let shown = &self.snapshot.traffic_mirror_targets;
        let all = shown
            .iter()
            .map(|target| &target.traffic_mirror_target_id)
            .collect();
        let asked: Vec<&String> = self
            .question
            .targets
            .as_ref()
            .map_or(all, |asked| asked.iter().collect());
        let mut once: Vec<String> = Vec::new();
        for id in asked {
            if !once.contains(id) {
                once.push(id.clone());
            }
        }
        once
    }

    fn shown(&self, target_id: &str) -> Option<&'a TrafficMirrorTarget> {
        let mut shown = self.snapshot.traffic_mirror_targets.iter();
        shown.find(|target| target.traffic_mirror_target_id == target_id)
    }

    /// The interfaces behind a target.
    pub fn interfaces(&self, target_id: &str) -> Vec<&'a NetworkInterface> {
        let Some(target) = self.shown(target_id) else {
            return Vec::new();
        };
        let balancer = target.network_load_balancer_arn.as_ref().map(|arn| {
            let tail: Vec<&str> = arn.split('/').skip(1).collect();
            format!("ELB {}", tail.join("/"))
        });
        let mut ids: Vec<String> = target.network_interface_id.clone().into_iter().collect();
        for endpoint in &self.snapshot.vpc_endpoints {
            if target.gateway_load_balancer_endpoint_id.as_ref() == Some(&endpoint.vpc_endpoint_id) {
                ids.extend(endpoint.network_interface_ids.clone());
            }
        }
        self.snapshot
            .network_interfaces
            .iter()
            .filter(|interface| {
                ids.contains(&interface.network_interface_id)
                    || balancer.as_ref() == Some(&interface.description)
            })
            .collect()
    }

    /// Why the source is none, if so.
    pub fn no_source(&self) -> Option<NoSource> {
        let has = |tags: &[Tag], asked: &Option<TagSelector>| {
            asked.as_ref().map(|asked| {
                let same = |tag: &&Tag| tag.key == asked.key && tag.value == asked.value;
                tags.iter().find(same).is_some()
            })
        };
        let attached = self
            .source
            .attachment
            .as_ref()
            .and_then(|to| to.instance_id.clone());
        let mut instance = attached.clone();
        let mut tags = Vec::new();
        for shown in &self.snapshot.instances {
            let lists_it = shown
                .network_interfaces
                .iter()
                .any(|interface| interface.network_interface_id == self.question.interface_id);
            if attached.as_ref() == Some(&shown.instance_id) || (attached.is_none() && lists_it) {
                instance = Some(shown.instance_id.clone());
                tags.clone_from(&shown.tags);
            }
        }
        let consent = &self.question.consent;
        if has(&tags, &consent.opt_out) == Some(true) {
            return Some(NoSource::InstanceOptedOut);
        }
        if has(&tags, &consent.opt_in) == Some(false) {
            return Some(NoSource::InstanceDidNotOptIn);
        }
        if has(&self.source.tag_set, &consent.opt_out) == Some(true) {
            return Some(NoSource::OptedOut);
        }
        if self.source.interface_type != "interface" {
            return Some(NoSource::OfAnotherType);
        }
        if self.source.private_ip_address.is_empty() {
            return Some(NoSource::WithoutAddress);
        }
        if address(&self.source.private_ip_address).is_err() {
            return Some(NoSource::MalformedAddress);
        }
        for target in self.targets() {
            for interface in self.interfaces(&target) {
                if interface.network_interface_id == self.source.network_interface_id {
                    return Some(NoSource::IsATarget);
                }
                let behind = interface
                    .attachment
                    .as_ref()
                    .and_then(|to| to.instance_id.clone());
                if behind.is_some() && behind == instance {
                    return Some(NoSource::OnASensor);
                }
            }
        }
        None
    }

    fn is_near(&self, interface: &NetworkInterface) -> Answer {
        match (
            self.source.availability_zone.as_str(),
            interface.availability_zone.as_str(),
        ) {
            ("", _) | (_, "") => Answer::Unknown,
            (one, other) if one == other => Answer::Open,
            _ => Answer::Shut,
        }
    }

    fn by_zone(&self, interface: &NetworkInterface) -> Answer {
        if self.question.local_zone_only {
            self.is_near(interface)
        } else {
            Answer::Open
        }
    }

    fn by_subnet(&self, interface: &NetworkInterface) -> Answer {
        let told: Vec<&String> = self
            .snapshot
            .subnets
            .iter()
            .map(|subnet| &subnet.subnet_id)
            .collect();
        let is_told = |subnet| told.is_empty() || told.contains(&subnet);
        if !self.subnets_are_told || (is_told(&self.source.subnet_id) && is_told(&interface.subnet_id)) {
            Answer::Open
        } else {
            Answer::Unknown
        }
    }

    fn by_groups(&self, target: &TrafficMirrorTarget, interface: &NetworkInterface) -> Answer {
        if target.gateway_load_balancer_endpoint_id.is_some() {
            return Answer::Open;
        }
        if target.network_load_balancer_arn.is_some() && interface.groups.is_empty() {
            return Answer::Open;
        }
        self.groups_behind(self.middlebox_before(interface), interface)
    }

    pub fn groups_behind(&self, middlebox: Answer, interface: &NetworkInterface) -> Answer {
        let ids = |of: &NetworkInterface| {
            of.groups
                .iter()
                .map(|group| group.group_id.clone())
                .collect::<Vec<_>>()
        };
        let named = ids(interface);
        let shown = &self.snapshot.security_groups;
        let known = shown
            .iter()
            .filter(|group| named.contains(&group.group_id))
            .map(|group| (group.group_id.clone(), group.clone()))
            .collect();
        let source = address(&self.source.private_ip_address).expect("an address");
        let lists = &self.snapshot.prefix_list_entries;
        groups_behind(middlebox, &named, &known, source, &ids(self.source), lists)
    }

    /// Whether the route to an interface leads through a middlebox.
    pub fn middlebox_before(&self, interface: &NetworkInterface) -> Answer {
        self.by_table(interface, Answer::Shut, Asked::Middlebox)
    }

    /// Whether only a rule that names a group lets the source in.
    pub fn is_let_in_by_reference(&self, interface: &NetworkInterface) -> bool {
        self.groups_behind(Answer::Shut, interface) == Answer::Open
            && self.groups_behind(Answer::Open, interface) != Answer::Open
    }

    /// Whether a rule of one of its groups names a group that the source is in.
    pub fn names_a_group_of_the_source(&self, interface: &NetworkInterface) -> bool {
        let of_source = |id: &String| self.source.groups.iter().any(|group| group.group_id == *id);
        let shown = self.snapshot.security_groups.iter();
        shown
            .filter(|group| interface.groups.iter().any(|own| own.group_id == group.group_id))
            .flat_map(|group| &group.ip_permissions)
            .flat_map(|rule| &rule.user_id_group_pairs)
            .any(|pair| of_source(&pair.group_id))
    }

    /// Whether the source's table has a route to a VPC endpoint for a list that is not shown.
    pub fn has_an_unread_list_of_a_service(&self) -> bool {
        let unread = |id: &String| !self.snapshot.prefix_list_entries.contains_key(id);
        tables_of(
            &self.snapshot.route_tables,
            &self.source.subnet_id,
            &self.source.vpc_id,
        )
        .iter()
        .flat_map(|table| &table.routes)
        .any(|route| {
            let leads_to_one = route.gateway_id.as_ref().is_some_and(|id| id.starts_with("vpce"));
            route.destination_prefix_list_id.as_ref().is_some_and(unread) && leads_to_one
        })
    }

    pub fn by_acl(&self, interface: &NetworkInterface) -> Answer {
        if interface.subnet_id == self.source.subnet_id {
            return Answer::Open;
        }
        let mut guards = Vec::new();
        for acl in &self.snapshot.network_acls {
            for association in &acl.associations {
                if association.subnet_id == interface.subnet_id {
                    guards.push(acl);
                }
            }
        }
        match guards.as_slice() {
            [one] => acl(one, address(&self.source.private_ip_address).expect("an address")),
            _ => Answer::Unknown,
        }
    }

    fn by_route(&self, interface: &NetworkInterface) -> Answer {
        self.by_table(interface, Answer::Open, Asked::GetsOn)
    }

    fn by_table(&self, interface: &NetworkInterface, at_home: Answer, asked: Asked) -> Answer {
        if interface.subnet_id == self.source.subnet_id {
            return at_home;
        }
        routes(
            &self.snapshot.route_tables,
            &self.source.subnet_id,
            &self.source.vpc_id,
            address(&interface.private_ip_address).expect("an address"),
            &self.snapshot.prefix_list_entries,
            asked,
        )
    }

    /// Whether the Gateway Load Balancer endpoint behind a target is there for anybody.
    pub fn gateway(&self, target: &TrafficMirrorTarget) -> Answer {
        let mut answer = Answer::Open;
        for endpoint in &self.snapshot.vpc_endpoints {
            if target.gateway_load_balancer_endpoint_id.as_ref() == Some(&endpoint.vpc_endpoint_id) {
                answer = match endpoint.state.to_lowercase().as_str() {
                    "" | "available" => Answer::Open,
                    "pending" | "pendingacceptance" => Answer::Unknown,
                    _ => Answer::Shut,
                };
            }
        }
        answer
    }

    /// Whether somebody is behind an interface.
    pub fn by_attachment(&self, interface: &NetworkInterface) -> Answer {
        let (status, attachment) = (interface.status.as_str(), interface.attachment.as_ref());
        let is_in_use = status.is_empty() || status == "in-use";
        let nothing_is_told = status.is_empty() && attachment.is_none();
        let attached = attachment.map(|it| it.status.as_deref().unwrap_or("attached"));
        if !is_in_use || (attached != Some("attached") && !nothing_is_told) {
            return Answer::Shut;
        }
        let behind = attachment.and_then(|it| it.instance_id.clone());
        for instance in self.snapshot.instances.iter().filter(|_| self.instances_are_told) {
            if Some(&instance.instance_id) == behind.as_ref()
                && !["", "running"].contains(&instance.state.name.as_str())
            {
                return Answer::Shut;
            }
        }
        Answer::Open
    }

    /// Rule by rule: what a target is rejected by, or the endpoints that are left of it.
    fn judge(&self, target_id: &str) -> Result<Vec<&'a NetworkInterface>, RejectedBy> {
        let allow = self.question.unverifiable == UnverifiableTargets::Allow;
        let Some(target) = self.shown(target_id) else {
            return Err(RejectedBy::Target);
        };
        let names = [
            &target.network_interface_id,
            &target.network_load_balancer_arn,
            &target.gateway_load_balancer_endpoint_id,
        ];
        if names.iter().all(|name| name.is_none()) {
            return Err(RejectedBy::Target);
        }

        let interfaces = self.interfaces(target_id);
        let is_there = !interfaces.is_empty();
        let may_be_unread = interfaces
            .iter()
            .any(|it| !it.private_ip_address.is_empty() && address(&it.private_ip_address).is_err());
        let mut left: Vec<_> = interfaces
            .into_iter()
            .filter(|interface| address(&interface.private_ip_address).is_ok())
            .collect();
        if is_there && left.is_empty() && !may_be_unread {
            return Err(RejectedBy::Target);
        }
        match self.gateway(target) {
            Answer::Shut => return Err(RejectedBy::SensorDown),
            Answer::Unknown if !allow => return Err(RejectedBy::Unverifiable),
            Answer::Open
                if !is_there
                    && !self.source.owner_id.is_empty()
                    && target.owner_id == self.source.owner_id =>
            {
                return Err(RejectedBy::SensorDown);
            }
            _ => {}
        }
        if left.is_empty() {
            return if allow {
                Ok(left)
            } else {
                Err(RejectedBy::Unverifiable)
            };
        }

        let rules: [(RejectedBy, &Judge); 6] = [
            (RejectedBy::SensorDown, &|it| self.by_attachment(it)),
            (RejectedBy::AvailabilityZone, &|it| self.by_zone(it)),
            (RejectedBy::Unverifiable, &|it| self.by_subnet(it)),
            (RejectedBy::SecurityGroup, &|it| self.by_groups(target, it)),
            (RejectedBy::NetworkAcl, &|it| self.by_acl(it)),
            (RejectedBy::Route, &|it| self.by_route(it)),
        ];
        for (rule, judge) in rules {
            let answers: Vec<_> = left.iter().map(|interface| judge(interface)).collect();
            let mut kept = Vec::new();
            for (interface, answer) in left.iter().zip(&answers) {
                if *answer == Answer::Open || (allow && *answer == Answer::Unknown) {
                    kept.push(*interface);
                }
            }
            if kept.is_empty() {
                let unclear = answers.contains(&Answer::Unknown);
                return Err(if unclear { RejectedBy::Unverifiable } else { rule });
            }
            left = kept;
        }
        Ok(left)
    }

    /// What is to be expected of each target asked for.
    pub fn expected(&self) -> Vec<Expected> {
        let no_source = self.no_source().is_some();
        self.targets()
            .into_iter()
            .map(|target_id| {
                let judged = if no_source {
                    Err(RejectedBy::Target)
                } else {
                    self.judge(&target_id)
                };
                let (rejected_by, left) = match judged {
                    Ok(left) => (None, left),
                    Err(rule) => (Some(rule), Vec::new()),
                };
                let all = if rejected_by.is_some() {
                    self.interfaces(&target_id)
                } else {
                    left.clone()
                };
                Expected {
                    target_id,
                    rejected_by,
                    local: all
                        .into_iter()
                        .any(|interface| self.is_near(interface) == Answer::Open),
                    left: left
                        .into_iter()
                        .map(|interface| interface.network_interface_id.clone())
                        .collect(),
                }
            })
            .collect()
    }

    /// The targets that may be picked: of those that are eligible, and in the source's zone if any is, those with
    /// the fewest sessions.
    pub fn least_loaded(&self, expected: &[Expected]) -> Vec<String> {
        let load = |target: &Expected| {
            let all = &self.snapshot.traffic_mirror_sessions;
            all.iter()
                .filter(|session| session.traffic_mirror_target_id == target.target_id)
                .count()
        };
        let eligible: Vec<_> = expected
            .iter()
            .filter(|target| target.rejected_by.is_none())
            .collect();
        let local: Vec<_> = eligible.iter().filter(|target| target.local).copied().collect();
        let among = if local.is_empty() { eligible } else { local };
        let least = among.iter().map(|target| load(target)).min();
        among
            .into_iter()
            .filter(|target| Some(load(target)) == least)
            .map(|target| target.target_id.clone())
            .collect()
    }
}

#[test]
fn the_naive_parser_knows_the_edges() {
    assert_eq!(addresses("0.0.0.0/0"), Ok(Some((0, u32::MAX))));
    assert_eq!(addresses("255.255.255.255/32"), Ok(Some((u32::MAX, u32::MAX))));
    assert_eq!(addresses("10.1.2.3/8"), Ok(Some((0x0a00_0000, 0x0aff_ffff))));
    assert_eq!(addresses("::/0"), Ok(None));
    for malformed in [
        "",
        "10.0.0.0",
        "10.0.0/8",
        "10.0.0.0/33",
        "256.0.0.0/8",
        "01.0.0.0/8",
        "10.0.0.0/8 ",
    ] {
        assert_eq!(addresses(malformed), Err(()), "{malformed}");
    }
}
