//! The world that the stack runs in: which sensors, which filter, which instances are to start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use aws_sdk_ec2::types::InstanceStateName;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use mirrorstep_ec2::PAGE;
use serde_json::{Value, json};

use crate::clients::{Clients, instance_arn};
use crate::error::Error;
use crate::options::{FleetOptions, StackOptions};
use crate::scenario::Scenario;
use crate::stack::{StandIns, http};
use terminal::Terminal;

/// How many instances one request starts.
const START_AT_ONCE: usize = 100;
/// How many events one request takes (EventBridge API reference, `PutEvents`).
const EVENTS_AT_ONCE: usize = 10;
/// How long another EC2 stand-in may take to start instances.
const RUNNING_WITHIN: Duration = Duration::from_mins(2);

/// What is in EC2 before anything starts.
#[derive(Debug, Default)]
pub struct World {
    /// The sensors.
    pub sensors: Vec<SensorView>,
    /// The first filter.
    pub filter_id: Option<String>,
    /// The instances that are stopped, those that are sensors last.
    pub stopped: Vec<String>,
    /// The instances of a world of one's own that run already, as in a snapshot of an account.
    pub running: Vec<String>,
    /// What ought to come out, where it is known.
    pub scenario: Option<Scenario>,
    /// Whether this program tells of the instances that start, as nobody else does.
    announces: bool,
}

/// A sensor as the report shows it.
#[derive(Debug, Clone)]
pub struct SensorView {
    /// `tmt-…`.
    pub target_id: String,
    /// Its zone, where it is one interface.
    pub zone: String,
    /// What a person should know of it.
    pub note: String,
}

impl World {
    /// Puts the world in place: the one of `snapshot`, or of the EC2 stand-in that was given, or a made-up one.
    pub async fn prepare(
        options: &StackOptions,
        fleet: FleetOptions,
        snapshot: Option<&Path>,
        stand_ins: &StandIns,
        terminal: &Terminal,
    ) -> Result<Self, Error> {
        let url = format!("{}/_sim/snapshot", stand_ins.ec2_endpoint());
        if options.ec2_endpoint.is_some() {
            let world = Self::observe(stand_ins.clients()).await?;
            if !world.sensors.is_empty() {
                terminal.step(&format!(
                    "Using the world of {} as it is: {} targets, {} stopped instances",
                    stand_ins.ec2_endpoint(),
                    world.sensors.len(),
                    world.stopped.len()
                ));
                return Ok(Self {
                    announces: true,
                    ..world
                });
            }
        }
        let world = if let Some(path) = snapshot {
            let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
            let snapshot: Value = serde_json::from_str(&text).map_err(|error| Error::Unreadable {
                what: path.display().to_string(),
                cause: error.to_string(),
                next: "give a JSON object of lists as the AWS CLI prints them",
            })?;
            http::post(&url, &snapshot).await?;
            Self {
                running: instances_of(&snapshot, "running").map(id).collect(),
                ..Self::of_snapshot(&snapshot)
            }
        } else {
            let scenario = Scenario::generate(fleet);
            http::post(&url, &scenario.snapshot).await?;
            let mut world = Self::of_snapshot(&scenario.snapshot);
            for (view, sensor) in world.sensors.iter_mut().zip(&scenario.sensors) {
                sensor.note().clone_into(&mut view.note);
            }
            world.stopped.retain(|id| !scenario.stays_stopped.contains(id));
            Self {
                scenario: Some(scenario),
                ..world
            }
        };
        Ok(Self {
            announces: options.ec2_endpoint.is_some(),
            ..world
        })
    }

    fn of_snapshot(snapshot: &Value) -> Self {
        let list = |name: &str| snapshot[name].as_array().map(Vec::as_slice).unwrap_or_default();
        let text = |object: &Value, member: &str| object[member].as_str().unwrap_or_default().to_owned();
        let zones: BTreeMap<String, String> = list("NetworkInterfaces")
            .iter()
            .map(|interface| {
                (
                    text(interface, "NetworkInterfaceId"),
                    text(interface, "AvailabilityZone"),
                )
            })
            .collect();
        let sensors = list("TrafficMirrorTargets").iter().map(|target| SensorView {
            target_id: text(target, "TrafficMirrorTargetId"),
            zone: zones
                .get(&text(target, "NetworkInterfaceId"))
                .cloned()
                .unwrap_or_default(),
            note: String::new(),
        });
        let own: BTreeSet<String> = list("TrafficMirrorTargets")
            .iter()
            .map(|target| text(target, "NetworkInterfaceId"))
            .collect();
        let is_sensor = |instance: &Value| {
            let mut interfaces = instance["NetworkInterfaces"].as_array().into_iter().flatten();
            interfaces.any(|interface| own.contains(&text(interface, "NetworkInterfaceId")))
        };
        let mut stopped: Vec<&Value> = instances_of(snapshot, "stopped").collect();
        stopped.sort_by_key(|instance| is_sensor(instance));
        Self {
            sensors: sensors.collect(),
            filter_id: list("TrafficMirrorFilters")
                .first()
                .map(|filter| text(filter, "TrafficMirrorFilterId")),
            stopped: stopped.into_iter().map(id).collect(),
            ..Self::default()
        }
    }

