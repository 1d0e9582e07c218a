//! Network interfaces.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::json;

use super::{Answer, Context, asked_for, done, existing, ipv4_address, private_dns_name};
use crate::describe::{Paging, describe as describe_rows, not_found};
use crate::error::ApiError;
use crate::model::{
    Association, Attachment, GroupIdentifier, NetworkInterface, PrivateIpAddress, Subnet, Tag,
};
use crate::query::Params;
use crate::world::World;

/// An interface to be created.
#[derive(Debug, Clone, Default)]
pub(super) struct NewInterface {
    pub(super) description: String,
    /// Empty for `interface`.
    pub(super) interface_type: String,
    /// None for the VPC's default group.
    pub(super) group_ids: Vec<String>,
    /// The interface has no group at all, not even the default one.
    pub(super) without_groups: bool,
    /// The first is the primary one; none for the next free one.
    pub(super) addresses: Vec<String>,
    pub(super) more_addresses: usize,
    pub(super) requester_managed: bool,
    pub(super) tags: Vec<Tag>,
}

impl NewInterface {
    /// What `CreateNetworkInterface` and an interface of `RunInstances` have in common.
    pub(super) fn read(params: &Params) -> Result<Self, ApiError> {
        let mut addresses: Vec<String> = params.text("PrivateIpAddress").into_iter().collect();
        for address in params.structures("PrivateIpAddresses") {
            let text = address.need("PrivateIpAddress")?.to_owned();
            if address.boolean("Primary")? == Some(true) {
                addresses.insert(0, text);
            } else {
                addresses.push(text);
            }
        }
        let more = params
            .integer("SecondaryPrivateIpAddressCount")?
            .unwrap_or_default();
        Ok(Self {
            description: params.get("Description").unwrap_or_default().to_owned(),
            interface_type: params.get("InterfaceType").unwrap_or_default().to_owned(),
            group_ids: params.list("SecurityGroupId"),
            addresses,
            more_addresses: usize::try_from(more).unwrap_or_default(),
            ..Self::default()
        })
    }
}

/// The groups by name and ID, all of which must be of the VPC; the VPC's default group if none is asked for.
pub(super) fn groups_in(
    world: &World,
    vpc_id: &str,
    group_ids: &[String],
) -> Result<Vec<GroupIdentifier>, ApiError> {
    let named = |id: &str, name: &str| GroupIdentifier {
        group_id: id.to_owned(),
        group_name: Some(name.to_owned()),
    };
    if group_ids.is_empty() {
        return Ok(world
            .default_group(vpc_id)
            .map(|group| named(&group.group_id, &group.group_name))
            .into_iter()
            .collect());
    }
    group_ids
        .iter()
        .map(|id| {
            let group = existing(&world.groups, id)?;
            if group.vpc_id.as_deref().is_some_and(|of_group| of_group != vpc_id) {
                return Err(ApiError::new(
                    "InvalidGroup.NotFound",
                    format!("The security group '{id}' does not exist in VPC '{vpc_id}'"),
                ));
            }
            Ok(named(id, &group.group_name))
        })
        .collect()
}

/// Creates an interface in a subnet.
pub(super) fn create_in(
    context: &mut Context<'_>,
    subnet: &Subnet,
    new: NewInterface,
) -> Result<NetworkInterface, ApiError> {
    let world = &mut *context.world;
    let groups = if new.without_groups {
        Vec::new()
    } else {
        groups_in(world, &subnet.vpc_id, &new.group_ids)?
    };
    let mut addresses: Vec<String> = Vec::new();
    for text in new.addresses {
        check_address(world, subnet, ipv4_address(&text)?)?;
        addresses.push(text);
    }
    let wanted = addresses.len().max(1) + new.more_addresses;
    while addresses.len() < wanted {
        addresses.push(world.free_address(subnet, &addresses)?);
    }
    let primary = addresses.first().cloned();
    let interface = NetworkInterface {
        network_interface_id: world.new_id("eni"),
        subnet_id: Some(subnet.subnet_id.clone()),
        vpc_id: Some(subnet.vpc_id.clone()),
        availability_zone: Some(subnet.availability_zone.clone()),
        description: new.description,
        interface_type: Some(new.interface_type)
            .filter(|kind| !kind.is_empty())
            .unwrap_or("interface".to_owned()),
        owner_id: Some(context.account.to_owned()),
        requester_id: new.requester_managed.then(|| "amazon-aws".to_owned()),
        requester_managed: new.requester_managed,
        mac_address: Some(world.new_mac_address()),
        private_dns_name: primary.as_deref().map(private_dns_name),
        private_ip_address: primary.clone(),
        private_ip_addresses: addresses
            .into_iter()
            .map(|address| PrivateIpAddress {
                primary: Some(&address) == primary.as_ref(),
                private_dns_name: Some(private_dns_name(&address)),
                private_ip_address: address,
                association: None,
            })
            .collect(),
        groups,
        tag_set: new.tags,
        ..NetworkInterface::default()
    };
    world.put_interface(context.now, interface.clone());
    Ok(interface)
}

