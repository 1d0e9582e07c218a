//! The commands that let mirrored packets in to a sensor: the same for `explain` and for `doctor`.
//!
//! A command that lets one interface in mends one interface. So these let in whatever has the sensor as a candidate:
//! every subnet that is near enough and whose route table leads to the sensor, in peered VPCs too, and nothing else.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use jiff::Timestamp;
use mirrorstep_core::config::UnverifiableTargets;
use mirrorstep_core::ids::{InstanceId, InterfaceId, TargetId};
use mirrorstep_core::network::{IpPermission, NetworkAcl, NetworkInterface, SecurityGroup};
use mirrorstep_core::pipeline::{Candidacy, Candidate, Endpoint, MirrorRequest, Source, TargetKind};

use crate::snapshot::{Snapshot, Subnet, load_balancer_descriptions, target_interfaces};
use crate::{MIRROR_PORT, filter_routes, route_prefix_lists_to_read};

/// The last number that an entry of a network ACL can have; 32767 is the default deny
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateNetworkAclEntry.html>, `RuleNumber`).
const LAST_ENTRY: i32 = 32766;
/// Where there is room, an entry is put here or before.
const USUAL_ENTRY: i32 = 100;

/// The ranges from which mirrored packets come to these interfaces of one target, as few as hold them all.
///
/// That is each subnet in the zone of one of the interfaces (any zone, unless `local_zone_only`) whose route table leads
/// there, with or without interfaces today. Within the target's own VPC a table that is not visible counts as one that
/// leads there, since each begins with a route to its own VPC
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/subnet-route-tables.html>, "Routes"). An interface of an
/// instance whose subnet's range is not known counts by its address.
pub fn sources(world: &Snapshot, endpoints: &[&NetworkInterface], local_zone_only: bool) -> Vec<Ipv4Net> {
    let ways = ways(endpoints);
    let is_source = |place: &Source| {
        ways.iter().any(|way| {
            let near = !local_zone_only || place.shares_zone_with(&way.endpoint);
            near && way.is_open_from(place, world)
        })
    };
    let mut known = HashMap::new();
    for subnet in &world.subnets {
        if let Some((range, place)) = place_of(subnet) {
            known.insert(subnet.subnet_id.as_str(), (range, is_source(&place)));
        }
    }
    let mut ranges: Vec<Ipv4Net> = known
        .values()
        .filter(|(_, counts)| *counts)
        .map(|(range, _)| *range)
        .collect();
    let (targets, balancers) = (target_interfaces(world), load_balancer_descriptions(world));
    for interface in &world.network_interfaces {
        let of_instance = interface
            .attachment
            .as_ref()
            .is_some_and(|attachment| attachment.instance_id.is_some());
        if !of_instance
            || targets.contains(&interface.network_interface_id)
            || balancers.contains(&interface.description)
            || known.contains_key(interface.subnet_id.as_str())
        {
            continue;
        }
        if let Some(place) = place_at(interface).filter(is_source) {
            ranges.push(Ipv4Net::from(place.private_ip));
        }
    }
    Ipv4Net::aggregate(&ranges)
}

/// The managed prefix lists that [`sources`] needs to read of these subnets' route tables.
pub fn prefix_lists_to_read(world: &Snapshot, endpoints: &[&NetworkInterface]) -> BTreeSet<String> {
    let ways = ways(endpoints);
    let mut lists = BTreeSet::new();
    for (_, place) in world.subnets.iter().filter_map(place_of) {
        for way in &ways {
            lists.extend(route_prefix_lists_to_read(
                &way.candidacy(&place),
                &world.route_tables,
            ));
        }
    }
    lists
}

/// One of the interfaces that packets are to come to.
struct Way {
    endpoint: Endpoint,
    vpc_id: String,
}

fn ways(endpoints: &[&NetworkInterface]) -> Vec<Way> {
    let way = |interface: &&NetworkInterface| {
        Some(Way {
            endpoint: Endpoint {
                interface_id: interface.network_interface_id.clone(),
                private_ip: interface.private_ip_address.parse().ok()?,
                availability_zone: interface.availability_zone.clone(),
                subnet_id: interface.subnet_id.clone(),
                groups: None,
                by_reference: None,
                lost: None,
            },
            vpc_id: interface.vpc_id.clone(),
        })
    };
    endpoints.iter().filter_map(way).collect()
}

impl Way {
    /// Whether the route table of a place leads there.
    fn is_open_from(&self, place: &Source, world: &Snapshot) -> bool {
        let own_vpc = !self.vpc_id.is_empty() && self.vpc_id == place.vpc_id;
        let unverifiable = if own_vpc {
            UnverifiableTargets::Allow
        } else {
            UnverifiableTargets::Reject
        };
        let decided = filter_routes(
            self.candidacy(place),
            &world.route_tables,
            &world.prefix_list_entries,
            unverifiable,
        );
        !decided.candidates.is_empty()
    }

