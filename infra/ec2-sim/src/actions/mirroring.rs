//! Traffic Mirroring: targets, filters, sessions.
//!
//! The rules are those of the Traffic Mirroring guide ("Quotas", "Targets", "Sessions"). By which code and in which
//! words EC2 refuses what breaks them is in [`crate::refusals`].

mod instance_types;

use std::collections::BTreeSet;

use serde_json::json;

use self::instance_types::{can_be_mirrored, is_largest_of_family};
use super::{Answer, Context, asked_for, existing, ipv4_range};
use crate::describe::{Paging, describe, describe_where};
use crate::error::ApiError;
use crate::model::{
    FilterPortRange, NetworkInterface, Row as _, TrafficMirrorFilter, TrafficMirrorFilterRule,
    TrafficMirrorSession, TrafficMirrorTarget, network_id_key,
};
use crate::query::Params;
use crate::refusals;
use crate::world::World;

const SESSIONS_PER_INTERFACE: usize = 3;
const SESSIONS_PER_REGION: usize = 10_000;
const SOURCES_PER_TARGET: usize = 10;
const SOURCES_PER_LARGEST_TARGET: usize = 100;

/// The longest packet that a session to a Network Load Balancer mirrors, and its default.
const LOAD_BALANCER_PACKET_LENGTH: i32 = 8500;

/// Pages of the mirroring actions: at most 1000, also when the request does not say.
const PAGING: Paging = Paging {
    default: Some(1000),
    ..Paging::USUAL
};

/// `CreateTrafficMirrorTarget`: an interface, a Network Load Balancer or a Gateway Load Balancer endpoint.
pub(super) fn create_target(context: &mut Context<'_>, params: &Params) -> Answer {
    let interface_id = params.text("NetworkInterfaceId");
    let load_balancer = params.text("NetworkLoadBalancerArn");
    let endpoint = params.text("GatewayLoadBalancerEndpointId");
    let tags = params.tags_for("traffic-mirror-target")?;
    let kind = match (&interface_id, &load_balancer, &endpoint) {
        (Some(id), None, None) => {
            existing(&context.world.interfaces, id)?;
            if let Some(session) = sessions_of(context.world, id).first() {
                return Err(refusals::target_is_source(id, session.id()));
            }
            "network-interface"
        }
        (None, Some(arn), None) => {
            if !arn.contains(":loadbalancer/net/") {
                return Err(ApiError::invalid_value(
                    "networkLoadBalancerArn",
                    arn,
                    "It is not the ARN of one.",
                ));
            }
            if context.world.targets.with_key(arn).next().is_some() {
                return Err(refusals::load_balancer_is_target(arn));
            }
            "network-load-balancer"
        }
        (None, None, Some(id)) => {
            existing(&context.world.endpoints, id)?;
            "gateway-load-balancer-endpoint"
        }
        (None, None, None) => return Err(ApiError::missing("NetworkInterfaceId")),
        _ => {
            return Err(ApiError::combination(
                "A mirror target has exactly one kind of destination",
            ));
        }
    };
    let target = TrafficMirrorTarget {
        traffic_mirror_target_id: context.world.new_id("tmt"),
        network_interface_id: interface_id,
        network_load_balancer_arn: load_balancer,
        gateway_load_balancer_endpoint_id: endpoint,
        kind: Some(kind.to_owned()),
        description: params.text("Description"),
        owner_id: Some(context.account.to_owned()),
        tags,
    };
    context.world.targets.put(context.now, target.clone());
    Ok(json!({"TrafficMirrorTarget": target}))
}

/// `DeleteTrafficMirrorTarget`: not while a session uses it.
pub(super) fn delete_target(context: &mut Context<'_>, params: &Params) -> Answer {
    let id = asked_for(&context.world.targets, params)?.traffic_mirror_target_id;
    if let Some(session) = context.world.sessions.with_key(&id).next() {
        return Err(refusals::target_in_use(&id, session.id()));
    }
    context.world.targets.delete(context.now, &id);
    Ok(json!({"TrafficMirrorTargetId": id}))
}

