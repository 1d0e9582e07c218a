//! Security groups and their inbound rules.

use serde_json::{Value, json};

use super::{Answer, Context, asked_for, done, existing, existing_vpc, ipv4_range, ipv6_range};
use crate::describe::{Paging, describe as describe_rows, listed, not_found, page, select};
use crate::error::ApiError;
use crate::model::{
    IpPermission, IpRange, Ipv6Range, ManagedPrefixList, PrefixListId, Row, SecurityGroup, UserIdGroupPair,
};
use crate::query::Params;
use crate::world::World;

/// `CreateSecurityGroup`, which lets everything out.
pub(super) fn create(context: &mut Context<'_>, params: &Params) -> Answer {
    let group_name = params.need("GroupName")?.to_owned();
    let description = params.need("GroupDescription")?.to_owned();
    let vpc_id = params.need("VpcId")?.to_owned();
    let tags = params.tags_for("security-group")?;
    existing_vpc(context, &vpc_id)?;
    let same_name =
        |group: &SecurityGroup| group.group_name == group_name && group.vpc_id.as_ref() == Some(&vpc_id);
    if context.world.groups.iter().any(same_name) {
        return Err(ApiError::new(
            "InvalidGroup.Duplicate",
            format!("The security group '{group_name}' already exists for VPC '{vpc_id}'"),
        ));
    }
    let group_id = context.world.new_id("sg");
    let all = IpPermission {
        ip_protocol: "-1".to_owned(),
        ..IpPermission::default()
    };
    context.world.groups.put(
        context.now,
        SecurityGroup {
            group_id: group_id.clone(),
            group_name,
            description,
            owner_id: Some(context.account.to_owned()),
            vpc_id: Some(vpc_id),
            security_group_arn: Some(arn(context.region, context.account, &group_id)),
            ip_permissions: Vec::new(),
            ip_permissions_egress: vec![super::vpcs::to_anywhere(all)],
            tags: tags.clone(),
        },
    );
    let arn = arn(context.region, context.account, &group_id);
    Ok(json!({"GroupId": group_id, "Tags": tags, "SecurityGroupArn": arn}))
}

pub(super) fn arn(region: &str, account: &str, group_id: &str) -> String {
    format!("arn:aws:ec2:{region}:{account}:security-group/{group_id}")
}

/// `DeleteSecurityGroup`: not the default one, nor one that an interface has or a rule names.
pub(super) fn delete(context: &mut Context<'_>, params: &Params) -> Answer {
    let group = asked_for(&context.world.groups, params)?;
    let id = group.group_id;
    if group.group_name == "default" {
        let message = format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user");
        return Err(ApiError::new("CannotDelete", message));
    }
    let attached = context
        .world
        .interfaces
        .iter()
        .any(|interface| interface.groups.iter().any(|g| g.group_id == id));
    let named = context
        .world
        .groups
        .iter()
        .filter(|other| other.group_id != id)
        .any(|other| {
            let permissions = other.ip_permissions.iter().chain(&other.ip_permissions_egress);
            permissions
                .flat_map(|p| &p.user_id_group_pairs)
                .any(|pair| pair.group_id.as_ref() == Some(&id))
        });
    if attached || named {
        return Err(ApiError::new(
            "DependencyViolation",
            format!("resource {id} has a dependent object"),
        ));
    }
    context.world.groups.delete(context.now, &id);
    Ok(json!({"Return": true, "GroupId": id}))
}

/// `AuthorizeSecurityGroupIngress`: adds rules, all or none.
pub(super) fn authorize_ingress(context: &mut Context<'_>, params: &Params) -> Answer {
    let group = asked_for(&context.world.groups, params)?;
    let asked = permissions(context, params)?;
    let mut held = group.ip_permissions;
    for rule in asked.iter().flat_map(single_rules) {
        if held
            .iter()
            .flat_map(single_rules)
            .any(|other| same_rule(&other, &rule))
        {
            return Err(ApiError::new(
                "InvalidPermission.Duplicate",
                format!("the specified rule \"{}\" already exists", rule_text(&rule)),
            ));
        }
        add_rule(&mut held, rule);
    }
    context
        .world
        .groups
        .change(context.now, &group.group_id, |group| group.ip_permissions = held);
    let rules = shown_rules(context, &group.group_id, &asked);
    Ok(json!({"Return": true, "SecurityGroupRules": rules}))
}

