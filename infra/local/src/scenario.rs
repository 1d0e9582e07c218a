//! A made-up account: a fleet that is about to start, the sensors for it, and what ought to come out.
//!
//! Three zones, two peered VPCs and one apart, and of every kind of sensor and instance one at least. Beside the
//! sensors stand targets that nobody can use, one for each rule that no sensor breaks. What ought to come out is
//! known by construction, from where each thing was put, and not by the rules that are to be checked.

mod snapshot;

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use serde_json::Value;

use crate::options::FleetOptions;
use snapshot::Builder;

/// The zones. The last one has one sensor only.
const ZONES: [&str; 3] = ["us-east-1a", "us-east-1b", "us-east-1c"];

/// In which zone each of ten instances is: most in the zone of the large sensors.
const ZONE_OF: [usize; 10] = [1, 0, 1, 2, 1, 1, 0, 1, 1, 1];

/// Sensors of a zone, and how many sources one of them takes (VPC Traffic Mirroring guide, "Quotas").
#[derive(Debug, Clone, Copy)]
struct Sizing {
    instance_type: &'static str,
    capacity: usize,
    /// The least number of them that can receive.
    least: usize,
    /// Beyond this many interfaces the fleet goes to another zone.
    most_interfaces: usize,
}

const SIZING: [Sizing; 3] = [
    Sizing {
        instance_type: "m5.xlarge",
        capacity: 10,
        least: 3,
        most_interfaces: 400,
    },
    Sizing {
        instance_type: "m5.24xlarge",
        capacity: 100,
        least: 2,
        most_interfaces: usize::MAX,
    },
    Sizing {
        instance_type: "m5.24xlarge",
        capacity: 100,
        least: 1,
        most_interfaces: 75,
    },
];

/// The world and what ought to come of it.
#[derive(Debug)]
pub struct Scenario {
    /// The world as a snapshot.
    pub snapshot: Value,
    /// The sensors, by zone, and after them the targets that nobody can use.
    pub sensors: Vec<Sensor>,
    /// A target that is configured, and does not exist any more.
    pub decommissioned: String,
    /// What ought to become of each interface of the instances that start.
    pub expected: BTreeMap<String, Expected>,
    /// The stopped instances that do not start: those of a sensor that is down.
    pub stays_stopped: BTreeSet<String>,
}

/// A sensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sensor {
    /// `tmt-…`.
    pub target_id: String,
    /// Its zone.
    pub zone: &'static str,
    /// How many sources it takes.
    pub capacity: usize,
    /// Why it can receive nothing, if so.
    pub blocked: Option<Blocked>,
    /// Whether its instance is among those that start.
    pub starts: bool,
}

/// Why a sensor can receive nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// Its security group lets UDP 4789 in from nobody.
    SecurityGroup,
    /// The network ACL of its subnet denies UDP 4789.
    NetworkAcl,
    /// It is in a VPC to which nothing leads.
    Route,
    /// Another account's sources take all its room, and this account does not see them.
    Capacity,
    /// Another account shares it, and its interface is not visible.
    Unverifiable,
    /// Its instance is stopped, and stays so.
    Stopped,
    /// Its interface is attached to no instance any more.
    Detached,
    /// Its interface was deleted.
    Gone,
}

/// The targets that nobody can use, beside the sensors, and the zone of those that are in one. The full one and the one
/// on a stopped instance are where few of the fleet are: whoever meets them first makes calls in vain.
const USELESS: [(Blocked, Option<usize>); 6] = [
    (Blocked::Route, Some(MAIN_ZONE)),
    (Blocked::Capacity, Some(0)),
    (Blocked::Unverifiable, None),
    (Blocked::Stopped, Some(0)),
    (Blocked::Detached, Some(MAIN_ZONE)),
    (Blocked::Gone, None),
];

/// Instance types of the fleet that cannot be mirrored
/// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-sessions.html>, "Traffic mirror sources"), and
/// how many instances there must be at least for them to be among them.
const UNSUPPORTED: [&str; 3] = ["m7i.large", "c7g.xlarge", "t2.medium"];
const WITH_UNSUPPORTED: usize = 10;

/// The zone of the largest part of the fleet.
const MAIN_ZONE: usize = 1;
/// The zone with one sensor.
const LONE_ZONE: usize = 2;

