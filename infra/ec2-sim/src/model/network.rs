//! VPCs, subnets, and what decides whether a packet passes: groups, ACLs, routes, prefix lists, endpoints.

use serde::{Deserialize, Serialize};

use super::{GroupIdentifier, Row, Tag, Values, many, maybe, one, row, shown};

/// A VPC.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Vpc {
    pub(crate) vpc_id: String,
    pub(crate) cidr_block: String,
    pub(crate) cidr_block_association_set: Vec<VpcCidrBlock>,
    pub(crate) state: Option<String>,
    pub(crate) is_default: bool,
    pub(crate) instance_tenancy: Option<String>,
    pub(crate) owner_id: Option<String>,
    pub(crate) tags: Vec<Tag>,
}

/// One address range of a VPC.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct VpcCidrBlock {
    pub(crate) association_id: String,
    pub(crate) cidr_block: String,
    pub(crate) cidr_block_state: Option<NamedState>,
}

/// A state that is a structure with a name only.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct NamedState {
    pub(crate) state: String,
}

impl Row for Vpc {
    row!(
        Vpc,
        "Vpcs",
        "VpcId",
        "vpc",
        "vpc ID",
        "vpc",
        "InvalidVpcID.NotFound",
        vpc_id,
        tags
    );

    fn filter_values(&self, filter: &str) -> Option<Values<'_>> {
        Some(match filter {
            "vpc-id" => one(&self.vpc_id),
            "cidr" | "cidr-block" => one(&self.cidr_block),
            "cidr-block-association.cidr-block" => many(
                self.cidr_block_association_set
                    .iter()
                    .map(|block| block.cidr_block.as_str()),
            ),
            "is-default" | "isDefault" => shown([self.is_default]),
            "owner-id" => maybe(self.owner_id.as_ref()),
            "state" => maybe(self.state.as_ref()),
            _ => return None,
        })
    }
}

/// A subnet.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the members are those of the EC2 API"
)]
pub(crate) struct Subnet {
    pub(crate) subnet_id: String,
    pub(crate) subnet_arn: Option<String>,
    pub(crate) vpc_id: String,
    pub(crate) cidr_block: String,
    pub(crate) availability_zone: String,
    pub(crate) availability_zone_id: Option<String>,
    pub(crate) available_ip_address_count: Option<i32>,
    pub(crate) assign_ipv6_address_on_creation: bool,
    pub(crate) ipv6_native: bool,
    pub(crate) default_for_az: bool,
    pub(crate) map_public_ip_on_launch: bool,
    pub(crate) state: Option<String>,
    pub(crate) owner_id: Option<String>,
    pub(crate) tags: Vec<Tag>,
}

impl Row for Subnet {
    row!(
        Subnet,
        "Subnets",
        "SubnetId",
        "subnet",
        "subnet ID",
        "subnet",
        "InvalidSubnetID.NotFound",
        subnet_id,
        tags
    );

    fn filter_values(&self, filter: &str) -> Option<Values<'_>> {
        Some(match filter {
            "subnet-id" => one(&self.subnet_id),
            "subnet-arn" => maybe(self.subnet_arn.as_ref()),
            "vpc-id" => one(&self.vpc_id),
            "cidr" | "cidr-block" | "cidrBlock" => one(&self.cidr_block),
            "availability-zone" | "availabilityZone" => one(&self.availability_zone),
            "availability-zone-id" | "availabilityZoneId" => maybe(self.availability_zone_id.as_ref()),
            "available-ip-address-count" => shown(self.available_ip_address_count),
            "default-for-az" | "defaultForAz" => shown([self.default_for_az]),
            "map-public-ip-on-launch" => shown([self.map_public_ip_on_launch]),
            "owner-id" => maybe(self.owner_id.as_ref()),
            "state" => maybe(self.state.as_ref()),
            _ => return None,
        })
    }
}

/// A security group.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct SecurityGroup {
    pub(crate) group_id: String,
    pub(crate) security_group_arn: Option<String>,
    pub(crate) group_name: String,
    pub(crate) description: String,
    pub(crate) owner_id: Option<String>,
    pub(crate) vpc_id: Option<String>,
    pub(crate) ip_permissions: Vec<IpPermission>,
    pub(crate) ip_permissions_egress: Vec<IpPermission>,
    pub(crate) tags: Vec<Tag>,
}

