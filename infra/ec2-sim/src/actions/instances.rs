//! Instances.
//!
//! An instance is `pending`, `stopping` or `shutting-down` in the answer to the call that brings it there, and
//! has come to the next state when the call has returned: nothing here happens without a call.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::interfaces::{self, NewInterface};
use super::{Answer, Context, existing};
use crate::describe::{Filters, Paging, candidates, is_tag_filter, json as json_of, listed, page};
use crate::error::ApiError;
use crate::model::{
    Instance, InstanceState, NetworkInterface, Placement, Row, StateReason, Subnet, Tag, Values, many, shown,
};
use crate::query::Params;

/// One interface of the instances to be run.
struct InterfaceSpec {
    device_index: i32,
    delete_on_termination: bool,
    public: bool,
    subnet: Subnet,
    /// An interface that is there already, or one to be created.
    source: Source,
}

enum Source {
    Existing(String),
    New(NewInterface),
}

/// `RunInstances`.
pub(super) fn run(context: &mut Context<'_>, params: &Params) -> Answer {
    let (least, most) = (params.need_integer("MinCount")?, params.need_integer("MaxCount")?);
    if least < 1 || most < least {
        return Err(ApiError::invalid(format!(
            "Invalid value '{least}' for MinCount or '{most}' for MaxCount: at least 1, and MinCount at most MaxCount"
        )));
    }
    let launch = Launch {
        image_id: params.need("ImageId")?.to_owned(),
        instance_type: params.get("InstanceType").unwrap_or("m1.small").to_owned(),
        client_token: params.text("ClientToken"),
        tags: params.tags_for("instance")?,
        interface_tags: params.tags_for("network-interface")?,
        specs: interface_specs(context, params, most)?,
        reservation_id: context.world.new_id("r"),
    };
    let instances: Vec<Value> = (0..most)
        .map(|launch_index| launch.instance(context, launch_index))
        .collect::<Result<_, _>>()?;
    Ok(json!({
        "ReservationId": launch.reservation_id, "OwnerId": context.account, "Groups": [], "Instances": instances,
    }))
}

/// What the instances of one request have in common.
struct Launch {
    image_id: String,
    instance_type: String,
    client_token: Option<String>,
    tags: Vec<Tag>,
    interface_tags: Vec<Tag>,
    specs: Vec<InterfaceSpec>,
    reservation_id: String,
}

impl Launch {
    /// Runs one instance, with its interfaces: as the answer shows it.
    fn instance(&self, context: &mut Context<'_>, launch_index: i32) -> Result<Value, ApiError> {
        let made = make_interfaces(context, &self.specs, &self.interface_tags)?;
        let primary = self
            .specs
            .iter()
            .zip(&made)
            .find(|(spec, _)| spec.device_index == 0);
        let Some((spec, primary)) = primary.map(|(spec, made)| (spec, made.clone())) else {
            return Err(ApiError::internal());
        };
        let instance_id = context.world.new_id("i");
        for (spec, interface) in self.specs.iter().zip(&made) {
            let id = &interface.network_interface_id;
            interfaces::tie(
                context,
                id,
                &instance_id,
                spec.device_index,
                spec.delete_on_termination,
            );
        }
        let public = spec
            .public
            .then(|| interfaces::publish(context, &primary.network_interface_id));
        let instance = Instance {
            instance_id: instance_id.clone(),
            image_id: Some(self.image_id.clone()),
            ami_launch_index: Some(launch_index),
            client_token: self.client_token.clone(),
            instance_type: self.instance_type.clone(),
            architecture: Some(architecture(&self.instance_type).to_owned()),
            state: InstanceState::named("pending"),
            state_transition_reason: String::new(),
            state_reason: None,
            placement: Placement {
                availability_zone: Some(spec.subnet.availability_zone.clone()),
                tenancy: Some("default".to_owned()),
            },
            launch_time: Some(context.time.clone()),
            vpc_id: Some(spec.subnet.vpc_id.clone()),
            subnet_id: Some(spec.subnet.subnet_id.clone()),
            private_dns_name: primary.private_dns_name,
            private_ip_address: primary.private_ip_address,
            public_dns_name: public.as_ref().and_then(|public| public.public_dns_name.clone()),
            public_ip_address: public.and_then(|public| public.public_ip),
            security_groups: primary.groups,
            tags: self.tags.clone(),
            reservation_id: self.reservation_id.clone(),
            owner_id: context.account.to_owned(),
        };
        context.world.instances.put(context.now, instance.clone());
        let interfaces = context.world.interfaces_of(&instance_id);
        let shown = shown_instance(&instance, &interfaces);
        context
            .world
            .set_state(context.now, &context.time, &instance_id, "running");
        Ok(shown)
    }
}

