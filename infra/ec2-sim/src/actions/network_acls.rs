//! Network ACLs.

use serde_json::json;
use tokio::time::Instant;

use super::{Answer, Context, asked_for, done, existing_vpc, ipv4_range, ipv6_range};
use crate::describe::{Paging, describe as describe_rows};
use crate::error::ApiError;
use crate::model::{IcmpTypeCode, NetworkAcl, NetworkAclAssociation, NetworkAclEntry, PortRange};
use crate::query::Params;
use crate::world::World;

/// The last rule of every ACL, which cannot be changed, and denies.
const LAST_RULE: i32 = 32767;

/// The rules that an ACL begins with: a VPC's default one lets everything pass, any other one nothing.
pub(super) fn default_entries(pass: bool) -> Vec<NetworkAclEntry> {
    let all = |egress: bool, rule_number: i32, rule_action: &str| NetworkAclEntry {
        rule_number,
        protocol: "-1".to_owned(),
        rule_action: rule_action.to_owned(),
        egress,
        cidr_block: Some("0.0.0.0/0".to_owned()),
        ..NetworkAclEntry::default()
    };
    [true, false]
        .into_iter()
        .flat_map(|egress| {
            let first = pass.then(|| all(egress, 100, "allow"));
            first.into_iter().chain([all(egress, LAST_RULE, "deny")])
        })
        .collect()
}

/// Ties a subnet to an ACL, away from the one that it had, and gives back the association's ID.
pub(super) fn tie(world: &mut World, now: Instant, acl_id: &str, subnet_id: &str) -> String {
    let network_acl_association_id = world.new_id("aclassoc");
    let before: Vec<String> = world
        .acls
        .iter()
        .filter(|acl| {
            acl.associations
                .iter()
                .any(|association| association.subnet_id == subnet_id)
        })
        .map(|acl| acl.network_acl_id.clone())
        .collect();
    for id in before {
        world.acls.change(now, &id, |acl| {
            acl.associations.retain(|a| a.subnet_id != subnet_id);
        });
    }
    let association = NetworkAclAssociation {
        network_acl_association_id: network_acl_association_id.clone(),
        network_acl_id: acl_id.to_owned(),
        subnet_id: subnet_id.to_owned(),
    };
    world
        .acls
        .change(now, acl_id, |acl| acl.associations.push(association));
    network_acl_association_id
}

/// `CreateNetworkAcl`.
pub(super) fn create(context: &mut Context<'_>, params: &Params) -> Answer {
    let vpc_id = params.need("VpcId")?.to_owned();
    let tags = params.tags_for("network-acl")?;
    existing_vpc(context, &vpc_id)?;
    let acl = NetworkAcl {
        network_acl_id: context.world.new_id("acl"),
        vpc_id: Some(vpc_id),
        is_default: false,
        owner_id: Some(context.account.to_owned()),
        associations: Vec::new(),
        entries: default_entries(false),
        tags,
    };
    context.world.acls.put(context.now, acl.clone());
    Ok(json!({"NetworkAcl": acl}))
}

fn read_entry(params: &Params) -> Result<NetworkAclEntry, ApiError> {
    let (rule_number, egress) = read_key(params)?;
    let protocol = match params.need("Protocol")? {
        "all" => "-1",
        "tcp" => "6",
        "udp" => "17",
        "icmp" => "1",
        "icmpv6" => "58",
        other => other,
    };
    if protocol != "-1" && protocol.parse::<u8>().is_err() {
        return Err(ApiError::invalid(format!(
            "Invalid value '{protocol}' for IP protocol. Unknown protocol."
        )));
    }
    let rule_action = params.need("RuleAction")?;
    if !matches!(rule_action, "allow" | "deny") {
        return Err(ApiError::invalid_value(
            "ruleAction",
            rule_action,
            "Expecting allow or deny.",
        ));
    }
    let cidr_block = params.get("CidrBlock").map(ipv4_range).transpose()?;
    let ipv6_cidr_block = params.get("Ipv6CidrBlock").map(ipv6_range).transpose()?;
    if cidr_block.is_none() && ipv6_cidr_block.is_none() {
        return Err(ApiError::missing("CidrBlock"));
    }
    let ports = params.structure("PortRange");
    let port_range = match (ports.integer("From")?, ports.integer("To")?) {
        (Some(from), Some(to)) if 0 <= from && from <= to && to <= 65535 => Some(PortRange { from, to }),
        (None, None) if !matches!(protocol, "6" | "17") => None,
        _ => {
            return Err(ApiError::invalid(
                "Invalid port range: TCP and UDP need ports from 0 to 65535.",
            ));
        }
    };
    let icmp = params.structure("Icmp");
    let icmp_type_code = match (icmp.integer("Type")?, icmp.integer("Code")?) {
        (Some(kind), Some(code)) => Some(IcmpTypeCode { code, kind }),
        _ => None,
    };
    Ok(NetworkAclEntry {
        rule_number,
        protocol: protocol.to_owned(),
        rule_action: rule_action.to_owned(),
        egress,
        cidr_block,
        ipv6_cidr_block,
        icmp_type_code,
        port_range: port_range.filter(|_| protocol != "-1"),
    })
}