/// The sources that a group lets in (or destinations that it lets out) by one protocol and port range.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct IpPermission {
    pub(crate) ip_protocol: String,
    pub(crate) from_port: Option<i32>,
    pub(crate) to_port: Option<i32>,
    pub(crate) ip_ranges: Vec<IpRange>,
    pub(crate) ipv6_ranges: Vec<Ipv6Range>,
    pub(crate) prefix_list_ids: Vec<PrefixListId>,
    pub(crate) user_id_group_pairs: Vec<UserIdGroupPair>,
}

/// An IPv4 range.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct IpRange {
    pub(crate) cidr_ip: String,
    pub(crate) description: Option<String>,
}

/// An IPv6 range.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Ipv6Range {
    pub(crate) cidr_ipv6: String,
    pub(crate) description: Option<String>,
}

/// A prefix list as a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct PrefixListId {
    pub(crate) prefix_list_id: String,
    pub(crate) description: Option<String>,
}

/// Another group's members as a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct UserIdGroupPair {
    pub(crate) group_id: Option<String>,
    pub(crate) group_name: Option<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) vpc_id: Option<String>,
    pub(crate) vpc_peering_connection_id: Option<String>,
    pub(crate) peering_status: Option<String>,
    pub(crate) description: Option<String>,
}

impl Row for SecurityGroup {
    const MALFORMED: Option<&'static str> = Some("InvalidGroupId.Malformed");

    row!(
        SecurityGroup,
        "SecurityGroups",
        "GroupId",
        "sg",
        "security group",
        "security-group",
        "InvalidGroup.NotFound",
        group_id,
        tags
    );

    fn filter_values(&self, filter: &str) -> Option<Values<'_>> {
        let inbound = &self.ip_permissions;
        Some(match filter {
            "group-id" => one(&self.group_id),
            "group-name" => one(&self.group_name),
            "description" => one(&self.description),
            "owner-id" => maybe(self.owner_id.as_ref()),
            "vpc-id" => maybe(self.vpc_id.as_ref()),
            "ip-permission.cidr" => many(
                inbound
                    .iter()
                    .flat_map(|p| &p.ip_ranges)
                    .map(|range| range.cidr_ip.as_str()),
            ),
            "ip-permission.ipv6-cidr" => many(
                inbound
                    .iter()
                    .flat_map(|p| &p.ipv6_ranges)
                    .map(|range| range.cidr_ipv6.as_str()),
            ),
            "ip-permission.prefix-list-id" => many(
                inbound
                    .iter()
                    .flat_map(|p| &p.prefix_list_ids)
                    .map(|list| list.prefix_list_id.as_str()),
            ),
            "ip-permission.group-id" => many(
                inbound
                    .iter()
                    .flat_map(|p| &p.user_id_group_pairs)
                    .filter_map(|g| g.group_id.as_deref()),
            ),
            "ip-permission.protocol" => many(inbound.iter().map(|p| p.ip_protocol.as_str())),
            "ip-permission.from-port" => shown(inbound.iter().filter_map(|p| p.from_port)),
            "ip-permission.to-port" => shown(inbound.iter().filter_map(|p| p.to_port)),
            _ => return None,
        })
    }
}

/// A network ACL.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct NetworkAcl {
    pub(crate) network_acl_id: String,
    pub(crate) vpc_id: Option<String>,
    pub(crate) is_default: bool,
    pub(crate) owner_id: Option<String>,
    pub(crate) associations: Vec<NetworkAclAssociation>,
    pub(crate) entries: Vec<NetworkAclEntry>,
    pub(crate) tags: Vec<Tag>,
}

/// What ties an ACL to a subnet.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct NetworkAclAssociation {
    pub(crate) network_acl_association_id: String,
    pub(crate) network_acl_id: String,
    pub(crate) subnet_id: String,
}

/// One rule of an ACL.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct NetworkAclEntry {
    pub(crate) rule_number: i32,
    pub(crate) protocol: String,
    pub(crate) rule_action: String,
    pub(crate) egress: bool,
    pub(crate) cidr_block: Option<String>,
    pub(crate) ipv6_cidr_block: Option<String>,
    pub(crate) icmp_type_code: Option<IcmpTypeCode>,
    pub(crate) port_range: Option<PortRange>,
}

