//! A snapshot: the world as the AWS CLI prints it, in one JSON object.
//!
//! Its members are the top-level lists of `aws ec2 describe-…`, so that `jq -s add` over a few outputs makes
//! one, and `PrefixListEntries`, the entries of the managed prefix lists by list. A member that is missing is
//! empty, and so is one that is `null`. Members that no rule uses are left alone, whatever they are. What is
//! used is checked as a whole: one malformed object is an error that names it, since a list that was not read
//! to its end must not decide anything.
//!
//! It is written as it is read: what a rule uses, in the same shape, without the members that are empty.

use std::collections::BTreeSet;
use std::collections::{BTreeMap, HashMap};

use mirrorstep_core::network::{
    Instance, NetworkAcl, NetworkInterface, PrefixListEntry, RouteTable, SecurityGroup, TrafficMirrorSession,
    TrafficMirrorTarget, VpcEndpoint,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

/// The world as the AWS CLI prints it, as far as a verdict rests on it.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Snapshot {
    /// The instances of `Reservations`.
    #[serde(
        rename = "Reservations",
        serialize_with = "as_reservations",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub instances: Vec<Instance>,
    /// `NetworkInterfaces`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network_interfaces: Vec<NetworkInterface>,
    /// `TrafficMirrorTargets`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traffic_mirror_targets: Vec<TrafficMirrorTarget>,
    /// `TrafficMirrorSessions`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traffic_mirror_sessions: Vec<TrafficMirrorSession>,
    /// `SecurityGroups`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<SecurityGroup>,
    /// `NetworkAcls`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network_acls: Vec<NetworkAcl>,
    /// `RouteTables`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub route_tables: Vec<RouteTable>,
    /// `Subnets`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<Subnet>,
    /// `VpcEndpoints`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vpc_endpoints: Vec<VpcEndpoint>,
    /// `PrefixListEntries`, by prefix list.
    #[serde(serialize_with = "in_order", skip_serializing_if = "HashMap::is_empty")]
    pub prefix_list_entries: HashMap<String, Vec<PrefixListEntry>>,
}

/// A subnet (`DescribeSubnets`). No rule needs more of it than that it is there; the rest is for [`crate::remedy`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Subnet {
    /// `subnet-…`.
    pub subnet_id: String,
    /// Its VPC.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vpc_id: String,
    /// The name of its Availability Zone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub availability_zone: String,
    /// Its IPv4 range in CIDR notation. Empty where it has none (an IPv6-only subnet).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cidr_block: String,
}

/// One reservation for each instance: which were started together is not kept.
fn as_reservations<S: Serializer>(instances: &[Instance], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Reservation<'a> {
        instances: &'a [Instance],
    }
    serializer.collect_seq(instances.chunks(1).map(|instances| Reservation { instances }))
}

