//! The world around the system: what happens to it, from a seed, and what must be true when it rests.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use ec2_sim::{Ec2Sim, Options, Throttle};
use jiff::Timestamp;
use mirrorstep_core::assignment::{SESSION_GRACE, SensorLoad};
use serde_json::{Value, json};
use stage_tests::pipeline::Pipeline;
use stage_tests::scene::{FILTER, INSTANCE_GROUP, Scene, instance_subnet, interface_id, sensor_subnet};
use tokio::time::sleep;

use crate::Settings;
use crate::executions::StepFunctions;
use crate::journal::{Journal, Violation};
use crate::ledger::Session;
use crate::wire::{Net, Service, element};

/// A target of another tool.
const FOREIGN_TARGET: &str = "tmt-0000000000000ffff";

const ZONES: usize = 2;

struct Sensor {
    target: String,
    zone: usize,
    group: String,
    /// Whether its group lets the packets in.
    is_open: bool,
    is_configured: bool,
    /// How many sources EC2 lets it have.
    most: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum HostState {
    Running,
    Stopped,
    Terminated,
}

struct Host {
    id: String,
    zone: usize,
    interfaces: Vec<String>,
    state: HostState,
    can_be_mirrored: bool,
    /// A tag says that it is not to be mirrored.
    is_opted_out: bool,
}

/// One world, and the system in it.
pub(crate) struct World {
    settings: Settings,
    journal: Journal,
    net: Net,
    ec2: Ec2Sim,
    functions: Rc<StepFunctions>,
    random: RefCell<fastrand::Rng>,
    sensors: RefCell<Vec<Sensor>>,
    hosts: RefCell<Vec<Host>>,
    local_zone_only: bool,
    /// The packet length of the settings.
    packet_length: Cell<Option<i32>>,
    /// Whether any session makes an interface a mirrored one, or only those to our targets.
    any_session_counts: bool,
    lag: Duration,
}

impl World {
    pub(crate) fn new(seed: u64, settings: &Settings) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let journal = Journal::new(settings.trace);
        let mut scene = Scene::new();
        let mut sensors = Vec::new();
        for zone in 0..ZONES {
            for _ in 0..random.usize(1..=3) {
                sensors.push(first_sensor(&mut scene, zone, &mut random));
            }
        }
        scene.list("TrafficMirrorTargets").push(json!({
            "TrafficMirrorTargetId": FOREIGN_TARGET, "Type": "network-load-balancer",
            "NetworkLoadBalancerArn":
                "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/net/other/50dc6c495c0c9188",
            "OwnerId": "000000000000",
        }));
        let lag = Duration::from_millis(*pick(&mut random, &[0, 0, 1_000, 5_000, 30_000]));
        let aws = scene.account(Options {
            lag,
            seed: random.u64(..),
            throttle: *pick(&mut random, &[Throttle::Aws, Throttle::Off]),
            start: SystemTime::UNIX_EPOCH + epoch(),
            ..Options::default()
        });
        let net = Net::new(
            (&aws.ec2, &aws.dynamo),
            &journal,
            settings.plant,
            random.fork(),
            *pick(&mut random, &[0.0, 0.01, 0.03, 0.1]),
        );
        let ec2 = aws.ec2.clone();
        let (local_zone_only, any_session_counts) = (random.u8(0..4) > 0, random.u8(0..3) > 0);
        let pipeline = Pipeline::new(aws.through(net.wire()), &scene.targets, FILTER)
            .with("LOCAL_ZONE_ONLY", &local_zone_only.to_string())
            .with(
                "EXISTING_SESSION_POLICY",
                if any_session_counts { "any" } else { "managed" },
            );
        journal.note(&format!(
            "{} sensors, lag {lag:?}, local zone only: {local_zone_only}, any session counts: {any_session_counts}",
            sensors.len()
        ));
        let functions = StepFunctions::new(
            pipeline,
            net.clone(),
            journal.clone(),
            settings.plant,
            random.fork(),
        );
        Self {
            settings: *settings,
            ec2,
            functions: Rc::new(functions),
            journal,
            net,
            random: RefCell::new(random),
            sensors: RefCell::new(sensors),
            hosts: RefCell::default(),
            local_zone_only,
            packet_length: Cell::default(),
            any_session_counts,
            lag,
        }
    }

