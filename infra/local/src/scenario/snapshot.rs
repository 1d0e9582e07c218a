//! The objects of the made-up account, as the AWS CLI would print them.

use std::net::Ipv4Addr;

use fastrand::Rng;
use serde_json::{Value, json};

use super::{Blocked, Role, Shape, ZONES};
use crate::clients::ACCOUNT;

/// When everything was made, for the members that say so.
const MADE: &str = "2026-01-01T00:00:00+00:00";
/// Another account.
const OTHER_ACCOUNT: &str = "111111111111";
/// The VPCs, by the second part of their addresses: 10.0.0.0/16, 10.1.0.0/16, 10.2.0.0/16.
const VPCS: [(&str, u8); 3] = [("workloads", 0), ("inspection", 1), ("apart", 2)];
/// The first two are peered.
const PEERED: usize = 2;
/// The last one is not.
const APART: usize = 2;
/// The sources that an interface target takes (VPC Traffic Mirroring guide, "Quotas").
const SOURCES: usize = 10;
/// Of a VPC's subnets, the network's third part for each zone, and how long its prefix is.
const WORKLOAD_SUBNETS: ([u8; 3], u8) = ([0, 64, 128], 18);
const SENSOR_SUBNETS: ([u8; 3], u8) = ([192, 193, 194], 24);
/// A subnet apart for the sensor that its network ACL blocks.
const BLOCKED_SUBNET: (u8, u8) = (200, 24);

/// Makes the objects one after the other.
pub(super) struct Builder {
    random: Rng,
    vpcs: Vec<Vpc>,
    prefix_list: String,
    next_public: u32,
    reservations: Vec<Value>,
    interfaces: Vec<Value>,
    targets: Vec<Value>,
    sessions: Vec<Value>,
    groups: Vec<Value>,
    acls: Vec<Value>,
    route_tables: Vec<Value>,
    subnets: Vec<Value>,
}

struct Vpc {
    id: String,
    workload_group: String,
    workloads: Vec<Subnet>,
    sensors: Vec<Subnet>,
    /// Guarded by the ACL that denies mirrored traffic.
    blocked: Subnet,
}

struct Subnet {
    id: String,
    /// The address that is given next.
    next: u32,
}

/// A sensor that was made.
pub(super) struct MadeSensor {
    pub(super) target: String,
    pub(super) instance: String,
    pub(super) interface: String,
}

/// A sensor that is to be made.
pub(super) struct NewSensor<'a> {
    pub(super) number: usize,
    pub(super) zone: usize,
    pub(super) instance_type: &'a str,
    pub(super) blocked: Option<Blocked>,
    /// Whether its instance is among those that start.
    pub(super) starts: bool,
}

impl NewSensor<'_> {
    fn name(&self) -> String {
        format!("sensor-{}", self.number)
    }

    fn vpc(&self) -> usize {
        match self.blocked {
            Some(Blocked::Route) => APART,
            // Every fourth sensor is in the workloads' own VPC.
            _ => usize::from(!self.number.is_multiple_of(4)),
        }
    }

    fn state(&self) -> &'static str {
        if self.starts || self.blocked == Some(Blocked::Stopped) {
            "stopped"
        } else {
            "running"
        }
    }
}

/// An instance that is to be made.
struct NewInstance<'a> {
    name: &'a str,
    instance_type: &'a str,
    state: &'a str,
    zone: usize,
    vpc_id: &'a str,
    subnet_id: &'a str,
    group_id: &'a str,
    /// The private address of each interface.
    addresses: Vec<Ipv4Addr>,
    public: bool,
    tags: Vec<Value>,
}

