//! From the SDK's types to the core's. A member that EC2 leaves out becomes the core type's empty value.
//!
//! An object without an id of its kind, or a network ACL with an entry that is not whole, makes no sense: it is named in
//! the log and left out, as if EC2 did not show it. Instances are not: what their ids and those of their interfaces are,
//! is looked at by who goes through them, since none may be counted as covered.

use std::fmt::Display;
use std::str::FromStr;

use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types as sdk;
use mirrorstep_core::assignment::ObservedSession;
use mirrorstep_core::network as core;
use mirrorstep_core::{FilterId, InterfaceId, SessionId, TargetId};

/// Names in the log what makes no sense: the field `unreadable` is what the metric counts.
fn senseless(what: &str, why: impl Display) {
    tracing::error!(
        unreadable = what,
        "{what} in EC2's answer makes no sense, and is left out: {why}"
    );
}

/// An id of a kind that is sent back to EC2.
fn id<T: FromStr<Err: Display>>(what: &str, text: Option<String>) -> Option<String> {
    let text = text.unwrap_or_default();
    match text.parse::<T>() {
        Ok(_) => Some(text),
        Err(error) => {
            senseless(what, error);
            None
        }
    }
}

/// Any other id: it is only compared.
fn some_id(what: &str, text: Option<String>) -> Option<String> {
    let id = text.filter(|id| !id.is_empty());
    if id.is_none() {
        senseless(what, "it has no id");
    }
    id
}

fn tags(tags: Option<Vec<sdk::Tag>>) -> Vec<core::Tag> {
    tags.unwrap_or_default()
        .into_iter()
        .filter_map(|tag| {
            Some(core::Tag {
                key: tag.key?,
                value: tag.value.unwrap_or_default(),
            })
        })
        .collect()
}

/// A time as RFC 3339 writes it.
fn time(time: DateTime) -> String {
    time.to_string()
}

pub(crate) fn reservation(reservation: sdk::Reservation) -> Vec<core::Instance> {
    reservation
        .instances
        .unwrap_or_default()
        .into_iter()
        .map(instance)
        .collect()
}

fn instance(instance: sdk::Instance) -> core::Instance {
    core::Instance {
        instance_id: instance.instance_id.unwrap_or_default(),
        state: core::InstanceState {
            name: instance
                .state
                .and_then(|s| s.name)
                .map(|n| n.as_str().to_owned())
                .unwrap_or_default(),
        },
        state_transition_reason: instance.state_transition_reason.unwrap_or_default(),
        network_interfaces: instance
            .network_interfaces
            .unwrap_or_default()
            .into_iter()
            .map(|interface| core::InstanceNetworkInterface {
                network_interface_id: interface.network_interface_id.unwrap_or_default(),
                interface_type: interface.interface_type.unwrap_or_default(),
                attachment: interface.attachment.map(|attachment| core::Attachment {
                    instance_id: None,
                    status: attachment.status.map(|status| status.as_str().to_owned()),
                    attach_time: attachment.attach_time.map(time),
                }),
            })
            .collect(),
        tags: tags(instance.tags),
    }
}

pub(crate) fn target(target: sdk::TrafficMirrorTarget) -> Option<core::TrafficMirrorTarget> {
    Some(core::TrafficMirrorTarget {
        traffic_mirror_target_id: id::<TargetId>("a traffic mirror target", target.traffic_mirror_target_id)?,
        network_interface_id: target.network_interface_id,
        network_load_balancer_arn: target.network_load_balancer_arn,
        gateway_load_balancer_endpoint_id: target.gateway_load_balancer_endpoint_id,
        owner_id: target.owner_id.unwrap_or_default(),
        tags: tags(target.tags),
    })
}

const SESSION: &str = "a traffic mirror session";