/// `DescribeTrafficMirrorTargets`.
pub(super) fn describe_targets(context: &mut Context<'_>, params: &Params) -> Answer {
    describe(
        context,
        params,
        &context.world.targets,
        "TrafficMirrorTargets",
        PAGING,
    )
}

/// `CreateTrafficMirrorFilter`, which mirrors nothing before it has rules.
pub(super) fn create_filter(context: &mut Context<'_>, params: &Params) -> Answer {
    let filter = TrafficMirrorFilter {
        description: params.text("Description"),
        tags: params.tags_for("traffic-mirror-filter")?,
        traffic_mirror_filter_id: context.world.new_id("tmf"),
        ..TrafficMirrorFilter::default()
    };
    context.world.filters.put(context.now, filter.clone());
    Ok(json!({"TrafficMirrorFilter": filter}))
}

/// `CreateTrafficMirrorFilterRule`.
pub(super) fn create_filter_rule(context: &mut Context<'_>, params: &Params) -> Answer {
    let filter = asked_for(&context.world.filters, params)?;
    let traffic_direction = params.need("TrafficDirection")?.to_owned();
    let rule_action = params.need("RuleAction")?.to_owned();
    let rule_number = params.need_integer("RuleNumber")?;
    let rules = match traffic_direction.as_str() {
        "ingress" => &filter.ingress_filter_rules,
        "egress" => &filter.egress_filter_rules,
        other => {
            return Err(ApiError::invalid_value(
                "trafficDirection",
                other,
                "Expecting ingress or egress.",
            ));
        }
    };
    if !matches!(rule_action.as_str(), "accept" | "reject") {
        return Err(ApiError::invalid_value(
            "ruleAction",
            rule_action,
            "Expecting accept or reject.",
        ));
    }
    if rules.iter().any(|rule| rule.rule_number == rule_number) {
        return Err(refusals::rule_number_taken(rule_number, &traffic_direction));
    }
    let ports = |name: &str| -> Result<Option<FilterPortRange>, ApiError> {
        let range = params.structure(name);
        Ok(match (range.integer("FromPort")?, range.integer("ToPort")?) {
            (Some(from_port), Some(to_port)) => Some(FilterPortRange { from_port, to_port }),
            _ => None,
        })
    };
    let rule = TrafficMirrorFilterRule {
        traffic_mirror_filter_id: filter.traffic_mirror_filter_id.clone(),
        rule_number,
        protocol: params.integer("Protocol")?,
        destination_port_range: ports("DestinationPortRange")?,
        source_port_range: ports("SourcePortRange")?,
        destination_cidr_block: ipv4_range(params.need("DestinationCidrBlock")?)?,
        source_cidr_block: ipv4_range(params.need("SourceCidrBlock")?)?,
        description: params.text("Description"),
        traffic_mirror_filter_rule_id: context.world.new_id("tmfr"),
        rule_action,
        traffic_direction,
    };
    let added = rule.clone();
    context.world.filters.change(
        context.now,
        &filter.traffic_mirror_filter_id,
        |filter| match added.traffic_direction.as_str() {
            "ingress" => filter.ingress_filter_rules.push(added),
            _ => filter.egress_filter_rules.push(added),
        },
    );
    Ok(json!({"TrafficMirrorFilterRule": rule}))
}

/// `ModifyTrafficMirrorFilterNetworkServices`
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyTrafficMirrorFilterNetworkServices.html>).
pub(super) fn modify_filter_network_services(context: &mut Context<'_>, params: &Params) -> Answer {
    let mut filter: TrafficMirrorFilter = asked_for(&context.world.filters, params)?;
    let (added, removed) = (
        params.list("AddNetworkService"),
        params.list("RemoveNetworkService"),
    );
    if let Some(unknown) = added
        .iter()
        .chain(&removed)
        .find(|service| *service != "amazon-dns")
    {
        return Err(ApiError::invalid_value(
            "networkService",
            unknown,
            "Valid values are amazon-dns.",
        ));
    }
    filter
        .network_services
        .retain(|service| !added.contains(service) && !removed.contains(service));
    filter.network_services.extend(added);
    context.world.filters.put(context.now, filter.clone());
    Ok(json!({"TrafficMirrorFilter": filter}))
}