/// The interfaces that the request asks for, each checked, or the one that an instance has at least.
fn interface_specs(
    context: &Context<'_>,
    params: &Params,
    count: i32,
) -> Result<Vec<InterfaceSpec>, ApiError> {
    let listed = params.structures("NetworkInterface");
    if listed.is_empty() {
        let subnet_id = params.get("SubnetId").ok_or_else(|| {
            let message = "No default VPC for this user: name a subnet, or the interfaces";
            ApiError::new("VPCIdNotSpecified", message)
        })?;
        let subnet = existing(&context.world.subnets, subnet_id)?;
        let new = NewInterface::read(params)?;
        interfaces::groups_in(context.world, &subnet.vpc_id, &new.group_ids)?;
        return Ok(vec![InterfaceSpec {
            device_index: 0,
            delete_on_termination: true,
            public: subnet.map_public_ip_on_launch,
            subnet,
            source: Source::New(NewInterface {
                interface_type: String::new(),
                description: String::new(),
                ..new
            }),
        }]);
    }
    for name in ["SubnetId", "SecurityGroupId.1", "PrivateIpAddress"] {
        if params.get(name).is_some() {
            let message = format!(
                "Network interfaces and an instance-level {name} may not be specified on the same request"
            );
            return Err(ApiError::combination(message));
        }
    }
    let specs: Vec<InterfaceSpec> = listed
        .iter()
        .map(|spec| interface_spec(context, spec))
        .collect::<Result<_, _>>()?;
    let indexes: BTreeSet<i32> = specs.iter().map(|spec| spec.device_index).collect();
    if indexes.len() < specs.len() {
        return Err(ApiError::invalid(
            "Each network interface requires a unique device index.",
        ));
    }
    if !indexes.contains(&0) {
        return Err(ApiError::combination(
            "The network interfaces must include one at device index 0",
        ));
    }
    if specs
        .iter()
        .any(|spec| spec.subnet.availability_zone != specs[0].subnet.availability_zone)
    {
        return Err(ApiError::combination(
            "Network interfaces in different availability zones",
        ));
    }
    if count > 1
        && specs
            .iter()
            .any(|spec| matches!(spec.source, Source::Existing(_)))
    {
        return Err(ApiError::combination(
            "An existing network interface cannot be attached to several instances",
        ));
    }
    Ok(specs)
}

fn interface_spec(context: &Context<'_>, spec: &Params) -> Result<InterfaceSpec, ApiError> {
    let device_index = spec.need_integer("DeviceIndex")?;
    let delete = spec.boolean("DeleteOnTermination")?;
    if let Some(id) = spec.get("NetworkInterfaceId") {
        let interface = existing(&context.world.interfaces, id)?;
        interfaces::check_attachable(&interface)?;
        return Ok(InterfaceSpec {
            device_index,
            delete_on_termination: delete.unwrap_or(false),
            public: false,
            subnet: existing(
                &context.world.subnets,
                interface.subnet_id.as_deref().unwrap_or_default(),
            )?,
            source: Source::Existing(id.to_owned()),
        });
    }
    let subnet = existing(&context.world.subnets, spec.need("SubnetId")?)?;
    let new = NewInterface::read(spec)?;
    interfaces::groups_in(context.world, &subnet.vpc_id, &new.group_ids)?;
    let public = spec
        .boolean("AssociatePublicIpAddress")?
        .unwrap_or(subnet.map_public_ip_on_launch);
    Ok(InterfaceSpec {
        device_index,
        delete_on_termination: delete.unwrap_or(true),
        public: public && device_index == 0,
        subnet,
        source: Source::New(new),
    })
}

/// One instance's interfaces; those already created are deleted again if one cannot be.
fn make_interfaces(
    context: &mut Context<'_>,
    specs: &[InterfaceSpec],
    tags: &[crate::model::Tag],
) -> Result<Vec<NetworkInterface>, ApiError> {
    let mut made: Vec<NetworkInterface> = Vec::new();
    for spec in specs {
        let interface = match &spec.source {
            Source::Existing(id) => existing(&context.world.interfaces, id),
            Source::New(new) => interfaces::create_in(
                context,
                &spec.subnet,
                NewInterface {
                    tags: tags.to_vec(),
                    ..new.clone()
                },
            ),
        };
        match interface {
            Ok(interface) => made.push(interface),
            Err(error) => {
                for (interface, spec) in made.iter().zip(specs) {
                    if matches!(spec.source, Source::New(_)) {
                        context
                            .world
                            .delete_interface(context.now, &interface.network_interface_id);
                    }
                }
                return Err(error);
            }
        }
    }
    Ok(made)
}

