//! The actions of the EC2 API, by the things that they act on.

mod instances;
mod interfaces;
mod mirroring;
mod network_acls;
mod prefix_lists;
mod routes;
mod security_groups;
mod tags;
mod vpcs;

use std::net::Ipv4Addr;

use ipnet::{Ipv4Net, Ipv6Net};
use serde_json::{Value, json};

use crate::context::Context;
use crate::describe::not_found;
use crate::error::ApiError;
use crate::history::Table;
use crate::model::Row;
use crate::query::Params;
use crate::refusals;

type Answer = Result<Value, ApiError>;
type Action = fn(&mut Context<'_>, &Params) -> Answer;

/// Carries out one request.
pub(crate) fn perform(context: &mut Context<'_>, params: &Params) -> Answer {
    let name = params.need("Action")?;
    let action = action(name).ok_or_else(|| {
        ApiError::new(
            "InvalidAction",
            format!("The action {name} is not valid for this web service."),
        )
    })?;
    if params.boolean("DryRun")? == Some(true) {
        let message = "Request would have succeeded, but DryRun flag is set.";
        return Err(ApiError::new("DryRunOperation", message).with_status(412));
    }
    if context.large_account && is_unpaginated(name, params) {
        return Err(refusals::not_paginated(name));
    }
    context.world.catch_up(context.now);
    match params.get("ClientToken") {
        Some(token) if !token.is_empty() => once(context, name, token, params, action),
        _ => action(context, params),
    }
}

/// Whether a request asks for everything at once: without pages, and without IDs, which limit the answer themselves.
/// There are no pages of Availability Zones.
fn is_unpaginated(name: &str, params: &Params) -> bool {
    let lists = name.starts_with("Describe") || name == "GetManagedPrefixListEntries";
    let is_id = |name: &String| name.split_once('.').is_some_and(|(list, _)| list.ends_with("Id"));
    lists
        && name != "DescribeAvailabilityZones"
        && params.get("MaxResults").is_none()
        && params.get("NextToken").is_none()
        && !params.all().keys().any(is_id)
}

/// Carries out a request with a client token: the same request again is not done again, and gets the same
/// answer; another request with the token is refused (developer guide, "Ensuring idempotency").
///
/// AWS forgets tokens after a day or more; here they are kept. A request that was refused does not use its
/// token up.
fn once(context: &mut Context<'_>, name: &str, token: &str, params: &Params, action: Action) -> Answer {
    if token.len() > 64 {
        return Err(ApiError::invalid_value(
            "clientToken",
            token,
            "It can have at most 64 characters.",
        ));
    }
    let key = (name.to_owned(), token.to_owned());
    if let Some((earlier, answer)) = context.world.tokens.get(&key) {
        if earlier == params {
            return Ok(answer.clone());
        }
        return Err(ApiError::new(
            "IdempotentParameterMismatch",
            format!("The client token {token} was used before, with other parameters"),
        ));
    }
    let mut answer = action(context, params)?;
    if name != "RunInstances" {
        answer["ClientToken"] = json!(token);
    }
    context.world.tokens.insert(key, (params.clone(), answer.clone()));
    Ok(answer)
}

/// What is carried out for the name of each action.
const ACTIONS: &[(&str, Action)] = &[
    ("RunInstances", instances::run),
    ("StartInstances", instances::start),
    ("StopInstances", instances::stop),
    ("TerminateInstances", instances::terminate),
    ("DescribeInstances", instances::describe),
    ("CreateNetworkInterface", interfaces::create),
    ("DeleteNetworkInterface", interfaces::delete),
    ("AttachNetworkInterface", interfaces::attach),
    ("DetachNetworkInterface", interfaces::detach),
    ("ModifyNetworkInterfaceAttribute", interfaces::modify),
    ("DescribeNetworkInterfaces", interfaces::describe),
    ("CreateVpc", vpcs::create_vpc),
    ("DescribeVpcs", vpcs::describe_vpcs),
    ("CreateSubnet", vpcs::create_subnet),
    ("DescribeSubnets", vpcs::describe_subnets),
    ("CreateVpcEndpoint", vpcs::create_endpoint),
    ("DescribeVpcEndpoints", vpcs::describe_endpoints),
    ("DescribeAvailabilityZones", vpcs::describe_zones),
    ("CreateSecurityGroup", security_groups::create),
    ("DeleteSecurityGroup", security_groups::delete),
    (
        "AuthorizeSecurityGroupIngress",
        security_groups::authorize_ingress,
    ),
    ("RevokeSecurityGroupIngress", security_groups::revoke_ingress),
    ("DescribeSecurityGroups", security_groups::describe),
    ("CreateNetworkAcl", network_acls::create),
    ("CreateNetworkAclEntry", network_acls::create_entry),
    ("DeleteNetworkAclEntry", network_acls::delete_entry),
    ("ReplaceNetworkAclEntry", network_acls::replace_entry),
    ("ReplaceNetworkAclAssociation", network_acls::replace_association),
    ("DescribeNetworkAcls", network_acls::describe),
    ("CreateManagedPrefixList", prefix_lists::create),
    ("DescribeManagedPrefixLists", prefix_lists::describe),
    ("GetManagedPrefixListEntries", prefix_lists::entries),
    ("CreateRouteTable", routes::create_table),
    ("CreateRoute", routes::create_route),
    ("DeleteRoute", routes::delete_route),
    ("AssociateRouteTable", routes::associate),
    ("DescribeRouteTables", routes::describe),
    ("CreateTrafficMirrorTarget", mirroring::create_target),
    ("DeleteTrafficMirrorTarget", mirroring::delete_target),
    ("DescribeTrafficMirrorTargets", mirroring::describe_targets),
    ("CreateTrafficMirrorFilter", mirroring::create_filter),
    ("CreateTrafficMirrorFilterRule", mirroring::create_filter_rule),
    (
        "ModifyTrafficMirrorFilterNetworkServices",
        mirroring::modify_filter_network_services,
    ),
    ("DeleteTrafficMirrorFilter", mirroring::delete_filter),
    ("DescribeTrafficMirrorFilters", mirroring::describe_filters),
    ("CreateTrafficMirrorSession", mirroring::create_session),
    ("ModifyTrafficMirrorSession", mirroring::modify_session),
    ("DeleteTrafficMirrorSession", mirroring::delete_session),
    ("DescribeTrafficMirrorSessions", mirroring::describe_sessions),
    ("CreateTags", tags::create),
    ("DeleteTags", tags::delete),
    ("DescribeTags", tags::describe),
];

/// The names of the actions that are simulated.
pub fn actions() -> impl Iterator<Item = &'static str> {
    ACTIONS.iter().map(|(name, _)| *name)
}