/// `DeleteTrafficMirrorFilter`: not while a session uses it.
pub(super) fn delete_filter(context: &mut Context<'_>, params: &Params) -> Answer {
    let id = asked_for(&context.world.filters, params)?.traffic_mirror_filter_id;
    if let Some(session) = context.world.sessions.with_key(&id).next() {
        return Err(refusals::filter_in_use(&id, session.id()));
    }
    context.world.filters.delete(context.now, &id);
    Ok(json!({"TrafficMirrorFilterId": id}))
}

/// `DescribeTrafficMirrorFilters`.
pub(super) fn describe_filters(context: &mut Context<'_>, params: &Params) -> Answer {
    describe(
        context,
        params,
        &context.world.filters,
        "TrafficMirrorFilters",
        PAGING,
    )
}

/// `CreateTrafficMirrorSession`. It holds to the true state, whatever describes still show.
pub(super) fn create_session(context: &mut Context<'_>, params: &Params) -> Answer {
    let session_number = params.need_integer("SessionNumber")?;
    let tags = params.tags_for("traffic-mirror-session")?;
    let interface: NetworkInterface = asked_for(&context.world.interfaces, params)?;
    let target: TrafficMirrorTarget = asked_for(&context.world.targets, params)?;
    let filter: TrafficMirrorFilter = asked_for(&context.world.filters, params)?;
    check_session_number(session_number)?;
    let packet_length = packet_length(params, &target)?;
    let virtual_network_id = virtual_network_id(params)?;

    let account = context.account;
    let world = &mut *context.world;
    check_source(world, &interface)?;
    check_target(world, &target, account)?;
    let of_interface = sessions_of(world, interface.id());
    check_number_free(&of_interface, session_number)?;
    if of_interface.len() >= SESSIONS_PER_INTERFACE {
        return Err(refusals::source_full(SESSIONS_PER_INTERFACE));
    }
    check_room(world, &target, interface.id())?;
    if world.sessions.len() >= SESSIONS_PER_REGION {
        return Err(refusals::account_full(SESSIONS_PER_REGION));
    }
    let session = TrafficMirrorSession {
        traffic_mirror_session_id: world.new_id("tms"),
        traffic_mirror_target_id: target.traffic_mirror_target_id,
        traffic_mirror_filter_id: filter.traffic_mirror_filter_id,
        network_interface_id: interface.network_interface_id,
        owner_id: Some(account.to_owned()),
        packet_length,
        session_number,
        virtual_network_id: Some(virtual_network_id.unwrap_or_else(|| free_network_id(world))),
        description: params.text("Description"),
        tags,
    };
    world.sessions.put(context.now, session.clone());
    Ok(json!({"TrafficMirrorSession": session}))
}

fn sessions_of(world: &World, interface_id: &str) -> Vec<TrafficMirrorSession> {
    let key = interface_id;
    world
        .sessions
        .with_key(key)
        .filter(|session| session.network_interface_id == key)
        .cloned()
        .collect()
}

fn check_session_number(number: i32) -> Result<(), ApiError> {
    if (1..=32766).contains(&number) {
        return Ok(());
    }
    Err(ApiError::invalid_value(
        "sessionNumber",
        number,
        "Valid values are 1-32766.",
    ))
}

fn check_number_free(sessions: &[TrafficMirrorSession], number: i32) -> Result<(), ApiError> {
    match sessions.iter().find(|session| session.session_number == number) {
        Some(session) => Err(refusals::session_number_taken(number, session.id())),
        None => Ok(()),
    }
}

