//! Instances and network interfaces.

use serde::{Deserialize, Serialize};

use super::{Row, Tag, Values, many, maybe, one, row, shown};

/// An instance without its interfaces: those are objects of their own, found by their attachment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Instance {
    pub(crate) instance_id: String,
    pub(crate) image_id: Option<String>,
    pub(crate) ami_launch_index: Option<i32>,
    pub(crate) client_token: Option<String>,
    pub(crate) instance_type: String,
    pub(crate) architecture: Option<String>,
    pub(crate) state: InstanceState,
    pub(crate) state_transition_reason: String,
    pub(crate) state_reason: Option<StateReason>,
    pub(crate) placement: Placement,
    pub(crate) launch_time: Option<String>,
    pub(crate) vpc_id: Option<String>,
    pub(crate) subnet_id: Option<String>,
    pub(crate) private_ip_address: Option<String>,
    pub(crate) private_dns_name: Option<String>,
    pub(crate) public_ip_address: Option<String>,
    pub(crate) public_dns_name: Option<String>,
    pub(crate) security_groups: Vec<GroupIdentifier>,
    pub(crate) tags: Vec<Tag>,
    #[serde(skip)]
    pub(crate) reservation_id: String,
    #[serde(skip)]
    pub(crate) owner_id: String,
}

/// Where an instance is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct InstanceState {
    pub(crate) code: i32,
    pub(crate) name: String,
}

impl InstanceState {
    pub(crate) fn named(name: &str) -> Self {
        let code = match name {
            "pending" => 0,
            "shutting-down" => 32,
            "terminated" => 48,
            "stopping" => 64,
            "stopped" => 80,
            _ => 16,
        };
        Self {
            code,
            name: name.to_owned(),
        }
    }
}

/// Why an instance is in its state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct StateReason {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl StateReason {
    /// Somebody stopped or terminated it
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html>).
    pub(crate) fn user_initiated() -> Self {
        let code = "Client.UserInitiatedShutdown";
        Self {
            code: code.to_owned(),
            message: format!("{code}: User initiated shutdown"),
        }
    }
}

/// An instance of which nothing else is known is a running one.
impl Default for InstanceState {
    fn default() -> Self {
        Self::named("running")
    }
}

/// Where an instance is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Placement {
    pub(crate) availability_zone: Option<String>,
    pub(crate) tenancy: Option<String>,
}

/// A security group as named by what it is attached to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct GroupIdentifier {
    pub(crate) group_id: String,
    pub(crate) group_name: Option<String>,
}

impl Row for Instance {
    const MALFORMED: Option<&'static str> = Some("InvalidInstanceID.Malformed");

    row!(
        Instance,
        "Instances",
        "InstanceId",
        "i",
        "instance ID",
        "instance",
        "InvalidInstanceID.NotFound",
        instance_id,
        tags
    );

    fn filter_values(&self, filter: &str) -> Option<Values<'_>> {
        Some(match filter {
            "instance-id" => one(&self.instance_id),
            "instance-state-name" => one(&self.state.name),
            "instance-state-code" => shown([self.state.code]),
            "instance-type" => one(&self.instance_type),
            "image-id" => maybe(self.image_id.as_ref()),
            "architecture" => maybe(self.architecture.as_ref()),
            "availability-zone" => maybe(self.placement.availability_zone.as_ref()),
            "tenancy" => maybe(self.placement.tenancy.as_ref()),
            "launch-time" => maybe(self.launch_time.as_ref()),
            "vpc-id" => maybe(self.vpc_id.as_ref()),
            "subnet-id" => maybe(self.subnet_id.as_ref()),
            "private-ip-address" => maybe(self.private_ip_address.as_ref()),
            "private-dns-name" => maybe(self.private_dns_name.as_ref()),
            "ip-address" => maybe(self.public_ip_address.as_ref()),
            "dns-name" => maybe(self.public_dns_name.as_ref()),
            "reservation-id" => one(&self.reservation_id),
            "owner-id" => one(&self.owner_id),
            "instance.group-id" | "group-id" => {
                many(self.security_groups.iter().map(|g| g.group_id.as_str()))
            }
            "instance.group-name" | "group-name" => many(
                self.security_groups
                    .iter()
                    .filter_map(|g| g.group_name.as_deref()),
            ),
            _ => return None,
        })
    }
}

/// A network interface, as `DescribeNetworkInterfaces` shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct NetworkInterface {
    pub(crate) network_interface_id: String,
    pub(crate) subnet_id: Option<String>,
    pub(crate) vpc_id: Option<String>,
    pub(crate) availability_zone: Option<String>,
    pub(crate) description: String,
    pub(crate) interface_type: String,
    pub(crate) owner_id: Option<String>,
    pub(crate) requester_id: Option<String>,
    pub(crate) requester_managed: bool,
    pub(crate) mac_address: Option<String>,
    pub(crate) private_ip_address: Option<String>,
    pub(crate) private_dns_name: Option<String>,
    pub(crate) private_ip_addresses: Vec<PrivateIpAddress>,
    pub(crate) ipv6_addresses: Vec<Ipv6Address>,
    pub(crate) source_dest_check: bool,
    pub(crate) status: String,
    pub(crate) groups: Vec<GroupIdentifier>,
    pub(crate) association: Option<Association>,
    pub(crate) attachment: Option<Attachment>,
    pub(crate) tag_set: Vec<Tag>,
}