fn check_address(world: &World, subnet: &Subnet, address: Ipv4Addr) -> Result<(), ApiError> {
    let inside = subnet
        .cidr_block
        .parse::<Ipv4Net>()
        .is_ok_and(|block| block.contains(&address));
    if !inside {
        return Err(ApiError::invalid(
            "Address does not fall within the subnet's address range",
        ));
    }
    if world.address_in_use(&subnet.subnet_id, &address.to_string()) {
        return Err(ApiError::new(
            "InvalidIPAddress.InUse",
            format!("Address {address} is in use."),
        ));
    }
    Ok(())
}

/// Gives an interface's primary address a public one.
pub(super) fn publish(context: &mut Context<'_>, interface_id: &str) -> Association {
    let public_ip = context.world.new_public_address();
    let association = Association {
        public_dns_name: Some(format!(
            "ec2-{}.compute-1.amazonaws.com",
            public_ip.replace('.', "-")
        )),
        public_ip: Some(public_ip),
        ip_owner_id: Some("amazon".to_owned()),
        allocation_id: None,
        association_id: None,
    };
    context
        .world
        .interfaces
        .change(context.now, interface_id, |interface| {
            interface.association = Some(association.clone());
            for address in interface
                .private_ip_addresses
                .iter_mut()
                .filter(|address| address.primary)
            {
                address.association = Some(association.clone());
            }
        });
    association
}

/// Ties an interface to an instance, and gives back the attachment's ID. The interface is `in-use` from then on, its
/// attachment `attaching` for a while.
pub(super) fn tie(
    context: &mut Context<'_>,
    interface_id: &str,
    instance_id: &str,
    device_index: i32,
    delete_on_termination: bool,
) -> String {
    let attachment_id = context.world.new_id("eni-attach");
    let attachment = Attachment {
        attachment_id: Some(attachment_id.clone()),
        instance_id: Some(instance_id.to_owned()),
        instance_owner_id: Some(context.account.to_owned()),
        device_index,
        network_card_index: Some(0),
        delete_on_termination,
        status: Some("attaching".to_owned()),
        attach_time: Some(context.time.clone()),
    };
    attach_or_detach(context, interface_id, |interface| {
        interface.attachment = Some(attachment);
        "in-use".clone_into(&mut interface.status);
    });
    attachment_id
}

/// Takes an interface from its instance. Assumption: until that is done the interface is `in-use`, its attachment
/// `detaching`.
pub(super) fn untie(context: &mut Context<'_>, interface_id: &str) {
    attach_or_detach(context, interface_id, |interface| {
        if let Some(attachment) = &mut interface.attachment {
            attachment.status = Some("detaching".to_owned());
        }
    });
}

/// Begins to change an interface's attachment, which is done at once or takes a while.
fn attach_or_detach(
    context: &mut Context<'_>,
    interface_id: &str,
    begin: impl FnOnce(&mut NetworkInterface),
) {
    let (now, takes) = (context.now, context.attaching);
    context.world.interfaces.change(now, interface_id, |interface| {
        begin(interface);
        if takes.is_zero() {
            interface.settle();
        }
    });
    if !takes.is_zero() {
        context.world.note_attaching(now + takes, interface_id);
    }
}

/// `CreateNetworkInterface`.
pub(super) fn create(context: &mut Context<'_>, params: &Params) -> Answer {
    let new = NewInterface {
        tags: params.tags_for("network-interface")?,
        ..NewInterface::read(params)?
    };
    let subnet = asked_for(&context.world.subnets, params)?;
    let interface = create_in(context, &subnet, new)?;
    let mut answer = json!({"NetworkInterface": interface});
    answer["NetworkInterface"]["Status"] = json!("pending");
    Ok(answer)
}

/// `DeleteNetworkInterface`: not while it is attached.
pub(super) fn delete(context: &mut Context<'_>, params: &Params) -> Answer {
    let interface = asked_for(&context.world.interfaces, params)?;
    let id = &interface.network_interface_id;
    if interface.attachment.is_some() {
        let message = format!("Network interface '{id}' is currently in use.");
        return Err(ApiError::new("InvalidParameterValue", message));
    }
    if interface.requester_managed {
        let message = format!("You do not have permission to access the specified resource: {id}");
        return Err(ApiError::new("OperationNotPermitted", message));
    }
    context.world.delete_interface(context.now, id);
    Ok(done())
}

