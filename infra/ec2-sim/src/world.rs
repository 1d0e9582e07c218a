//! Everything that exists in the simulated account and Region.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use serde_json::Value;
use tokio::time::Instant;

use crate::error::ApiError;
use crate::history::Table;
use crate::model::{
    Instance, InstanceState, ManagedPrefixList, NetworkAcl, NetworkInterface, PrefixListEntry, RouteTable,
    SecurityGroup, Subnet, TrafficMirrorFilter, TrafficMirrorSession, TrafficMirrorTarget, Vpc, VpcEndpoint,
    address_key,
};
use crate::options::Options;
use crate::query::Params;

/// How long EC2 still shows an instance that was terminated ("usually within an hour", API reference,
/// `TerminateInstances`).
const TERMINATED_SHOWN: Duration = Duration::from_hours(1);

/// An instance that came into another state.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StateChange {
    /// The instance.
    pub instance_id: String,
    /// `running`, `stopping`, `stopped`, `shutting-down` or `terminated`.
    pub state: String,
    /// When, as RFC 3339 in UTC.
    pub time: String,
}

/// The objects, and what EC2 remembers beside them.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) instances: Table<Instance>,
    pub(crate) interfaces: Table<NetworkInterface>,
    pub(crate) targets: Table<TrafficMirrorTarget>,
    pub(crate) filters: Table<TrafficMirrorFilter>,
    pub(crate) sessions: Table<TrafficMirrorSession>,
    pub(crate) groups: Table<SecurityGroup>,
    pub(crate) acls: Table<NetworkAcl>,
    pub(crate) route_tables: Table<RouteTable>,
    pub(crate) subnets: Table<Subnet>,
    pub(crate) vpcs: Table<Vpc>,
    pub(crate) endpoints: Table<VpcEndpoint>,
    pub(crate) prefix_lists: Table<ManagedPrefixList>,
    pub(crate) prefix_list_entries: BTreeMap<String, Vec<PrefixListEntry>>,
    /// What was done for each action and client token: the request, and its answer.
    pub(crate) tokens: BTreeMap<(String, String), (Params, Value)>,
    pub(crate) changes: Vec<StateChange>,
    pub(crate) random: fastrand::Rng,
    /// Where the search for a free address begins, for each subnet.
    next_address: BTreeMap<String, u32>,
    next_public_address: u32,
    terminated: VecDeque<(Instant, String)>,
    /// The interfaces whose attachment is under way, by when it is over.
    attaching: VecDeque<(Instant, String)>,
}

impl World {
    pub(crate) fn new(options: &Options) -> Self {
        let lag = options.lag;
        Self {
            instances: Table::new(lag),
            interfaces: Table::new(lag + options.without_interfaces),
            targets: Table::new(lag),
            filters: Table::new(lag),
            sessions: Table::new(lag),
            groups: Table::new(lag),
            acls: Table::new(lag),
            route_tables: Table::new(lag),
            subnets: Table::new(lag),
            vpcs: Table::new(lag),
            endpoints: Table::new(lag),
            prefix_lists: Table::new(lag),
            prefix_list_entries: BTreeMap::new(),
            tokens: BTreeMap::new(),
            changes: Vec::new(),
            random: fastrand::Rng::with_seed(options.seed),
            next_address: BTreeMap::new(),
            next_public_address: 0,
            terminated: VecDeque::new(),
            attaching: VecDeque::new(),
        }
    }

    /// A new ID: 17 hexadecimal digits after the prefix, as EC2's.
    pub(crate) fn new_id(&mut self, prefix: &str) -> String {
        format!("{prefix}-0{:016x}", self.random.u64(..))
    }

    pub(crate) fn new_mac_address(&mut self) -> String {
        let digits = format!("{:010x}", self.random.u64(..1 << 40));
        let pairs: Vec<&str> = (0..5).filter_map(|n| digits.get(2 * n..2 * n + 2)).collect();
        format!("02:{}", pairs.join(":"))
    }