/// The same map is written the same way each time.
fn in_order<S: Serializer>(
    lists: &HashMap<String, Vec<PrefixListEntry>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    lists.iter().collect::<BTreeMap<_, _>>().serialize(serializer)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Reservation {
    instances: Vec<Value>,
}

/// What is wrong with a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It is not JSON.
    #[error("it is not JSON: {0}")]
    Json(String),
    /// The snapshot, or a member of it, is not of the JSON type that it must be.
    #[error("{member} is {found}, and must be {expected}")]
    Shape {
        /// The member, as a path.
        member: String,
        /// What it is.
        found: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// An object lacks a member without which it decides nothing.
    #[error("{object} has no {member}, which the AWS CLI always prints")]
    Missing {
        /// The object, as a path.
        object: String,
        /// The member.
        member: &'static str,
    },
    /// An object has a member that cannot be read.
    #[error("{object}{path} cannot be read: {cause}")]
    Object {
        /// The object: its list, its place in it, its id.
        object: String,
        /// Where in the object, as far as can be told.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Two objects have the same id and differ.
    #[error("{list} holds two different objects {id}: keep the one that is true")]
    Contradiction {
        /// The list.
        list: &'static str,
        /// The id.
        id: String,
    },
}

impl Snapshot {
    /// Reads a snapshot. Whatever is wrong with it, the error names the place.
    pub fn parse(text: &[u8]) -> Result<Self, SnapshotError> {
        // Some editors and shells begin a UTF-8 file with a byte order mark.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let value: Value =
            serde_json::from_slice(text).map_err(|error| SnapshotError::Json(error.to_string()))?;
        Self::from_value(value)
    }

    /// Reads a snapshot that is JSON already.
    pub fn from_value(mut value: Value) -> Result<Self, SnapshotError> {
        strip_nulls(&mut value);
        let mut members = match value {
            Value::Object(members) => members,
            other => {
                return Err(shape(
                    "the snapshot",
                    &other,
                    "one JSON object: put outputs of `aws ec2 describe-…` together with `jq -s add`",
                ));
            }
        };

        let mut instances = Vec::new();
        for (index, value) in list(&mut members, "Reservations")?.into_iter().enumerate() {
            let place = format!("Reservations[{index}]");
            if !value.is_object() {
                return Err(shape(&place, &value, "an object"));
            }
            let reservation: Reservation = object(&place, &value)?;
            for (index, value) in reservation.instances.into_iter().enumerate() {
                instances.push((format!("{place}.Instances[{index}]"), value));
            }
        }
        let mut acls = numbered("NetworkAcls", list(&mut members, "NetworkAcls")?);
        for (place, acl) in &mut acls {
            check_entries(place, acl)?;
        }
        Ok(Self {
            instances: objects("Reservations", "InstanceId", instances)?,
            network_interfaces: rows(&mut members, "NetworkInterfaces", "NetworkInterfaceId")?,
            traffic_mirror_targets: rows(&mut members, "TrafficMirrorTargets", "TrafficMirrorTargetId")?,
            traffic_mirror_sessions: rows(&mut members, "TrafficMirrorSessions", "TrafficMirrorSessionId")?,
            security_groups: rows(&mut members, "SecurityGroups", "GroupId")?,
            network_acls: objects("NetworkAcls", "NetworkAclId", acls)?,
            route_tables: rows(&mut members, "RouteTables", "RouteTableId")?,
            subnets: rows(&mut members, "Subnets", "SubnetId")?,
            vpc_endpoints: rows(&mut members, "VpcEndpoints", "VpcEndpointId")?,
            prefix_list_entries: prefix_list_entries(&mut members)?,
        })
    }
}

/// The AWS CLI prints `null` for some members that have no value: as if they were not there. A `null` in a list
/// stays, and is an error where the list is read.
fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(strip_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

fn shape(member: &str, found: &Value, expected: &'static str) -> SnapshotError {
    SnapshotError::Shape {
        member: member.to_owned(),
        found: match found {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        },
        expected,
    }
}

fn list(members: &mut Map<String, Value>, name: &str) -> Result<Vec<Value>, SnapshotError> {
    match members.remove(name) {
        None => Ok(Vec::new()),
        Some(Value::Array(elements)) => Ok(elements),
        Some(other) => Err(shape(name, &other, "a list")),
    }
}

fn numbered(list: &str, elements: Vec<Value>) -> Vec<(String, Value)> {
    elements
        .into_iter()
        .enumerate()
        .map(|(index, value)| (format!("{list}[{index}]"), value))
        .collect()
}

fn rows<T: DeserializeOwned + PartialEq>(
    members: &mut Map<String, Value>,
    name: &'static str,
    id_member: &'static str,
) -> Result<Vec<T>, SnapshotError> {
    let elements = list(members, name)?;
    objects(name, id_member, numbered(name, elements))
}

/// The objects of a list, each once: outputs that overlap hold an object twice.
fn objects<T: DeserializeOwned + PartialEq>(
    list: &'static str,
    id_member: &'static str,
    elements: Vec<(String, Value)>,
) -> Result<Vec<T>, SnapshotError> {
    let mut read: Vec<T> = Vec::with_capacity(elements.len());
    let mut places: HashMap<String, usize> = HashMap::with_capacity(elements.len());
    for (place, value) in elements {
        if !value.is_object() {
            return Err(shape(&place, &value, "an object"));
        }
        let id = match value.get(id_member) {
            Some(Value::String(id)) if !id.is_empty() => id.clone(),
            Some(Value::String(_)) | None => {
                return Err(SnapshotError::Missing {
                    object: place,
                    member: id_member,
                });
            }
            Some(other) => return Err(shape(&format!("{place}.{id_member}"), other, "a text")),
        };
        let row: T = object(&format!("{place} ({id})"), &value)?;
        match places.get(&id).and_then(|known| read.get(*known)) {
            Some(known) if *known == row => {}
            Some(_) => return Err(SnapshotError::Contradiction { list, id }),
            None => {
                places.insert(id, read.len());
                read.push(row);
            }
        }
    }
    Ok(read)
}

/// Reads one object.
fn object<T: DeserializeOwned>(name: &str, value: &Value) -> Result<T, SnapshotError> {
    check_shapes(name, value)?;
    T::deserialize(value).map_err(|error| SnapshotError::Object {
        object: name.to_owned(),
        path: culprit::<T>(value),
        cause: error.to_string(),
    })
}

/// serde would take a list for an object whose members come in order, and an empty one for an object without any:
/// members that are used and must be objects, or lists of them, are checked before.
fn check_shapes(place: &str, value: &Value) -> Result<(), SnapshotError> {
    match value {
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                let place = format!("{place}[{index}]");
                if !element.is_object() {
                    return Err(shape(&place, element, "an object"));
                }
                check_shapes(&place, element)?;
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let is_list = LISTS_OF_OBJECTS.contains(&name.as_str()) && member.is_array();
                if is_list {
                    check_shapes(&format!("{place}.{name}"), member)?;
                } else if OBJECTS.contains(&name.as_str()) && member.is_array() {
                    return Err(shape(&format!("{place}.{name}"), member, "an object"));
                }
            }
        }
        _ => {}
    }
    Ok(())
}

const OBJECTS: [&str; 3] = ["Attachment", "PortRange", "State"];
const LISTS_OF_OBJECTS: [&str; 11] = [
    "Associations",
    "Entries",
    "Groups",
    "IpPermissions",
    "IpRanges",
    "NetworkInterfaces",
    "PrefixListIds",
    "Routes",
    "TagSet",
    "Tags",
    "UserIdGroupPairs",
];

/// The path to what cannot be read, as deep as taking one member away makes the rest readable.
fn culprit<T: DeserializeOwned>(value: &Value) -> String {
    let mut path = String::new();
    let mut steps: Vec<Step> = Vec::new();
    loop {
        let Some(here) = walk(&mut value.clone(), &steps).map(|here| here.clone()) else {
            return path;
        };
        let children: Vec<Step> = match &here {
            Value::Object(members) => members.keys().cloned().map(Step::Member).collect(),
            Value::Array(elements) => (0..elements.len()).map(Step::Element).collect(),
            _ => return path,
        };
        let found = children.into_iter().find(|step| {
            let mut without = value.clone();
            match (walk(&mut without, &steps), step) {
                (Some(Value::Object(members)), Step::Member(name)) => {
                    members.remove(name);
                }
                (Some(Value::Array(elements)), Step::Element(index)) => {
                    elements.remove(*index);
                }
                _ => return false,
            }
            T::deserialize(&without).is_ok()
        });
        let Some(step) = found else { return path };
        match &step {
            Step::Member(name) => path = format!("{path}.{name}"),
            Step::Element(index) => path = format!("{path}[{index}]"),
        }
        steps.push(step);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Member(String),
    Element(usize),
}

fn walk<'a>(value: &'a mut Value, steps: &[Step]) -> Option<&'a mut Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Member(name) => value.get_mut(name),
        Step::Element(index) => value.get_mut(*index),
    })
}

