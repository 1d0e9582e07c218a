//! The account's side: the interfaces that are to be mirrored, EC2's limits, permissions, and what nothing reports.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::{self as sdk, Instance, Reservation};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use mirrorstep_core::InterfaceId;
use mirrorstep_core::config::{Consent, Targets};
use mirrorstep_core::network::{Attachment, NetworkInterface, Tag, TrafficMirrorSession};
use mirrorstep_ec2::PAGE;
use mirrorstep_reachability::{consent_verdict, type_verdict};

use super::sensors::{Sensor, only};
use super::{Examination, tag_option};
use crate::account::aws::Service;
use crate::error::{Error, Failure};
use terminal::for_shell;

/// The sessions of an account in a Region, which AWS does not raise (VPC Traffic Mirroring guide, "Traffic Mirroring
/// quotas").
const SESSIONS: usize = 10_000;
/// The sources of a target that is an interface (the same page).
const SOURCES: usize = 10;
/// And on an instance of the largest size of its family (the same page).
const SOURCES_ON_LARGEST: usize = 100;

/// An interface of a running instance that is to be mirrored.
#[derive(Debug)]
pub(super) struct Running {
    interface: String,
    zone: String,
    subnet: String,
    vpc: String,
    address: String,
}

impl Running {
    /// The interface, as far as the way from it to a sensor hangs on it.
    pub(super) fn as_source(&self) -> NetworkInterface {
        NetworkInterface {
            network_interface_id: self.interface.clone(),
            availability_zone: self.zone.clone(),
            subnet_id: self.subnet.clone(),
            vpc_id: self.vpc.clone(),
            private_ip_address: self.address.clone(),
            attachment: Some(Attachment {
                instance_id: Some(String::new()),
                ..Attachment::default()
            }),
            ..NetworkInterface::default()
        }
    }
}

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

    /// What the caller may do, by calls that do nothing (EC2 API reference, `DryRun`).
    pub(super) async fn permissions(
        &mut self,
        sensors: &[Sensor],
        running: Option<&[Running]>,
        sessions: Option<&[TrafficMirrorSession]>,
    ) -> Result<(), Error> {
        let ours: BTreeSet<&str> = sensors.iter().map(Sensor::id).collect();
        let target = ours.first().copied();
        let interface = running
            .and_then(<[_]>::first)
            .map(|running| running.interface.as_str());
        match (interface, target, &self.settings.filter) {
            (Some(interface), Some(target), Some(filter)) => {
                let call = self
                    .account
                    .ec2_client
                    .create_traffic_mirror_session()
                    .network_interface_id(interface)
                    .traffic_mirror_target_id(target)
                    .traffic_mirror_filter_id(filter.as_str())
                    .session_number(1)
                    .dry_run(true);
                match call.send().await {
                    Ok(made) => self.made(interface, target, made.traffic_mirror_session()),
                    Err(error) => self.may("CreateTrafficMirrorSession", &error)?,
                }
            }
            _ => self.untold(
                "CreateTrafficMirrorSession",
                "there is no interface, target and filter to try it with",
            ),
        }
        // One of ours, if there is one: a policy may tell sessions apart.
        let sessions = sessions.unwrap_or_default();
        let session = sessions
            .iter()
            .find(|session| ours.contains(session.traffic_mirror_target_id.as_str()))
            .or_else(|| sessions.first());
        if let Some(session) = session {
            let call = self
                .account
                .ec2_client
                .modify_traffic_mirror_session()
                .traffic_mirror_session_id(&session.traffic_mirror_session_id)
                // Where it goes already: an EC2 that ignores `DryRun` changes nothing.
                .traffic_mirror_target_id(&session.traffic_mirror_target_id)
                .dry_run(true);
            match call.send().await {
                Ok(_) => self.untold(
                    "ModifyTrafficMirrorSession",
                    "EC2 has not taken the dry run for one; it has changed nothing",
                ),
                Err(error) => self.may("ModifyTrafficMirrorSession", &error)?,
            }
        } else {
            self.untold("ModifyTrafficMirrorSession", "there is no session to try it with");
        }
        Ok(())
    }

    /// EC2 has answered the dry run of a create with success, as some stand-ins for it do: the session is there.
    fn made(&mut self, interface: &str, target: &str, session: Option<&sdk::TrafficMirrorSession>) {
        const CHECK: &str = "permissions";
        const ACTION: &str = "CreateTrafficMirrorSession";
        let place = self.account.place();
        let (session, fix) = match session.and_then(|session| session.traffic_mirror_session_id()) {
            Some(id) => (
                format!("session {id}"),
                format!(
                    "aws ec2 delete-traffic-mirror-session --traffic-mirror-session-id {}",
                    for_shell(id)
                ),
            ),
            None => (
                "a session".to_owned(),
                format!(
                    "find it, and delete it, in place of SESSION: aws ec2 describe-traffic-mirror-sessions --filters \
                     Name=network-interface-id,Values={interface}, then aws ec2 delete-traffic-mirror-session \
                     --traffic-mirror-session-id SESSION"
                ),
            ),
        };
        let words = format!(
            "EC2 in {place} has not taken the dry run for one: it has made {session} from {interface} to {target}"
        );
        self.problem(CHECK, ACTION, words, fix);
    }

    fn may<E>(&mut self, action: &'static str, error: &SdkError<E, HttpResponse>) -> Result<(), Error>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        const CHECK: &str = "permissions";
        if error.code() == Some("DryRunOperation") {
            let words = "these credentials may make it; the functions have roles of their own";
            self.ok(CHECK, action, words);
            return Ok(());
        }
        match self.account.refused(&Service::EC2, action, error) {
            Error::Refused {
                failure: Failure::NotAllowed,
                cause,
                next,
                ..
            } => {
                let words = format!(
                    "these credentials may not make it; the functions have roles of their own, so only commands that \
                     make it are affected: {cause}"
                );
                self.problem(CHECK, action, words, next);
            }
            Error::Refused {
                failure: Failure::Other,
                cause,
                ..
            } => self.untold(action, &cause),
            other => return Err(other),
        }
        Ok(())
    }

    fn untold(&mut self, action: &'static str, why: &str) {
        let words = format!("whether these credentials may make it cannot be told: {why}");
        self.note("permissions", action, words);
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