fn read_key(params: &Params) -> Result<(i32, bool), ApiError> {
    let rule_number = params.need_integer("RuleNumber")?;
    if !(1..LAST_RULE).contains(&rule_number) {
        return Err(ApiError::invalid_value(
            "ruleNumber",
            rule_number,
            "Expecting 1 to 32766.",
        ));
    }
    Ok((rule_number, params.boolean("Egress")?.unwrap_or_default()))
}

/// Puts an entry in its place among the others, which are shown outbound first, and by number.
fn insert(acl: &mut NetworkAcl, entry: NetworkAclEntry) {
    acl.entries.push(entry);
    acl.entries
        .sort_by_key(|entry| (!entry.egress, entry.rule_number));
}

fn has_entry(acl: &NetworkAcl, rule_number: i32, egress: bool) -> bool {
    acl.entries
        .iter()
        .any(|entry| entry.rule_number == rule_number && entry.egress == egress)
}

fn no_such_entry(rule_number: i32) -> ApiError {
    let message = format!("The specified network acl entry with rule number {rule_number} does not exist.");
    ApiError::new("InvalidNetworkAclEntry.NotFound", message)
}

/// `CreateNetworkAclEntry`.
pub(super) fn create_entry(context: &mut Context<'_>, params: &Params) -> Answer {
    let acl = asked_for(&context.world.acls, params)?;
    let entry = read_entry(params)?;
    if has_entry(&acl, entry.rule_number, entry.egress) {
        return Err(ApiError::new(
            "NetworkAclEntryAlreadyExists",
            format!(
                "The network acl entry identified by {} already exists.",
                entry.rule_number
            ),
        ));
    }
    context
        .world
        .acls
        .change(context.now, &acl.network_acl_id, |acl| insert(acl, entry));
    Ok(done())
}

/// `DeleteNetworkAclEntry`.
pub(super) fn delete_entry(context: &mut Context<'_>, params: &Params) -> Answer {
    let acl = asked_for(&context.world.acls, params)?;
    let (rule_number, egress) = read_key(params)?;
    if !has_entry(&acl, rule_number, egress) {
        return Err(no_such_entry(rule_number));
    }
    context
        .world
        .acls
        .change(context.now, &acl.network_acl_id, |acl| {
            acl.entries
                .retain(|entry| entry.rule_number != rule_number || entry.egress != egress);
        });
    Ok(done())
}

/// `ReplaceNetworkAclEntry`.
pub(super) fn replace_entry(context: &mut Context<'_>, params: &Params) -> Answer {
    let acl = asked_for(&context.world.acls, params)?;
    let new = read_entry(params)?;
    if !has_entry(&acl, new.rule_number, new.egress) {
        return Err(no_such_entry(new.rule_number));
    }
    context
        .world
        .acls
        .change(context.now, &acl.network_acl_id, |acl| {
            acl.entries
                .retain(|entry| entry.rule_number != new.rule_number || entry.egress != new.egress);
            insert(acl, new);
        });
    Ok(done())
}

/// `ReplaceNetworkAclAssociation`: a subnet always has one ACL, so it is only ever moved to another.
pub(super) fn replace_association(context: &mut Context<'_>, params: &Params) -> Answer {
    let association_id = params.need("AssociationId")?;
    let acl = asked_for(&context.world.acls, params)?;
    let association = context
        .world
        .acls
        .iter()
        .flat_map(|acl| &acl.associations)
        .find(|association| association.network_acl_association_id == association_id);
    let subnet_id = association
        .map(|association| association.subnet_id.clone())
        .ok_or_else(|| {
            let message = format!("The association ID '{association_id}' does not exist");
            ApiError::new("InvalidAssociationID.NotFound", message)
        })?;
    let new = tie(context.world, context.now, &acl.network_acl_id, &subnet_id);
    Ok(json!({"NewAssociationId": new}))
}

/// `DescribeNetworkAcls`.
pub(super) fn describe(context: &mut Context<'_>, params: &Params) -> Answer {
    describe_rows(context, params, &context.world.acls, "NetworkAcls", Paging::USUAL)
}