/// The ICMP messages of an ACL's rule.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct IcmpTypeCode {
    pub(crate) code: i32,
    #[serde(rename = "Type")]
    pub(crate) kind: i32,
}

/// The ports of an ACL's rule.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct PortRange {
    pub(crate) from: i32,
    pub(crate) to: i32,
}

impl Row for NetworkAcl {
    row!(
        NetworkAcl,
        "NetworkAcls",
        "NetworkAclId",
        "acl",
        "networkAcl ID",
        "network-acl",
        "InvalidNetworkAclID.NotFound",
        network_acl_id,
        tags
    );

    fn filter_values(&self, filter: &str) -> Option<Values<'_>> {
        Some(match filter {
            "network-acl-id" | "association.network-acl-id" => one(&self.network_acl_id),
            "association.association-id" => many(
                self.associations
                    .iter()
                    .map(|a| a.network_acl_association_id.as_str()),
            ),
            "association.subnet-id" => many(self.associations.iter().map(|a| a.subnet_id.as_str())),
            "default" => shown([self.is_default]),
            "owner-id" => maybe(self.owner_id.as_ref()),
            "vpc-id" => maybe(self.vpc_id.as_ref()),
            "entry.cidr" => many(
                self.entries
                    .iter()
                    .filter_map(|entry| entry.cidr_block.as_deref()),
            ),
            "entry.protocol" => many(self.entries.iter().map(|entry| entry.protocol.as_str())),
            "entry.rule-action" => many(self.entries.iter().map(|entry| entry.rule_action.as_str())),
            "entry.egress" => shown(self.entries.iter().map(|entry| entry.egress)),
            "entry.rule-number" => shown(self.entries.iter().map(|entry| entry.rule_number)),
            _ => return None,
        })
    }
}

/// A route table.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RouteTable {
    pub(crate) route_table_id: String,
    pub(crate) vpc_id: Option<String>,
    pub(crate) owner_id: Option<String>,
    pub(crate) associations: Vec<RouteTableAssociation>,
    pub(crate) propagating_vgws: Vec<PropagatingVgw>,
    pub(crate) routes: Vec<Route>,
    pub(crate) tags: Vec<Tag>,
}

/// What ties a route table to a subnet, or makes it its VPC's main one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RouteTableAssociation {
    pub(crate) main: bool,
    pub(crate) route_table_association_id: String,
    pub(crate) route_table_id: String,
    pub(crate) subnet_id: Option<String>,
    pub(crate) gateway_id: Option<String>,
    pub(crate) association_state: Option<NamedState>,
}

/// A gateway that adds its routes to a table.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct PropagatingVgw {
    pub(crate) gateway_id: String,
}

/// One route.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Route {
    pub(crate) destination_cidr_block: Option<String>,
    pub(crate) destination_ipv6_cidr_block: Option<String>,
    pub(crate) destination_prefix_list_id: Option<String>,
    pub(crate) gateway_id: Option<String>,
    pub(crate) egress_only_internet_gateway_id: Option<String>,
    pub(crate) nat_gateway_id: Option<String>,
    pub(crate) transit_gateway_id: Option<String>,
    pub(crate) local_gateway_id: Option<String>,
    pub(crate) carrier_gateway_id: Option<String>,
    pub(crate) core_network_arn: Option<String>,
    pub(crate) vpc_peering_connection_id: Option<String>,
    pub(crate) network_interface_id: Option<String>,
    pub(crate) instance_id: Option<String>,
    pub(crate) instance_owner_id: Option<String>,
    pub(crate) origin: Option<String>,
    pub(crate) state: Option<String>,
}

impl Row for RouteTable {
    row!(
        RouteTable,
        "RouteTables",
        "RouteTableId",
        "rtb",
        "routeTable ID",
        "route-table",
        "InvalidRouteTableID.NotFound",
        route_table_id,
        tags
    );

