//! A second implementation of the rules, as naive as can be: every rule is written out as ranges of addresses,
//! with a parser of its own, and decided by brute force. It shares nothing with the first but the shapes of the
//! AWS objects.

use std::collections::HashMap;

use mirrorstep_core::network::{IpPermission, NetworkAcl, PrefixListEntry, Route, RouteTable, SecurityGroup};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Open,
    Shut,
    Unknown,
}

/// First and last address of an IPv4 CIDR; nothing for an IPv6 one; an error for anything else.
fn addresses(cidr: &str) -> Result<Option<(u32, u32)>, ()> {
    if cidr.contains(':') {
        return Ok(None);
    }
    let pieces: Vec<&str> = cidr.split('/').collect();
    let [address, length] = pieces[..] else {
        return Err(());
    };
    let octets: Vec<&str> = address.split('.').collect();
    if octets.len() != 4 {
        return Err(());
    }
    let mut base: u64 = 0;
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
        base = base * 256 + value;
    }
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

fn within(ranges: &[(u32, u32)], address: u32) -> bool {
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

fn permission(
    rule: &IpPermission,
    source: u32,
    member_of: &[String],
    lists: &HashMap<String, Vec<PrefixListEntry>>,
) -> Answer {
    let mut ranges = Vec::new();
    let mut unclear = false;
    for pair in &rule.user_id_group_pairs {
        if member_of.contains(&pair.group_id) {
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
    both(
        packets(&rule.ip_protocol, rule.from_port, rule.to_port, true),
        from_source,
    )
}

/// What an endpoint's groups say, all together.
pub fn groups(
    ids: &[String],
    groups: &HashMap<String, SecurityGroup>,
    source: u32,
    member_of: &[String],
    lists: &HashMap<String, Vec<PrefixListEntry>>,
) -> Answer {
    let mut answer = Answer::Shut;
    for id in ids {
        match groups.get(id) {
            None => answer = either(answer, Answer::Unknown),
            Some(group) => {
                for rule in &group.ip_permissions {
                    answer = either(answer, permission(rule, source, member_of, lists));
                }
            }
        }
    }
    answer
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
            let Some(cidr) = entry.cidr_block.as_ref().filter(|_| !entry.egress) else {
                continue;
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
            let packets = packets(&entry.protocol, from, to, false);
            answer = match (both(packets, from_source), entry.rule_action.as_str()) {
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
fn beyond(route: &Route) -> Answer {
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

/// A route's place among those for as many addresses: the smallest first.
fn place(route: &Route) -> u8 {
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
/// each world what is unclear is no route, one for this address alone, or one for all.
fn table(table: &RouteTable, to: u32, lists: &HashMap<String, Vec<PrefixListEntry>>) -> Answer {
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
            unclear.push((place(route), beyond(route)));
            continue;
        };
        for cidr in cidrs {
            match addresses(cidr) {
                Ok(Some((first, last))) if within(&[(first, last)], to) => {
                    certain.push((
                        u64::from(last) - u64::from(first) + 1,
                        place(route),
                        beyond(route),
                    ));
                }
                Ok(_) => {}
                Err(()) => unclear.push((place(route), beyond(route))),
            }
        }
    }
    let mut worlds = vec![certain];
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

/// What the route tables say of a packet from a subnet of a VPC to an address.
pub fn routes(
    tables: &[RouteTable],
    subnet: &str,
    vpc: &str,
    to: u32,
    lists: &HashMap<String, Vec<PrefixListEntry>>,
) -> Answer {
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
    match (own.as_slice(), main.as_slice()) {
        ([one], _) | ([], [one]) => table(one, to, lists),
        _ => Answer::Unknown,
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