/// A session whose ids are whole. Any other is no session that a decision can rest on.
pub(crate) fn session(session: sdk::TrafficMirrorSession) -> Option<ObservedSession> {
    Some(ObservedSession {
        session_id: id::<SessionId>(SESSION, session.traffic_mirror_session_id)?
            .parse()
            .ok()?,
        target_id: id::<TargetId>(SESSION, session.traffic_mirror_target_id)?
            .parse()
            .ok()?,
        session_number: session.session_number?,
    })
}

pub(crate) fn traffic_mirror_session(
    session: sdk::TrafficMirrorSession,
) -> Option<core::TrafficMirrorSession> {
    Some(core::TrafficMirrorSession {
        traffic_mirror_session_id: id::<SessionId>(SESSION, session.traffic_mirror_session_id)?,
        traffic_mirror_target_id: id::<TargetId>(SESSION, session.traffic_mirror_target_id)?,
        traffic_mirror_filter_id: id::<FilterId>(SESSION, session.traffic_mirror_filter_id)?,
        network_interface_id: id::<InterfaceId>(SESSION, session.network_interface_id)?,
        session_number: session.session_number.unwrap_or_default(),
        virtual_network_id: session.virtual_network_id,
        packet_length: session.packet_length,
        owner_id: session.owner_id.unwrap_or_default(),
        tags: tags(session.tags),
    })
}

pub(crate) fn network_interface(interface: sdk::NetworkInterface) -> Option<core::NetworkInterface> {
    Some(core::NetworkInterface {
        network_interface_id: id::<InterfaceId>("a network interface", interface.network_interface_id)?,
        availability_zone: interface.availability_zone.unwrap_or_default(),
        description: interface.description.unwrap_or_default(),
        interface_type: interface
            .interface_type
            .map(|t| t.as_str().to_owned())
            .unwrap_or_default(),
        private_ip_address: interface.private_ip_address.unwrap_or_default(),
        subnet_id: interface.subnet_id.unwrap_or_default(),
        vpc_id: interface.vpc_id.unwrap_or_default(),
        owner_id: interface.owner_id.unwrap_or_default(),
        status: interface
            .status
            .map(|status| status.as_str().to_owned())
            .unwrap_or_default(),
        groups: interface
            .groups
            .unwrap_or_default()
            .into_iter()
            .filter_map(|group| {
                Some(core::GroupIdentifier {
                    group_id: group.group_id?,
                })
            })
            .collect(),
        attachment: interface.attachment.map(|a| core::Attachment {
            instance_id: a.instance_id,
            status: a.status.map(|status| status.as_str().to_owned()),
            attach_time: a.attach_time.map(time),
        }),
        tag_set: tags(interface.tag_set),
    })
}

pub(crate) fn vpc_endpoint(endpoint: sdk::VpcEndpoint) -> Option<core::VpcEndpoint> {
    Some(core::VpcEndpoint {
        vpc_endpoint_id: some_id("a VPC endpoint", endpoint.vpc_endpoint_id)?,
        state: endpoint
            .state
            .map(|state| state.as_str().to_owned())
            .unwrap_or_default(),
        network_interface_ids: endpoint.network_interface_ids.unwrap_or_default(),
    })
}

pub(crate) fn security_group(group: sdk::SecurityGroup) -> Option<core::SecurityGroup> {
    Some(core::SecurityGroup {
        group_id: some_id("a security group", group.group_id)?,
        vpc_id: group.vpc_id.unwrap_or_default(),
        ip_permissions: group
            .ip_permissions
            .unwrap_or_default()
            .into_iter()
            .map(ip_permission)
            .collect(),
    })
}