impl Builder {
    pub(super) fn new(random: Rng) -> Self {
        let mut builder = Self {
            random,
            vpcs: Vec::new(),
            prefix_list: String::new(),
            next_public: u32::from(Ipv4Addr::new(198, 18, 0, 1)),
            reservations: Vec::new(),
            interfaces: Vec::new(),
            targets: Vec::new(),
            sessions: Vec::new(),
            groups: Vec::new(),
            acls: Vec::new(),
            route_tables: Vec::new(),
            subnets: Vec::new(),
        };
        builder.prefix_list = builder.id("pl");
        let peering = builder.id("pcx");
        for vpc in 0..VPCS.len() {
            builder.vpc(vpc, &peering);
        }
        builder
    }

    /// An ID as EC2 makes them: 17 hexadecimal digits.
    pub(super) fn id(&mut self, prefix: &str) -> String {
        format!("{prefix}-0{:016x}", self.random.u64(..))
    }

    fn vpc(&mut self, index: usize, peering: &str) {
        let vpc_id = self.id("vpc");
        let workload_group = self.id("sg");
        self.groups.push(json!({
            "GroupId": workload_group, "GroupName": "workload", "Description": "Every instance of the fleet",
            "OwnerId": ACCOUNT, "VpcId": vpc_id, "Tags": [],
            "IpPermissions": [permission("tcp", Some((443, 443)), &["0.0.0.0/0"])],
            "IpPermissionsEgress": [permission("-1", None, &["0.0.0.0/0"])],
        }));
        let subnets = |builder: &mut Self, (thirds, length): ([u8; 3], u8)| -> Vec<Subnet> {
            thirds
                .iter()
                .enumerate()
                .map(|(zone, third)| builder.subnet(&vpc_id, index, zone, *third, length))
                .collect()
        };
        let workloads = subnets(self, WORKLOAD_SUBNETS);
        let sensors = subnets(self, SENSOR_SUBNETS);
        let blocked = self.subnet(&vpc_id, index, 1, BLOCKED_SUBNET.0, BLOCKED_SUBNET.1);

        self.acl(
            &vpc_id,
            true,
            &workloads,
            &[acl_entry(100, "-1", None, "0.0.0.0/0", "allow")],
        );
        self.acl(
            &vpc_id,
            false,
            &sensors,
            &[
                acl_entry(90, "17", Some((4789, 4789)), "192.168.0.0/16", "deny"),
                acl_entry(100, "17", Some((4780, 4789)), "10.0.0.0/8", "allow"),
                acl_entry(110, "6", Some((443, 443)), "10.0.0.0/8", "allow"),
            ],
        );
        self.acl(
            &vpc_id,
            false,
            std::slice::from_ref(&blocked),
            &[
                acl_entry(80, "17", Some((4789, 4789)), "10.0.0.0/8", "deny"),
                acl_entry(100, "-1", None, "0.0.0.0/0", "allow"),
            ],
        );

        // The first VPC's workloads have a table of their own, the second one's go by the main table.
        let explicit: &[Subnet] = if index == 0 { &workloads } else { &[] };
        let main_association = json!({ "Main": true });
        self.route_table(&vpc_id, index, peering, vec![main_association]);
        let associations = explicit
            .iter()
            .map(|subnet| json!({ "Main": false, "SubnetId": subnet.id }))
            .collect();
        self.route_table(&vpc_id, index, peering, associations);
        self.vpcs.push(Vpc {
            id: vpc_id,
            workload_group,
            workloads,
            sensors,
            blocked,
        });
    }

    fn subnet(&mut self, vpc_id: &str, vpc: usize, zone: usize, third: u8, length: u8) -> Subnet {
        let id = self.id("subnet");
        let network = Ipv4Addr::new(10, VPCS[vpc].1, third, 0);
        self.subnets.push(json!({
            "SubnetId": id, "VpcId": vpc_id, "AvailabilityZone": ZONES[zone], "OwnerId": ACCOUNT,
            "CidrBlock": format!("{network}/{length}"), "State": "available",
        }));
        // Amazon keeps the first four addresses (VPC guide, "Subnet CIDR blocks").
        Subnet {
            id,
            next: u32::from(network) + 4,
        }
    }