/// Refuses an interface that cannot be a source: a target's own; one that is of another type than `interface`
/// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-sessions.html>), that is attached to nothing,
/// or that is attached to an instance of a type that cannot be mirrored.
///
/// What a load balancer, RDS and the like run on is not simulated: their interfaces are taken to be mirrorable, and
/// so are those of instances that are not in this world. Assumption: a stopped instance's can be sources too.
fn check_source(world: &World, interface: &NetworkInterface) -> Result<(), ApiError> {
    let id = interface.id();
    if let Some(target) = world.targets.with_key(id).next() {
        return Err(refusals::source_is_target(id, target.id()));
    }
    let instance = interface
        .instance_id()
        .and_then(|instance_id| world.instances.get(instance_id));
    let is_supported = instance.is_none_or(|instance| can_be_mirrored(&instance.instance_type));
    let is_attached = interface.is_attached() || interface.requester_managed;
    if interface.interface_type == "interface" && is_attached && is_supported {
        Ok(())
    } else {
        Err(refusals::not_mirrorable(id))
    }
}

/// Refuses a target of this account whose interface or endpoint is gone, or whose interface is on no running
/// instance. Another account's interface is not visible, and neither is a load balancer's listener.
///
/// Assumptions: an instance that is `pending` will do, and a Gateway Load Balancer endpoint in any state.
fn check_target(world: &World, target: &TrafficMirrorTarget, account: &str) -> Result<(), ApiError> {
    if target.owner_id.as_deref().is_some_and(|owner| owner != account) {
        return Ok(());
    }
    if let Some(id) = &target.gateway_load_balancer_endpoint_id
        && world.endpoints.get(id).is_none()
    {
        return Err(refusals::target_endpoint_gone(id));
    }
    let Some(id) = &target.network_interface_id else {
        return Ok(());
    };
    let can_receive = world.interfaces.get(id).is_some_and(|interface| {
        let instance = interface
            .instance_id()
            .and_then(|instance_id| world.instances.get(instance_id));
        interface.is_attached()
            && instance.is_none_or(|instance| matches!(instance.state.name.as_str(), "pending" | "running"))
    });
    if can_receive {
        Ok(())
    } else {
        Err(refusals::target_down(id))
    }
}

/// Refuses one more source for an interface target that has as many as it may: 10, or 100 on an instance of the
/// largest size of its family. Load balancers have no limit.
fn check_room(world: &World, target: &TrafficMirrorTarget, source_id: &str) -> Result<(), ApiError> {
    let Some(target_interface) = &target.network_interface_id else {
        return Ok(());
    };
    let instance_type = world
        .interfaces
        .get(target_interface)
        .and_then(|interface| world.instances.get(interface.instance_id()?))
        .map(|instance| instance.instance_type.as_str());
    let most = if instance_type.is_some_and(is_largest_of_family) {
        SOURCES_PER_LARGEST_TARGET
    } else {
        SOURCES_PER_TARGET
    };
    let sources: BTreeSet<&str> = world
        .sessions
        .with_key(target.id())
        .map(|session| session.network_interface_id.as_str())
        .filter(|source| *source != source_id)
        .collect();
    if sources.len() < most {
        return Ok(());
    }
    Err(refusals::target_full(most))
}

fn packet_length(params: &Params, target: &TrafficMirrorTarget) -> Result<Option<i32>, ApiError> {
    let to_load_balancer = target.network_load_balancer_arn.is_some();
    let most = if to_load_balancer {
        LOAD_BALANCER_PACKET_LENGTH
    } else {
        i32::from(u16::MAX)
    };
    match params.integer("PacketLength")? {
        Some(length) if !(1..=most).contains(&length) => Err(ApiError::invalid_value(
            "packetLength",
            length,
            &format!("Valid values are 1-{most}."),
        )),
        None if to_load_balancer => Ok(Some(LOAD_BALANCER_PACKET_LENGTH)),
        length => Ok(length),
    }
}

/// A VXLAN network identifier has 24 bits (RFC 7348).
fn virtual_network_id(params: &Params) -> Result<Option<i32>, ApiError> {
    match params.integer("VirtualNetworkId")? {
        Some(id) if !(0..=0x00ff_ffff).contains(&id) => Err(ApiError::invalid_value(
            "virtualNetworkId",
            id,
            "Valid values are 0-16777215.",
        )),
        id => Ok(id),
    }
}