    fn filter_values(&self, filter: &str) -> Option<Values<'_>> {
        let (associations, routes) = (&self.associations, &self.routes);
        Some(match filter {
            "route-table-id" | "association.route-table-id" => one(&self.route_table_id),
            "association.route-table-association-id" => {
                many(associations.iter().map(|a| a.route_table_association_id.as_str()))
            }
            "association.subnet-id" => many(associations.iter().filter_map(|a| a.subnet_id.as_deref())),
            "association.gateway-id" => many(associations.iter().filter_map(|a| a.gateway_id.as_deref())),
            "association.main" => shown(associations.iter().map(|a| a.main)),
            "owner-id" => maybe(self.owner_id.as_ref()),
            "vpc-id" => maybe(self.vpc_id.as_ref()),
            "route.destination-cidr-block" => many(
                routes
                    .iter()
                    .filter_map(|route| route.destination_cidr_block.as_deref()),
            ),
            "route.destination-prefix-list-id" => many(
                routes
                    .iter()
                    .filter_map(|route| route.destination_prefix_list_id.as_deref()),
            ),
            "route.gateway-id" => many(routes.iter().filter_map(|route| route.gateway_id.as_deref())),
            "route.nat-gateway-id" => many(routes.iter().filter_map(|route| route.nat_gateway_id.as_deref())),
            "route.transit-gateway-id" => many(
                routes
                    .iter()
                    .filter_map(|route| route.transit_gateway_id.as_deref()),
            ),
            "route.vpc-peering-connection-id" => many(
                routes
                    .iter()
                    .filter_map(|route| route.vpc_peering_connection_id.as_deref()),
            ),
            "route.origin" => many(routes.iter().filter_map(|route| route.origin.as_deref())),
            "route.state" => many(routes.iter().filter_map(|route| route.state.as_deref())),
            _ => return None,
        })
    }
}

/// A VPC endpoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct VpcEndpoint {
    pub(crate) vpc_endpoint_id: String,
    pub(crate) vpc_endpoint_type: Option<String>,
    pub(crate) vpc_id: Option<String>,
    pub(crate) service_name: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) subnet_ids: Vec<String>,
    pub(crate) network_interface_ids: Vec<String>,
    pub(crate) route_table_ids: Vec<String>,
    pub(crate) groups: Vec<GroupIdentifier>,
    pub(crate) private_dns_enabled: bool,
    pub(crate) requester_managed: bool,
    pub(crate) creation_timestamp: Option<String>,
    pub(crate) owner_id: Option<String>,
    pub(crate) tags: Vec<Tag>,
}

impl Row for VpcEndpoint {
    row!(
        VpcEndpoint,
        "VpcEndpoints",
        "VpcEndpointId",
        "vpce",
        "Vpc Endpoint Id",
        "vpc-endpoint",
        "InvalidVpcEndpointId.NotFound",
        vpc_endpoint_id,
        tags
    );

    fn filter_values(&self, filter: &str) -> Option<Values<'_>> {
        Some(match filter {
            "vpc-endpoint-id" => one(&self.vpc_endpoint_id),
            "vpc-endpoint-type" => maybe(self.vpc_endpoint_type.as_ref()),
            "vpc-endpoint-state" => maybe(self.state.as_ref()),
            "vpc-id" => maybe(self.vpc_id.as_ref()),
            "service-name" => maybe(self.service_name.as_ref()),
            "owner-id" => maybe(self.owner_id.as_ref()),
            _ => return None,
        })
    }
}

/// A prefix list; its entries are kept apart, as EC2 answers them apart.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ManagedPrefixList {
    pub(crate) prefix_list_id: String,
    pub(crate) prefix_list_arn: Option<String>,
    pub(crate) prefix_list_name: Option<String>,
    pub(crate) address_family: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) max_entries: Option<i32>,
    pub(crate) version: Option<i64>,
    pub(crate) owner_id: Option<String>,
    pub(crate) tags: Vec<Tag>,
}

/// One address range of a prefix list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct PrefixListEntry {
    pub(crate) cidr: String,
    pub(crate) description: Option<String>,
}

impl Row for ManagedPrefixList {
    row!(
        ManagedPrefixList,
        "ManagedPrefixLists",
        "PrefixListId",
        "pl",
        "prefix list ID",
        "prefix-list",
        "InvalidPrefixListID.NotFound",
        prefix_list_id,
        tags
    );

    fn filter_values(&self, filter: &str) -> Option<Values<'_>> {
        Some(match filter {
            "prefix-list-id" => one(&self.prefix_list_id),
            "prefix-list-name" => maybe(self.prefix_list_name.as_ref()),
            "owner-id" => maybe(self.owner_id.as_ref()),
            _ => return None,
        })
    }
}