    pub(crate) fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// Lets the world live, then rest, and checks what must be true then.
    pub(crate) async fn live(&self) {
        let mut after = 8;
        while after > 0 {
            let pause = match self.below(20) {
                0 => self.below(600_000),
                1..=4 => self.below(60_000),
                _ => self.below(3_000),
            };
            sleep(Duration::from_millis(pause as u64)).await;
            let has_all = self.interfaces() >= self.settings.interfaces;
            after -= usize::from(has_all);
            self.act(has_all);
            self.tell();
        }
        self.rest().await;
        self.reconcile().await;
        self.check_intent();
        // Where a session of ours is ended, another tool's of the same interface is adopted by the next one.
        sleep(SESSION_GRACE.unsigned_abs() * 2).await;
        self.reconcile().await;
        self.check();
        self.finish_moves().await;
        self.check();
    }

    /// Nothing goes wrong any more, nothing happens any more, and what was under way comes to its end: late
    /// events, executions, reservations that somebody left, sensors that were full.
    async fn rest(&self) {
        self.net.calm();
        self.journal.note("the world rests");
        sleep(Duration::from_mins(15)).await;
        self.functions.idle().await;
        sleep(Duration::from_hours(1)).await;
    }

    /// Ledger and EC2 are brought together again, once, and what is started for it comes to its end.
    async fn reconcile(&self) {
        self.start_reconcile();
        self.functions.idle().await;
        sleep(self.lag).await;
    }