/// An ACL entry without its number, its direction or its block could be taken for another entry, one with ports
/// that run backwards for none, and of two with the same number either could be the first: the first that matches
/// decides. AWS has no such entries
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateNetworkAclEntry.html>, "Request Parameters"); that it
/// refuses ports that run backwards is an assumption.
fn check_entries(place: &str, acl: &Value) -> Result<(), SnapshotError> {
    let id = acl.get("NetworkAclId").and_then(Value::as_str);
    let name = |index: usize| format!("{place} ({}).Entries[{index}]", id.unwrap_or("no id"));
    let Some(entries) = acl.get("Entries").and_then(Value::as_array) else {
        return Ok(());
    };
    let mut seen: Vec<(usize, (Value, Value))> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let missing = |member| SnapshotError::Missing {
            object: name(index),
            member,
        };
        for member in ["RuleNumber", "Egress"] {
            if entry.get(member).is_none() {
                return Err(missing(member));
            }
        }
        if entry.get("CidrBlock").is_none() && entry.get("Ipv6CidrBlock").is_none() {
            return Err(missing("CidrBlock"));
        }
        let wrong = |path: &str, cause: String| SnapshotError::Object {
            object: name(index),
            path: path.to_owned(),
            cause,
        };
        let port = |end| entry.pointer(end).and_then(Value::as_i64);
        if let (Some(from), Some(to)) = (port("/PortRange/From"), port("/PortRange/To"))
            && from > to
        {
            return Err(wrong(
                ".PortRange",
                format!("it runs backwards, from {from} to {to}"),
            ));
        }
        let order = (entry["Egress"].clone(), entry["RuleNumber"].clone());
        if let Some((other, _)) = seen
            .iter()
            .find(|(other, theirs)| *theirs == order && entries.get(*other) != Some(entry))
        {
            return Err(wrong(
                ".RuleNumber",
                format!("{} has the same in the same direction", name(*other)),
            ));
        }
        seen.push((index, order));
    }
    Ok(())
}