/// `AttachNetworkInterface`: to an instance in the same zone, at a device index that is free.
pub(super) fn attach(context: &mut Context<'_>, params: &Params) -> Answer {
    let device_index = params.need_integer("DeviceIndex")?;
    let interface = asked_for(&context.world.interfaces, params)?;
    let instance = asked_for(&context.world.instances, params)?;
    check_attachable(&interface)?;
    let (interface_id, instance_id) = (interface.network_interface_id, instance.instance_id);
    if !matches!(instance.state.name.as_str(), "running" | "stopped") {
        let message = format!("Instance '{instance_id}' is not 'running' or 'stopped'.");
        return Err(ApiError::new("IncorrectInstanceState", message));
    }
    if instance.placement.availability_zone != interface.availability_zone {
        let message = "You may not attach a network interface to an instance if they are not in the same \
                       availability zone";
        return Err(ApiError::combination(message));
    }
    let attached = context.world.interfaces_of(&instance_id);
    if attached.iter().any(|other| {
        other
            .attachment
            .as_ref()
            .is_some_and(|a| a.device_index == device_index)
    }) {
        return Err(ApiError::invalid(format!(
            "Instance '{instance_id}' already has an interface attached at device index '{device_index}'."
        )));
    }
    let attachment_id = tie(context, &interface_id, &instance_id, device_index, false);
    Ok(json!({"AttachmentId": attachment_id, "NetworkCardIndex": 0}))
}

/// Refuses an interface that cannot be attached to an instance.
pub(super) fn check_attachable(interface: &NetworkInterface) -> Result<(), ApiError> {
    if interface.attachment.is_some() || interface.requester_managed {
        let message = format!(
            "Network interface '{}' is currently in use.",
            interface.network_interface_id
        );
        return Err(ApiError::new("InvalidNetworkInterface.InUse", message));
    }
    Ok(())
}

/// `DetachNetworkInterface`: not the primary one.
pub(super) fn detach(context: &mut Context<'_>, params: &Params) -> Answer {
    let attachment_id = params.need("AttachmentId")?;
    let interface = interface_attached_by(context.world, attachment_id)?;
    if interface
        .attachment
        .as_ref()
        .is_some_and(|attachment| attachment.device_index == 0)
    {
        let message = "The network interface at device index 0 cannot be detached.";
        return Err(ApiError::new("OperationNotPermitted", message));
    }
    untie(context, &interface.network_interface_id);
    Ok(done())
}

fn interface_attached_by(world: &World, attachment_id: &str) -> Result<NetworkInterface, ApiError> {
    let attached = |interface: &&NetworkInterface| {
        interface
            .attachment
            .as_ref()
            .is_some_and(|a| a.attachment_id.as_deref() == Some(attachment_id))
    };
    world.interfaces.iter().find(attached).cloned().ok_or_else(|| {
        let message = format!("The networkInterface attachment '{attachment_id}' does not exist");
        ApiError::new("InvalidAttachmentID.NotFound", message)
    })
}

/// `ModifyNetworkInterfaceAttribute`: groups, description, source/destination check, or whether it is deleted
/// with its instance; one attribute in a call.
pub(super) fn modify(context: &mut Context<'_>, params: &Params) -> Answer {
    let interface = asked_for(&context.world.interfaces, params)?;
    let id = interface.network_interface_id.as_str();
    let group_ids = params.list("SecurityGroupId");
    let description = params.text("Description.Value");
    let check = params.boolean("SourceDestCheck.Value")?;
    let delete = params.boolean("Attachment.DeleteOnTermination")?;
    let asked = [
        !group_ids.is_empty(),
        description.is_some(),
        check.is_some(),
        delete.is_some(),
    ];
    match asked.into_iter().filter(|asked| *asked).count() {
        1 => {}
        0 => return Err(ApiError::combination("No attributes specified")),
        _ => {
            return Err(ApiError::combination(
                "Fields for multiple attribute types specified",
            ));
        }
    }
    if let Some(delete) = delete {
        let attachment_id = params.need("Attachment.AttachmentId")?;
        let attached = interface_attached_by(context.world, attachment_id)?;
        if attached.network_interface_id != id {
            return Err(not_found::<NetworkInterface>(&[id]));
        }
        context.world.interfaces.change(context.now, id, |interface| {
            if let Some(attachment) = &mut interface.attachment {
                attachment.delete_on_termination = delete;
            }
        });
        return Ok(done());
    }
    let groups = groups_in(
        context.world,
        interface.vpc_id.as_deref().unwrap_or_default(),
        &group_ids,
    )?;
    context.world.interfaces.change(context.now, id, |interface| {
        if !group_ids.is_empty() {
            interface.groups.clone_from(&groups);
        }
        interface.source_dest_check = check.unwrap_or(interface.source_dest_check);
        if let Some(description) = description {
            interface.description = description;
        }
    });
    // An instance's groups are those of its primary interface.
    let primary = interface
        .attachment
        .filter(|attachment| attachment.device_index == 0);
    if let (false, Some(instance_id)) = (group_ids.is_empty(), primary.and_then(|a| a.instance_id)) {
        context
            .world
            .instances
            .change(context.now, &instance_id, |instance| {
                instance.security_groups = groups;
            });
    }
    Ok(done())
}

/// `DescribeNetworkInterfaces`.
pub(super) fn describe(context: &mut Context<'_>, params: &Params) -> Answer {
    describe_rows(
        context,
        params,
        &context.world.interfaces,
        "NetworkInterfaces",
        Paging::USUAL,
    )
}
