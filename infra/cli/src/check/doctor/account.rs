//! The account's side: the interfaces that are to be mirrored, EC2's limits, sessions that nobody looks after, and what
//! nothing reports.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{Instance, Reservation};
use mirrorstep_core::InterfaceId;
use mirrorstep_core::config::{Consent, Targets};
use mirrorstep_core::network::{Tag, TrafficMirrorSession};
use mirrorstep_core::reconcile::Session;
use mirrorstep_ec2::PAGE;
use mirrorstep_reachability::{consent_verdict, type_verdict};

use super::Running;
use super::sensors::{Sensor, only};
use super::{Examination, tag_option};
use crate::account::aws::Service;
use crate::error::Error;

/// The sessions of an account in a Region, which AWS does not raise (VPC Traffic Mirroring guide, "Traffic Mirroring
/// quotas").
const SESSIONS: usize = 10_000;
/// The sources of a target that is an interface (the same page).
const SOURCES: usize = 10;
/// And on an instance of the largest size of its family (the same page).
const SOURCES_ON_LARGEST: usize = 100;

impl Examination {
    /// The interfaces of running instances, without the sensors' own and those whose instance opts out.
    pub(super) async fn running(&mut self, sensors: &[Sensor]) -> Result<Option<Vec<Running>>, Error> {
        let mut pages = self
            .account
            .ec2_client
            .describe_instances()
            .filters(only("instance-state-name", ["running"]))
            .max_results(PAGE)
            .into_paginator()
            .send();
        let own: BTreeSet<&str> = sensors
            .iter()
            .filter_map(|sensor| sensor.target.network_interface_id.as_deref())
            .collect();
        let mut running = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(self.account.refusal(&Service::EC2, "DescribeInstances"));
            let Some(page) = self.given("zones", page)? else {
                return Ok(None);
            };
            for instance in page.reservations().iter().flat_map(Reservation::instances) {
                let sources = to_be_mirrored(instance, &self.settings.consent);
                running.extend(sources.filter(|source| !own.contains(source.interface.as_str())));
            }
        }
        Ok(Some(running))
    }

    /// Each zone with interfaces to be mirrored has a sensor.
    pub(super) fn zones(&mut self, sensors: &[Sensor], running: &[Running]) {
        const CHECK: &str = "zones";
        // Without any sensor there is a finding already, and it is not about zones.
        if sensors.is_empty() {
            return;
        }
        let unseen: Vec<&str> = sensors
            .iter()
            .filter(|sensor| sensor.endpoints.is_empty())
            .map(Sensor::id)
            .collect();
        let zones = by_zone(running);
        for (zone, count) in zones {
            let here = sensors.iter().filter(|sensor| sensor.is_in(zone)).count();
            let interfaces = interfaces(count);
            if here > 0 {
                self.ok(CHECK, zone, format!("{interfaces}, sensors: {here}"));
            } else if !self.settings.local_zone_only {
                let words =
                    format!("no sensor, and {interfaces}: AWS charges for their traffic between zones");
                self.note(CHECK, zone, words);
            } else if !unseen.is_empty() {
                let words = format!(
                    "no sensor that is known to be here, and {interfaces}; where these are cannot be told: {}",
                    unseen.join(", ")
                );
                self.note(CHECK, zone, words);
            } else {
                let words = format!("no sensor, and {interfaces}: none of them can be mirrored");
                let named = match &self.settings.targets {
                    Some(Targets::Tagged(tag)) => format!(
                        "give it the tag, in place of TARGET: aws ec2 create-tags --resources TARGET --tags {}",
                        tag_option(tag)
                    ),
                    _ => "add it to TargetIds".to_owned(),
                };
                let fix = format!(
                    "run a sensor in {zone} and make a target of its interface, in place of ENI: aws ec2 \
                     create-traffic-mirror-target --network-interface-id ENI; then {named}; or set LocalZoneOnly to \
                     `false`"
                );
                self.problem(CHECK, zone, words, fix);
            }
        }
    }

    /// EC2's limits leave room for every interface. Gives the sessions that there are.
    pub(super) async fn limits(
        &mut self,
        sensors: &[Sensor],
        running: Option<&[Running]>,
    ) -> Result<Option<Vec<TrafficMirrorSession>>, Error> {
        const CHECK: &str = "limits";
        let answer = self.account.ec2.all_sessions().await;
        let answer = answer.map_err(self.account.failed());
        let sessions = self.given(CHECK, answer)?;
        if let Some(sessions) = &sessions {
            self.sessions_left(sessions, running.unwrap_or_default());
        }
        let Some(running) = running.filter(|_| !sensors.is_empty()) else {
            return Ok(sessions);
        };
        if self.settings.local_zone_only {
            for (zone, count) in by_zone(running) {
                let here: Vec<&Sensor> = sensors.iter().filter(|sensor| sensor.is_in(zone)).collect();
                if !here.is_empty() {
                    self.room(&format!("sensors in {zone}"), &here, count);
                }
            }
        } else {
            self.room("sensors", &sensors.iter().collect::<Vec<_>>(), running.len());
        }
        Ok(sessions)
    }

    fn sessions_left(&mut self, sessions: &[TrafficMirrorSession], running: &[Running]) {
        const CHECK: &str = "limits";
        let mirrored: BTreeSet<&str> = sessions
            .iter()
            .map(|session| session.network_interface_id.as_str())
            .collect();
        let to_come = running
            .iter()
            .filter(|running| !mirrored.contains(running.interface.as_str()))
            .count();
        let there = sessions.len();
        let words = format!("{there} of {SESSIONS}, and {to_come} to come");
        if there + to_come > SESSIONS {
            let fix = "delete sessions that are not needed, or mirror fewer instances with OptInTag or OptOutTag: AWS \
                       does not raise this limit";
            self.problem(CHECK, "sessions of the account", words, fix);
        } else {
            self.ok(CHECK, "sessions of the account", words);
        }
    }

    /// Load balancers take any number of sources.
    fn room(&mut self, subject: &str, sensors: &[&Sensor], wanted: usize) {
        const CHECK: &str = "limits";
        let interfaces = interfaces(wanted);
        if sensors.iter().any(|sensor| !sensor.is_interface()) {
            self.ok(
                CHECK,
                subject,
                format!("{interfaces}; a load balancer takes any number"),
            );
            return;
        }
        let (least, most) = (sensors.len() * SOURCES, sensors.len() * SOURCES_ON_LARGEST);
        if wanted <= least {
            self.ok(
                CHECK,
                subject,
                format!("{interfaces}, and room for {least} at least"),
            );
        } else if wanted <= most {
            let words = format!(
                "{interfaces}, and room for {least}: a sensor takes {SOURCES}, or {SOURCES_ON_LARGEST} on the \
                 largest size of its instance family ({most} if all are)"
            );
            self.note(CHECK, subject, words);
        } else {
            let words = format!("{interfaces}, and room for {most} at most: the others cannot be mirrored");
            let fix = "add sensors, or put them behind a Network Load Balancer, which has no such limit";
            self.problem(CHECK, subject, words, fix);
        }
    }

    /// The sessions that mirrorstep made, where there is no stack of this name that looks after them.
    pub(super) fn left_behind(&mut self, stack: &str, sessions: Option<&[TrafficMirrorSession]>) {
        const FIX: &str = "deploy the stack again and run `mirrorstep unmirror --all`; or delete them: aws ec2 \
                           describe-traffic-mirror-sessions --query \
                           \"TrafficMirrorSessions[?Tags[?Key=='mirrorstep:managed']].TrafficMirrorSessionId\" --output text \
                           | xargs -n 1 aws ec2 delete-traffic-mirror-session --traffic-mirror-session-id";
        let shown = sessions.unwrap_or_default().iter().filter_map(Session::of);
        let ours = shown.filter(|session| session.is_managed).count();
        if ours > 0 {
            let words = format!(
                "{ours} carry the tag of those that mirrorstep makes, and nothing looks after them: there is no stack \
                 {stack}. They mirror, and cost by the hour"
            );
            self.problem("sessions", "sessions", words, FIX);
        }
    }

    /// What no event tells of: the rules of the template (`infra/template.yaml`) start on a change of an instance's
    /// state and by the clock, and on nothing that CloudTrail logs, so that a trail makes no difference.
    pub(super) fn changes(&mut self) {
        let words = "an interface that is attached to an instance that runs already, and a session that somebody deletes, \
                     start nothing: the next reconcile finds them, each hour unless ReconcileSchedule says otherwise, and \
                     `mirrorstep trigger INSTANCE` at once";
        self.note("changes", "changes by hand", words);
    }
}