    fn acl(&mut self, vpc_id: &str, is_default: bool, subnets: &[Subnet], inbound: &[Value]) {
        let id = self.id("acl");
        let associations: Vec<Value> = subnets
            .iter()
            .map(|subnet| {
                json!({
                    "NetworkAclAssociationId": self.id("aclassoc"), "NetworkAclId": id, "SubnetId": subnet.id,
                })
            })
            .collect();
        let mut entries = inbound.to_vec();
        entries.push(acl_entry(32767, "-1", None, "0.0.0.0/0", "deny"));
        for mut entry in [
            acl_entry(100, "-1", None, "0.0.0.0/0", "allow"),
            acl_entry(32767, "-1", None, "0.0.0.0/0", "deny"),
        ] {
            entry["Egress"] = true.into();
            entries.push(entry);
        }
        self.acls.push(json!({
            "NetworkAclId": id, "VpcId": vpc_id, "IsDefault": is_default, "OwnerId": ACCOUNT,
            "Associations": associations, "Entries": entries, "Tags": [],
        }));
    }

    fn route_table(&mut self, vpc_id: &str, vpc: usize, peering: &str, associations: Vec<Value>) {
        if associations.is_empty() {
            return;
        }
        let (id, gateway) = (self.id("rtb"), self.id("igw"));
        let associations: Vec<Value> = associations
            .into_iter()
            .map(|mut association| {
                association["RouteTableAssociationId"] = self.id("rtbassoc").into();
                association["RouteTableId"] = id.clone().into();
                association["AssociationState"] = json!({ "State": "associated" });
                association
            })
            .collect();
        let route = |destination: String, member: &str, via: &str, origin: &str| json!({ "DestinationCidrBlock": destination, member: via, "State": "active", "Origin": origin });
        let cidr = |vpc: usize| format!("10.{}.0.0/16", VPCS[vpc].1);
        let mut routes = vec![
            route(cidr(vpc), "GatewayId", "local", "CreateRouteTable"),
            route("0.0.0.0/0".to_owned(), "GatewayId", &gateway, "CreateRoute"),
        ];
        if vpc < PEERED {
            routes.push(route(
                cidr(1 - vpc),
                "VpcPeeringConnectionId",
                peering,
                "CreateRoute",
            ));
        }
        self.route_tables.push(json!({
            "RouteTableId": id, "VpcId": vpc_id, "OwnerId": ACCOUNT, "Associations": associations, "Tags": [],
            "Routes": routes,
        }));
    }

    /// Makes a sensor: its instance, its interface and its target.
    pub(super) fn sensor(&mut self, new: &NewSensor<'_>) -> MadeSensor {
        let group_id = self.sensor_group(new);
        let vpc = &mut self.vpcs[new.vpc()];
        let vpc_id = vpc.id.clone();
        let subnet = match new.blocked {
            Some(Blocked::NetworkAcl) => &mut vpc.blocked,
            _ => &mut vpc.sensors[new.zone],
        };
        let (subnet_id, address) = (subnet.id.clone(), subnet.take());
        let name = new.name();
        let interfaces = self.instance(NewInstance {
            name: &name,
            instance_type: new.instance_type,
            state: new.state(),
            zone: new.zone,
            vpc_id: &vpc_id,
            subnet_id: &subnet_id,
            group_id: &group_id,
            addresses: vec![address],
            public: false,
            tags: Vec::new(),
        });
        let interface_id = interfaces.into_iter().next().unwrap_or_default();
        let instance_id = self.last_instance();
        if new.blocked == Some(Blocked::Detached) {
            self.detach_last();
        }
        let target_id = self.id("tmt");
        self.targets.push(json!({
            "TrafficMirrorTargetId": target_id, "NetworkInterfaceId": interface_id, "Type": "network-interface",
            "Description": name, "OwnerId": ACCOUNT, "Tags": [tag("Name", &name)],
        }));
        if new.blocked == Some(Blocked::Capacity) {
            self.sources_of_another_account(&target_id);
        }
        MadeSensor {
            target: target_id,
            instance: instance_id,
            interface: interface_id,
        }
    }

