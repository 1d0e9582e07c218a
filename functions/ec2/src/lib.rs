//! The EC2 calls of the pipeline, in the words of `mirrorstep-core`.
//!
//! Every describe is paginated and read to its last page. EC2 refuses describes that are not, in accounts with very
//! many interfaces (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNetworkInterfaces.html>,
//! "DescribeNetworkInterfaces"; <https://github.com/aws/amazon-vpc-resource-controller-k8s/issues/188>). What is asked
//! for by id is asked for with a filter: pages and a list of ids exclude each other
//! (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html#api-pagination>), a list fails as a
//! whole for one that does not exist, and a filter keeps a call in EC2's larger bucket
//! (<https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html#throttling-limits-rate-based>). Many objects
//! are asked for in one call, up to the 200 values that a filter takes.

mod collect;
mod convert;
mod failure;
pub mod refusals;
mod sessions;

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;

use aws_config::SdkConfig;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::Filter;
use mirrorstep_core::config::{TagSelector, Targets};
use mirrorstep_core::network::{
    Instance, NetworkAcl, NetworkInterface, PrefixListEntry, RouteTable, SecurityGroup, TrafficMirrorTarget,
    VpcEndpoint,
};
use mirrorstep_core::{InstanceId, InterfaceId};

pub use collect::Wanted;
pub use failure::{ChangeRefusal, DescribeError, Refusal, describe_error};
pub use sessions::Tags;

/// The values that EC2 takes in one filter
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html#Filtering_Resources_CLI>).
const FILTER_VALUES: usize = 200;

/// The largest page of most describes (such as
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeTrafficMirrorSessions.html>, `MaxResults`).
pub const PAGE: i32 = 1000;

/// The largest page of route tables
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeRouteTables.html>, `MaxResults`) and of a prefix
/// list's entries (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetManagedPrefixListEntries.html>,
/// `MaxResults`).
const SMALL_PAGE: i32 = 100;

/// Running instances that are looked at together: the interfaces of so many are asked about in a few calls.
const INSTANCES_PAGE: i32 = 100;

/// EC2, for one account and Region.
#[derive(Debug, Clone)]
pub struct Ec2(Client);

/// Reads all pages of a describe, the largest that there are, and turns each object of `$list` that makes sense into the
/// core's words.
macro_rules! describe {
    ($call:expr, $action:literal, $list:ident, $into:path) => {
        describe!($call, $action, $list, $into, crate::PAGE)
    };
    ($call:expr, $action:literal, $list:ident, $into:path, $page:expr) => {{
        let mut pages = $call.max_results($page).into_paginator().send();
        let mut objects = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failure::describe_error($action, &error))?;
            objects.extend(page.$list.unwrap_or_default().into_iter().flat_map($into));
        }
        objects
    }};
}
pub(crate) use describe;

impl Ec2 {
    /// EC2 as the function's AWS configuration has it.
    pub fn from_config(aws: &SdkConfig) -> Self {
        Self(Client::new(aws))
    }

    /// EC2 through this client.
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// The instance, if EC2 shows it (`DescribeInstances`).
    pub async fn instance(&self, id: &InstanceId) -> Result<Option<Instance>, DescribeError> {
        Ok(self.instances([id]).await?.into_iter().next())
    }

