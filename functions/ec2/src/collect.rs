//! A snapshot of what decides about some interfaces, from EC2 with as few calls as that takes.
//!
//! Each kind of object is asked for once, for all interfaces and targets together: targets; then the
//! interfaces; then their instances, security groups, network ACLs and route tables. One call more for the instances
//! where it is them that are asked about, for each where there are load balancers or Gateway Load Balancer endpoints
//! among the targets, and one for each prefix list on which a verdict hangs.

use std::collections::{BTreeMap, BTreeSet};

use mirrorstep_core::config::Targets;
use mirrorstep_core::network::{NetworkInterface, SecurityGroup};
use mirrorstep_core::{InstanceId, InterfaceId, TargetId};
use mirrorstep_reachability::collect as needed;
use mirrorstep_reachability::snapshot::Snapshot;

use crate::{DescribeError, Ec2};

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
}

impl Ec2 {
    /// Makes the snapshot, without sessions. What EC2 does not show is not in it.
    pub async fn collect(&self, wanted: Wanted<'_>) -> Result<Snapshot, DescribeError> {
        let targets = async {
            match wanted.targets {
                [] => self.all_targets().await,
                ids => self.targets(&Targets::Ids(ids.to_vec())).await,
            }
        };
        let (instances, targets) = tokio::try_join!(self.instances(wanted.instances), targets)?;
        let snapshot = Snapshot {
            instances,
            traffic_mirror_targets: targets,
            ..Snapshot::default()
        };
        let mut collection = Collection::new(self, wanted, snapshot);
        collection.add_vpc_endpoints().await?;
        collection.add_interfaces().await?;
        collection.add_surroundings().await?;
        collection.add_prefix_lists().await?;
        Ok(collection.snapshot)
    }
}

/// A snapshot that is being made. What is added later is found by what is there already.
struct Collection<'a> {
    ec2: &'a Ec2,
    wanted: Wanted<'a>,
    /// The interfaces that are asked about: those asked for by themselves, and those of the instances.
    sources: BTreeSet<String>,
    snapshot: Snapshot,
}

impl<'a> Collection<'a> {
    /// Begins with the instances that are asked about and the targets.
    fn new(ec2: &'a Ec2, wanted: Wanted<'a>, snapshot: Snapshot) -> Self {
        let mut sources: BTreeSet<String> = wanted.interfaces.iter().map(ToString::to_string).collect();
        for instance in &snapshot.instances {
            let interfaces = instance.network_interfaces.iter();
            sources.extend(interfaces.map(|interface| interface.network_interface_id.clone()));
        }
        Self {
            ec2,
            wanted,
            sources,
            snapshot,
        }
    }

    /// Adds the Gateway Load Balancer endpoints among the targets.
    async fn add_vpc_endpoints(&mut self) -> Result<(), DescribeError> {
        let snapshot = &mut self.snapshot;
        snapshot.vpc_endpoints = self.ec2.vpc_endpoints(&needed::vpc_endpoints(snapshot)).await?;
        snapshot
            .vpc_endpoints
            .sort_by(|one, other| one.vpc_endpoint_id.cmp(&other.vpc_endpoint_id));
        Ok(())
    }

    /// Adds the interfaces that are asked about, and those of the targets.
    async fn add_interfaces(&mut self) -> Result<(), DescribeError> {
        let ec2 = self.ec2;
        let ids = &self.sources | &needed::target_interfaces(&self.snapshot);
        let descriptions = needed::load_balancer_descriptions(&self.snapshot);
        let (by_id, by_description) = tokio::try_join!(
            ec2.interfaces("network-interface-id", ids),
            ec2.interfaces("description", descriptions)
        )?;
        let interfaces: BTreeMap<String, NetworkInterface> = by_id
            .into_iter()
            .chain(by_description)
            .map(|interface| (interface.network_interface_id.clone(), interface))
            .collect();
        self.snapshot.network_interfaces = interfaces.into_values().collect();
        Ok(())
    }

    /// Adds what is around the interfaces: instances, security groups, network ACLs and route tables.
    async fn add_surroundings(&mut self) -> Result<(), DescribeError> {
        let ec2 = self.ec2;
        let snapshot = &mut self.snapshot;
        let groups = needed::security_groups(snapshot);
        let subnets = needed::subnets(snapshot);
        let (instances, groups, acls, route_tables) = tokio::try_join!(
            ec2.instances(instances_to_add(snapshot, self.wanted.interfaces)),
            ec2.security_groups(&groups),
            ec2.network_acls(&subnets),
            ec2.route_tables(needed::vpcs(snapshot, &self.sources))
        )?;
        snapshot.instances.extend(instances);
        let groups: BTreeMap<String, SecurityGroup> = groups.into_iter().collect();
        snapshot.security_groups = groups.into_values().collect();
        snapshot.network_acls = acls;
        snapshot.route_tables = route_tables;
        Ok(())
    }

    /// Adds the entries of the prefix lists on which a verdict hangs.
    async fn add_prefix_lists(&mut self) -> Result<(), DescribeError> {
        let lists = needed::prefix_lists(&self.snapshot, &self.sources, self.wanted.local_zone_only);
        self.snapshot.prefix_list_entries = self.ec2.prefix_lists(&lists).await?;
        Ok(())
    }
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