    /// A public address out of the block that is reserved for documentation and benchmarks (RFC 2544).
    pub(crate) fn new_public_address(&mut self) -> String {
        self.next_public_address += 1;
        Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + self.next_public_address).to_string()
    }

    /// A free address of the subnet, not among those `taken` by the same request. Amazon keeps the first four
    /// addresses and the last one (VPC guide, "Subnet CIDR blocks").
    pub(crate) fn free_address(&mut self, subnet: &Subnet, taken: &[String]) -> Result<String, ApiError> {
        let exhausted = || {
            ApiError::new(
                "InsufficientFreeAddressesInSubnet",
                format!(
                    "Not enough free addresses in subnet {} to satisfy the request",
                    subnet.subnet_id
                ),
            )
        };
        let block: Ipv4Net = subnet.cidr_block.parse().map_err(|_| exhausted())?;
        let (first, last) = (
            block.network().to_bits() + 4,
            block.broadcast().to_bits().saturating_sub(1),
        );
        let start = self.next_address.get(&subnet.subnet_id).copied().unwrap_or(first);
        for bits in (start..=last).chain(first..start) {
            let address = Ipv4Addr::from_bits(bits).to_string();
            if !taken.contains(&address) && !self.address_in_use(&subnet.subnet_id, &address) {
                self.next_address.insert(subnet.subnet_id.clone(), bits + 1);
                return Ok(address);
            }
        }
        Err(exhausted())
    }

    pub(crate) fn address_in_use(&self, subnet_id: &str, address: &str) -> bool {
        self.interfaces
            .with_key(&address_key(subnet_id, address))
            .next()
            .is_some()
    }

    /// The interfaces that are truly attached to an instance, by device index.
    pub(crate) fn interfaces_of(&self, instance_id: &str) -> Vec<&NetworkInterface> {
        let mut interfaces: Vec<_> = self
            .interfaces
            .with_key(instance_id)
            .filter(|interface| interface.instance_id() == Some(instance_id))
            .collect();
        interfaces.sort_by_key(|interface| interface.attachment.as_ref().map(|a| a.device_index));
        interfaces
    }

    /// Whether anything in the world says that there is such a VPC: snapshots need not name VPCs themselves.
    pub(crate) fn vpc_exists(&self, vpc_id: &str) -> bool {
        self.vpcs.get(vpc_id).is_some()
            || self.subnets.iter().any(|subnet| subnet.vpc_id == vpc_id)
            || self
                .groups
                .iter()
                .any(|group| group.vpc_id.as_deref() == Some(vpc_id))
    }

    /// The group that an interface gets when none is asked for.
    pub(crate) fn default_group(&self, vpc_id: &str) -> Option<&SecurityGroup> {
        self.groups
            .iter()
            .find(|group| group.vpc_id.as_deref() == Some(vpc_id) && group.group_name == "default")
    }

    /// Brings an instance into another state, and tells who listens; `pending` is not told, as nothing acts on it.
    pub(crate) fn set_state(&mut self, now: Instant, time: &str, instance_id: &str, state: &str) {
        self.instances.change(now, instance_id, |instance| {
            instance.state = InstanceState::named(state);
        });
        if state != "pending" {
            self.changes.push(StateChange {
                instance_id: instance_id.to_owned(),
                state: state.to_owned(),
                time: time.to_owned(),
            });
        }
        if state == "terminated" {
            self.terminated.push_back((now, instance_id.to_owned()));
        }
    }

    /// Adds an interface, whose addresses its subnet then has no more.
    pub(crate) fn put_interface(&mut self, now: Instant, interface: NetworkInterface) {
        self.take_addresses(now, &interface, 1);
        self.interfaces.put(now, interface);
    }

    /// Counts an interface's addresses out of those that its subnet has left, or (by -1) in again.
    fn take_addresses(&mut self, now: Instant, interface: &NetworkInterface, by: i32) {
        let addresses = i32::try_from(interface.private_ip_addresses.len()).unwrap_or_default();
        if let Some(subnet_id) = &interface.subnet_id {
            self.subnets.change(now, subnet_id, |subnet| {
                if let Some(left) = &mut subnet.available_ip_address_count {
                    *left -= by * addresses;
                }
            });
        }
    }

    /// Deletes an interface, and the sessions of which it is the source (Traffic Mirroring guide).
    pub(crate) fn delete_interface(&mut self, now: Instant, interface_id: &str) {
        let sessions: Vec<String> = self
            .sessions
            .with_key(interface_id)
            .map(|session| session.traffic_mirror_session_id.clone())
            .collect();
        for session in sessions {
            self.sessions.delete(now, &session);
        }
        if let Some(interface) = self.interfaces.delete(now, interface_id) {
            self.take_addresses(now, &interface, -1);
        }
    }

    /// Notes that an interface is `attaching` or `detaching` until then. All take equally long.
    pub(crate) fn note_attaching(&mut self, until: Instant, interface_id: &str) {
        self.attaching.push_back((until, interface_id.to_owned()));
    }

    /// Lets happen what was to happen by now: attachments come to their end, and instances whose termination is long
    /// past are forgotten.
    pub(crate) fn catch_up(&mut self, now: Instant) {
        while let Some((at, interface_id)) = self.attaching.front().cloned() {
            if at > now {
                break;
            }
            self.attaching.pop_front();
            self.interfaces
                .change(at, &interface_id, NetworkInterface::settle);
        }
        while let Some((since, instance_id)) = self.terminated.front().cloned() {
            if now.saturating_duration_since(since) < TERMINATED_SHOWN {
                break;
            }
            self.terminated.pop_front();
            self.instances.delete(now, &instance_id);
        }
    }
}