/// `RevokeSecurityGroupIngress`: takes rules away, all or none.
pub(super) fn revoke_ingress(context: &mut Context<'_>, params: &Params) -> Answer {
    let group = asked_for(&context.world.groups, params)?;
    let asked = permissions(context, params)?;
    let mut rules: Vec<IpPermission> = group.ip_permissions.iter().flat_map(single_rules).collect();
    for unwanted in asked.iter().flat_map(single_rules) {
        let at = rules
            .iter()
            .position(|rule| same_rule(rule, &unwanted))
            .ok_or_else(|| {
                let message = "The specified rule does not exist in this security group.";
                ApiError::new("InvalidPermission.NotFound", message)
            })?;
        rules.remove(at);
    }
    let mut held = Vec::new();
    for rule in rules {
        add_rule(&mut held, rule);
    }
    context
        .world
        .groups
        .change(context.now, &group.group_id, |group| group.ip_permissions = held);
    Ok(done())
}

/// `DescribeSecurityGroups`: also by `GroupName`.
pub(super) fn describe(context: &mut Context<'_>, params: &Params) -> Answer {
    let names = params.list("GroupName");
    let groups = &context.world.groups;
    if names.is_empty() {
        return describe_rows(context, params, groups, "SecurityGroups", Paging::USUAL);
    }
    let mut rows = select(context.horizon, params, groups, SecurityGroup::ID)?;
    rows.retain(|group| names.contains(&group.group_name));
    if let Some(unknown) = names
        .iter()
        .find(|name| !rows.iter().any(|group| group.group_name == **name))
    {
        return Err(not_found::<SecurityGroup>(&[unknown]));
    }
    let rows = rows
        .into_iter()
        .map(|group| (group.group_id.clone(), crate::describe::json(group)))
        .collect();
    let (rows, next_token) = page(params, rows, SecurityGroup::ID, Paging::USUAL)?;
    Ok(listed("SecurityGroups", rows, next_token))
}

/// The rules of a request, either as a list or, for one address range, as parameters of its own.
fn permissions(context: &Context<'_>, params: &Params) -> Result<Vec<IpPermission>, ApiError> {
    let listed = params.structures("IpPermissions");
    if listed.is_empty() {
        let mut permission = protocol_and_ports(params)?;
        let cidr_ip = ipv4_range(params.need("CidrIp")?)?;
        permission.ip_ranges.push(IpRange {
            cidr_ip,
            description: None,
        });
        return Ok(vec![permission]);
    }
    listed
        .iter()
        .map(|permission| read_permission(context, permission))
        .collect()
}

fn read_permission(context: &Context<'_>, params: &Params) -> Result<IpPermission, ApiError> {
    let mut permission = protocol_and_ports(params)?;
    for range in params.structures("IpRanges") {
        let cidr_ip = ipv4_range(range.need("CidrIp")?)?;
        permission.ip_ranges.push(IpRange {
            cidr_ip,
            description: range.text("Description"),
        });
    }
    for range in params.structures("Ipv6Ranges") {
        let cidr_ipv6 = ipv6_range(range.need("CidrIpv6")?)?;
        permission.ipv6_ranges.push(Ipv6Range {
            cidr_ipv6,
            description: range.text("Description"),
        });
    }
    for list in params.structures("PrefixListIds") {
        let prefix_list_id = list.need("PrefixListId")?.to_owned();
        if !context.world.prefix_list_entries.contains_key(&prefix_list_id) {
            existing::<ManagedPrefixList>(&context.world.prefix_lists, &prefix_list_id)?;
        }
        permission.prefix_list_ids.push(PrefixListId {
            prefix_list_id,
            description: list.text("Description"),
        });
    }
    for pair in params.structures("Groups") {
        permission
            .user_id_group_pairs
            .push(read_group(context.world, context.account, &pair)?);
    }
    Ok(permission)
}