fn action(name: &str) -> Option<Action> {
    let known = ACTIONS.iter().find(|(known, _)| *known == name);
    known.map(|(_, action)| *action)
}

/// The answer of the actions that have nothing to tell.
fn done() -> Value {
    json!({"Return": true})
}

/// The object that truly has the ID, or the kind's error.
fn existing<T: Row>(table: &Table<T>, id: &str) -> Result<T, ApiError> {
    table.get(id).cloned().ok_or_else(|| not_found::<T>(&[id]))
}

/// The object that the request's parameter of the kind's name points to, or the kind's error.
fn asked_for<T: Row>(table: &Table<T>, params: &Params) -> Result<T, ApiError> {
    existing(table, params.need(T::ID)?)
}

fn existing_vpc(context: &Context<'_>, vpc_id: &str) -> Result<(), ApiError> {
    if context.world.vpc_exists(vpc_id) {
        return Ok(());
    }
    Err(not_found::<crate::model::Vpc>(&[vpc_id]))
}

/// An IPv4 range as EC2 keeps it: without host bits.
fn ipv4_range(text: &str) -> Result<String, ApiError> {
    let range: Ipv4Net = text.parse().map_err(|_| malformed_range(text))?;
    Ok(range.trunc().to_string())
}

/// An IPv6 range as EC2 keeps it: without host bits.
fn ipv6_range(text: &str) -> Result<String, ApiError> {
    let range: Ipv6Net = text.parse().map_err(|_| malformed_range(text))?;
    Ok(range.trunc().to_string())
}

fn malformed_range(text: &str) -> ApiError {
    ApiError::invalid(format!("CIDR block {text} is malformed"))
}

fn private_dns_name(address: &str) -> String {
    format!("ip-{}.ec2.internal", address.replace('.', "-"))
}

fn ipv4_address(text: &str) -> Result<Ipv4Addr, ApiError> {
    text.parse()
        .map_err(|_| ApiError::invalid(format!("Invalid IPv4 address: {text}")))
}
