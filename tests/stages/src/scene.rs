//! A network to mirror in, as a snapshot for `ec2-sim`.
//!
//! One VPC with a subnet for instances and one for sensors in each of three zones; sensors that let UDP 4789 in
//! from everywhere until a test says otherwise; instances of one interface until a test says otherwise.

use ec2_sim::{Ec2Sim, Options};
use mirrorstep_core::TargetId;
use serde_json::{Value, json};

use crate::{Aws, pipeline::Pipeline};

/// The filter of every scene.
pub const FILTER: &str = "tmf-00000000000000001";

/// A network under construction.
#[derive(Debug, Clone)]
pub struct Scene {
    snapshot: Value,
    /// The targets, in the order in which they were added.
    pub targets: Vec<TargetId>,
}

/// The zone's name: `us-east-1a` for 0.
pub fn zone(zone: usize) -> String {
    format!(
        "us-east-1{}",
        char::from(b'a' + u8::try_from(zone).expect("a few zones"))
    )
}

/// The subnet of a zone's instances.
pub fn instance_subnet(zone: usize) -> String {
    format!("subnet-0000000000000010{zone}")
}

/// The subnet of a zone's sensors.
pub fn sensor_subnet(zone: usize) -> String {
    format!("subnet-0000000000000020{zone}")
}

/// The interface of an instance, or of a sensor.
pub fn interface_id(number: usize) -> String {
    format!("eni-{number:017x}")
}

/// An instance's id.
pub fn instance_id(number: usize) -> String {
    format!("i-{number:017x}")
}