/// A group as a source. A group of another account or behind a peering cannot be seen from here, so it is taken
/// at its word.
fn read_group(world: &World, account: &str, pair: &Params) -> Result<UserIdGroupPair, ApiError> {
    let group_id = pair.need("GroupId")?.to_owned();
    let peering = pair.text("VpcPeeringConnectionId");
    let elsewhere = peering.is_some() || pair.get("UserId").is_some_and(|user| user != account);
    let owner = if elsewhere {
        None
    } else {
        existing(&world.groups, &group_id)?.owner_id
    };
    Ok(UserIdGroupPair {
        user_id: pair.text("UserId").or(owner).or_else(|| Some(account.to_owned())),
        vpc_id: pair.text("VpcId"),
        peering_status: peering.as_ref().map(|_| "active".to_owned()),
        vpc_peering_connection_id: peering,
        group_id: Some(group_id),
        group_name: None,
        description: pair.text("Description"),
    })
}

/// Protocol and ports as EC2 keeps them: the numbers of the well-known protocols become their names, and a rule
/// for all protocols has no ports.
fn protocol_and_ports(params: &Params) -> Result<IpPermission, ApiError> {
    let asked = params.need("IpProtocol")?;
    let ip_protocol = protocol_name(asked);
    let known = matches!(ip_protocol, "-1" | "tcp" | "udp" | "icmp" | "icmpv6");
    if !known && ip_protocol.parse::<u8>().is_err() {
        return Err(ApiError::invalid(format!(
            "Invalid value '{asked}' for IP protocol. Unknown protocol."
        )));
    }
    let (from_port, to_port) = (params.integer("FromPort")?, params.integer("ToPort")?);
    let has_ports = matches!(ip_protocol, "tcp" | "udp" | "icmp" | "icmpv6");
    if matches!(ip_protocol, "tcp" | "udp") {
        match (from_port, to_port) {
            (Some(from), Some(to)) if 0 <= from && from <= to && to <= 65535 => {}
            (Some(_), Some(_)) => {
                return Err(ApiError::invalid(
                    "Invalid value for port range. Must be 0 to 65535.",
                ));
            }
            _ => {
                return Err(ApiError::invalid(
                    "Invalid value for portRange. Must specify both from and to ports.",
                ));
            }
        }
    }
    Ok(IpPermission {
        ip_protocol: ip_protocol.to_owned(),
        from_port: from_port.filter(|_| has_ports),
        to_port: to_port.filter(|_| has_ports),
        ..IpPermission::default()
    })
}

/// The numbers of the well-known protocols become their names.
fn protocol_name(asked: &str) -> &str {
    match asked {
        "6" => "tcp",
        "17" => "udp",
        "1" => "icmp",
        "58" => "icmpv6",
        "all" => "-1",
        other => other,
    }
}

/// A permission taken apart into permissions with one source each.
fn single_rules(permission: &IpPermission) -> Vec<IpPermission> {
    let bare = IpPermission {
        ip_protocol: permission.ip_protocol.clone(),
        from_port: permission.from_port,
        to_port: permission.to_port,
        ..IpPermission::default()
    };
    let ranges = permission.ip_ranges.iter().cloned();
    let ipv6_ranges = permission.ipv6_ranges.iter().cloned();
    let lists = permission.prefix_list_ids.iter().cloned();
    let groups = permission.user_id_group_pairs.iter().cloned();
    ranges
        .map(|range| IpPermission {
            ip_ranges: vec![range],
            ..bare.clone()
        })
        .chain(ipv6_ranges.map(|range| IpPermission {
            ipv6_ranges: vec![range],
            ..bare.clone()
        }))
        .chain(lists.map(|list| IpPermission {
            prefix_list_ids: vec![list],
            ..bare.clone()
        }))
        .chain(groups.map(|group| IpPermission {
            user_id_group_pairs: vec![group],
            ..bare.clone()
        }))
        .collect()
}