    /// Makes a sensor's security group; answers with its id.
    fn sensor_group(&mut self, sensor: &NewSensor<'_>) -> String {
        let inbound = self.sensor_inbound(sensor);
        let group_id = self.id("sg");
        let vpc_id = self.vpcs[sensor.vpc()].id.clone();
        self.groups.push(json!({
            "GroupId": group_id, "GroupName": sensor.name(), "Description": "A sensor", "OwnerId": ACCOUNT,
            "VpcId": vpc_id, "IpPermissions": inbound, "Tags": [],
            "IpPermissionsEgress": [permission("-1", None, &["0.0.0.0/0"])],
        }));
        group_id
    }

    /// What a sensor's group lets in. The ways in which it lets mirrored traffic in take turns.
    fn sensor_inbound(&self, sensor: &NewSensor<'_>) -> Value {
        if sensor.blocked == Some(Blocked::SecurityGroup) {
            return json!([permission("tcp", Some((22, 22)), &["10.0.0.0/8"])]);
        }
        match sensor.number % 3 {
            _ if sensor.vpc() == APART => json!([permission("udp", Some((4789, 4789)), &["10.0.0.0/8"])]),
            // One list, in one zone: reading it costs a call for each interface that it decides about.
            _ if sensor.zone + 1 == ZONES.len() => json!([self.listed_addresses("17", (4000, 4789))]),
            0 => json!([permission(
                "udp",
                Some((4789, 4789)),
                &["10.0.0.0/16", "10.1.0.0/16"]
            )]),
            1 => json!([self.members_of_workloads("udp", (4789, 4789))]),
            _ => json!([
                permission("tcp", Some((443, 443)), &["0.0.0.0/0"]),
                permission("-1", None, &["10.0.0.0/8"]),
            ]),
        }
    }

    /// The instance that was made last.
    fn last_instance(&self) -> String {
        let last = self.reservations.last();
        last.and_then(|reservation| reservation["Instances"][0]["InstanceId"].as_str())
            .unwrap_or_default()
            .to_owned()
    }

    /// Takes the interface that was made last from its instance, and the instance away.
    fn detach_last(&mut self) {
        self.reservations.pop();
        if let Some(Value::Object(interface)) = self.interfaces.last_mut() {
            interface.remove("Attachment");
            interface.insert("Status".to_owned(), json!("available"));
        }
    }

    /// Fills a target's room with sources that this account does not see.
    fn sources_of_another_account(&mut self, target_id: &str) {
        for virtual_network_id in 1..=SOURCES {
            let session = json!({
                "TrafficMirrorSessionId": self.id("tms"), "TrafficMirrorTargetId": target_id,
                "TrafficMirrorFilterId": self.id("tmf"), "NetworkInterfaceId": self.id("eni"),
                "OwnerId": OTHER_ACCOUNT, "SessionNumber": 1, "VirtualNetworkId": virtual_network_id, "Tags": [],
            });
            self.sessions.push(session);
        }
    }

    /// Makes a target of which nothing but itself is visible: another account shares it, or its interface is gone.
    pub(super) fn target_without_interface(&mut self, blocked: Blocked) -> String {
        let target_id = self.id("tmt");
        let interface_id = self.id("eni");
        let (owner, description) = match blocked {
            Blocked::Unverifiable => (OTHER_ACCOUNT, "shared"),
            _ => (ACCOUNT, "retired"),
        };
        self.targets.push(json!({
            "TrafficMirrorTargetId": target_id, "NetworkInterfaceId": interface_id, "Type": "network-interface",
            "Description": description, "OwnerId": owner, "Tags": [],
        }));
        target_id
    }