impl Default for NetworkInterface {
    fn default() -> Self {
        Self {
            network_interface_id: String::new(),
            subnet_id: None,
            vpc_id: None,
            availability_zone: None,
            description: String::new(),
            interface_type: "interface".to_owned(),
            owner_id: None,
            requester_id: None,
            requester_managed: false,
            mac_address: None,
            private_ip_address: None,
            private_dns_name: None,
            private_ip_addresses: Vec::new(),
            ipv6_addresses: Vec::new(),
            source_dest_check: true,
            status: "available".to_owned(),
            groups: Vec::new(),
            association: None,
            attachment: None,
            tag_set: Vec::new(),
        }
    }
}

/// One private address of an interface.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct PrivateIpAddress {
    pub(crate) primary: bool,
    pub(crate) private_ip_address: String,
    pub(crate) private_dns_name: Option<String>,
    pub(crate) association: Option<Association>,
}

/// One IPv6 address of an interface.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Ipv6Address {
    pub(crate) ipv6_address: String,
}

/// The public address of a private one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Association {
    pub(crate) public_ip: Option<String>,
    pub(crate) public_dns_name: Option<String>,
    pub(crate) ip_owner_id: Option<String>,
    pub(crate) allocation_id: Option<String>,
    pub(crate) association_id: Option<String>,
}

/// What ties an interface to its instance.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Attachment {
    pub(crate) attachment_id: Option<String>,
    pub(crate) instance_id: Option<String>,
    pub(crate) instance_owner_id: Option<String>,
    pub(crate) device_index: i32,
    pub(crate) network_card_index: Option<i32>,
    pub(crate) delete_on_termination: bool,
    pub(crate) status: Option<String>,
    pub(crate) attach_time: Option<String>,
}

impl NetworkInterface {
    /// Whether it is attached to something by now.
    pub(crate) fn is_attached(&self) -> bool {
        let attachment = self.attachment.as_ref();
        attachment.and_then(|attachment| attachment.status.as_deref()) == Some("attached")
    }

    /// Brings an attachment that is under way to its end.
    pub(crate) fn settle(&mut self) {
        match self.attachment.as_mut().map(|attachment| &mut attachment.status) {
            Some(Some(status)) if status == "attaching" => "attached".clone_into(status),
            Some(Some(status)) if status == "detaching" => {
                self.attachment = None;
                "available".clone_into(&mut self.status);
            }
            _ => {}
        }
    }

    pub(crate) fn instance_id(&self) -> Option<&str> {
        self.attachment.as_ref()?.instance_id.as_deref()
    }
}

/// The key under which an interface is found by an address that it has.
pub(crate) fn address_key(subnet_id: &str, address: &str) -> String {
    format!("{subnet_id}|{address}")
}

impl Row for NetworkInterface {
    const MALFORMED: Option<&'static str> = Some("InvalidNetworkInterfaceId.Malformed");
    const KEYED_FILTERS: &'static [&'static str] = &["attachment.instance-id", "description"];

    row!(
        NetworkInterface,
        "NetworkInterfaces",
        "NetworkInterfaceId",
        "eni",
        "networkInterface ID",
        "network-interface",
        "InvalidNetworkInterfaceID.NotFound",
        network_interface_id,
        tag_set
    );

    fn keys(&self) -> Vec<String> {
        let mut keys = vec![self.description.clone()];
        keys.extend(self.instance_id().map(str::to_owned));
        if let Some(subnet) = &self.subnet_id {
            let primary = self.private_ip_address.as_ref();
            let others = self
                .private_ip_addresses
                .iter()
                .map(|address| &address.private_ip_address);
            keys.extend(
                primary
                    .into_iter()
                    .chain(others)
                    .map(|address| address_key(subnet, address)),
            );
        }
        keys
    }

    fn filter_values(&self, filter: &str) -> Option<Values<'_>> {
        let attachment = self.attachment.as_ref();
        Some(match filter {
            "network-interface-id" => one(&self.network_interface_id),
            "description" => one(&self.description),
            "subnet-id" => maybe(self.subnet_id.as_ref()),
            "vpc-id" => maybe(self.vpc_id.as_ref()),
            "availability-zone" => maybe(self.availability_zone.as_ref()),
            "interface-type" => one(&self.interface_type),
            "owner-id" => maybe(self.owner_id.as_ref()),
            "requester-id" => maybe(self.requester_id.as_ref()),
            "requester-managed" => shown([self.requester_managed]),
            "mac-address" => maybe(self.mac_address.as_ref()),
            "status" => one(&self.status),
            "source-dest-check" => shown([self.source_dest_check]),
            "private-ip-address" => maybe(self.private_ip_address.as_ref()),
            "private-dns-name" => maybe(self.private_dns_name.as_ref()),
            "addresses.private-ip-address" => many(
                self.private_ip_addresses
                    .iter()
                    .map(|address| address.private_ip_address.as_str()),
            ),
            "group-id" => many(self.groups.iter().map(|group| group.group_id.as_str())),
            "group-name" => many(self.groups.iter().filter_map(|group| group.group_name.as_deref())),
            "association.public-ip" => maybe(self.association.as_ref().and_then(|a| a.public_ip.as_ref())),
            "attachment.attachment-id" => maybe(attachment.and_then(|a| a.attachment_id.as_ref())),
            "attachment.instance-id" => many(self.instance_id()),
            "attachment.instance-owner-id" => maybe(attachment.and_then(|a| a.instance_owner_id.as_ref())),
            "attachment.device-index" => shown(attachment.map(|a| a.device_index)),
            "attachment.delete-on-termination" => shown(attachment.map(|a| a.delete_on_termination)),
            "attachment.status" => maybe(attachment.and_then(|a| a.status.as_ref())),
            _ => return None,
        })
    }
}