    /// The instance that an interface is attached to, if EC2 shows one (`DescribeInstances`): the filter
    /// `network-interface.network-interface-id`
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html>, `Filter.N`).
    pub async fn instance_with(&self, interface: &InterfaceId) -> Result<Option<Instance>, DescribeError> {
        let call = self
            .0
            .describe_instances()
            .filters(filter("network-interface.network-interface-id", [interface]));
        let found = describe!(call, "DescribeInstances", reservations, convert::reservation);
        Ok(found.into_iter().next())
    }

    /// The instances that EC2 shows of these (`DescribeInstances`).
    pub async fn instances<V: Display>(
        &self,
        ids: impl IntoIterator<Item = V>,
    ) -> Result<Vec<Instance>, DescribeError> {
        let mut found = Vec::new();
        for filter in filters("instance-id", ids) {
            let call = self.0.describe_instances().filters(filter);
            found.extend(describe!(
                call,
                "DescribeInstances",
                reservations,
                convert::reservation
            ));
        }
        Ok(found)
    }

    /// The instances that carry this tag (`DescribeInstances`): the filter `tag:<key>`
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html>, `Filter.N`).
    pub async fn instances_tagged(&self, tag: &TagSelector) -> Result<Vec<Instance>, DescribeError> {
        let call = self
            .0
            .describe_instances()
            .filters(filter(&format!("tag:{}", tag.key), [&tag.value]));
        Ok(describe!(
            call,
            "DescribeInstances",
            reservations,
            convert::reservation
        ))
    }

    /// The configured targets that EC2 shows (`DescribeTrafficMirrorTargets`).
    pub async fn targets(&self, targets: &Targets) -> Result<Vec<TrafficMirrorTarget>, DescribeError> {
        let ids = match targets {
            Targets::Ids(ids) => ids,
            // EC2 documents no filter by tag for targets
            // (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeTrafficMirrorTargets.html>,
            // `Filter.N`): all are read, in pages, and sorted out here.
            Targets::Tagged(tag) => {
                let mut found = self.all_targets().await?;
                found.retain(|target| tag.matches(&target.tags));
                return Ok(found);
            }
        };
        let mut found = Vec::new();
        for filter in filters("traffic-mirror-target-id", ids) {
            let call = self.0.describe_traffic_mirror_targets().filters(filter);
            found.extend(describe!(
                call,
                "DescribeTrafficMirrorTargets",
                traffic_mirror_targets,
                convert::target
            ));
        }
        Ok(found)
    }

    /// Running instances, a page of them, and the token of the next page (`DescribeInstances`).
    pub async fn running_instances(
        &self,
        page: Option<String>,
    ) -> Result<(Vec<Instance>, Option<String>), DescribeError> {
        let output = self
            .0
            .describe_instances()
            .filters(filter("instance-state-name", ["running"]))
            .max_results(INSTANCES_PAGE)
            .set_next_token(page)
            .send()
            .await
            .map_err(|error| failure::describe_error("DescribeInstances", &error))?;
        let reservations = output.reservations.unwrap_or_default();
        let instances = reservations.into_iter().flat_map(convert::reservation).collect();
        Ok((instances, output.next_token.filter(|token| !token.is_empty())))
    }

    /// The target that this interface is, if it is one (`DescribeTrafficMirrorTargets`).
    pub async fn target_at(
        &self,
        interface: &InterfaceId,
    ) -> Result<Option<TrafficMirrorTarget>, DescribeError> {
        let filter = filter("network-interface-id", [interface]);
        let call = self.0.describe_traffic_mirror_targets().filters(filter);
        let found = describe!(
            call,
            "DescribeTrafficMirrorTargets",
            traffic_mirror_targets,
            convert::target
        );
        Ok(found.into_iter().next())
    }

    /// Every target that EC2 shows in the Region (`DescribeTrafficMirrorTargets`).
    pub async fn all_targets(&self) -> Result<Vec<TrafficMirrorTarget>, DescribeError> {
        let call = self.0.describe_traffic_mirror_targets();
        Ok(describe!(
            call,
            "DescribeTrafficMirrorTargets",
            traffic_mirror_targets,
            convert::target
        ))
    }

    /// The interfaces that EC2 shows of those with these values in this filter (`DescribeNetworkInterfaces`).
    pub async fn interfaces<V: Display>(
        &self,
        filter_name: &str,
        values: impl IntoIterator<Item = V>,
    ) -> Result<Vec<NetworkInterface>, DescribeError> {
        let mut found = Vec::new();
        for filter in filters(filter_name, values) {
            let call = self.0.describe_network_interfaces().filters(filter);
            found.extend(describe!(
                call,
                "DescribeNetworkInterfaces",
                network_interfaces,
                convert::network_interface
            ));
        }
        Ok(found)
    }

    /// The VPC endpoints that EC2 shows of these (`DescribeVpcEndpoints`).
    pub async fn vpc_endpoints(
        &self,
        endpoints: &BTreeSet<String>,
    ) -> Result<Vec<VpcEndpoint>, DescribeError> {
        let mut found = Vec::new();
        for filter in filters("vpc-endpoint-id", endpoints) {
            let call = self.0.describe_vpc_endpoints().filters(filter);
            found.extend(describe!(
                call,
                "DescribeVpcEndpoints",
                vpc_endpoints,
                convert::vpc_endpoint
            ));
        }
        Ok(found)
    }

    /// The security groups that EC2 shows of these, by id (`DescribeSecurityGroups`).
    pub async fn security_groups(
        &self,
        ids: &BTreeSet<String>,
    ) -> Result<HashMap<String, SecurityGroup>, DescribeError> {
        let mut found = HashMap::new();
        for filter in filters("group-id", ids) {
            let call = self.0.describe_security_groups().filters(filter);
            let groups = describe!(
                call,
                "DescribeSecurityGroups",
                security_groups,
                convert::security_group
            );
            found.extend(groups.into_iter().map(|group| (group.group_id.clone(), group)));
        }
        Ok(found)
    }

    /// The entries of those managed prefix lists that can be read, by id: a list that does not exist, or that
    /// another account has not shared, is left out (`GetManagedPrefixListEntries`, a call for each).
    pub async fn prefix_lists(
        &self,
        ids: &BTreeSet<String>,
    ) -> Result<HashMap<String, Vec<PrefixListEntry>>, DescribeError> {
        let mut found = HashMap::new();
        for id in ids {
            if let Some(entries) = self.prefix_list_entries(id).await? {
                found.insert(id.clone(), entries);
            }
        }
        Ok(found)
    }

    async fn prefix_list_entries(&self, id: &str) -> Result<Option<Vec<PrefixListEntry>>, DescribeError> {
        let mut pages = self
            .0
            .get_managed_prefix_list_entries()
            .prefix_list_id(id)
            .max_results(SMALL_PAGE)
            .into_paginator()
            .send();
        let mut entries = Vec::new();
        while let Some(page) = pages.next().await {
            match page {
                Ok(page) => entries.extend(
                    page.entries
                        .unwrap_or_default()
                        .into_iter()
                        .filter_map(convert::prefix_list_entry),
                ),
                Err(error) if failure::is_not_found(&error) => return Ok(None),
                Err(error) => return Err(failure::describe_error("GetManagedPrefixListEntries", &error)),
            }
        }
        Ok(Some(entries))
    }

    /// The network ACLs of these subnets (`DescribeNetworkAcls`).
    pub async fn network_acls(&self, subnets: &BTreeSet<String>) -> Result<Vec<NetworkAcl>, DescribeError> {
        let mut found = Vec::new();
        for filter in filters("association.subnet-id", subnets) {
            let call = self.0.describe_network_acls().filters(filter);
            found.extend(describe!(
                call,
                "DescribeNetworkAcls",
                network_acls,
                convert::network_acl
            ));
        }
        Ok(found)
    }

    /// The route tables of these VPCs (`DescribeRouteTables`).
    pub async fn route_tables<V: Display>(
        &self,
        vpcs: impl IntoIterator<Item = V>,
    ) -> Result<Vec<RouteTable>, DescribeError> {
        let mut found = Vec::new();
        for filter in filters("vpc-id", vpcs) {
            let call = self.0.describe_route_tables().filters(filter);
            found.extend(describe!(
                call,
                "DescribeRouteTables",
                route_tables,
                convert::route_table,
                SMALL_PAGE
            ));
        }
        Ok(found)
    }
}

fn filter<V: Display>(name: &str, values: impl IntoIterator<Item = V>) -> Filter {
    let values = values.into_iter().map(|value| value.to_string()).collect();
    Filter::builder().name(name).set_values(Some(values)).build()
}

/// As many filters as the values need: none for none.
fn filters<V: Display>(name: &str, values: impl IntoIterator<Item = V>) -> Vec<Filter> {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    values
        .chunks(FILTER_VALUES)
        .map(|values| filter(name, values))
        .collect()
}