/// The interfaces of an instance of which a session may be made, unless their own tags say otherwise.
fn to_be_mirrored<'a>(instance: &'a Instance, consent: &'a Consent) -> impl Iterator<Item = Running> + 'a {
    let tags: Vec<Tag> = instance
        .tags()
        .iter()
        .map(|tag| Tag {
            key: tag.key().unwrap_or_default().to_owned(),
            value: tag.value().unwrap_or_default().to_owned(),
        })
        .collect();
    let zone = instance
        .placement()
        .and_then(|placement| placement.availability_zone());
    instance.network_interfaces().iter().filter_map(move |interface| {
        let id: InterfaceId = interface.network_interface_id()?.parse().ok()?;
        let kind = interface.interface_type().unwrap_or_default();
        let left_out = type_verdict(&id, kind).or_else(|| consent_verdict(&id, &tags, consent, ""));
        left_out.is_none().then(|| Running {
            interface: id.to_string(),
            zone: zone.unwrap_or_default().to_owned(),
            subnet: interface.subnet_id().unwrap_or_default().to_owned(),
            vpc: interface.vpc_id().unwrap_or_default().to_owned(),
            address: interface.private_ip_address().unwrap_or_default().to_owned(),
        })
    })
}

fn by_zone(running: &[Running]) -> BTreeMap<&str, usize> {
    let mut zones = BTreeMap::new();
    for running in running {
        *zones.entry(running.zone.as_str()).or_default() += 1;
    }
    zones
}

fn interfaces(count: usize) -> String {
    match count {
        1 => "1 interface of a running instance".to_owned(),
        count => format!("{count} interfaces of running instances"),
    }
}