    /// The world that an EC2 stand-in has already.
    async fn observe(clients: &Clients) -> Result<Self, Error> {
        let ec2 = &clients.ec2;
        let targets: Vec<_> = ec2
            .describe_traffic_mirror_targets()
            .max_results(PAGE)
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(Error::aws("DescribeTrafficMirrorTargets"))?;
        if targets.is_empty() {
            return Ok(Self::default());
        }
        let interfaces: Vec<_> = ec2
            .describe_network_interfaces()
            .max_results(PAGE)
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(Error::aws("DescribeNetworkInterfaces"))?;
        let zones: BTreeMap<_, _> = interfaces
            .iter()
            .map(|interface| {
                (
                    interface.network_interface_id(),
                    interface.availability_zone().unwrap_or_default(),
                )
            })
            .collect();
        let filters: Vec<_> = ec2
            .describe_traffic_mirror_filters()
            .max_results(PAGE)
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(Error::aws("DescribeTrafficMirrorFilters"))?;
        let sensors = targets.iter().map(|target| SensorView {
            target_id: target.traffic_mirror_target_id().unwrap_or_default().to_owned(),
            zone: (*zones.get(&target.network_interface_id()).unwrap_or(&"")).to_owned(),
            note: String::new(),
        });
        Ok(Self {
            sensors: sensors.collect(),
            filter_id: filters
                .first()
                .and_then(|filter| filter.traffic_mirror_filter_id())
                .map(str::to_owned),
            stopped: instances_in(ec2, InstanceStateName::Stopped).await?,
            ..Self::default()
        })
    }

    /// The template's parameters: what this world needs, and what was given on the command line in its place.
    pub fn parameters(&self, options: &StackOptions) -> Vec<(String, String)> {
        let given = |key: &str| options.parameters.iter().any(|parameter| parameter.key == key);
        let decommissioned = self.scenario.iter().map(|scenario| &scenario.decommissioned);
        let ids: Vec<&str> = self
            .sensors
            .iter()
            .map(|sensor| &sensor.target_id)
            .chain(decommissioned)
            .map(String::as_str)
            .collect();
        let mut parameters = BTreeMap::new();
        // The functions refuse to be given both.
        if !given("TargetTag") {
            parameters.insert("TargetIds".to_owned(), ids.join(","));
        }
        if let Some(filter) = &self.filter_id {
            parameters.insert("FilterId".to_owned(), filter.clone());
        }
        parameters.extend(
            options
                .parameters
                .iter()
                .map(|parameter| (parameter.key.clone(), parameter.value.clone())),
        );
        parameters.into_iter().collect()
    }

    /// Starts every stopped instance, all at once, and tells of those that run already.
    pub async fn start(&self, clients: &Clients) -> Result<(), Error> {
        for ids in self.stopped.chunks(START_AT_ONCE) {
            let request = clients.ec2.start_instances().set_instance_ids(Some(ids.to_vec()));
            request.send().await.map_err(Error::aws("StartInstances"))?;
        }
        if self.announces {
            self.wait_until_running(clients).await?;
            announce(&self.stopped, clients).await?;
        }
        announce(&self.running, clients).await
    }

