//! What a [`Snapshot`] must hold for [`crate::explain`] to decide as it would on the whole account.
//!
//! One made from AWS grows in rounds, each from what the rounds before have found: what is behind the targets,
//! then their interfaces and the sources', then everything around those, at last the prefix lists.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::explain::{Question, gather, source, targets};
use crate::snapshot::Snapshot;
use crate::{
    InboundRules, VisibleTarget, filter_network_acls, filter_routes, filter_security_groups,
    load_balancer_description, route_prefix_lists_to_read,
};
use mirrorstep_core::config::{Consent, FixedTags, UnverifiableTargets};
use mirrorstep_core::ids::InterfaceId;
use mirrorstep_core::network::{NetworkInterface, SecurityGroup};
use mirrorstep_core::pipeline::{Candidacy, RejectedBy};

/// The Gateway Load Balancer endpoints among the targets.
pub fn vpc_endpoints(snapshot: &Snapshot) -> BTreeSet<String> {
    let targets = snapshot.traffic_mirror_targets.iter();
    targets
        .filter_map(|target| target.gateway_load_balancer_endpoint_id.clone())
        .collect()
}

/// The interfaces of the targets that are known by id: those of load balancers are not.
pub fn target_interfaces(snapshot: &Snapshot) -> BTreeSet<String> {
    let targets = snapshot.traffic_mirror_targets.iter();
    let gateways = snapshot.vpc_endpoints.iter();
    targets
        .filter_map(|target| target.network_interface_id.clone())
        .chain(gateways.flat_map(|endpoint| endpoint.network_interface_ids.clone()))
        .collect()
}

/// The instances whose state counts: those of the targets' interfaces.
pub fn sensor_instances(snapshot: &Snapshot) -> BTreeSet<String> {
    let targets = target_interfaces(snapshot);
    let interfaces = snapshot.network_interfaces.iter();
    interfaces
        .filter(|interface| targets.contains(&interface.network_interface_id))
        .filter_map(|interface| interface.attachment.as_ref()?.instance_id.clone())
        .collect()
}

/// The descriptions by which the interfaces of the load balancers among the targets are found.
pub fn load_balancer_descriptions(snapshot: &Snapshot) -> BTreeSet<String> {
    let targets = snapshot.traffic_mirror_targets.iter();
    targets.filter_map(load_balancer_description).collect()
}

/// The security groups of the targets' interfaces. Of a source's groups, membership decides and not what they say.
pub fn security_groups(snapshot: &Snapshot) -> BTreeSet<String> {
    let (targets, balancers) = (target_interfaces(snapshot), load_balancer_descriptions(snapshot));
    let interfaces = snapshot.network_interfaces.iter();
    interfaces
        .filter(|interface| {
            targets.contains(&interface.network_interface_id) || balancers.contains(&interface.description)
        })
        .flat_map(|interface| interface.groups.iter().map(|group| group.group_id.clone()))
        .collect()
}

/// The subnets whose ACLs are to be seen: of every interface.
pub fn subnets(snapshot: &Snapshot) -> BTreeSet<String> {
    let interfaces = snapshot.network_interfaces.iter();
    non_empty(interfaces.map(|interface| &interface.subnet_id))
}

/// The VPCs whose route tables are to be seen: the sources'.
pub fn vpcs(snapshot: &Snapshot, sources: &BTreeSet<String>) -> BTreeSet<String> {
    let is_source = |interface: &&NetworkInterface| sources.contains(&interface.network_interface_id);
    let interfaces = snapshot.network_interfaces.iter().filter(is_source);
    non_empty(interfaces.map(|interface| &interface.vpc_id))
}

fn non_empty<'a>(ids: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
    ids.filter(|id| !id.is_empty()).cloned().collect()
}

/// The prefix lists on which a verdict about a source can hang. Each costs a call.
pub fn prefix_lists(
    snapshot: &Snapshot,
    sources: &BTreeSet<String>,
    local_zone_only: bool,
) -> BTreeSet<String> {
    let groups = groups(snapshot);
    let rules = InboundRules::read(&groups);
    let mut lists = BTreeSet::new();
    for id in sources {
        if let Some((candidacy, _)) = candidates(snapshot, id, local_zone_only) {
            lists.extend(rules.prefix_lists_to_read(&candidacy));
            // What no list is needed for, or may be let in by one: of some of it the route decides whether it is.
            let candidacy = rules.filter(candidacy, &HashMap::new(), UnverifiableTargets::Allow);
            lists.extend(route_prefix_lists_to_read(&candidacy, &snapshot.route_tables));
        }
    }
    lists
}

/// The interfaces of the targets that a security group or a network ACL turns down for one of the sources: what else
/// can reach these, the command that lets it in should hold too.
pub fn closed_endpoints(
    snapshot: &Snapshot,
    sources: &BTreeSet<String>,
    local_zone_only: bool,
) -> Vec<NetworkInterface> {
    let groups = groups(snapshot);
    let lists = &snapshot.prefix_list_entries;
    let mut closed: BTreeMap<String, NetworkInterface> = BTreeMap::new();
    for id in sources {
        let Some((candidacy, targets)) = candidates(snapshot, id, local_zone_only) else {
            continue;
        };
        let candidacy = filter_security_groups(candidacy, &groups, lists, UnverifiableTargets::Allow);
        let candidacy = filter_network_acls(candidacy, &snapshot.network_acls, UnverifiableTargets::Allow);
        let candidacy = filter_routes(
            candidacy,
            &snapshot.route_tables,
            lists,
            UnverifiableTargets::Allow,
        );
        let is_closed = |target: &VisibleTarget| {
            candidacy.rejections.iter().any(|rejection| {
                rejection.target_id == target.target_id
                    && matches!(
                        rejection.stage,
                        RejectedBy::SecurityGroup | RejectedBy::NetworkAcl
                    )
            })
        };
        let endpoints = targets
            .into_iter()
            .filter(is_closed)
            .flat_map(|target| target.endpoints);
        closed.extend(endpoints.map(|endpoint| (endpoint.network_interface_id.clone(), endpoint)));
    }
    closed.into_values().collect()
}

fn groups(snapshot: &Snapshot) -> HashMap<String, SecurityGroup> {
    let groups = snapshot.security_groups.iter();
    groups
        .map(|group| (group.group_id.clone(), group.clone()))
        .collect()
}

/// The candidates for a source, under the settings under which most is one, and all targets.
fn candidates(
    snapshot: &Snapshot,
    source_id: &str,
    local_zone_only: bool,
) -> Option<(Candidacy, Vec<VisibleTarget>)> {
    let interface = source(snapshot, source_id).ok()?;
    let question = Question {
        interface_id: source_id.to_owned(),
        targets: None,
        local_zone_only,
        consent: Consent::default(),
        fixed: FixedTags::default(),
        unverifiable: UnverifiableTargets::Allow,
    };
    let targets = targets(snapshot, &question);
    let candidacy = gather(
        snapshot,
        &question,
        &InterfaceId::as_given(source_id),
        interface,
        targets.clone(),
    );
    Some((candidacy, targets))
}