    /// Makes an instance of the fleet, stopped; answers with its interfaces.
    pub(super) fn workload(&mut self, shape: &Shape) -> Vec<String> {
        let number = self.reservations.len();
        let opted_out = shape.role == Role::OptedOut;
        let name = if opted_out {
            format!("quiet-{number}")
        } else {
            format!("app-{number}")
        };
        let vpc = &mut self.vpcs[shape.vpc];
        let subnet = &mut vpc.workloads[shape.zone];
        let addresses = (0..shape.interfaces).map(|_| subnet.take()).collect();
        let (vpc_id, subnet_id, group_id) = (vpc.id.clone(), subnet.id.clone(), vpc.workload_group.clone());
        self.instance(NewInstance {
            name: &name,
            instance_type: match shape.role {
                Role::Unsupported(instance_type) => instance_type,
                _ => "m5.large",
            },
            state: "stopped",
            zone: shape.zone,
            vpc_id: &vpc_id,
            subnet_id: &subnet_id,
            group_id: &group_id,
            addresses,
            public: shape.public,
            tags: if opted_out {
                vec![tag("mirror", "off")]
            } else {
                Vec::new()
            },
        })
    }

    fn instance(&mut self, new: NewInstance<'_>) -> Vec<String> {
        let instance_id = self.id("i");
        let public = new.public.then(|| {
            self.next_public += 1;
            Ipv4Addr::from(self.next_public)
        });
        let groups = json!([{ "GroupId": new.group_id }]);
        let interfaces: Vec<Value> = new
            .addresses
            .iter()
            .enumerate()
            .map(|(index, address)| {
                // A public address belongs to the first interface.
                let association = public.filter(|_| index == 0).map(|ip| json!({ "PublicIp": ip, "IpOwnerId": "amazon" }));
                let mut interface = json!({
                    "NetworkInterfaceId": self.id("eni"), "InterfaceType": "interface", "Status": "in-use",
                    "Description": "", "AvailabilityZone": ZONES[new.zone], "SubnetId": new.subnet_id,
                    "VpcId": new.vpc_id, "OwnerId": ACCOUNT, "PrivateIpAddress": address, "SourceDestCheck": true,
                    "PrivateIpAddresses": [{ "Primary": true, "PrivateIpAddress": address }], "Groups": groups,
                    "Attachment": {
                        "AttachmentId": self.id("eni-attach"), "InstanceId": instance_id, "InstanceOwnerId": ACCOUNT,
                        "DeviceIndex": index, "DeleteOnTermination": true, "Status": "attached", "AttachTime": MADE,
                    },
                    "TagSet": [],
                });
                if let Some(association) = association {
                    interface["PrivateIpAddresses"][0]["Association"] = association.clone();
                    interface["Association"] = association;
                }
                interface
            })
            .collect();
        let mut tags = new.tags;
        tags.insert(0, tag("Name", new.name));
        let code = if new.state == "stopped" { 80 } else { 16 };
        let mut instance = json!({
            "InstanceId": instance_id, "InstanceType": new.instance_type, "ImageId": "ami-00000000000000000",
            "State": { "Code": code, "Name": new.state },
            "Placement": { "AvailabilityZone": ZONES[new.zone], "Tenancy": "default" }, "LaunchTime": MADE,
            "VpcId": new.vpc_id, "SubnetId": new.subnet_id, "PrivateIpAddress": new.addresses.first(),
            "SecurityGroups": groups, "NetworkInterfaces": interfaces, "Tags": tags,
        });
        if let Some(public) = public {
            instance["PublicIpAddress"] = json!(public);
        }
        let reservation = self.id("r");
        self.reservations
            .push(json!({ "ReservationId": reservation, "OwnerId": ACCOUNT, "Instances": [instance] }));
        let ids = interfaces
            .iter()
            .filter_map(|i| i["NetworkInterfaceId"].as_str().map(str::to_owned))
            .collect();
        self.interfaces.extend(interfaces);
        ids
    }

    /// Whoever is a member of a workload group, in this VPC or the peered one.
    fn members_of_workloads(&self, protocol: &str, ports: (u16, u16)) -> Value {
        let mut permission = permission(protocol, Some(ports), &[]);
        permission["UserIdGroupPairs"] = self
            .vpcs
            .iter()
            .take(PEERED)
            .map(|vpc| json!({ "GroupId": vpc.workload_group, "UserId": ACCOUNT }))
            .collect();
        permission
    }