    /// Waits until the instances that were started are shown as running.
    async fn wait_until_running(&self, clients: &Clients) -> Result<(), Error> {
        let begin = Instant::now();
        loop {
            let running = instances_in(&clients.ec2, InstanceStateName::Running).await?;
            let missing: Vec<&String> = self.stopped.iter().filter(|id| !running.contains(id)).collect();
            if missing.is_empty() {
                break;
            }
            if begin.elapsed() > RUNNING_WITHIN {
                return Err(Error::Stalled {
                    seconds: RUNNING_WITHIN.as_secs(),
                    missing: format!("the EC2 stand-in does not show as running: {}", some(&missing)),
                });
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }
}

/// Puts an event on the bus for each of these instances, as EC2 does when one has started.
async fn announce(instances: &[String], clients: &Clients) -> Result<(), Error> {
    for ids in instances.chunks(EVENTS_AT_ONCE) {
        let entries = ids.iter().map(|id| {
            PutEventsRequestEntry::builder()
                .source("mirrorstep")
                .detail_type("EC2 Instance State-change Notification")
                .resources(instance_arn(id))
                .detail(json!({ "instance-id": id, "state": "running" }).to_string())
                .build()
        });
        let answer = clients
            .events
            .put_events()
            .set_entries(Some(entries.collect()))
            .send()
            .await
            .map_err(Error::aws("PutEvents"))?;
        if answer.failed_entry_count() > 0 {
            let cause = answer.entries().iter().find_map(|entry| entry.error_message());
            let cause = cause.unwrap_or("an event was refused").to_owned();
            return Err(Error::Aws {
                call: "PutEvents",
                cause,
            });
        }
    }
    Ok(())
}

/// The instances of a snapshot that are in this state.
fn instances_of<'a>(snapshot: &'a Value, state: &'a str) -> impl Iterator<Item = &'a Value> {
    let reservations = snapshot["Reservations"].as_array().into_iter().flatten();
    reservations
        .flat_map(|reservation| reservation["Instances"].as_array().into_iter().flatten())
        .filter(move |instance| instance["State"]["Name"] == state)
}

fn id(instance: &Value) -> String {
    instance["InstanceId"].as_str().unwrap_or_default().to_owned()
}

async fn instances_in(ec2: &aws_sdk_ec2::Client, state: InstanceStateName) -> Result<Vec<String>, Error> {
    let reservations: Vec<_> = ec2
        .describe_instances()
        .filters(
            aws_sdk_ec2::types::Filter::builder()
                .name("instance-state-name")
                .values(state.as_str())
                .build(),
        )
        .max_results(PAGE)
        .into_paginator()
        .items()
        .send()
        .try_collect()
        .await
        .map_err(Error::aws("DescribeInstances"))?;
    let instances = reservations
        .iter()
        .flat_map(aws_sdk_ec2::types::Reservation::instances);
    Ok(instances
        .filter_map(|instance| instance.instance_id().map(str::to_owned))
        .collect())
}

/// The first few of many, for a message.
pub fn some(names: &[impl AsRef<str>]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Given {
        #[command(flatten)]
        stack: StackOptions,
    }

    fn parameters(args: &[&str]) -> BTreeMap<String, String> {
        let world = World {
            sensors: ["tmt-1", "tmt-2"]
                .map(|id| SensorView {
                    target_id: id.to_owned(),
                    zone: String::new(),
                    note: String::new(),
                })
                .into(),
            filter_id: Some("tmf-1".to_owned()),
            ..World::default()
        };
        let given = Given::parse_from([&["mirrorstep"], args].concat());
        world.parameters(&given.stack).into_iter().collect()
    }

    #[test]
    fn the_command_line_overrides_what_the_world_sets() {
        let by_default = parameters(&[]);
        assert_eq!(
            (by_default["TargetIds"].as_str(), by_default["FilterId"].as_str()),
            ("tmt-1,tmt-2", "tmf-1")
        );
        let given = parameters(&["--parameter", "TargetIds=", "--parameter", "LocalZoneOnly=false"]);
        assert_eq!(
            (given["TargetIds"].as_str(), given["LocalZoneOnly"].as_str()),
            ("", "false")
        );
    }

    #[test]
    fn a_target_tag_takes_the_place_of_the_ids() {
        assert!(!parameters(&["--parameter", "TargetTag=sensor=yes"]).contains_key("TargetIds"));
    }

    #[test]
    fn the_fleet_that_starts_is_the_stopped_one() {
        let scenario = Scenario::generate(FleetOptions {
            instances: 30,
            seed: 1,
        });
        let world = World::of_snapshot(&scenario.snapshot);
        assert_eq!(world.stopped.len(), 30 + scenario.stays_stopped.len());
        let zones: Vec<&str> = world.sensors.iter().map(|sensor| sensor.zone.as_str()).collect();
        assert_eq!(
            zones,
            scenario
                .sensors
                .iter()
                .map(|sensor| sensor.zone)
                .collect::<Vec<_>>()
        );
    }
}