    fn start_reconcile(&self) {
        let event = json!({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}});
        self.functions.start_after(Duration::ZERO, "reconcile", event);
    }

    /// I1 to I5 over the whole ledger, I6, and that every interface that can be mirrored is.
    fn check(&self) {
        let aws = &self.functions.pipeline.aws;
        let items = aws.dynamo.items();
        self.journal.note(&format!(
            "{} interfaces; calls to DynamoDB: {:?}; to EC2: {:?}",
            self.interfaces(),
            aws.dynamo.calls(),
            aws.ec2.calls()
        ));
        self.journal.check(self.net.book().i4_whole_ledger(&items));
        let sessions = self.sessions();
        let targets = self.configured();
        self.journal
            .check(self.net.book().i6_one_to_one(&sessions, &targets));
        self.journal.check(self.every_interface_is_mirrored(&sessions));
        self.check_intent();
    }

    /// I8, and that every session of ours is as the settings say.
    fn check_intent(&self) {
        self.journal
            .check(self.nothing_is_mirrored_against_its_tags(&self.sessions()));
        self.journal.check(self.every_session_has_its_settings());
    }

    /// The targets that are ours as things stand.
    fn configured(&self) -> Vec<String> {
        let sensors = self.sensors.borrow();
        let configured = sensors.iter().filter(|sensor| sensor.is_configured);
        configured.map(|sensor| sensor.target.clone()).collect()
    }

    /// Every interface of a running instance has a session that counts, or no sensor that it can reach has room.
    fn every_interface_is_mirrored(&self, sessions: &[Session]) -> Result<(), Violation> {
        let sensors = self.sensors.borrow();
        let has_room = |sensor: &Sensor| {
            let taken = sessions.iter().filter(|session| session.target == sensor.target);
            taken.count() < sensor.most
        };
        for host in self.hosts.borrow().iter() {
            if host.state != HostState::Running || !host.can_be_mirrored || host.is_opted_out {
                continue;
            }
            let place = sensors.iter().find(|sensor| {
                sensor.is_configured
                    && sensor.is_open
                    && !self.is_drained(&sensor.target)
                    && (!self.local_zone_only || sensor.zone == host.zone)
                    && has_room(sensor)
            });
            let counts = |session: &&Session| self.any_session_counts || session.target != FOREIGN_TARGET;
            let book = self.net.book();
            let is_wanted = |interface: &&String| !book.is_kept_off(interface);
            let alone = host.interfaces.iter().filter(is_wanted).find(|interface| {
                let own = sessions.iter().filter(|session| session.interface == **interface);
                own.filter(counts).count() == 0
            });
            if let Some((alone, place)) = alone.zip(place) {
                return Err(Violation::new(
                    "mirrored",
                    format!("a session of {alone}: {} could take it", place.target),
                    "none".to_owned(),
                ));
            }
        }
        Ok(())
    }

    /// I8: no session of ours stands for an interface that is not to be mirrored.
    fn nothing_is_mirrored_against_its_tags(&self, sessions: &[Session]) -> Result<(), Violation> {
        let book = self.net.book();
        for host in self.hosts.borrow().iter().filter(|host| host.is_opted_out) {
            let of_host = |session: &&Session| host.interfaces.contains(&session.interface);
            for session in sessions.iter().filter(of_host) {
                if host.state != HostState::Terminated && book.is_ours(&session.id) {
                    return Err(Violation::new(
                        "I8",
                        format!("no session of {}: {} is opted out", session.interface, host.id),
                        format!("{} to {}", session.id, session.target),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Every session of ours has the packet length that is configured, where its sensor can receive it still: a change of
    /// settings is decided as a move is.
    fn every_session_has_its_settings(&self) -> Result<(), Violation> {
        let configured = self.packet_length.get();
        let (sensors, hosts, book) = (self.sensors.borrow(), self.hosts.borrow(), self.net.book());
        for (interface, target, packet_length) in book.settings() {
            let host = hosts
                .iter()
                .find(|host| host.interfaces.iter().any(|own| own == interface));
            let sensor = sensors.iter().find(|sensor| sensor.target == target);
            let Some((host, sensor)) = host.zip(sensor) else {
                continue;
            };
            let is_as_before = host.state == HostState::Running
                && host.can_be_mirrored
                && !host.is_opted_out
                && sensor.is_configured
                && sensor.is_open
                && (!self.local_zone_only || sensor.zone == host.zone);
            if is_as_before && packet_length != configured {
                return Err(Violation::new(
                    "settings",
                    format!("packet length {configured:?} of {interface}"),
                    format!("{packet_length:?}"),
                ));
            }
        }
        Ok(())
    }

    fn sessions(&self) -> Vec<Session> {
        let snapshot = self
            .ec2
            .snapshot_of(&["NetworkInterfaces", "TrafficMirrorSessions"]);
        let text = |session: &Value, name: &str| session[name].as_str().unwrap_or_default().to_owned();
        let interfaces = snapshot["NetworkInterfaces"].as_array().into_iter().flatten();
        let attached: BTreeSet<&str> = interfaces
            .filter(|interface| interface["Attachment"]["InstanceId"].is_string())
            .filter_map(|interface| interface["NetworkInterfaceId"].as_str())
            .collect();
        let sessions = snapshot["TrafficMirrorSessions"].as_array();
        sessions
            .into_iter()
            .flatten()
            .map(|session| Session {
                id: text(session, "TrafficMirrorSessionId"),
                interface: text(session, "NetworkInterfaceId"),
                target: text(session, "TrafficMirrorTargetId"),
                is_attached: session["NetworkInterfaceId"]
                    .as_str()
                    .is_some_and(|interface| attached.contains(interface)),
            })
            .collect()
    }

    fn interfaces(&self) -> usize {
        self.hosts.borrow().iter().map(|host| host.interfaces.len()).sum()
    }

    fn below(&self, bound: usize) -> usize {
        self.random.borrow_mut().usize(0..bound)
    }

    /// One thing happens.
    fn act(&self, has_all: bool) {
        if self.below(10) == 0 {
            return self.operate();
        }
        match self.below(if has_all { 59 } else { 107 }) {
            0..7 => self.change_state(HostState::Running, "StopInstances", HostState::Stopped),
            7..14 => self.change_state(HostState::Stopped, "StartInstances", HostState::Running),
            14..20 => self.change_state(HostState::Running, "TerminateInstances", HostState::Terminated),
            20..26 => self.change_group(),
            26..29 => self.add_sensor(),
            29..33 => self.configure_sensors(),
            33..37 => self.delete_session(),
            37..39 => self.create_foreign_session(),
            39..45 => self.replay(),
            45..48 => self.redrive(),
            48..50 => self.outage(),
            50..52 => self.start_reconcile(),
            52..55 => self.detach_interface(),
            55..58 => self.tag_host(),
            58 => self.change_settings(),
            _ => {
                let together = *pick(&mut self.random.borrow_mut(), &[1, 1, 2, 3, 6, 16]);
                for _ in 0..together {
                    if self.interfaces() < self.settings.interfaces {
                        self.run_instance();
                    }
                }
            }
        }
    }

    /// A call of the world's own: it meets no faults.
    fn call(&self, parameters: &[(&str, &str)]) -> Result<String, String> {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(parameters)
            .finish();
        let response = self.ec2.handle(form.as_bytes());
        let action = parameters[0].1;
        self.journal.step(&format!(
            "world: {action} {} answers {}",
            parameters.last().map(|(_, value)| *value).unwrap_or_default(),
            response.status
        ));
        match response.status {
            200 => Ok(response.body),
            _ => Err(response.body),
        }
    }

    /// EventBridge hears of the instances that changed state.
    fn tell(&self) {
        for change in self.ec2.take_state_changes() {
            self.functions
                .publish("aws.ec2", &change.instance_id, &change.state);
        }
    }

    fn run_instance(&self) {
        let (zone, count) = (self.below(ZONES), 1 + self.below(6) / 3);
        let can_be_mirrored = self.below(20) > 0;
        let instance_type = if can_be_mirrored { "m5.large" } else { "m7i.large" };
        if let Some((id, interfaces)) =
            self.launch(&instance_subnet(zone), INSTANCE_GROUP, instance_type, count)
        {
            self.hosts.borrow_mut().push(Host {
                id,
                zone,
                interfaces,
                state: HostState::Running,
                can_be_mirrored,
                is_opted_out: false,
            });
        }
    }

    fn launch(
        &self,
        subnet: &str,
        group: &str,
        instance_type: &str,
        interfaces: usize,
    ) -> Option<(String, Vec<String>)> {
        let mut parameters = vec![
            ("Action".to_owned(), "RunInstances".to_owned()),
            ("ImageId".to_owned(), "ami-1".to_owned()),
            ("MinCount".to_owned(), "1".to_owned()),
            ("MaxCount".to_owned(), "1".to_owned()),
        ];
        for n in 0..interfaces {
            let name = |member: &str| format!("NetworkInterface.{}.{member}", n + 1);
            parameters.push((name("DeviceIndex"), n.to_string()));
            parameters.push((name("SubnetId"), subnet.to_owned()));
            parameters.push((name("SecurityGroupId.1"), group.to_owned()));
        }
        parameters.push(("InstanceType".to_owned(), instance_type.to_owned()));
        let parameters: Vec<(&str, &str)> = parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let answer = self.call(&parameters).ok()?;
        let id = element(&answer, "instanceId")?.to_owned();
        let parts = answer.split("<networkInterfaceId>").skip(1);
        let found = parts.filter_map(|part| part.split_once('<').map(|(id, _)| id.to_owned()));
        Some((id, found.collect()))
    }

    fn change_state(&self, from: HostState, action: &str, to: HostState) {
        let mut hosts = self.hosts.borrow_mut();
        let mut candidates: Vec<&mut Host> = hosts.iter_mut().filter(|host| host.state == from).collect();
        if candidates.is_empty() {
            return;
        }
        let at = self.below(candidates.len());
        let host = candidates.swap_remove(at);
        if self
            .call(&[("Action", action), ("InstanceId.1", &host.id)])
            .is_ok()
        {
            host.state = to;
        }
    }

    /// Somebody has an instance opt out, or takes that back.
    fn tag_host(&self) {
        let mut hosts = self.hosts.borrow_mut();
        let mut candidates: Vec<&mut Host> = hosts
            .iter_mut()
            .filter(|host| host.state != HostState::Terminated)
            .collect();
        if candidates.is_empty() {
            return;
        }
        let at = self.below(candidates.len());
        let host = candidates.swap_remove(at);
        let action = if host.is_opted_out {
            "DeleteTags"
        } else {
            "CreateTags"
        };
        let tag = [
            ("Action", action),
            ("Tag.1.Key", "mirror"),
            ("Tag.1.Value", "off"),
            ("ResourceId.1", host.id.as_str()),
        ];
        if self.call(&tag).is_ok() {
            host.is_opted_out = !host.is_opted_out;
        }
    }

    /// A new deployment has sessions carry more of each packet, or less.
    fn change_settings(&self) {
        let packet_length = *pick(&mut self.random.borrow_mut(), &[None, Some(128), Some(256)]);
        self.packet_length.set(packet_length);
        let text = packet_length.map_or_else(String::new, |length: i32| length.to_string());
        self.journal.step(&format!("world: PACKET_LENGTH={text}"));
        self.functions.pipeline.set("PACKET_LENGTH", &text);
    }

    /// A secondary interface is detached, and then deleted, attached to another instance, or left as it is.
    fn detach_interface(&self) {
        let mut hosts = self.hosts.borrow_mut();
        let from: Vec<usize> = (0..hosts.len())
            .filter(|at| hosts[*at].interfaces.len() > 1 && hosts[*at].state != HostState::Terminated)
            .collect();
        if from.is_empty() {
            return;
        }
        let from = from[self.below(from.len())];
        let interface = hosts[from].interfaces[hosts[from].interfaces.len() - 1].clone();
        let snapshot = self.ec2.snapshot_of(&["NetworkInterfaces"]);
        let shown = snapshot["NetworkInterfaces"].as_array().into_iter().flatten();
        let attachment = shown
            .filter(|shown| shown["NetworkInterfaceId"] == interface.as_str())
            .find_map(|shown| shown["Attachment"]["AttachmentId"].as_str());
        let Some(attachment) = attachment else { return };
        let detach = [("Action", "DetachNetworkInterface"), ("AttachmentId", attachment)];
        if self.call(&detach).is_err() {
            return;
        }
        hosts[from].interfaces.pop();
        match self.below(3) {
            0 => {
                let delete = [
                    ("Action", "DeleteNetworkInterface"),
                    ("NetworkInterfaceId", &interface),
                ];
                let _ = self.call(&delete);
            }
            1 => {
                let to: Vec<usize> = (0..hosts.len())
                    .filter(|at| {
                        hosts[*at].zone == hosts[from].zone && hosts[*at].state == HostState::Running
                    })
                    .collect();
                if to.is_empty() {
                    return;
                }
                let to = &mut hosts[to[self.below(to.len())]];
                let attach = [
                    ("Action", "AttachNetworkInterface"),
                    ("DeviceIndex", "7"),
                    ("NetworkInterfaceId", &interface),
                    ("InstanceId", &to.id),
                ];
                if self.call(&attach).is_ok() {
                    to.interfaces.push(interface);
                }
            }
            _ => {}
        }
    }

    fn change_group(&self) {
        let mut sensors = self.sensors.borrow_mut();
        let at = self.below(sensors.len());
        let (group, is_open) = (sensors[at].group.clone(), sensors[at].is_open);
        let action = if is_open {
            "RevokeSecurityGroupIngress"
        } else {
            "AuthorizeSecurityGroupIngress"
        };
        let done = self.call(&[
            ("Action", action),
            ("IpPermissions.1.IpProtocol", "udp"),
            ("IpPermissions.1.FromPort", "4789"),
            ("IpPermissions.1.ToPort", "4789"),
            ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/8"),
            ("GroupId", &group),
        ]);
        for sensor in sensors.iter_mut().filter(|sensor| sensor.group == group) {
            sensor.is_open = is_open ^ done.is_ok();
        }
    }

    fn add_sensor(&self) {
        let zone = self.below(ZONES);
        let (instance_type, most) = if self.below(4) == 0 {
            ("m5.large", 10)
        } else {
            ("m5.24xlarge", 100)
        };
        let group = self.sensors.borrow()[0].group.clone();
        let Some((_, interfaces)) = self.launch(&sensor_subnet(zone), &group, instance_type, 1) else {
            return;
        };
        let created = self.call(&[
            ("Action", "CreateTrafficMirrorTarget"),
            ("NetworkInterfaceId", &interfaces[0]),
        ]);
        let target = created
            .ok()
            .and_then(|answer| element(&answer, "trafficMirrorTargetId").map(str::to_owned));
        if let Some(target) = target {
            let is_open = self.sensors.borrow()[0].is_open;
            self.sensors.borrow_mut().push(Sensor {
                target,
                zone,
                group,
                is_open,
                is_configured: true,
                most,
            });
            self.deploy();
        }
    }

    /// A sensor is taken out of the configuration, or put in again.
    fn configure_sensors(&self) {
        let at = self.below(self.sensors.borrow().len());
        let mut sensors = self.sensors.borrow_mut();
        let configured = sensors.iter().filter(|sensor| sensor.is_configured).count();
        if configured > 1 || !sensors[at].is_configured {
            sensors[at].is_configured ^= true;
        }
        drop(sensors);
        self.deploy();
    }

    fn deploy(&self) {
        let targets = self.configured().join(",");
        self.journal.step(&format!("world: TARGET_IDS={targets}"));
        self.functions.pipeline.set("TARGET_IDS", &targets);
    }

    fn delete_session(&self) {
        let sessions = self.sessions();
        if !sessions.is_empty() {
            let id = &sessions[self.below(sessions.len())].id;
            let _ = self.call(&[
                ("Action", "DeleteTrafficMirrorSession"),
                ("TrafficMirrorSessionId", id),
            ]);
        }
    }

    /// Another tool mirrors an interface: to a target of its own, or to one of ours, as the function does that this
    /// system replaces.
    fn create_foreign_session(&self) {
        let targets = self.configured();
        let target = if self.below(2) == 0 {
            FOREIGN_TARGET
        } else {
            &targets[self.below(targets.len())]
        };
        let hosts = self.hosts.borrow();
        let interfaces: Vec<&String> = hosts
            .iter()
            .filter(|host| host.state == HostState::Running)
            .flat_map(|host| &host.interfaces)
            .collect();
        if !interfaces.is_empty() {
            let number = (1 + self.below(2)).to_string();
            let _ = self.call(&[
                ("Action", "CreateTrafficMirrorSession"),
                ("TrafficMirrorTargetId", target),
                ("TrafficMirrorFilterId", FILTER),
                ("SessionNumber", &number),
                ("NetworkInterfaceId", interfaces[self.below(interfaces.len())]),
            ]);
        }
    }

    /// Whether a sensor takes no new sessions, as the ledger has it.
    fn is_drained(&self, target: &str) -> bool {
        self.net.book().sensor(target).is_some_and(|load| load.draining)
    }

    /// An operator drains a sensor, lets one take sessions again, evens the loads out, moves the session of one interface
    /// or ends some.
    fn operate(&self) {
        let known: Vec<String> = {
            let sensors = self.sensors.borrow();
            let targets = sensors.iter().map(|sensor| sensor.target.clone());
            targets
                .filter(|target| self.net.book().sensor(target).is_some())
                .collect()
        };
        if known.is_empty() {
            return;
        }
        let target = known[self.below(known.len())].clone();
        let (machine, input) = match self.below(10) {
            0..3 => ("drain-sensor", json!({"targetId": target})),
            3 => ("drain-sensor", json!({"targetId": target, "cancel": true})),
            4 => ("drain-sensor", json!({"targetId": target, "dryRun": true})),
            5..7 => ("rebalance", json!({})),
            7 => match self.some_interfaces(1).pop() {
                Some(interface) => (
                    "move-interface",
                    json!({"interfaceId": interface, "leaves": target}),
                ),
                None => return,
            },
            8 => match self.some_interfaces(1).pop() {
                Some(interface) => ("unmirror-interface", json!({"interfaceId": interface})),
                None => return,
            },
            _ => match self.some_interfaces(6) {
                none if none.is_empty() => return,
                some => (
                    "unmirror-all",
                    json!({"interfaceIds": some, "keepOff": self.below(2) == 0}),
                ),
            },
        };
        self.journal
            .step(&format!("world: operator starts {machine} {input}"));
        let mut input = input;
        input["reason"] = json!("operator");
        self.functions.start_after(Duration::ZERO, machine, input);
    }

    /// Some interfaces, so many at most.
    fn some_interfaces(&self, most: usize) -> Vec<String> {
        let hosts = self.hosts.borrow();
        let all: Vec<&String> = hosts.iter().flat_map(|host| &host.interfaces).collect();
        if all.is_empty() {
            return Vec::new();
        }
        (0..=self.below(most))
            .map(|_| all[self.below(all.len())].clone())
            .collect()
    }

    /// Whatever became of them before, `drain-sensor` and `rebalance` run again come to their end: nothing that could go
    /// elsewhere is left on a drained sensor, and no session could go from one sensor of its zone to another that has
    /// less by two.
    async fn finish_moves(&self) {
        self.journal.note("the operator finishes");
        let targets: Vec<String> = {
            let sensors = self.sensors.borrow();
            sensors.iter().map(|sensor| sensor.target.clone()).collect()
        };
        for target in targets.iter().filter(|target| self.is_drained(target)) {
            self.finish("drain-sensor", json!({"targetId": target})).await;
        }
        for _ in 0..10 {
            if self.finish("rebalance", json!({})).await == 0 {
                break;
            }
            // A sensor that was full may have got room.
            sleep(Duration::from_mins(11)).await;
        }
        self.journal.check(self.moves_are_done());
    }

    /// Runs a workflow to its end: how many sessions it has moved.
    async fn finish(&self, machine: &'static str, input: Value) -> u64 {
        let ended = self.functions.to_its_end(machine, input).await;
        sleep(self.lag + Duration::from_mins(1)).await;
        match ended {
            Ok(summary) => summary["moved"].as_u64().unwrap_or_default(),
            Err(error) => {
                self.journal.check(Err(Violation::new(
                    "moves",
                    format!("an end of {machine}"),
                    error.to_string(),
                )));
                0
            }
        }
    }

    fn moves_are_done(&self) -> Result<(), Violation> {
        let (sessions, sensors, hosts) = (self.sessions(), self.sensors.borrow(), self.hosts.borrow());
        let book = self.net.book();
        let load = |target: &str| book.sensor(target).map_or(0, SensorLoad::total);
        let is_drained = |target: &str| book.sensor(target).is_some_and(|load| load.draining);
        let takes_sessions = |sensor: &&Sensor| {
            let taken = sessions.iter().filter(|session| session.target == sensor.target);
            sensor.is_configured
                && sensor.is_open
                && !is_drained(&sensor.target)
                && taken.count() < sensor.most
        };
        for (interface, on) in book.placed() {
            let has = |host: &&Host| !host.is_opted_out && host.interfaces.iter().any(|own| own == interface);
            let Some(host) = hosts.iter().find(has) else {
                continue;
            };
            let mut open = sensors
                .iter()
                .filter(takes_sessions)
                .filter(|sensor| sensor.target != on && (!self.local_zone_only || sensor.zone == host.zone));
            let better = if is_drained(on) {
                open.next()
            } else {
                open.find(|sensor| sensor.zone == host.zone && load(&sensor.target) + 2 <= load(on))
            };
            if let Some(better) = better {
                return Err(Violation::new(
                    "moves",
                    format!("{interface} to be moved to {}", better.target),
                    format!("it is still on {on}"),
                ));
            }
        }
        Ok(())
    }

    /// Somebody starts an execution anew with the input of an old one.
    fn replay(&self) {
        let inputs = self.functions.inputs();
        if !inputs.is_empty() {
            let (machine, input) = inputs[self.below(inputs.len())].clone();
            self.journal.step(&format!("world: replay of {machine}"));
            self.functions.start_after(Duration::ZERO, machine, input);
        }
    }

    fn redrive(&self) {
        let failed = self.functions.failed();
        if !failed.is_empty() {
            self.functions.redrive(&failed[self.below(failed.len())]);
        }
    }

    fn outage(&self) {
        if self.net.goes_wrong(f64::INFINITY) {
            let service = if self.below(2) == 0 {
                Service::Ec2
            } else {
                Service::DynamoDb
            };
            // Short ones are ridden out, long ones use up every retry: those cost the most calls.
            let most = *pick(&mut self.random.borrow_mut(), &[20, 60, 300, 1_800]);
            let lasts = Duration::from_secs(self.below(most) as u64);
            self.journal
                .step(&format!("world: {service:?} is out for {lasts:?}"));
            self.net.outage(service, lasts);
        }
    }
}

/// When every world begins.
fn epoch() -> Duration {
    let time: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a valid time");
    time.as_duration().unsigned_abs()
}

fn pick<'a, T>(random: &mut fastrand::Rng, from: &'a [T]) -> &'a T {
    &from[random.usize(0..from.len())]
}

/// A sensor that was there before the beginning, with a group of its own.
fn first_sensor(scene: &mut Scene, zone: usize, random: &mut fastrand::Rng) -> Sensor {
    let (instance_type, most) = if random.u8(0..4) == 0 {
        ("m5.large", 10)
    } else {
        ("m5.24xlarge", 100)
    };
    let number = 0x5000 + scene.targets.len();
    let target = scene.sensor(zone, instance_type);
    let group = format!("sg-{number:017x}");
    let vpc = scene.list("SecurityGroups")[0]["VpcId"].clone();
    scene.list("SecurityGroups").push(json!({
        "GroupId": group, "GroupName": format!("sensor-{number}"), "VpcId": vpc,
        "IpPermissions": [{"IpProtocol": "udp", "FromPort": 4789, "ToPort": 4789,
                           "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}],
    }));
    scene.set_groups(&interface_id(number), &[&group]);
    Sensor {
        target: target.to_string(),
        zone,
        group,
        is_open: true,
        is_configured: true,
        most,
    }
}