    /// Whoever is in the prefix list.
    fn listed_addresses(&self, protocol: &str, ports: (u16, u16)) -> Value {
        let mut permission = permission(protocol, Some(ports), &[]);
        permission["PrefixListIds"] = json!([{ "PrefixListId": self.prefix_list }]);
        permission
    }

    pub(super) fn finish(mut self) -> Value {
        let filter = self.id("tmf");
        let rule = |direction: &str, id: String| {
            json!({
                "TrafficMirrorFilterRuleId": id, "TrafficMirrorFilterId": filter, "TrafficDirection": direction,
                "RuleNumber": 100, "RuleAction": "accept", "DestinationCidrBlock": "0.0.0.0/0",
                "SourceCidrBlock": "0.0.0.0/0",
            })
        };
        let (ingress, egress) = (rule("ingress", self.id("tmfr")), rule("egress", self.id("tmfr")));
        let vpcs: Vec<Value> = self
            .vpcs
            .iter()
            .zip(VPCS)
            .map(|(vpc, (name, second))| {
                json!({
                    "VpcId": vpc.id, "CidrBlock": format!("10.{second}.0.0/16"), "State": "available",
                    "IsDefault": false, "OwnerId": ACCOUNT, "Tags": [tag("Name", name)],
                })
            })
            .collect();
        json!({
            "Vpcs": vpcs,
            "Subnets": self.subnets,
            "RouteTables": self.route_tables,
            "NetworkAcls": self.acls,
            "SecurityGroups": self.groups,
            "ManagedPrefixLists": [{
                "PrefixListId": self.prefix_list, "PrefixListName": "mirrored", "AddressFamily": "IPv4",
                "MaxEntries": 10, "Version": 1, "State": "create-complete", "OwnerId": ACCOUNT, "Tags": [],
            }],
            "PrefixListEntries": { self.prefix_list: [{ "Cidr": "10.0.0.0/16" }, { "Cidr": "10.1.0.0/16" }] },
            "Reservations": self.reservations,
            "NetworkInterfaces": self.interfaces,
            "TrafficMirrorTargets": self.targets,
            "TrafficMirrorFilters": [{
                "TrafficMirrorFilterId": filter, "Description": "everything", "IngressFilterRules": [ingress],
                "EgressFilterRules": [egress], "NetworkServices": ["amazon-dns"], "Tags": [],
            }],
            "TrafficMirrorSessions": self.sessions,
            "VpcEndpoints": [],
        })
    }
}

impl Subnet {
    fn take(&mut self) -> Ipv4Addr {
        let address = Ipv4Addr::from(self.next);
        self.next += 1;
        address
    }
}

fn tag(key: &str, value: &str) -> Value {
    json!({ "Key": key, "Value": value })
}

fn permission(protocol: &str, ports: Option<(u16, u16)>, ranges: &[&str]) -> Value {
    let ranges: Vec<Value> = ranges.iter().map(|range| json!({ "CidrIp": range })).collect();
    let mut permission = json!({
        "IpProtocol": protocol, "IpRanges": ranges, "Ipv6Ranges": [], "PrefixListIds": [], "UserIdGroupPairs": [],
    });
    if let Some((from, to)) = ports {
        permission["FromPort"] = from.into();
        permission["ToPort"] = to.into();
    }
    permission
}

fn acl_entry(number: i32, protocol: &str, ports: Option<(u16, u16)>, cidr: &str, action: &str) -> Value {
    let mut entry = json!({
        "RuleNumber": number, "Protocol": protocol, "RuleAction": action, "Egress": false, "CidrBlock": cidr,
    });
    if let Some((from, to)) = ports {
        entry["PortRange"] = json!({ "From": from, "To": to });
    }
    entry
}
