//! Snapshots: the world as the AWS CLI prints it.
//!
//! One JSON object whose members are the top-level lists of `aws ec2 describe-…`, so that `jq -s add` over a few
//! outputs makes one. Members that are missing are empty, and members that are not known are left alone.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::describe::{json as json_of, reservations};
use crate::history::Table;
use crate::model::{Instance, NetworkInterface, PrefixListEntry, Row, TrafficMirrorTarget};
use crate::world::World;

/// What is wrong with a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The snapshot, or a list in it, is not of the JSON type that it must be.
    #[error("snapshot member {member} must be {expected}")]
    Shape {
        /// The member, as a path.
        member: String,
        /// What it must be.
        expected: &'static str,
    },
    /// An object has no ID.
    #[error("{list}[{index}] has no {id}: an object of a snapshot must have its ID")]
    NoId {
        /// The list that the object is in.
        list: &'static str,
        /// Its place in the list.
        index: usize,
        /// The member that holds the ID.
        id: &'static str,
    },
    /// An object has a member of the wrong type.
    #[error("{list} {object} cannot be read: {cause}")]
    Object {
        /// The list that the object is in.
        list: &'static str,
        /// The object's ID, or its place in the list.
        object: String,
        /// What is wrong with it.
        cause: String,
    },
}

/// Adds a snapshot to the world; an object that is there already is replaced. Nothing is added if anything is
/// wrong.
pub(crate) fn load(world: &mut World, snapshot: &Value, account: &str) -> Result<(), SnapshotError> {
    let members = snapshot.as_object().ok_or_else(|| SnapshotError::Shape {
        member: "(the snapshot itself)".to_owned(),
        expected: "an object",
    })?;
    let (instances, embedded) = instances(members, account)?;
    let interfaces = interfaces(world, members, &embedded)?;
    let targets = targets(members)?;
    let filters = rows(members)?;
    let sessions = rows(members)?;
    let groups = rows(members)?;
    let acls = rows(members)?;
    let route_tables = rows(members)?;
    let subnets = rows(members)?;
    let vpcs = rows(members)?;
    let endpoints = rows(members)?;
    let prefix_lists = rows(members)?;
    let entries = prefix_list_entries(members)?;

    add(&mut world.instances, instances);
    add(&mut world.interfaces, interfaces);
    add(&mut world.targets, targets);
    add(&mut world.filters, filters);
    add(&mut world.sessions, sessions);
    add(&mut world.groups, groups);
    add(&mut world.acls, acls);
    add(&mut world.route_tables, route_tables);
    add(&mut world.subnets, subnets);
    add(&mut world.vpcs, vpcs);
    add(&mut world.endpoints, endpoints);
    add(&mut world.prefix_lists, prefix_lists);
    world.prefix_list_entries.extend(entries);
    Ok(())
}

fn add<T: Row>(table: &mut Table<T>, rows: Vec<T>) {
    for row in rows {
        table.load(row);
    }
}

fn list<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a [Value], SnapshotError> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(entries)) => Ok(entries),
        Some(_) => Err(SnapshotError::Shape {
            member: name.to_owned(),
            expected: "a list",
        }),
    }
}

fn rows<T: Row>(members: &Map<String, Value>) -> Result<Vec<T>, SnapshotError> {
    list(members, T::LIST)?
        .iter()
        .enumerate()
        .map(|(index, value)| row(index, value))
        .collect()
}

fn row<T: Row>(index: usize, value: &Value) -> Result<T, SnapshotError> {
    let id = value
        .get(T::ID)
        .and_then(Value::as_str)
        .filter(|id| !id.is_empty());
    let id = id.ok_or(SnapshotError::NoId {
        list: T::LIST,
        index,
        id: T::ID,
    })?;
    T::deserialize(value).map_err(|error| SnapshotError::Object {
        list: T::LIST,
        object: id.to_owned(),
        cause: error.to_string(),
    })
}

/// The instances, and the interfaces embedded in them, made whole as far as the instance tells.
fn instances(
    members: &Map<String, Value>,
    account: &str,
) -> Result<(Vec<Instance>, Vec<Value>), SnapshotError> {
    let (mut instances, mut interfaces) = (Vec::new(), Vec::new());
    for (index, reservation) in list(members, "Reservations")?.iter().enumerate() {
        let text = |name: &str| reservation.get(name).and_then(Value::as_str);
        let members = reservation.as_object().ok_or_else(|| SnapshotError::Shape {
            member: format!("Reservations[{index}]"),
            expected: "an object",
        })?;
        for (index, value) in list(members, "Instances")?.iter().enumerate() {
            let mut instance: Instance = row(index, value)?;
            let reservation_id = text("ReservationId").map(str::to_owned);
            instance.reservation_id =
                reservation_id.unwrap_or_else(|| instance.instance_id.replacen("i-", "r-", 1));
            text("OwnerId")
                .unwrap_or(account)
                .clone_into(&mut instance.owner_id);
            let embedded = value
                .as_object()
                .map_or(Ok(&[][..]), |members| list(members, "NetworkInterfaces"))?;
            for interface in embedded {
                let mut interface = interface.clone();
                let known = json!({
                    "AvailabilityZone": instance.placement.availability_zone,
                    "Attachment": {"InstanceId": instance.instance_id, "InstanceOwnerId": instance.owner_id},
                });
                overlay(&mut interface, known);
                interfaces.push(interface);
            }
            instances.push(instance);
        }
    }
    Ok((instances, interfaces))
}