const VPC: &str = "vpc-00000000000000001";
/// The group of every sensor.
pub const SENSOR_GROUP: &str = "sg-00000000000000001";
/// The group of every instance.
pub const INSTANCE_GROUP: &str = "sg-00000000000000002";

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Scene {
    /// The network without instances and sensors.
    pub fn new() -> Self {
        let subnets: Vec<Value> = (0..3)
            .flat_map(|z| {
                [(instance_subnet(z), format!("10.0.{z}.0/24")), (sensor_subnet(z), format!("10.0.{}.0/24", z + 10))]
                    .map(|(id, cidr)| {
                        json!({"SubnetId": id, "VpcId": VPC, "CidrBlock": cidr, "AvailabilityZone": zone(z)})
                    })
            })
            .collect();
        let associations: Vec<Value> = subnets
            .iter()
            .enumerate()
            .map(|(n, subnet)| {
                json!({"NetworkAclAssociationId": format!("aclassoc-{n:017x}"),
                       "NetworkAclId": "acl-00000000000000001", "SubnetId": subnet["SubnetId"]})
            })
            .collect();
        let allow_all = |egress: bool| {
            json!({"RuleNumber": 100, "Egress": egress, "Protocol": "-1", "CidrBlock": "0.0.0.0/0",
                   "RuleAction": "allow"})
        };
        Self {
            snapshot: json!({
                "Vpcs": [{"VpcId": VPC, "CidrBlock": "10.0.0.0/16"}],
                "Subnets": subnets,
                "NetworkAcls": [{"NetworkAclId": "acl-00000000000000001", "VpcId": VPC, "IsDefault": true,
                                 "Associations": associations, "Entries": [allow_all(false), allow_all(true)]}],
                "SecurityGroups": [
                    {"GroupId": SENSOR_GROUP, "GroupName": "sensors", "VpcId": VPC, "IpPermissions": [
                        {"IpProtocol": "udp", "FromPort": 4789, "ToPort": 4789,
                         "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]},
                    {"GroupId": INSTANCE_GROUP, "GroupName": "instances", "VpcId": VPC, "IpPermissions": []},
                ],
                "RouteTables": [{"RouteTableId": "rtb-00000000000000001", "VpcId": VPC,
                    "Associations": [{"Main": true, "RouteTableId": "rtb-00000000000000001",
                                      "RouteTableAssociationId": "rtbassoc-00000000000000001"}],
                    "Routes": [{"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local", "State": "active"}]}],
                "TrafficMirrorFilters": [{"TrafficMirrorFilterId": FILTER}],
                "TrafficMirrorTargets": [], "TrafficMirrorSessions": [],
                "Reservations": [], "NetworkInterfaces": [],
            }),
            targets: Vec::new(),
        }
    }

    /// The members of a list of the snapshot, to change as a test needs.
    pub fn list(&mut self, name: &str) -> &mut Vec<Value> {
        self.snapshot[name].as_array_mut().expect("the list exists")
    }

    /// Gives the snapshot a member that a scene does not have.
    pub fn set(&mut self, name: &str, member: Value) {
        self.snapshot[name] = member;
    }

    /// A sensor in a zone: an instance of this type whose one interface is a traffic mirror target.
    pub fn sensor(&mut self, in_zone: usize, instance_type: &str) -> TargetId {
        let number = 0x5000 + self.targets.len();
        let subnet = sensor_subnet(in_zone);
        let neighbours = self.list("NetworkInterfaces");
        let neighbours = neighbours
            .iter()
            .filter(|interface| interface["SubnetId"] == *subnet);
        let address = format!("10.0.{}.{}", in_zone + 10, 10 + neighbours.count());
        self.add_instance(number, in_zone, &subnet, SENSOR_GROUP, &[address], instance_type);
        let target = format!("tmt-{number:017x}");
        self.list("TrafficMirrorTargets").push(json!({
            "TrafficMirrorTargetId": target, "NetworkInterfaceId": interface_id(number),
            "Type": "network-interface", "OwnerId": "000000000000",
        }));
        let target: TargetId = target.parse().expect("a valid id");
        self.targets.push(target.clone());
        target
    }

    /// A session of somebody else from the interface of this number to a target.
    pub fn session(&mut self, number: usize, target: &TargetId) {
        self.list("TrafficMirrorSessions").push(json!({
            "TrafficMirrorSessionId": format!("tms-{number:017x}"), "TrafficMirrorTargetId": target,
            "TrafficMirrorFilterId": FILTER, "NetworkInterfaceId": interface_id(number), "SessionNumber": 1,
            "OwnerId": "000000000000", "VirtualNetworkId": number,
        }));
    }

    /// So many sources of another account on a target, which this one does not see.
    pub fn unseen_sources(&mut self, target: &TargetId, count: usize) {
        for number in 0..count {
            self.list("TrafficMirrorSessions").push(json!({
                "TrafficMirrorSessionId": format!("tms-f{number:016x}"), "TrafficMirrorTargetId": target,
                "TrafficMirrorFilterId": "tmf-0000000000000000f", "NetworkInterfaceId": format!("eni-f{number:016x}"),
                "SessionNumber": 1, "OwnerId": "111111111111", "VirtualNetworkId": 5000 + number,
            }));
        }
    }

    /// Gives an interface, and what its instance says of it, these security groups.
    pub fn set_groups(&mut self, interface_id: &str, groups: &[&str]) {
        let groups: Vec<_> = groups.iter().map(|id| json!({"GroupId": id})).collect();
        let is_meant = |interface: &&mut Value| interface["NetworkInterfaceId"] == interface_id;
        for interface in self.list("NetworkInterfaces").iter_mut().filter(is_meant) {
            interface["Groups"] = json!(groups);
        }
        for reservation in self.list("Reservations") {
            let interfaces = reservation["Instances"][0]["NetworkInterfaces"].as_array_mut();
            for interface in interfaces.into_iter().flatten().filter(is_meant) {
                interface["Groups"] = json!(groups);
            }
        }
    }

    /// An instance in a zone with as many interfaces: numbers `number`, `number + 1`, …
    pub fn instance(&mut self, number: usize, in_zone: usize, interfaces: usize) -> String {
        let addresses: Vec<String> = (number..number + interfaces)
            .map(|n| format!("10.0.{in_zone}.{}", n % 250 + 4))
            .collect();
        self.add_instance(
            number,
            in_zone,
            &instance_subnet(in_zone),
            INSTANCE_GROUP,
            &addresses,
            "m5.large",
        );
        instance_id(number)
    }

    fn add_instance(
        &mut self,
        number: usize,
        in_zone: usize,
        subnet: &str,
        group: &str,
        addresses: &[String],
        instance_type: &str,
    ) {
        let interfaces: Vec<Value> = addresses
            .iter()
            .enumerate()
            .map(|(n, address)| {
                json!({
                    "NetworkInterfaceId": interface_id(number + n), "SubnetId": subnet, "VpcId": VPC,
                    "AvailabilityZone": zone(in_zone), "PrivateIpAddress": address, "Status": "in-use",
                    "InterfaceType": "interface", "Groups": [{"GroupId": group}],
                    "PrivateIpAddresses": [{"Primary": true, "PrivateIpAddress": address}],
                    "Attachment": {"AttachmentId": format!("eni-attach-{:017x}", number + n),
                                   "InstanceId": instance_id(number), "DeviceIndex": n, "Status": "attached",
                                   "DeleteOnTermination": true, "AttachTime": "2026-01-01T00:00:00.000Z"},
                })
            })
            .collect();
        let instance = json!({
            "InstanceId": instance_id(number), "InstanceType": instance_type,
            "State": {"Code": 16, "Name": "running"}, "SubnetId": subnet, "VpcId": VPC,
            "PrivateIpAddress": addresses[0], "Placement": {"AvailabilityZone": zone(in_zone)},
            "Tags": [{"Key": "Name", "Value": format!("host-{number}")}],
            "NetworkInterfaces": interfaces,
        });
        self.list("NetworkInterfaces").extend(interfaces);
        self.list("Reservations").push(json!({
            "ReservationId": format!("r-{number:017x}"), "OwnerId": "000000000000", "Instances": [instance],
        }));
    }

    /// A snapshot of the instance that was added last alone.
    pub fn only_last_instance(&mut self) -> Value {
        json!({
            "Reservations": [self.list("Reservations").last()],
            "NetworkInterfaces": [self.list("NetworkInterfaces").last()],
        })
    }

    /// The account with this network in it.
    pub fn account(&self, options: Options) -> Aws {
        let aws = Aws::new(options);
        self.load(&aws.ec2);
        aws
    }

    /// The pipeline for this network's targets, in an account of its own.
    pub fn pipeline(&self, options: Options) -> Pipeline {
        Pipeline::new(self.account(options), &self.targets, FILTER)
    }

    fn load(&self, ec2: &Ec2Sim) {
        ec2.load_snapshot(&self.snapshot)
            .expect("the scene is a sound snapshot");
    }
}