/// An identifier that no session has, as AWS picks one when the request does not.
fn free_network_id(world: &mut World) -> i32 {
    loop {
        let id = world.random.i32(1..=0x00ff_ffff);
        if world.sessions.with_key(&network_id_key(id)).next().is_none() {
            return id;
        }
    }
}

/// `ModifyTrafficMirrorSession`: what is not named stays, and `RemoveField` sets back to the default.
pub(super) fn modify_session(context: &mut Context<'_>, params: &Params) -> Answer {
    let mut session: TrafficMirrorSession = asked_for(&context.world.sessions, params)?;
    let removed = params.list("RemoveField");
    if let Some(unknown) = removed.iter().find(|field| {
        !matches!(
            field.as_str(),
            "packet-length" | "description" | "virtual-network-id"
        )
    }) {
        return Err(ApiError::invalid_value(
            "removeField",
            unknown,
            "It cannot be removed.",
        ));
    }
    if params.get("TrafficMirrorTargetId").is_some() {
        let target: TrafficMirrorTarget = asked_for(&context.world.targets, params)?;
        if target.traffic_mirror_target_id != session.traffic_mirror_target_id {
            check_target(context.world, &target, context.account)?;
            check_room(context.world, &target, &session.network_interface_id)?;
        }
        session.traffic_mirror_target_id = target.traffic_mirror_target_id;
    }
    if params.get("TrafficMirrorFilterId").is_some() {
        let filter: TrafficMirrorFilter = asked_for(&context.world.filters, params)?;
        session.traffic_mirror_filter_id = filter.traffic_mirror_filter_id;
    }
    if let Some(number) = params.integer("SessionNumber")? {
        check_session_number(number)?;
        let mut others = sessions_of(context.world, &session.network_interface_id);
        others.retain(|other| other.id() != session.id());
        check_number_free(&others, number)?;
        session.session_number = number;
    }
    let target = context
        .world
        .targets
        .get(&session.traffic_mirror_target_id)
        .cloned()
        .unwrap_or_default();
    let asked_length = packet_length(params, &target)?;
    if params.get("PacketLength").is_some()
        || removed.iter().any(|field| field == "packet-length")
        || session.packet_length.is_none()
    {
        session.packet_length = asked_length;
    }
    if let Some(id) = virtual_network_id(params)? {
        session.virtual_network_id = Some(id);
    } else if removed.iter().any(|field| field == "virtual-network-id") {
        session.virtual_network_id = Some(free_network_id(context.world));
    }
    if let Some(description) = params.text("Description") {
        session.description = Some(description);
    } else if removed.iter().any(|field| field == "description") {
        session.description = None;
    }
    context.world.sessions.put(context.now, session.clone());
    Ok(json!({"TrafficMirrorSession": session}))
}

/// `DeleteTrafficMirrorSession`.
pub(super) fn delete_session(context: &mut Context<'_>, params: &Params) -> Answer {
    let id = asked_for(&context.world.sessions, params)?.traffic_mirror_session_id;
    context.world.sessions.delete(context.now, &id);
    Ok(json!({"TrafficMirrorSessionId": id}))
}

/// `DescribeTrafficMirrorSessions`: this account's own. Others to a target that is shared take its room, and are
/// not shown.
pub(super) fn describe_sessions(context: &mut Context<'_>, params: &Params) -> Answer {
    describe_where(
        context,
        params,
        &context.world.sessions,
        "TrafficMirrorSessions",
        PAGING,
        |session| !is_of_another_account(context, session),
    )
}

/// A session of a source that is not in this world, and of another owner. By its owner alone it cannot be told: a
/// snapshot may be of any account.
fn is_of_another_account(context: &Context<'_>, session: &TrafficMirrorSession) -> bool {
    let source = context.world.interfaces.get(&session.network_interface_id);
    source.is_none()
        && session
            .owner_id
            .as_deref()
            .is_some_and(|owner| owner != context.account)
}