/// What ought to become of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// It is mirrored to one of these targets.
    Mirrored(BTreeSet<String>),
    /// It is left out by its instance's tag.
    OptedOut,
    /// It is a sensor's own, or EC2 refuses its instance's type.
    NotMirrorable,
}

impl Sensor {
    /// What a person should know of it.
    pub fn note(&self) -> &'static str {
        match self {
            Self {
                blocked: Some(Blocked::SecurityGroup),
                ..
            } => "blocked by its security group",
            Self {
                blocked: Some(Blocked::NetworkAcl),
                ..
            } => "blocked by its network ACL",
            Self {
                blocked: Some(Blocked::Route),
                ..
            } => "in a VPC to which no route leads",
            Self {
                blocked: Some(Blocked::Capacity),
                ..
            } => "full of another account's sources",
            Self {
                blocked: Some(Blocked::Unverifiable),
                ..
            } => "another account's, its interface not visible",
            Self {
                blocked: Some(Blocked::Stopped),
                ..
            } => "its instance is stopped",
            Self {
                blocked: Some(Blocked::Detached),
                ..
            } => "its interface is detached",
            Self {
                blocked: Some(Blocked::Gone),
                ..
            } => "its interface is gone",
            Self { starts: true, .. } => "its own instance starts too",
            Self { zone, .. } if *zone == ZONES[LONE_ZONE] => "in a zone of its own",
            _ => "",
        }
    }
}

/// What an instance of the fleet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Workload,
    /// Of a type that EC2 refuses to mirror.
    Unsupported(&'static str),
    OptedOut,
    Sensor,
}

/// An instance of the fleet before it is made.
#[derive(Debug, Clone, Copy)]
struct Shape {
    role: Role,
    vpc: usize,
    zone: usize,
    interfaces: usize,
    public: bool,
}

impl Scenario {
    /// Makes the world. The same options make the same world.
    pub fn generate(options: FleetOptions) -> Self {
        let mut random = Rng::with_seed(options.seed);
        let fleet = fleet(options.instances as usize, &mut random);
        let mut builder = Builder::new(random);
        let mut scenario = Self {
            snapshot: Value::Null,
            sensors: Vec::new(),
            decommissioned: builder.id("tmt"),
            expected: BTreeMap::new(),
            stays_stopped: BTreeSet::new(),
        };
        scenario.add_sensors(&fleet, &mut builder);
        scenario.add_useless_targets(&mut builder);
        for shape in fleet.iter().filter(|shape| shape.role != Role::Sensor) {
            for interface in builder.workload(shape) {
                let expected = match shape.role {
                    Role::OptedOut => Expected::OptedOut,
                    Role::Unsupported(_) | Role::Sensor => Expected::NotMirrorable,
                    Role::Workload => Expected::Mirrored(scenario.usable(ZONES[shape.zone])),
                };
                scenario.expected.insert(interface, expected);
            }
        }
        scenario.snapshot = builder.finish();
        scenario
    }

    fn add_sensors(&mut self, fleet: &[Shape], builder: &mut Builder) {
        let mut starts = fleet.iter().any(|shape| shape.role == Role::Sensor);
        for (zone, sizing) in SIZING.iter().enumerate() {
            let interfaces: usize = fleet
                .iter()
                .filter(|s| s.zone == zone && matches!(s.role, Role::Workload | Role::Unsupported(_)))
                .map(|s| s.interfaces)
                .sum();
            // A fifth is left free: a session whose create call was lost takes its place for a while.
            let usable = interfaces.div_ceil(sizing.capacity * 4 / 5).max(sizing.least);
            let blocked = match zone {
                0 => Some(Blocked::SecurityGroup),
                1 => Some(Blocked::NetworkAcl),
                _ => None,
            };
            for blocked in std::iter::repeat_n(None, usable).chain(blocked.map(Some)) {
                let made = builder.sensor(&snapshot::NewSensor {
                    number: self.sensors.len(),
                    zone,
                    instance_type: sizing.instance_type,
                    blocked,
                    starts,
                });
                if starts {
                    self.expected.insert(made.interface, Expected::NotMirrorable);
                }
                self.sensors.push(Sensor {
                    target_id: made.target,
                    zone: ZONES[zone],
                    capacity: sizing.capacity,
                    blocked,
                    starts,
                });
                starts = false;
            }
        }
    }