/// Whether two rules with one source each let the same in: their descriptions do not count.
fn same_rule(a: &IpPermission, b: &IpPermission) -> bool {
    rule_text(a) == rule_text(b)
}

fn rule_text(rule: &IpPermission) -> String {
    let peer = rule
        .ip_ranges
        .iter()
        .map(|range| range.cidr_ip.as_str())
        .chain(rule.ipv6_ranges.iter().map(|range| range.cidr_ipv6.as_str()))
        .chain(
            rule.prefix_list_ids
                .iter()
                .map(|list| list.prefix_list_id.as_str()),
        )
        .chain(
            rule.user_id_group_pairs
                .iter()
                .filter_map(|group| group.group_id.as_deref()),
        )
        .next()
        .unwrap_or_default();
    let port = |port: Option<i32>| port.map_or_else(|| "-".to_owned(), |port| port.to_string());
    format!(
        "peer: {peer}, {}, from port: {}, to port: {}, ALLOW",
        // A loaded snapshot may hold the number.
        protocol_name(&rule.ip_protocol),
        port(rule.from_port),
        port(rule.to_port)
    )
}

/// Adds a rule to the permission with the same protocol and ports, as EC2 shows them.
fn add_rule(held: &mut Vec<IpPermission>, rule: IpPermission) {
    let same = held.iter_mut().find(|permission| {
        permission.ip_protocol == rule.ip_protocol
            && permission.from_port == rule.from_port
            && permission.to_port == rule.to_port
    });
    match same {
        None => held.push(rule),
        Some(permission) => {
            permission.ip_ranges.extend(rule.ip_ranges);
            permission.ipv6_ranges.extend(rule.ipv6_ranges);
            permission.prefix_list_ids.extend(rule.prefix_list_ids);
            permission.user_id_group_pairs.extend(rule.user_id_group_pairs);
        }
    }
}

/// The description of a rule with one source.
fn description(rule: &IpPermission) -> Option<&String> {
    let ranges = rule.ip_ranges.iter().map(|range| &range.description);
    let ipv6_ranges = rule.ipv6_ranges.iter().map(|range| &range.description);
    let lists = rule.prefix_list_ids.iter().map(|list| &list.description);
    let groups = rule.user_id_group_pairs.iter().map(|group| &group.description);
    ranges
        .chain(ipv6_ranges)
        .chain(lists)
        .chain(groups)
        .flatten()
        .next()
}

fn shown_rules(context: &mut Context<'_>, group_id: &str, permissions: &[IpPermission]) -> Vec<Value> {
    let account = context.account;
    permissions
        .iter()
        .flat_map(single_rules)
        .map(|rule| {
            json!({
                "SecurityGroupRuleId": context.world.new_id("sgr"),
                "GroupId": group_id,
                "GroupOwnerId": account,
                "IsEgress": false,
                "IpProtocol": rule.ip_protocol,
                "FromPort": rule.from_port.unwrap_or(-1),
                "ToPort": rule.to_port.unwrap_or(-1),
                "CidrIpv4": rule.ip_ranges.first().map(|range| &range.cidr_ip),
                "CidrIpv6": rule.ipv6_ranges.first().map(|range| &range.cidr_ipv6),
                "PrefixListId": rule.prefix_list_ids.first().map(|list| &list.prefix_list_id),
                "Description": description(&rule),
                "ReferencedGroupInfo": rule.user_id_group_pairs.first().map(|group| {
                    json!({"GroupId": group.group_id, "UserId": group.user_id})
                }),
            })
        })
        .collect()
}