/// The interfaces, of which each may be embedded in its instance, or listed, or both, or in the world before:
/// what the list says counts most, and what the world says least.
fn interfaces(
    world: &World,
    members: &Map<String, Value>,
    embedded: &[Value],
) -> Result<Vec<NetworkInterface>, SnapshotError> {
    let mut merged: BTreeMap<String, Value> = BTreeMap::new();
    let listed = list(members, NetworkInterface::LIST)?;
    for (embedded, (index, interface)) in embedded
        .iter()
        .enumerate()
        .map(|entry| (true, entry))
        .chain(listed.iter().enumerate().map(|entry| (false, entry)))
    {
        let read: NetworkInterface = row(index, interface)?;
        let id = read.network_interface_id;
        if embedded {
            let before = || world.interfaces.get(&id).map_or_else(|| json!({}), json_of);
            overlay(merged.entry(id.clone()).or_insert_with(before), interface.clone());
        } else {
            overlay(merged.entry(id).or_insert_with(|| json!({})), interface.clone());
        }
    }
    merged
        .values()
        .enumerate()
        .map(|(index, interface)| Ok(whole(row(index, interface)?, interface)))
        .collect()
}

/// An interface with the status that follows from its attachment, and the attachment's own, if it was given none.
fn whole(mut interface: NetworkInterface, given: &Value) -> NetworkInterface {
    if given.get("Status").is_none() && interface.instance_id().is_some() {
        "in-use".clone_into(&mut interface.status);
    }
    if let Some(attachment) = &mut interface.attachment {
        attachment.status.get_or_insert_with(|| "attached".to_owned());
    }
    interface
}

/// Puts the members of one JSON object over those of another, and those of objects within them likewise.
fn overlay(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over.into_iter().filter(|(_, value)| !value.is_null()) {
                overlay(under.entry(name).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

/// The targets, each with its kind, which follows from what it names.
fn targets(members: &Map<String, Value>) -> Result<Vec<TrafficMirrorTarget>, SnapshotError> {
    let mut targets: Vec<TrafficMirrorTarget> = rows(members)?;
    for target in &mut targets {
        let kind = if target.network_load_balancer_arn.is_some() {
            "network-load-balancer"
        } else if target.gateway_load_balancer_endpoint_id.is_some() {
            "gateway-load-balancer-endpoint"
        } else {
            "network-interface"
        };
        target.kind.get_or_insert_with(|| kind.to_owned());
    }
    Ok(targets)
}

fn prefix_list_entries(
    members: &Map<String, Value>,
) -> Result<BTreeMap<String, Vec<PrefixListEntry>>, SnapshotError> {
    const LIST: &str = "PrefixListEntries";
    let lists = match members.get(LIST) {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(lists)) => lists,
        Some(_) => {
            return Err(SnapshotError::Shape {
                member: LIST.to_owned(),
                expected: "an object",
            });
        }
    };
    lists
        .iter()
        .map(|(id, entries)| {
            let entries = serde_json::from_value(entries.clone()).map_err(|error| SnapshotError::Object {
                list: LIST,
                object: id.clone(),
                cause: error.to_string(),
            })?;
            Ok((id.clone(), entries))
        })
        .collect()
}

/// The world as it truly is.
pub(crate) fn take(world: &World, wanted: impl Fn(&str) -> bool) -> Value {
    let mut members = Map::new();
    if wanted("Reservations") {
        let with_interfaces: Vec<(&Instance, Vec<&NetworkInterface>)> = world
            .instances
            .iter()
            .map(|instance| (instance, world.interfaces_of(&instance.instance_id)))
            .collect();
        let pairs = with_interfaces
            .iter()
            .map(|(instance, interfaces)| (*instance, interfaces.as_slice()));
        members.insert("Reservations".to_owned(), Value::Array(reservations(pairs)));
    }
    put(&mut members, &world.interfaces, &wanted);
    put(&mut members, &world.targets, &wanted);
    put(&mut members, &world.filters, &wanted);
    put(&mut members, &world.sessions, &wanted);
    put(&mut members, &world.groups, &wanted);
    put(&mut members, &world.acls, &wanted);
    put(&mut members, &world.route_tables, &wanted);
    put(&mut members, &world.subnets, &wanted);
    put(&mut members, &world.vpcs, &wanted);
    put(&mut members, &world.endpoints, &wanted);
    put(&mut members, &world.prefix_lists, &wanted);
    if wanted("PrefixListEntries") {
        members.insert(
            "PrefixListEntries".to_owned(),
            json_of(&world.prefix_list_entries),
        );
    }
    let mut snapshot = Value::Object(members);
    drop_nulls(&mut snapshot);
    snapshot
}

fn put<T: Row>(members: &mut Map<String, Value>, table: &Table<T>, wanted: impl Fn(&str) -> bool) {
    if wanted(T::LIST) {
        members.insert(T::LIST.to_owned(), table.iter().map(json_of).collect());
    }
}

/// The AWS CLI does not print members that have no value.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(entries) => entries.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