    fn add_useless_targets(&mut self, builder: &mut Builder) {
        for (blocked, zone) in USELESS {
            let number = self.sensors.len();
            let target_id = match zone {
                Some(zone) => {
                    let made = builder.sensor(&snapshot::NewSensor {
                        number,
                        zone,
                        instance_type: "m5.large",
                        blocked: Some(blocked),
                        starts: false,
                    });
                    if blocked == Blocked::Stopped {
                        self.stays_stopped.insert(made.instance);
                    }
                    made.target
                }
                None => builder.target_without_interface(blocked),
            };
            self.sensors.push(Sensor {
                target_id,
                zone: zone.map_or("", |zone| ZONES[zone]),
                capacity: 0,
                blocked: Some(blocked),
                starts: false,
            });
        }
    }

    /// The targets of a zone that can receive.
    fn usable(&self, zone: &str) -> BTreeSet<String> {
        let usable = self
            .sensors
            .iter()
            .filter(|sensor| sensor.zone == zone && sensor.blocked.is_none());
        usable.map(|sensor| sensor.target_id.clone()).collect()
    }
}

/// The instances that start: the last one is opted out, the one before it is a sensor, those before it are of types
/// that EC2 refuses, the others work.
///
/// Those of refused types are in the zone of a single sensor: they are placed and released again, which among several
/// sensors would leave one with fewer sessions than the others.
fn fleet(instances: usize, random: &mut Rng) -> Vec<Shape> {
    let mut interfaces_in = [0; ZONES.len()];
    (0..instances)
        .map(|index| {
            let role = match instances - index {
                1 if instances >= 2 => Role::OptedOut,
                2 if instances >= 3 => Role::Sensor,
                from_end if instances >= WITH_UNSUPPORTED => match UNSUPPORTED.get(from_end - 3) {
                    Some(refused) => Role::Unsupported(refused),
                    None => Role::Workload,
                },
                _ => Role::Workload,
            };
            // The first three show each number of interfaces, and both with and without a public address.
            let interfaces = if index < 3 { index + 1 } else { random.usize(1..=3) };
            let public = if index < 3 {
                index % 2 == 1
            } else {
                random.u8(..10) < 3
            };
            let vpc = if index < 3 {
                index % 2
            } else {
                usize::from(random.u8(..10) < 3)
            };
            let mut zone = ZONE_OF[index % ZONE_OF.len()];
            if interfaces_in[zone] + interfaces > SIZING[zone].most_interfaces {
                zone = MAIN_ZONE;
            }
            if role == Role::Workload {
                interfaces_in[zone] += interfaces;
            }
            let (zone, interfaces) = match role {
                Role::Unsupported(_) => (LONE_ZONE, 1),
                _ => (zone, interfaces),
            };
            Shape {
                role,
                vpc,
                zone,
                interfaces,
                public,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(instances: u32, seed: u64) -> Scenario {
        Scenario::generate(FleetOptions { instances, seed })
    }

    fn list<'a>(scenario: &'a Scenario, name: &str) -> &'a Vec<Value> {
        scenario.snapshot[name].as_array().unwrap()
    }

    /// The instances that start.
    fn stopped(scenario: &Scenario) -> Vec<&Value> {
        let instances = list(scenario, "Reservations")
            .iter()
            .flat_map(|r| r["Instances"].as_array().unwrap());
        instances
            .filter(|instance| instance["State"]["Name"] == "stopped")
            .filter(|instance| {
                !scenario
                    .stays_stopped
                    .contains(instance["InstanceId"].as_str().unwrap())
            })
            .collect()
    }

    #[test]
    fn every_interface_fits_on_the_sensors_of_its_zone_with_room_to_spare() {
        for (instances, seed) in [(1, 1), (3, 2), (40, 1), (40, 7), (200, 3), (1000, 4), (4000, 5)] {
            let scenario = scenario(instances, seed);
            for zone in ZONES {
                let usable = scenario.usable(zone);
                let interfaces = scenario
                    .expected
                    .values()
                    .filter(|expected| matches!(expected, Expected::Mirrored(targets) if *targets == usable))
                    .count();
                let capacity = scenario
                    .sensors
                    .iter()
                    .find(|sensor| sensor.zone == zone)
                    .unwrap()
                    .capacity;
                assert!(
                    interfaces <= usable.len() * capacity * 4 / 5,
                    "{instances} instances, seed {seed}, {zone}"
                );
                assert!(usable.len() >= if zone == ZONES[2] { 1 } else { 2 });
            }
            let ids: usize = scenario
                .sensors
                .iter()
                .map(|sensor| sensor.target_id.len() + 1)
                .sum::<usize>()
                + scenario.decommissioned.len();
            assert!(
                ids < 4096,
                "the parameter TargetIds of CloudFormation takes 4096 characters"
            );
        }
    }

    #[test]
    fn the_default_fleet_has_eight_sensors_and_one_of_each_kind() {
        for seed in 0..50 {
            let scenario = scenario(40, seed);
            assert_eq!(scenario.sensors.len(), 8 + USELESS.len());
            for blocked in [Blocked::SecurityGroup, Blocked::NetworkAcl]
                .into_iter()
                .chain(USELESS.map(|(blocked, _)| blocked))
            {
                assert_eq!(
                    scenario
                        .sensors
                        .iter()
                        .filter(|sensor| sensor.blocked == Some(blocked))
                        .count(),
                    1
                );
            }
            assert_eq!(
                scenario
                    .sensors
                    .iter()
                    .filter(|sensor| sensor.zone == ZONES[2])
                    .count(),
                1
            );
            assert_eq!(scenario.sensors.iter().filter(|sensor| sensor.starts).count(), 1);

            let stopped = stopped(&scenario);
            assert_eq!(stopped.len(), 40);
            for refused in UNSUPPORTED {
                assert_eq!(stopped.iter().filter(|i| i["InstanceType"] == refused).count(), 1);
            }
            assert_eq!(scenario.stays_stopped.len(), 1);
            let opted_out = |i: &&&Value| {
                i["Tags"]
                    .to_string()
                    .contains(r#"{"Key":"mirror","Value":"off"}"#)
            };
            assert_eq!(stopped.iter().filter(opted_out).count(), 1);
            let counts: BTreeSet<usize> = stopped
                .iter()
                .map(|i| i["NetworkInterfaces"].as_array().unwrap().len())
                .collect();
            assert_eq!(counts, BTreeSet::from([1, 2, 3]));
            let public = stopped.iter().filter(|i| !i["PublicIpAddress"].is_null()).count();
            assert!((1..40).contains(&public));
            let vpcs: BTreeSet<&str> = stopped.iter().map(|i| i["VpcId"].as_str().unwrap()).collect();
            assert_eq!(vpcs.len(), 2);
            let targets = list(&scenario, "TrafficMirrorTargets");
            assert!(
                targets
                    .iter()
                    .all(|target| target["TrafficMirrorTargetId"] != *scenario.decommissioned)
            );
            assert!(
                scenario
                    .expected
                    .values()
                    .any(|expected| *expected == Expected::NotMirrorable)
            );
            assert!(
                scenario
                    .expected
                    .values()
                    .any(|expected| *expected == Expected::OptedOut)
            );
        }
    }

    #[test]
    fn the_expectations_name_exactly_the_interfaces_of_the_instances_that_start() {
        let scenario = scenario(60, 9);
        let interfaces: BTreeSet<&str> = stopped(&scenario)
            .iter()
            .flat_map(|instance| instance["NetworkInterfaces"].as_array().unwrap())
            .map(|interface| interface["NetworkInterfaceId"].as_str().unwrap())
            .collect();
        assert_eq!(interfaces, scenario.expected.keys().map(String::as_str).collect());
        let described = list(&scenario, "NetworkInterfaces")
            .iter()
            .map(|i| i["NetworkInterfaceId"].as_str().unwrap());
        assert!(interfaces.is_subset(&described.collect()));
    }

    #[test]
    fn a_seed_makes_one_world_and_another_seed_another() {
        assert_eq!(scenario(40, 1).snapshot, scenario(40, 1).snapshot);
        assert_ne!(scenario(40, 1).snapshot, scenario(40, 2).snapshot);
    }

    #[test]
    fn no_address_is_given_twice_in_a_vpc() {
        let scenario = scenario(400, 1);
        let interfaces = list(&scenario, "NetworkInterfaces");
        let addresses: BTreeSet<&str> = interfaces
            .iter()
            .map(|interface| interface["PrivateIpAddress"].as_str().unwrap())
            .collect();
        assert_eq!(addresses.len(), interfaces.len());
    }
}