    /// The question as the rules want it asked.
    fn candidacy(&self, place: &Source) -> Candidacy {
        Candidacy {
            request: MirrorRequest {
                interface_id: InterfaceId::as_given(""),
                instance_id: InstanceId::as_given(""),
                instance_name: None,
                choices: Vec::new(),
                change: None,
            },
            observed_at: Timestamp::UNIX_EPOCH,
            used_session_numbers: Vec::new(),
            left_out: None,
            source: Some(place.clone()),
            candidates: vec![Candidate {
                target_id: TargetId::as_given(""),
                kind: TargetKind::NetworkInterface,
                local: false,
                endpoints: vec![self.endpoint.clone()],
            }],
            rejections: Vec::new(),
            admissions: Vec::new(),
            advisories: Vec::new(),
        }
    }
}

/// A subnet's range, and where its interfaces are.
fn place_of(subnet: &Subnet) -> Option<(Ipv4Net, Source)> {
    let range = subnet.cidr_block.parse::<Ipv4Net>().ok()?.trunc();
    let place = Source {
        private_ip: range.network(),
        availability_zone: subnet.availability_zone.clone(),
        subnet_id: subnet.subnet_id.clone(),
        vpc_id: subnet.vpc_id.clone(),
        groups: Vec::new(),
        attached_at: None,
    };
    Some((range, place))
}

fn place_at(interface: &NetworkInterface) -> Option<Source> {
    Some(Source {
        private_ip: interface.private_ip_address.parse().ok()?,
        availability_zone: interface.availability_zone.clone(),
        subnet_id: interface.subnet_id.clone(),
        vpc_id: interface.vpc_id.clone(),
        groups: Vec::new(),
        attached_at: None,
    })
}

/// The command by which a security group lets these ranges in, those left out that one of the interface's groups lets
/// in already: EC2 refuses a rule that is there (`InvalidPermission.Duplicate`,
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html#api-error-codes-table-client>). `None` where
/// nothing is to be let in.
pub fn open_group(group: &str, ranges: &[Ipv4Net], groups: &[&SecurityGroup]) -> Option<String> {
    let there: Vec<Ipv4Net> = groups
        .iter()
        .flat_map(|group| &group.ip_permissions)
        .filter(|rule| is_for_mirrored_packets(rule))
        .flat_map(|rule| &rule.ip_ranges)
        .filter_map(|range| range.cidr_ip.parse().ok())
        .collect();
    let missing: Vec<Ipv4Net> = ranges
        .iter()
        .filter(|range| !there.iter().any(|there| there.contains(*range)))
        .copied()
        .collect();
    if !is_plain(group) {
        return None;
    }
    let command = format!("aws ec2 authorize-security-group-ingress --group-id {group}");
    match Ipv4Net::aggregate(&missing).as_slice() {
        [] => None,
        [range] => Some(format!(
            "{command} --protocol udp --port {MIRROR_PORT} --cidr {range}"
        )),
        ranges => {
            let ranges: Vec<_> = ranges.iter().map(|range| format!("{{CidrIp={range}}}")).collect();
            Some(format!(
                "{command} --ip-permissions 'IpProtocol=udp,FromPort={MIRROR_PORT},ToPort={MIRROR_PORT},IpRanges=[{}]'",
                ranges.join(",")
            ))
        }
    }
}

/// The command by which a network ACL lets in the one of these ranges that holds the address: an entry with a number
/// that is free, before every one that denies. There is none where that has the number 1.
pub fn open_acl(acl: &NetworkAcl, address: Ipv4Addr, ranges: &[Ipv4Net]) -> Option<String> {
    let id = &acl.network_acl_id;
    let inbound = || acl.entries.iter().filter(|entry| !entry.egress);
    let first_denial = inbound()
        .filter(|entry| entry.rule_action != "allow")
        .map(|entry| entry.rule_number)
        .min()
        .unwrap_or(LAST_ENTRY + 1);
    let taken: BTreeSet<i32> = inbound().map(|entry| entry.rule_number).collect();
    let wanted = USUAL_ENTRY.min(first_denial / 2);
    let number = (1..=wanted)
        .rev()
        .chain(wanted.max(0) + 1..first_denial.min(LAST_ENTRY + 1))
        .find(|number| !taken.contains(number))?;
    let own = Ipv4Net::from(address);
    let range = ranges
        .iter()
        .find(|range| range.contains(&address))
        .unwrap_or(&own);
    is_plain(id).then(|| {
        format!(
            "aws ec2 create-network-acl-entry --network-acl-id {id} --ingress --rule-number {number} --protocol udp \
             --port-range From={MIRROR_PORT},To={MIRROR_PORT} --cidr-block {range} --rule-action allow"
        )
    })
}