/// Graviton families have a `g` after their generation.
fn architecture(instance_type: &str) -> &'static str {
    let family = instance_type.split('.').next().unwrap_or_default();
    let after_generation = family.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    let options = after_generation.trim_start_matches(|letter: char| letter.is_ascii_digit());
    if options.starts_with('g') || family == "a1" {
        "arm64"
    } else {
        "x86_64"
    }
}

/// Brings the instances of a request from one state to another, by way of a third that the answer tells.
fn bring(
    context: &mut Context<'_>,
    params: &Params,
    member: &str,
    by_way_of: &str,
    to: &str,
    change: impl Fn(&mut Context<'_>, &str),
) -> Answer {
    let ids = params.list("InstanceId");
    if ids.is_empty() {
        return Err(ApiError::missing("InstanceId"));
    }
    let instances: BTreeMap<String, Instance> = ids
        .iter()
        .map(|id| Ok((id.clone(), existing(&context.world.instances, id)?)))
        .collect::<Result<_, ApiError>>()?;
    if to != "terminated"
        && let Some(gone) = instances
            .values()
            .find(|instance| instance.state.name == "terminated")
    {
        let message = format!(
            "The instance '{}' is not in a state from which it can be {to}.",
            gone.instance_id
        );
        return Err(ApiError::new("IncorrectInstanceState", message));
    }
    let mut changes = Vec::new();
    for (id, instance) in instances {
        let previous = instance.state;
        let current = if previous.name == to {
            previous.clone()
        } else {
            InstanceState::named(by_way_of)
        };
        if previous.name != to {
            context
                .world
                .set_state(context.now, &context.time, &id, by_way_of);
            change(context, &id);
            context.world.set_state(context.now, &context.time, &id, to);
        }
        changes.push(json!({"InstanceId": id, "CurrentState": current, "PreviousState": previous}));
    }
    Ok(listed(member, changes, None))
}

/// `StartInstances`.
pub(super) fn start(context: &mut Context<'_>, params: &Params) -> Answer {
    bring(
        context,
        params,
        "StartingInstances",
        "pending",
        "running",
        |context, id| {
            context.world.instances.change(context.now, id, |instance| {
                instance.state_transition_reason.clear();
                instance.state_reason = None;
            });
        },
    )
}

/// `StopInstances`.
pub(super) fn stop(context: &mut Context<'_>, params: &Params) -> Answer {
    bring(
        context,
        params,
        "StoppingInstances",
        "stopping",
        "stopped",
        user_initiated,
    )
}

/// `TerminateInstances`: the interfaces that are to be deleted with the instance go, and their sessions with
/// them; the others stay, detached.
pub(super) fn terminate(context: &mut Context<'_>, params: &Params) -> Answer {
    bring(
        context,
        params,
        "TerminatingInstances",
        "shutting-down",
        "terminated",
        |context, id| {
            let interfaces: Vec<(String, bool)> = context
                .world
                .interfaces_of(id)
                .into_iter()
                .map(|interface| {
                    let delete = interface
                        .attachment
                        .as_ref()
                        .is_some_and(|a| a.delete_on_termination);
                    (interface.network_interface_id.clone(), delete)
                })
                .collect();
            for (interface_id, delete) in interfaces {
                if delete {
                    context.world.delete_interface(context.now, &interface_id);
                } else {
                    interfaces::untie(context, &interface_id);
                }
            }
            context.world.instances.change(context.now, id, |instance| {
                instance.vpc_id = None;
                instance.subnet_id = None;
                instance.private_ip_address = None;
                instance.private_dns_name = None;
                instance.public_ip_address = None;
                instance.public_dns_name = None;
                instance.security_groups.clear();
            });
            user_initiated(context, id);
        },
    )
}

fn user_initiated(context: &mut Context<'_>, id: &str) {
    let seconds = context.time.get(..19).unwrap_or(&context.time);
    let reason = format!("User initiated ({} GMT)", seconds.replace('T', " "));
    context.world.instances.change(context.now, id, |instance| {
        instance.state_transition_reason = reason;
        instance.state_reason = Some(StateReason::user_initiated());
    });
}

/// `DescribeInstances`: by reservation, and in each by ID.
pub(super) fn describe(context: &mut Context<'_>, params: &Params) -> Answer {
    let filters = Filters::read(params)?;
    let (any_instance, any_interface) = (Instance::default(), NetworkInterface::default());
    let probe = View {
        instance: &any_instance,
        interfaces: vec![&any_interface],
    };
    filters.check(|name| is_tag_filter(name) || probe.filter_values(name).is_some())?;
    let instances = candidates(
        context.horizon,
        params,
        &context.world.instances,
        &filters,
        Instance::ID,
    )?;
    let rows: Vec<(String, View<'_>)> = instances
        .into_iter()
        .map(|instance| View::new(context, instance))
        .filter(|view| {
            filters.matches(&view.instance.tags, |name| {
                view.filter_values(name).unwrap_or_default()
            })
        })
        .map(|view| (view.instance.instance_id.clone(), view))
        .collect();
    let (views, next_token) = page(params, rows, Instance::ID, Paging::USUAL)?;
    let pairs = views
        .iter()
        .map(|view| (view.instance, view.interfaces.as_slice()));
    Ok(listed("Reservations", reservations(pairs), next_token))
}

/// An instance and its interfaces, as a describe shows them.
struct View<'a> {
    instance: &'a Instance,
    interfaces: Vec<&'a NetworkInterface>,
}

impl<'a> View<'a> {
    fn new(context: &'a Context<'_>, instance: &'a Instance) -> Self {
        let table = &context.world.interfaces;
        let mut interfaces: Vec<_> = table
            .ids_with_key(&instance.instance_id)
            .filter_map(|id| table.seen(id, context.interfaces_horizon))
            .filter(|interface| interface.instance_id() == Some(&instance.instance_id))
            .collect();
        interfaces.sort_by_key(|interface| interface.attachment.as_ref().map(|a| a.device_index));
        Self { instance, interfaces }
    }

    /// The instance's own filters, and `network-interface.…` for each of the interfaces'.
    fn filter_values(&self, filter: &str) -> Option<Values<'a>> {
        if let Some(own) = self.instance.filter_values(filter) {
            return Some(own);
        }
        let of_interface = filter.strip_prefix("network-interface.")?;
        let of_interface = match of_interface {
            "attachment.instance-id" | "attachment.attachment-id" | "attachment.device-index" => of_interface,
            _ if of_interface.starts_with("attachment.") => return None,
            "attachment-id" => "attachment.attachment-id",
            "network-interface-id" => {
                return Some(many(
                    self.interfaces.iter().map(|i| i.network_interface_id.as_str()),
                ));
            }
            other => other,
        };
        let values: Vec<Values<'a>> = self
            .interfaces
            .iter()
            .map(|interface| interface.filter_values(of_interface))
            .collect::<Option<_>>()?;
        if values.is_empty() && NetworkInterface::default().filter_values(of_interface).is_none() {
            return None;
        }
        Some(shown(values.into_iter().flatten()))
    }
}

