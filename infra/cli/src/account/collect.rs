//! A snapshot of what decides about some interfaces, from EC2 with as few calls as that takes.
//!
//! Each kind of object is asked for once, for all interfaces and targets together: targets and sessions; then the
//! interfaces; then their instances, security groups, network ACLs and route tables. One call more for the instances
//! where it is them that are asked about, for each where there are load balancers or Gateway Load Balancer endpoints
//! among the targets, and one for each prefix list on which a verdict hangs.

use std::collections::{BTreeMap, BTreeSet};

use mirrorstep_core::config::Targets;
use mirrorstep_core::network::{NetworkInterface, SecurityGroup};
use mirrorstep_core::{InstanceId, InterfaceId, TargetId};
use mirrorstep_reachability::collect as needed;
use mirrorstep_reachability::snapshot::Snapshot;

use crate::account::aws::Account;
use crate::error::Error;
use local_stack::world::some;

/// What a snapshot is to answer for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Instances, with all their interfaces.
    pub instances: &'a [InstanceId],
    /// Interfaces.
    pub interfaces: &'a [InterfaceId],
    /// The targets in question. None: all.
    pub targets: &'a [TargetId],
    /// Whether it need not answer for targets in other zones.
    pub local_zone_only: bool,
    /// Whether an interface that EC2 does not show is left out, rather than an error.
    pub may_be_gone: bool,
}

/// Makes the snapshot.
pub async fn collect(account: &Account, wanted: Wanted<'_>) -> Result<Snapshot, Error> {
    let ec2 = &account.ec2;
    let targets = async {
        match wanted.targets {
            [] => ec2.all_targets().await,
            ids => ec2.targets(&Targets::Ids(ids.to_vec())).await,
        }
    };
    let (instances, targets, sessions) =
        tokio::try_join!(ec2.instances(wanted.instances), targets, ec2.all_sessions())
            .map_err(account.failed())?;
    let shown = instances.iter().map(|instance| instance.instance_id.clone());
    all_shown(account, "instance", wanted.instances, &shown.collect())?;

    let mut snapshot = Snapshot {
        instances,
        traffic_mirror_targets: targets,
        ..Snapshot::default()
    };
    let mut sources: BTreeSet<String> = wanted.interfaces.iter().map(ToString::to_string).collect();
    for instance in &snapshot.instances {
        let interfaces = instance.network_interfaces.iter();
        sources.extend(interfaces.map(|interface| interface.network_interface_id.clone()));
    }
    snapshot.vpc_endpoints = ec2
        .vpc_endpoints(&needed::vpc_endpoints(&snapshot))
        .await
        .map_err(account.failed())?;
    snapshot
        .vpc_endpoints
        .sort_by(|one, other| one.vpc_endpoint_id.cmp(&other.vpc_endpoint_id));

    let ids = &sources | &needed::target_interfaces(&snapshot);
    let descriptions = needed::load_balancer_descriptions(&snapshot);
    let (by_id, by_description) = tokio::try_join!(
        ec2.interfaces("network-interface-id", ids),
        ec2.interfaces("description", descriptions)
    )
    .map_err(account.failed())?;
    let interfaces: BTreeMap<String, NetworkInterface> = by_id
        .into_iter()
        .chain(by_description)
        .map(|interface| (interface.network_interface_id.clone(), interface))
        .collect();
    if !wanted.may_be_gone {
        all_shown(
            account,
            "network interface",
            wanted.interfaces,
            &interfaces.keys().cloned().collect(),
        )?;
    }
    snapshot.network_interfaces = interfaces.into_values().collect();

    let groups = needed::security_groups(&snapshot);
    let subnets = needed::subnets(&snapshot);
    let (instances, groups, acls, route_tables) = tokio::try_join!(
        ec2.instances(instances_to_add(&snapshot, wanted.interfaces)),
        ec2.security_groups(&groups),
        ec2.network_acls(&subnets),
        ec2.route_tables(needed::vpcs(&snapshot, &sources))
    )
    .map_err(account.failed())?;
    snapshot.instances.extend(instances);
    let groups: BTreeMap<String, SecurityGroup> = groups.into_iter().collect();
    snapshot.security_groups = groups.into_values().collect();
    snapshot.network_acls = acls;
    snapshot.route_tables = route_tables;

    snapshot.prefix_list_entries = ec2
        .prefix_lists(&needed::prefix_lists(&snapshot, &sources, wanted.local_zone_only))
        .await
        .map_err(account.failed())?;

    let known: BTreeSet<&str> = snapshot
        .traffic_mirror_targets
        .iter()
        .map(|target| target.traffic_mirror_target_id.as_str())
        .collect();
    let matters = |target: &str, source: &str| known.contains(target) || sources.contains(source);
    snapshot.traffic_mirror_sessions = sessions
        .into_iter()
        .filter(|session| matters(&session.traffic_mirror_target_id, &session.network_interface_id))
        .collect();
    Ok(snapshot)
}

/// The instances of the interfaces that were asked for by themselves, whose tags count, and those of the sensors, whose
/// state does.
fn instances_to_add(snapshot: &Snapshot, interfaces: &[InterfaceId]) -> BTreeSet<String> {
    let asked: BTreeSet<&str> = interfaces.iter().map(InterfaceId::as_str).collect();
    let known: BTreeSet<&str> = snapshot
        .instances
        .iter()
        .map(|instance| instance.instance_id.as_str())
        .collect();
    snapshot
        .network_interfaces
        .iter()
        .filter(|interface| asked.contains(interface.network_interface_id.as_str()))
        .filter_map(|interface| interface.attachment.as_ref()?.instance_id.clone())
        .chain(needed::sensor_instances(snapshot))
        .filter(|instance| !known.contains(instance.as_str()))
        .collect()
}

/// What was asked for by its id has to be there.
fn all_shown<T: ToString>(
    account: &Account,
    what: &str,
    asked: &[T],
    shown: &BTreeSet<String>,
) -> Result<(), Error> {
    let asked: BTreeSet<String> = asked.iter().map(ToString::to_string).collect();
    let missing: Vec<&String> = asked.difference(shown).collect();
    match missing.as_slice() {
        [] => Ok(()),
        [one] => Err(account.not_shown(&format!("{what} {one}"))),
        several => Err(account.not_shown(&format!("{what}s {}", some(several)))),
    }
}