fn prefix_list_entries(
    members: &mut Map<String, Value>,
) -> Result<HashMap<String, Vec<PrefixListEntry>>, SnapshotError> {
    let lists = match members.remove("PrefixListEntries") {
        None => Map::new(),
        Some(Value::Object(lists)) => lists,
        Some(other) => {
            return Err(shape(
                "PrefixListEntries",
                &other,
                "an object: `{\"pl-…\": [{\"Cidr\": …}]}`",
            ));
        }
    };
    lists
        .into_iter()
        .map(|(id, value)| {
            let place = format!("PrefixListEntries.{id}");
            if !value.is_array() {
                return Err(shape(&place, &value, "a list"));
            }
            Ok((id, object(&place, &value)?))
        })
        .collect()
}

/// The interfaces of the targets that are known by id: those of load balancers are not.
pub fn target_interfaces(snapshot: &Snapshot) -> BTreeSet<String> {
    let targets = snapshot.traffic_mirror_targets.iter();
    let gateways = snapshot.vpc_endpoints.iter();
    targets
        .filter_map(|target| target.network_interface_id.clone())
        .chain(gateways.flat_map(|endpoint| endpoint.network_interface_ids.clone()))
        .collect()
}

/// The descriptions by which the interfaces of the load balancers among the targets are found.
pub fn load_balancer_descriptions(snapshot: &Snapshot) -> BTreeSet<String> {
    let targets = snapshot.traffic_mirror_targets.iter();
    targets.filter_map(crate::load_balancer_description).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn refused(value: Value, words: &[&str]) {
        let message = Snapshot::from_value(value).unwrap_err().to_string();
        for word in words {
            assert!(message.contains(word), "`{message}` does not say `{word}`");
        }
    }

    #[test]
    fn what_is_missing_null_or_unknown_is_empty() {
        assert_eq!(Snapshot::parse(b"{}").unwrap(), Snapshot::default());
        assert_eq!(Snapshot::parse(b"\xef\xbb\xbf {}").unwrap(), Snapshot::default());
        let snapshot = Snapshot::from_value(json!({
            "NextToken": null, "Subnets": null, "TrafficMirrorFilters": "whatever", "Unheard": [1, {}],
            "NetworkInterfaces": [{
                "NetworkInterfaceId": "eni-1", "PrivateIpAddress": null, "Groups": null, "Attachment": null,
                "InterfaceType": "a type of tomorrow", "Association": {"PublicIp": "203.0.113.1"}, "TagSet": []
            }],
        }))
        .unwrap();
        assert_eq!(
            snapshot.network_interfaces,
            [NetworkInterface {
                network_interface_id: "eni-1".into(),
                interface_type: "a type of tomorrow".into(),
                ..NetworkInterface::default()
            }]
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        assert!(
            Snapshot::parse(b"{\"Subnets\": [\n}")
                .unwrap_err()
                .to_string()
                .contains("line 2")
        );
        assert!(Snapshot::parse(b"").is_err());
        assert!(Snapshot::parse(&[0xff, 0xfe, 0x7b]).is_err());
        assert!(Snapshot::parse("[".repeat(100_000).as_bytes()).is_err());
        refused(json!([]), &["the snapshot is a list", "jq -s add"]);
        refused(json!({"Subnets": {}}), &["Subnets is an object", "a list"]);
        refused(json!({"Subnets": [7]}), &["Subnets[0] is a number"]);
        refused(json!({"Subnets": [{"SubnetId": 7}]}), &["Subnets[0].SubnetId"]);
        refused(json!({"Subnets": [{}]}), &["Subnets[0] has no SubnetId"]);
        refused(
            json!({"Reservations": [{"Instances": [{"State": {"Name": "running"}}]}]}),
            &["Reservations[0].Instances[0] has no InstanceId"],
        );
        let permission = |permission: Value| json!({"SecurityGroups": [{"GroupId": "sg-1", "IpPermissions": [{"IpProtocol": "-1"}, permission]}]});
        refused(
            permission(json!({"FromPort": "http"})),
            &["SecurityGroups[0] (sg-1).IpPermissions[1].FromPort", "\"http\""],
        );
        refused(
            permission(json!({"IpRanges": [{"CidrIp": "10.0.0.0/8"}, {"Description": "x"}]})),
            &["SecurityGroups[0] (sg-1).IpPermissions[1].IpRanges[1]", "CidrIp"],
        );
        refused(permission(Value::Null), &["(sg-1).IpPermissions[1]", "null"]);
        refused(
            permission(json!({"IpRanges": [["0.0.0.0/0"]]})),
            &["(sg-1).IpPermissions[1].IpRanges[0] is a list"],
        );
        refused(
            json!({"NetworkInterfaces": [{"NetworkInterfaceId": "eni-1", "Attachment": []}]}),
            &["NetworkInterfaces[0] (eni-1).Attachment is a list"],
        );
        refused(
            json!({"PrefixListEntries": {"pl-1": [["10.0.0.0/8"]]}}),
            &["PrefixListEntries.pl-1[0] is a list"],
        );
        refused(json!({"PrefixListEntries": []}), &["PrefixListEntries is a list"]);
        refused(
            json!({"PrefixListEntries": {"pl-1": "x"}}),
            &["PrefixListEntries.pl-1 is a text"],
        );
        refused(
            json!({"PrefixListEntries": {"pl-1": [{"Cidr": "10.0.0.0/8"}, {}]}}),
            &["PrefixListEntries.pl-1[1]", "Cidr"],
        );
    }

    #[test]
    fn an_acl_entry_that_could_be_taken_for_another_is_refused() {
        let whole = json!({
            "RuleNumber": 100, "Egress": false, "Protocol": "-1", "CidrBlock": "0.0.0.0/0",
            "RuleAction": "allow"
        });
        let entries =
            |entries: Value| json!({"NetworkAcls": [{"NetworkAclId": "acl-1", "Entries": entries}]});
        for member in ["RuleNumber", "Egress", "CidrBlock"] {
            let mut entry = whole.clone();
            entry.as_object_mut().unwrap().remove(member);
            refused(
                entries(json!([whole, entry])),
                &["NetworkAcls[0] (acl-1).Entries[1]", member],
            );
        }
        let with = |member: &str, value: Value| {
            let mut entry = whole.clone();
            entry[member] = value;
            entry
        };
        refused(
            entries(json!([with("PortRange", json!({"From": 5000, "To": 4000}))])),
            &["Entries[0].PortRange", "5000 to 4000"],
        );
        refused(
            entries(json!([whole, with("RuleAction", json!("deny"))])),
            &["Entries[1].RuleNumber", "Entries[0]"],
        );
        let other_direction = with("Egress", json!(true));
        assert!(Snapshot::from_value(entries(json!([whole, whole, other_direction]))).is_ok());
    }

    #[test]
    fn what_is_written_is_what_was_read_without_the_members_that_are_empty() {
        let snapshot = json!({
            "Reservations": [
                {"Instances": [{"InstanceId": "i-1", "State": {"Name": "running"}}]},
                {"Instances": [{"InstanceId": "i-2", "State": {"Name": "stopped"}, "Tags": [{"Key": "a", "Value": ""}]}]}
            ],
            "NetworkInterfaces": [
                {"NetworkInterfaceId": "eni-1", "Attachment": {"InstanceId": "i-1"}},
                {"NetworkInterfaceId": "eni-2", "Attachment": {}}
            ],
            "TrafficMirrorTargets": [{"TrafficMirrorTargetId": "tmt-1", "NetworkInterfaceId": "eni-2"}],
            "SecurityGroups": [{"GroupId": "sg-1", "IpPermissions": [
                {"IpProtocol": "-1"},
                {"IpProtocol": "udp", "FromPort": 4789, "ToPort": 4789, "PrefixListIds": [{"PrefixListId": "pl-1"}]}
            ]}],
            "NetworkAcls": [{"NetworkAclId": "acl-1", "Entries": [
                {"RuleNumber": 100, "Egress": false, "Protocol": "17", "PortRange": {"From": 1, "To": 2},
                 "CidrBlock": "10.0.0.0/8", "RuleAction": "allow"},
                {"RuleNumber": 101, "Egress": false, "Protocol": "-1", "Ipv6CidrBlock": "::/0", "RuleAction": "deny"}
            ]}],
            "VpcEndpoints": [{"VpcEndpointId": "vpce-1"}],
            "PrefixListEntries": {"pl-1": [{"Cidr": "10.0.0.0/8"}], "pl-2": []}
        });
        let read = Snapshot::from_value(snapshot.clone()).unwrap();
        let written = serde_json::to_vec(&read).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), snapshot);
        assert_eq!(Snapshot::parse(&written).unwrap(), read);
        assert_eq!(serde_json::to_string(&Snapshot::default()).unwrap(), "{}");
    }

    #[test]
    fn an_object_that_two_outputs_hold_is_read_once_and_two_that_differ_are_refused() {
        let group = |cidr: &str| json!({"GroupId": "sg-1", "IpPermissions": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": cidr}]}]});
        let twice = json!({"SecurityGroups": [group("10.0.0.0/8"), group("10.0.0.0/8")]});
        assert_eq!(Snapshot::from_value(twice).unwrap().security_groups.len(), 1);
        refused(
            json!({"SecurityGroups": [group("10.0.0.0/8"), group("10.0.0.0/9")]}),
            &["SecurityGroups", "sg-1"],
        );
    }
}