fn ip_permission(permission: sdk::IpPermission) -> core::IpPermission {
    core::IpPermission {
        ip_protocol: permission.ip_protocol.unwrap_or_default(),
        from_port: permission.from_port,
        to_port: permission.to_port,
        ip_ranges: permission
            .ip_ranges
            .unwrap_or_default()
            .into_iter()
            .filter_map(|range| {
                Some(core::IpRange {
                    cidr_ip: range.cidr_ip?,
                })
            })
            .collect(),
        user_id_group_pairs: permission
            .user_id_group_pairs
            .unwrap_or_default()
            .into_iter()
            .filter_map(|pair| {
                Some(core::UserIdGroupPair {
                    group_id: pair.group_id?,
                    peering_status: pair.peering_status,
                })
            })
            .collect(),
        prefix_list_ids: permission
            .prefix_list_ids
            .unwrap_or_default()
            .into_iter()
            .filter_map(|list| {
                Some(core::PrefixListId {
                    prefix_list_id: list.prefix_list_id?,
                })
            })
            .collect(),
    }
}

pub(crate) fn prefix_list_entry(entry: sdk::PrefixListEntry) -> Option<core::PrefixListEntry> {
    Some(core::PrefixListEntry { cidr: entry.cidr? })
}

pub(crate) fn network_acl(acl: sdk::NetworkAcl) -> Option<core::NetworkAcl> {
    let network_acl_id = some_id("a network ACL", acl.network_acl_id)?;
    // The first entry that matches decides: without one of them nobody knows which that is.
    let entries: Option<Vec<_>> = acl
        .entries
        .unwrap_or_default()
        .into_iter()
        .map(network_acl_entry)
        .collect();
    if entries.is_none() {
        senseless(
            &format!("network ACL {network_acl_id}"),
            "an entry lacks its number, its direction or its action",
        );
    }
    Some(core::NetworkAcl {
        network_acl_id,
        associations: acl
            .associations
            .unwrap_or_default()
            .into_iter()
            .filter_map(|association| {
                Some(core::NetworkAclAssociation {
                    subnet_id: association.subnet_id?,
                })
            })
            .collect(),
        entries: entries?,
    })
}

fn network_acl_entry(entry: sdk::NetworkAclEntry) -> Option<core::NetworkAclEntry> {
    Some(core::NetworkAclEntry {
        rule_number: entry.rule_number?,
        egress: entry.egress?,
        protocol: entry.protocol.unwrap_or_default(),
        port_range: entry.port_range.map(|ports| core::PortRange {
            from: ports.from,
            to: ports.to,
        }),
        cidr_block: entry.cidr_block,
        ipv6_cidr_block: entry.ipv6_cidr_block,
        rule_action: entry.rule_action?.as_str().to_owned(),
    })
}

pub(crate) fn route_table(table: sdk::RouteTable) -> Option<core::RouteTable> {
    Some(core::RouteTable {
        route_table_id: some_id("a route table", table.route_table_id)?,
        vpc_id: table.vpc_id.unwrap_or_default(),
        associations: table
            .associations
            .unwrap_or_default()
            .into_iter()
            .map(|association| core::RouteTableAssociation {
                main: association.main.unwrap_or_default(),
                subnet_id: association.subnet_id,
            })
            .collect(),
        routes: table.routes.unwrap_or_default().into_iter().map(route).collect(),
    })
}

fn route(route: sdk::Route) -> core::Route {
    core::Route {
        destination_cidr_block: route.destination_cidr_block,
        destination_ipv6_cidr_block: route.destination_ipv6_cidr_block,
        destination_prefix_list_id: route.destination_prefix_list_id,
        gateway_id: route.gateway_id,
        nat_gateway_id: route.nat_gateway_id,
        transit_gateway_id: route.transit_gateway_id,
        vpc_peering_connection_id: route.vpc_peering_connection_id,
        network_interface_id: route.network_interface_id,
        instance_id: route.instance_id,
        local_gateway_id: route.local_gateway_id,
        carrier_gateway_id: route.carrier_gateway_id,
        egress_only_internet_gateway_id: route.egress_only_internet_gateway_id,
        core_network_arn: route.core_network_arn,
        origin: route.origin.map(|origin| origin.as_str().to_owned()),
        state: route.state.map(|state| state.as_str().to_owned()),
    }
}