/// Whether a rule of a security group is for mirrored packets. Without ports, or with -1, a rule is for all of them
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpPermission.html>, `ipProtocol`; of a port -1 of UDP it is
/// an assumption).
pub fn is_for_mirrored_packets(rule: &IpPermission) -> bool {
    match rule.ip_protocol.as_str() {
        "-1" => true,
        "udp" | "17" => match (rule.from_port, rule.to_port) {
            (Some(from @ 0..), Some(to)) => (from..=to).contains(&MIRROR_PORT),
            _ => true,
        },
        _ => false,
    }
}

/// Ids in a snapshot are anyone's text, and a command is pasted into a shell.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mirrorstep_core::network::{
        Attachment, GroupIdentifier, IpRange, NetworkAclEntry, Route, RouteTable, RouteTableAssociation,
    };

    const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 5);

    fn nets(ranges: &[&str]) -> Vec<Ipv4Net> {
        ranges.iter().map(|range| range.parse().unwrap()).collect()
    }

    fn subnet(id: &str, vpc: &str, zone: &str, range: &str) -> Subnet {
        Subnet {
            subnet_id: id.into(),
            vpc_id: vpc.into(),
            availability_zone: zone.into(),
            cidr_block: range.into(),
        }
    }

    /// A table with a route to its own VPC, and one elsewhere by a peering connection.
    fn table(vpc: &str, own: &str, peer: Option<&str>) -> RouteTable {
        let route = |range: &str, gateway: Option<&str>, peering: Option<&str>| Route {
            destination_cidr_block: Some(range.into()),
            gateway_id: gateway.map(str::to_owned),
            vpc_peering_connection_id: peering.map(str::to_owned),
            origin: Some("CreateRoute".into()),
            state: Some("active".into()),
            ..Route::default()
        };
        let mut routes = vec![route(own, Some("local"), None)];
        routes.extend(peer.map(|peer| route(peer, None, Some("pcx-1"))));
        RouteTable {
            route_table_id: format!("rtb-{vpc}"),
            vpc_id: vpc.into(),
            associations: vec![RouteTableAssociation {
                main: true,
                subnet_id: None,
            }],
            routes,
        }
    }

    fn interface(id: &str, subnet: &str, vpc: &str, address: &str) -> NetworkInterface {
        NetworkInterface {
            network_interface_id: id.into(),
            private_ip_address: address.into(),
            availability_zone: "a".into(),
            subnet_id: subnet.into(),
            vpc_id: vpc.into(),
            attachment: Some(Attachment {
                instance_id: Some("i-1".into()),
                ..Attachment::default()
            }),
            groups: vec![GroupIdentifier {
                group_id: "sg-1".into(),
            }],
            ..NetworkInterface::default()
        }
    }

    /// A sensor in one VPC; another one is peered with it, a third one has no route to it.
    fn world() -> Snapshot {
        Snapshot {
            subnets: vec![
                subnet("s-0", "v-0", "a", "10.0.0.0/24"),
                subnet("s-1", "v-0", "a", "10.0.1.0/24"),
                subnet("s-2", "v-0", "b", "10.0.2.0/24"),
                subnet("s-3", "v-1", "a", "10.1.0.0/24"),
                subnet("s-4", "v-2", "a", "10.2.0.0/24"),
                subnet("s-5", "v-2", "a", ""),
            ],
            route_tables: vec![
                table("v-0", "10.0.0.0/16", None),
                table("v-1", "10.1.0.0/16", Some("10.0.0.0/16")),
                table("v-2", "10.2.0.0/16", None),
            ],
            network_interfaces: vec![interface("eni-1", "s-0", "v-0", "10.0.0.10")],
            ..Snapshot::default()
        }
    }

    #[test]
    fn the_sources_are_every_subnet_that_is_near_and_leads_there_in_as_few_ranges_as_hold_them() {
        let mut world = world();
        let sensor = world.network_interfaces[0].clone();
        assert_eq!(
            sources(&world, &[&sensor], true),
            nets(&["10.0.0.0/23", "10.1.0.0/24"])
        );
        let anywhere = nets(&["10.0.0.0/23", "10.0.2.0/24", "10.1.0.0/24"]);
        assert_eq!(sources(&world, &[&sensor], false), anywhere);
        // What is not visible of the sensor's own VPC leads there; of another it is not known to.
        world.route_tables.clear();
        assert_eq!(sources(&world, &[&sensor], true), nets(&["10.0.0.0/23"]));
    }

    #[test]
    fn an_interface_whose_subnet_is_not_known_counts_by_its_address() {
        let mut world = world();
        let sensor = world.network_interfaces[0].clone();
        world.subnets.clear();
        world.network_interfaces.extend([
            interface("eni-2", "s-1", "v-0", "10.0.1.4"),
            interface("eni-3", "s-1", "v-0", "10.0.1.5"),
            interface("eni-4", "s-4", "v-2", "10.2.0.4"),
        ]);
        world.traffic_mirror_targets = vec![mirrorstep_core::network::TrafficMirrorTarget {
            network_interface_id: Some("eni-1".into()),
            ..Default::default()
        }];
        assert_eq!(sources(&world, &[&sensor], true), nets(&["10.0.1.4/31"]));
    }

    fn group(rules: &[(&str, &str)]) -> SecurityGroup {
        let rule = |(protocol, range): &(&str, &str)| IpPermission {
            ip_protocol: (*protocol).into(),
            ip_ranges: vec![IpRange {
                cidr_ip: (*range).into(),
            }],
            ..IpPermission::default()
        };
        SecurityGroup {
            group_id: "sg-1".into(),
            ip_permissions: rules.iter().map(rule).collect(),
            ..SecurityGroup::default()
        }
    }

    #[test]
    fn what_a_group_lets_in_already_is_not_let_in_twice() {
        let ranges = nets(&["10.0.0.0/24", "10.0.2.0/24", "10.1.0.0/24"]);
        let opened = |rules: &[(&str, &str)]| open_group("sg-1", &ranges, &[&group(rules)]);
        let two = "aws ec2 authorize-security-group-ingress --group-id sg-1 --ip-permissions \
                   'IpProtocol=udp,FromPort=4789,ToPort=4789,IpRanges=[{CidrIp=10.0.2.0/24},{CidrIp=10.1.0.0/24}]'";
        assert_eq!(
            opened(&[("udp", "10.0.0.0/24"), ("tcp", "10.1.0.0/16")]).unwrap(),
            two
        );
        let one = "aws ec2 authorize-security-group-ingress --group-id sg-1 --protocol udp --port 4789 --cidr 10.1.0.0/24";
        assert_eq!(opened(&[("-1", "10.0.0.0/16")]).unwrap(), one);
        assert_eq!(opened(&[("17", "10.0.0.0/8")]), None);
    }

    fn acl(id: &str, entries: &[(i32, &str)]) -> NetworkAcl {
        let entry = |(rule_number, action): &(i32, &str)| NetworkAclEntry {
            rule_number: *rule_number,
            rule_action: (*action).to_owned(),
            ..NetworkAclEntry::default()
        };
        NetworkAcl {
            network_acl_id: id.to_owned(),
            entries: entries.iter().map(entry).collect(),
            ..NetworkAcl::default()
        }
    }

    #[test]
    fn the_entry_that_opens_an_acl_has_a_free_number_before_every_denial_or_there_is_none() {
        let number = |entries: &[(i32, &str)]| {
            let command = open_acl(&acl("acl-1", entries), SOURCE, &[])?;
            let (_, rest) = command.split_once("--rule-number ")?;
            rest.split_once(' ')?.0.parse::<i32>().ok()
        };
        let default = (32767, "deny");
        assert_eq!(number(&[]), Some(100));
        assert_eq!(number(&[(100, "allow"), default]), Some(99));
        assert_eq!(number(&[(100, "deny"), (90, "deny"), default]), Some(45));
        assert_eq!(
            number(&[(1, "allow"), (100, "deny"), (50, "allow"), default]),
            Some(49)
        );
        assert_eq!(number(&[(1, "allow"), (3, "deny"), default]), Some(2));
        assert_eq!(number(&[(2, "deny")]), Some(1));
        assert_eq!(number(&[(1, "allow"), (2, "deny")]), None);
        assert_eq!(number(&[(1, "deny")]), None);
        assert_eq!(number(&[(-3, "deny")]), None);
    }

    #[test]
    fn an_acl_lets_in_the_range_that_holds_the_source() {
        let command = |ranges: &[&str]| open_acl(&acl("acl-1", &[]), SOURCE, &nets(ranges)).unwrap();
        assert!(command(&["10.1.0.0/16", "10.0.0.0/23"]).contains("--cidr-block 10.0.0.0/23 "));
        assert!(command(&["10.1.0.0/16"]).contains("--cidr-block 10.0.1.5/32 "));
    }

    #[test]
    fn a_command_holds_nothing_that_a_shell_would_take_for_more_than_an_id() {
        for id in ["", "sg-1; reboot", "sg-$(reboot)", "sg 1", "sg-1\n"] {
            assert_eq!(open_group(id, &nets(&["10.0.1.0/24"]), &[]), None, "{id}");
            assert_eq!(open_acl(&acl(id, &[]), SOURCE, &[]), None, "{id}");
        }
    }
}
