//! The AWS objects that a verdict rests on, as the AWS CLI prints them. Their members and values:
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Types.html>, "Data Types".
//!
//! The member names are those of the EC2 API in the CLI's spelling, so that the output of
//! `aws ec2 describe-…` reads as it is, and is written likewise. Members that no rule uses are not kept. A member
//! that EC2 leaves out is an empty list, an empty text or `None`, and such a member is not written.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A tag of an AWS object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    /// The tag's key.
    pub key: String,
    /// The tag's value, possibly empty.
    #[serde(default)]
    pub value: String,
}

/// An EC2 instance (`DescribeInstances`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Instance {
    /// `i-…`.
    pub instance_id: String,
    /// Where it is in its life.
    #[serde(default)]
    pub state: InstanceState,
    /// Why and since when it is in this state, such as `User initiated (2026-11-26 10:00:00 GMT)`. Empty where EC2
    /// does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state_transition_reason: String,
    /// The interfaces attached to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_interfaces: Vec<InstanceNetworkInterface>,
    /// The instance's tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

/// An instance's state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceState {
    /// `pending`, `running`, `stopping`, `stopped`, `shutting-down` or `terminated`.
    #[serde(default)]
    pub name: String,
}

/// An interface as `DescribeInstances` shows it inside its instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceNetworkInterface {
    /// `eni-…`.
    pub network_interface_id: String,
    /// `interface`, `efa`, `trunk`, `branch`, …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub interface_type: String,
    /// How it is attached to the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachment: Option<Attachment>,
}

/// A network interface (`DescribeNetworkInterfaces`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkInterface {
    /// `eni-…`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network_interface_id: String,
    /// The name of its Availability Zone, such as `us-east-1a`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub availability_zone: String,
    /// Free text; for a load balancer's interface `ELB net/<name>/<id>`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// `interface`, `network_load_balancer`, `gateway_load_balancer_endpoint`, …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub interface_type: String,
    /// Its primary private IPv4 address, empty where it has none (an IPv6-only subnet).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub private_ip_address: String,
    /// `subnet-…`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subnet_id: String,
    /// `vpc-…`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vpc_id: String,
    /// The account that owns it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owner_id: String,
    /// `available`, `associated`, `attaching`, `in-use` or `detaching`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// The security groups that it belongs to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupIdentifier>,
    /// What it is attached to, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachment: Option<Attachment>,
    /// Its tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tag_set: Vec<Tag>,
}

/// What an interface is attached to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Attachment {
    /// The instance, where it is one: a load balancer's interface has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// `attaching`, `attached`, `detaching` or `detached`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// When attaching began, as RFC 3339 writes it.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "time")]
    pub attach_time: Option<String>,
}

impl Attachment {
    /// When it was attached. `None` where EC2 does not show that, or shows that it is not attached yet or any more.
    pub fn attached_at(&self) -> Option<Timestamp> {
        let is_attached = self.status.as_deref().is_none_or(|status| status == "attached");
        self.attach_time.as_deref().filter(|_| is_attached)?.parse().ok()
    }
}

/// A time as text. One in another form, as some tools write it, is left out: no verdict rests on it.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_str().map(str::to_owned))
}

/// A VPC endpoint (`DescribeVpcEndpoints`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VpcEndpoint {
    /// `vpce-…`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vpc_endpoint_id: String,
    /// `available`, `pendingAcceptance`, `pending`, `rejected`, `failed`, `expired`, `deleting`, …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Its interfaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network_interface_ids: Vec<String>,
}

/// A security group that an interface belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GroupIdentifier {
    /// `sg-…`.
    pub group_id: String,
}

/// A traffic mirror target (`DescribeTrafficMirrorTargets`). Exactly one of the three members that name its
/// endpoint is given.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TrafficMirrorTarget {
    /// `tmt-…`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub traffic_mirror_target_id: String,
    /// The interface, for a target of type `network-interface`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_interface_id: Option<String>,
    /// The load balancer's ARN, for a target of type `network-load-balancer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_load_balancer_arn: Option<String>,
    /// `vpce-…`, for a target of type `gateway-load-balancer-endpoint`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_load_balancer_endpoint_id: Option<String>,
    /// The account that owns it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owner_id: String,
    /// Its tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

/// A traffic mirror session (`DescribeTrafficMirrorSessions`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TrafficMirrorSession {
    /// `tms-…`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub traffic_mirror_session_id: String,
    /// The target that receives the packets.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub traffic_mirror_target_id: String,
    /// The filter that chooses the packets.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub traffic_mirror_filter_id: String,
    /// The source interface.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network_interface_id: String,
    /// 1 to 32766, unique on the interface.
    pub session_number: i32,
    /// The VXLAN network identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_network_id: Option<i32>,
    /// Bytes of each packet, where it has a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet_length: Option<i32>,
    /// The account that owns it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owner_id: String,
    /// Its tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