/// Instances as `DescribeInstances` and snapshots show them: within their reservations.
pub(crate) fn reservations<'a>(
    instances: impl Iterator<Item = (&'a Instance, &'a [&'a NetworkInterface])>,
) -> Vec<Value> {
    let mut reservations: BTreeMap<&str, (&str, Vec<Value>)> = BTreeMap::new();
    for (instance, interfaces) in instances {
        reservations
            .entry(&instance.reservation_id)
            .or_insert_with(|| (&instance.owner_id, Vec::new()))
            .1
            .push(shown_instance(instance, interfaces));
    }
    reservations
        .into_iter()
        .map(|(id, (owner_id, instances))| {
            json!({"ReservationId": id, "OwnerId": owner_id, "Groups": [], "Instances": instances})
        })
        .collect()
}

/// An instance with its interfaces, which show less within it than by themselves.
fn shown_instance(instance: &Instance, interfaces: &[&NetworkInterface]) -> Value {
    let mut shown = json_of(instance);
    if let Some(primary) = interfaces.first() {
        shown["SourceDestCheck"] = json!(primary.source_dest_check);
    }
    let interfaces = interfaces
        .iter()
        .map(|interface| {
            let mut members = match json_of(interface) {
                Value::Object(members) => members,
                _ => Map::new(),
            };
            for absent in ["TagSet", "AvailabilityZone", "RequesterId", "RequesterManaged"] {
                members.shift_remove(absent);
            }
            if let Some(Value::Object(attachment)) = members.get_mut("Attachment") {
                attachment.shift_remove("InstanceId");
                attachment.shift_remove("InstanceOwnerId");
            }
            Value::Object(members)
        })
        .collect();
    shown["NetworkInterfaces"] = Value::Array(interfaces);
    shown
}