/// A security group (`DescribeSecurityGroups`), its inbound rules only.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SecurityGroup {
    /// `sg-…`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group_id: String,
    /// The VPC that it belongs to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vpc_id: String,
    /// What it lets in. All rules allow.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_permissions: Vec<IpPermission>,
}

/// One inbound rule of a security group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IpPermission {
    /// `-1` (all), `tcp`, `udp`, `icmp`, `icmpv6` or a protocol number as text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip_protocol: String,
    /// First port, inclusive. Absent where every port is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_port: Option<i32>,
    /// Last port, inclusive. Absent where every port is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_port: Option<i32>,
    /// IPv4 sources.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_ranges: Vec<IpRange>,
    /// Members of these groups, whatever their address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub user_id_group_pairs: Vec<UserIdGroupPair>,
    /// Addresses listed in these prefix lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefix_list_ids: Vec<PrefixListId>,
}

/// An IPv4 source of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IpRange {
    /// In CIDR notation.
    pub cidr_ip: String,
}

/// A security group as a source of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UserIdGroupPair {
    /// `sg-…`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group_id: String,
    /// The state of the peering, for a group of another VPC: only while `active` does the rule admit anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peering_status: Option<String>,
}

/// A prefix list as a source of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PrefixListId {
    /// `pl-…`.
    pub prefix_list_id: String,
}

/// An entry of a managed prefix list (`GetManagedPrefixListEntries`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PrefixListEntry {
    /// In CIDR notation, IPv4 or IPv6.
    pub cidr: String,
}

/// A network ACL (`DescribeNetworkAcls`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkAcl {
    /// `acl-…`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network_acl_id: String,
    /// The subnets that it guards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub associations: Vec<NetworkAclAssociation>,
    /// Its entries, inbound and outbound, in no order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<NetworkAclEntry>,
}

/// A subnet that a network ACL guards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkAclAssociation {
    /// `subnet-…`.
    pub subnet_id: String,
}

/// One entry of a network ACL.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkAclEntry {
    /// The order: the lowest number that matches decides. 32767 is the default deny.
    pub rule_number: i32,
    /// Outbound rather than inbound.
    pub egress: bool,
    /// A protocol number as text, `-1` for all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// Absent for `-1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_range: Option<PortRange>,
    /// The IPv4 addresses it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidr_block: Option<String>,
    /// Or the IPv6 addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_cidr_block: Option<String>,
    /// `allow` or `deny`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule_action: String,
}

/// The ports that a network ACL entry is for, both ends inclusive.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PortRange {
    /// First port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<i32>,
    /// Last port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<i32>,
}

/// A route table (`DescribeRouteTables`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RouteTable {
    /// `rtb-…`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub route_table_id: String,
    /// The VPC that it belongs to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vpc_id: String,
    /// The subnets that go by it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub associations: Vec<RouteTableAssociation>,
    /// Its routes, IPv4 and IPv6, in no order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

/// What goes by a route table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RouteTableAssociation {
    /// It is the table of every subnet of its VPC that has none of its own.
    pub main: bool,
    /// The subnet, where it is one: `main` names none, and a gateway may be associated too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
}

/// One route. It has one destination, and leads to one thing: an instance is named with its interface.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Route {
    /// The IPv4 addresses that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_cidr_block: Option<String>,
    /// Or the IPv6 addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_ipv6_cidr_block: Option<String>,
    /// Or the addresses of a prefix list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_prefix_list_id: Option<String>,
    /// `local`, `igw-…`, `vgw-…` or `vpce-…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_id: Option<String>,
    /// `nat-…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nat_gateway_id: Option<String>,
    /// `tgw-…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transit_gateway_id: Option<String>,
    /// `pcx-…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_peering_connection_id: Option<String>,
    /// `eni-…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_interface_id: Option<String>,
    /// `i-…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// `lgw-…`, of an Outpost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_gateway_id: Option<String>,
    /// `cagw-…`, of a Wavelength Zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carrier_gateway_id: Option<String>,
    /// `eigw-…`, for IPv6 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_only_internet_gateway_id: Option<String>,
    /// Of AWS Cloud WAN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core_network_arn: Option<String>,
    /// `CreateRouteTable`, `CreateRoute`, or, where it was propagated, `EnableVgwRoutePropagation` or
    /// `Advertisement`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// `active`, or `blackhole` where what it leads to is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}
