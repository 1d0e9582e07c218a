//! How a deployment stands at one moment: its sensors, the interfaces that run, and whether both sides agree.
//!
//! `mirrorstep status` prints it, `mirrorstep report` makes a page of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use mirrorstep_core::assignment::{Assignment, AssignmentState, Refusal};
use mirrorstep_core::config::{Consent, ExistingSessionPolicy, Targets};
use mirrorstep_core::network::{Instance, NetworkInterface, TrafficMirrorTarget};
use mirrorstep_core::pipeline::{LeftOut, Outcome};
use mirrorstep_core::unreadable::Unreadable;
use mirrorstep_core::{ErrorName, InstanceId, InterfaceId, TargetId};
use mirrorstep_ec2::Wanted;
use mirrorstep_reachability::collect as needed;
use mirrorstep_reachability::explain::{Explanation, Question, explain};
use mirrorstep_reachability::snapshot::Snapshot;
use mirrorstep_reachability::{consent_verdict, type_verdict};
use serde::Serialize;
use serde_json::{Value, json};

use crate::account::aws::Account;
use crate::account::collect::collect_shown;
use crate::account::deployment::Deployment;
use crate::act::trigger::running;
use crate::error::Error;
use crate::watch::ledger::{self, Audit, Ledger, Session};
use crate::watch::senseless;
use crate::watch::unreadable::{Finding, findings};

/// How late EC2 may be before a difference is one.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many sources a target takes that is a network interface. On the largest size of its instance's family it takes
/// [`LARGEST`] (VPC Traffic Mirroring guide, "Quotas").
const SOURCES: u64 = 10;
/// See [`SOURCES`].
const LARGEST: u64 = 100;
/// How many interfaces are explained with one look at the network.
const EXPLAINED_AT_ONCE: usize = 200;

/// How a deployment stands.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// When that was.
    pub at: Timestamp,
    /// The stack's name.
    pub stack: String,
    /// The Region, and where its API is if not at the usual place.
    pub place: String,
    /// The sensors, by zone.
    pub sensors: Vec<Sensor>,
    /// Every interface of every running instance.
    pub interfaces: Vec<Interface>,
    /// Where the ledger and EC2 differ, in words. A change of the last seconds may be among it.
    pub differences: Vec<String>,
    /// What of the ledger cannot be read, or could not until lately.
    pub unreadable: Vec<Finding>,
    /// What of EC2's answers makes no sense and is left out, in words.
    pub senseless: Vec<String>,
}

/// A sensor.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sensor {
    /// Its target.
    pub target_id: String,
    /// The zones of its endpoints. Empty where EC2 does not show them.
    pub zones: Vec<String>,
    /// What kind of target it is: `network-interface`, `network-load-balancer`, `gateway-load-balancer-endpoint`.
    pub kind: &'static str,
    /// Sessions to it in EC2.
    pub sessions: u64,
    /// Live assignments to it in the ledger.
    pub assignments: u64,
    /// Sessions to it that are not the ledger's, as it has counted them.
    pub external: u64,
    /// How many sources it can take, where that is limited: 10, or 100 where it has more than 10 already, and so must
    /// be on the largest size of its instance's family.
    pub capacity: Option<u64>,
    /// Until when the ledger takes it for full.
    pub full_until: Option<Timestamp>,
    /// Until when the ledger takes it for down: EC2 refused a session, since it cannot receive.
    pub down_until: Option<Timestamp>,
    /// What EC2 said then.
    pub down_because: Option<String>,
    /// No new sessions are placed on it.
    pub draining: bool,
    /// EC2 does not show the target.
    pub missing: bool,
}

/// An interface of a running instance.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// `eni-…`.
    pub interface_id: String,
    /// Its instance.
    pub instance_id: String,
    /// The instance's tag `Name`.
    pub instance_name: Option<String>,
    /// Its zone.
    pub zone: String,
    /// What covers it, or why nothing does.
    pub state: Coverage,
    /// The target that it is mirrored to.
    pub target_id: Option<String>,
    /// Why it is not mirrored, in words: what to do about it where something is to be done.
    pub reason: Option<String>,
}

/// What covers an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Coverage {
    /// A session.
    Mirrored,
    /// A reservation whose session is about to be created.
    Pending,
    /// Nothing, and it could be mirrored, or nobody knows why not.
    Uncovered,
    /// Nothing: EC2 cannot mirror it.
    NotMirrorable,
    /// Nothing: a tag says so.
    OptedOut,
    /// Nothing: it is a sensor's own.
    Sensor,
}

impl Overview {
    /// Nothing that could be mirrored is not, the ledger agrees with EC2, and all of it can be read.
    pub fn is_well(&self) -> bool {
        self.differences.is_empty()
            && self.unreadable.is_empty()
            && self.senseless.is_empty()
            && self
                .interfaces
                .iter()
                .all(|interface| interface.state != Coverage::Uncovered)
    }

    /// The overview as a member of what `--json` prints.
    pub fn in_json(&self) -> Value {
        json!({
            "ok": self.is_well(), "coverage": self.coverage(), "at": self.at, "stack": self.stack,
            "place": self.place, "sensors": self.sensors, "interfaces": self.interfaces,
            "differences": self.differences, "unreadable": self.unreadable,
            "senseless": self.senseless,
        })
    }

    /// How many interfaces are in each state.
    pub fn coverage(&self) -> BTreeMap<Coverage, usize> {
        let mut counts = BTreeMap::new();
        for interface in &self.interfaces {
            *counts.entry(interface.state).or_default() += 1;
        }
        counts
    }
}

impl Sensor {
    /// What is to be known of it beside its numbers, in words. Empty where there is nothing.
    pub fn note(&self) -> String {
        let mut notes = Vec::new();
        if self.missing {
            notes.push("EC2 does not show this target".to_owned());
        }
        if !self.missing && self.zones.is_empty() {
            notes.push("EC2 does not show its interface".to_owned());
        }
        if let Some(until) = self.full_until {
            notes.push(format!("full, tried again at {until:.0}"));
        }
        if let Some(until) = self.down_until {
            let because = self
                .down_because
                .as_deref()
                .unwrap_or("EC2 refused a session to it");
            notes.push(format!("down, tried again at {until:.0}: {because}"));
        }
        if self.draining {
            notes.push("draining".to_owned());
        }
        notes.join("; ")
    }

    /// How many sources it can take, and how much of that is taken, in words.
    pub fn share(&self) -> String {
        match self.capacity {
            None if self.missing => String::new(),
            None => "no limit".to_owned(),
            Some(capacity) => format!("{capacity} ({} %)", self.sessions * 100 / capacity),
        }
    }
}

impl Coverage {
    /// All of them: those first for which somebody may have something to do.
    pub const ALL: [Self; 6] = [
        Self::Uncovered,
        Self::Pending,
        Self::NotMirrorable,
        Self::OptedOut,
        Self::Sensor,
        Self::Mirrored,
    ];

    /// Its name for a person.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Mirrored => "mirrored",
            Self::Pending => "about to be mirrored",
            Self::Uncovered => "not mirrored",
            Self::NotMirrorable => "not mirrorable",
            Self::OptedOut => "opted out",
            Self::Sensor => "a sensor's own",
        }
    }
}

/// Looks at the ledger, at EC2, and, for what nothing covers, at what decides. What was read of the ledger is there for
/// who wants to know more of it.
pub async fn observe(deployment: &Deployment) -> Result<(Overview, Ledger), Error> {
    let account = &deployment.account;
    let targets = deployment.targets()?;
    let (shown, instances) = tokio::try_join!(
        async { account.ec2.targets(&targets).await.map_err(account.failed()) },
        running(deployment)
    )?;
    let ours: Vec<String> = shown
        .iter()
        .map(|target| target.traffic_mirror_target_id.clone())
        .collect();
    let audit = ledger::audit(account, &deployment.outputs.ledger_table, &ours, &[], PATIENCE).await?;
    let ids = instances.iter().flat_map(|instance| {
        let interfaces = instance.network_interfaces.iter();
        interfaces.map(|interface| interface.network_interface_id.clone())
    });
    let described: HashMap<String, NetworkInterface> = account
        .ec2
        .interfaces("network-interface-id", ids)
        .await
        .map_err(account.failed())?
        .into_iter()
        .map(|interface| (interface.network_interface_id.clone(), interface))
        .collect();
    let mut overview = Overview {
        at: Timestamp::now(),
        stack: deployment.stack.clone(),
        place: account.place().to_owned(),
        sensors: sensors(account, &shown, &audit, configured(&targets)).await?,
        interfaces: Vec::new(),
        differences: Vec::new(),
        unreadable: findings(&audit.ledger, &deployment.outputs.ledger_table, Timestamp::now()),
        senseless: Vec::new(),
    };
    let survey = Survey::new(deployment, &shown, &audit)?;
    for instance in &instances {
        survey.look_at(instance, &described, &mut overview.interfaces);
    }
    survey
        .explain_uncovered(deployment, &mut overview.interfaces)
        .await?;
    overview
        .interfaces
        .sort_by(|one, other| (one.state, &one.interface_id).cmp(&(other.state, &other.interface_id)));
    for reason in overview
        .interfaces
        .iter_mut()
        .filter_map(|interface| interface.reason.as_mut())
    {
        *reason = deployment.options.in_commands(reason);
    }
    overview.differences = audit.disagreements;
    overview.senseless = senseless::met();
    Ok((overview, audit.ledger))
}

fn configured(targets: &Targets) -> &[TargetId] {
    match targets {
        Targets::Ids(ids) => ids,
        Targets::Tagged(_) => &[],
    }
}

/// Every sensor that is configured, or that the ledger knows.
async fn sensors(
    account: &Account,
    shown: &[TrafficMirrorTarget],
    audit: &Audit,
    configured: &[TargetId],
) -> Result<Vec<Sensor>, Error> {
    let zones = zones_of(account, shown).await?;
    let ids: BTreeSet<&str> = shown
        .iter()
        .map(|target| target.traffic_mirror_target_id.as_str())
        .chain(configured.iter().map(TargetId::as_str))
        .chain(audit.ledger.loads.keys().map(String::as_str))
        .collect();
    let mut sensors: Vec<Sensor> = ids
        .into_iter()
        .map(|id| {
            let target = shown.iter().find(|target| target.traffic_mirror_target_id == id);
            let load = audit.ledger.loads.get(id);
            let sessions = audit.sessions.iter().filter(|session| session.target_id == id);
            let sessions = sessions.count() as u64;
            let live = |assignment: &&Assignment| assignment.is_live() && assignment.target_id.as_str() == id;
            let kind = target.map_or("unknown", kind);
            Sensor {
                target_id: id.to_owned(),
                zones: zones.get(id).cloned().unwrap_or_default(),
                kind,
                sessions,
                assignments: audit.ledger.assignments.iter().filter(live).count() as u64,
                external: load.map_or(0, |load| load.external),
                capacity: (kind == "network-interface").then_some(if sessions > SOURCES {
                    LARGEST
                } else {
                    SOURCES
                }),
                full_until: until(load.and_then(|load| load.full_until)),
                down_until: until(load.and_then(|load| load.down_until)),
                down_because: load.and_then(|load| load.down_because.clone()),
                draining: load.is_some_and(|load| load.draining),
                missing: target.is_none(),
            }
        })
        .collect();
    sensors.sort_by(|one, other| (&one.zones, &one.target_id).cmp(&(&other.zones, &other.target_id)));
    Ok(sensors)
}

/// A time of the ledger's, where it is not over.
fn until(millisecond: Option<i64>) -> Option<Timestamp> {
    let until = Timestamp::from_millisecond(millisecond?).ok()?;
    (until > Timestamp::now()).then_some(until)
}

fn kind(target: &TrafficMirrorTarget) -> &'static str {
    if target.network_load_balancer_arn.is_some() {
        "network-load-balancer"
    } else if target.gateway_load_balancer_endpoint_id.is_some() {
        "gateway-load-balancer-endpoint"
    } else {
        "network-interface"
    }
}

/// The zones of each target's endpoints.
async fn zones_of(
    account: &Account,
    targets: &[TrafficMirrorTarget],
) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let mut snapshot = Snapshot {
        traffic_mirror_targets: targets.to_vec(),
        ..Snapshot::default()
    };
    snapshot.vpc_endpoints = account
        .ec2
        .vpc_endpoints(&needed::vpc_endpoints(&snapshot))
        .await
        .map_err(account.failed())?;
    let (by_id, by_description) = tokio::try_join!(
        account
            .ec2
            .interfaces("network-interface-id", needed::target_interfaces(&snapshot)),
        account
            .ec2
            .interfaces("description", needed::load_balancer_descriptions(&snapshot))
    )
    .map_err(account.failed())?;
    let interfaces: Vec<NetworkInterface> = by_id.into_iter().chain(by_description).collect();
    let zones = targets.iter().map(|target| {
        let description = mirrorstep_reachability::load_balancer_description(target);
        let gateway = target.gateway_load_balancer_endpoint_id.as_ref();
        let gateway = snapshot
            .vpc_endpoints
            .iter()
            .find(|endpoint| Some(&endpoint.vpc_endpoint_id) == gateway);
        let own = interfaces.iter().filter(|interface| {
            let id = &interface.network_interface_id;
            target.network_interface_id.as_ref() == Some(id)
                || description.as_ref() == Some(&interface.description)
                || gateway.is_some_and(|endpoint| endpoint.network_interface_ids.contains(id))
        });
        let zones: BTreeSet<String> = own.map(|interface| interface.availability_zone.clone()).collect();
        (
            target.traffic_mirror_target_id.clone(),
            zones.into_iter().collect(),
        )
    });
    Ok(zones.collect())
}

/// What is known of all interfaces when one is looked at.
struct Survey<'a> {
    sensors_own: BTreeSet<&'a str>,
    sessions: HashMap<&'a str, &'a Session>,
    assignments: HashMap<&'a str, &'a Assignment>,
    /// The assignments that cannot be read.
    unreadable: HashMap<&'a str, &'a Unreadable>,
    consent: Consent,
}

impl<'a> Survey<'a> {
    fn new(
        deployment: &Deployment,
        targets: &'a [TrafficMirrorTarget],
        audit: &'a Audit,
    ) -> Result<Self, Error> {
        let settings = deployment.settings();
        let ours = |session: &&Session| {
            targets
                .iter()
                .any(|target| target.traffic_mirror_target_id == session.target_id)
        };
        let any = ExistingSessionPolicy::from(&settings)? == ExistingSessionPolicy::Any;
        // Where an interface has several, the one of ours is shown.
        let (own, others): (Vec<_>, Vec<_>) = audit.sessions.iter().partition(ours);
        let others = others.into_iter().filter(|_| any);
        Ok(Self {
            sensors_own: targets
                .iter()
                .filter_map(|target| target.network_interface_id.as_deref())
                .collect(),
            sessions: others
                .chain(own)
                .map(|session| (session.interface_id.as_str(), session))
                .collect(),
            assignments: audit
                .ledger
                .assignments
                .iter()
                .map(|assignment| (assignment.interface_id.as_str(), assignment))
                .collect(),
            unreadable: audit
                .ledger
                .unreadable
                .iter()
                .filter_map(|item| Some((item.assigned()?.as_str(), item)))
                .collect(),
            consent: Consent::from(&settings)?,
        })
    }

    /// Each interface of an instance.
    fn look_at(
        &self,
        instance: &Instance,
        described: &HashMap<String, NetworkInterface>,
        found: &mut Vec<Interface>,
    ) {
        let is_sensor = instance
            .network_interfaces
            .iter()
            .any(|interface| self.sensors_own.contains(interface.network_interface_id.as_str()));
        let name = instance.tags.iter().find(|tag| tag.key == "Name");
        for interface in &instance.network_interfaces {
            let id = interface.network_interface_id.as_str();
            let description = described.get(id);
            let session = self.sessions.get(id);
            let (state, reason) = match session {
                Some(_) => (Coverage::Mirrored, None),
                None if is_sensor => (
                    Coverage::Sensor,
                    Some("its instance is a sensor, which is not mirrored itself".to_owned()),
                ),
                None => self.without_session(instance, id, &interface.interface_type, description),
            };
            found.push(Interface {
                interface_id: id.to_owned(),
                instance_id: instance.instance_id.clone(),
                instance_name: name.map(|tag| tag.value.clone()),
                zone: description
                    .map_or_else(String::new, |description| description.availability_zone.clone()),
                state,
                target_id: session.map(|session| session.target_id.clone()),
                reason,
            });
        }
    }

    fn without_session(
        &self,
        instance: &Instance,
        id: &str,
        interface_type: &str,
        description: Option<&NetworkInterface>,
    ) -> (Coverage, Option<String>) {
        let senseless =
            (id.parse::<InterfaceId>().err()).or_else(|| instance.instance_id.parse::<InstanceId>().err());
        if let Some(error) = senseless {
            let reason = format!("EC2's answer makes no sense: {error}");
            return (Coverage::Uncovered, Some(reason));
        }
        let left_out = id.parse::<InterfaceId>().ok().and_then(|id| {
            let own = description.map_or(&[][..], |description| &description.tag_set);
            consent_verdict(&id, &instance.tags, &self.consent, "its instance")
                .or_else(|| {
                    // An instance without the tag to opt in is told by the line above.
                    let opt_out = Consent {
                        opt_in: None,
                        ..self.consent.clone()
                    };
                    consent_verdict(&id, own, &opt_out, "it")
                })
                .or_else(|| type_verdict(&id, interface_type))
        });
        if let Some(left_out) = left_out {
            return told(left_out);
        }
        if let Some(item) = self.unreadable.get(id) {
            return (Coverage::Uncovered, Some(item.to_string()));
        }
        match self.assignments.get(id) {
            Some(assignment) if assignment.state == AssignmentState::Reserved => (
                Coverage::Pending,
                Some(format!("a place on {} is reserved", assignment.target_id)),
            ),
            Some(assignment) if assignment.is_live() => (
                Coverage::Uncovered,
                Some(unseen(assignment, &instance.instance_id)),
            ),
            Some(assignment) => {
                let attached_at = description.and_then(|shown| shown.attachment.as_ref()?.attached_at());
                let instance_id = instance.instance_id.parse().ok();
                instance_id
                    .and_then(|id| assignment.refusal_on(&id, attached_at))
                    .map_or((Coverage::Uncovered, None), |refusal| refused(refusal, instance))
            }
            None => (Coverage::Uncovered, None),
        }
    }

    /// Finds words for those that nothing covers, by what the functions would decide now.
    async fn explain_uncovered(
        &self,
        deployment: &Deployment,
        interfaces: &mut [Interface],
    ) -> Result<(), Error> {
        let mut unexplained: Vec<&mut Interface> = interfaces
            .iter_mut()
            .filter(|interface| interface.state == Coverage::Uncovered && interface.reason.is_none())
            .collect();
        if unexplained.is_empty() {
            return Ok(());
        }
        let question = deployment.question("").await?;
        for some in unexplained.chunks_mut(EXPLAINED_AT_ONCE) {
            let ids: Vec<InterfaceId> = some
                .iter()
                .filter_map(|interface| interface.interface_id.parse().ok())
                .collect();
            let snapshot = collect_shown(
                &deployment.account,
                Wanted {
                    interfaces: &ids,
                    local_zone_only: question.local_zone_only,
                    ..Wanted::default()
                },
            )
            .await?;
            for interface in some.iter_mut() {
                let question = Question {
                    interface_id: interface.interface_id.clone(),
                    ..question.clone()
                };
                match explain(&snapshot, &question) {
                    Ok(explanation) => {
                        (interface.state, interface.reason) =
                            verdict(&explanation, interface, &deployment.stack);
                    }
                    Err(error) => interface.reason = Some(error.to_string()),
                }
            }
        }
        Ok(())
    }
}

/// What EC2's refusal of an interface means for it.
fn refused(refusal: &Refusal, instance: &Instance) -> (Coverage, Option<String>) {
    if refusal.error == ErrorName::SourceNotMirrorable {
        return (Coverage::NotMirrorable, Some(refusal.because.clone()));
    }
    let times = match refusal.count {
        1 => "once".to_owned(),
        count => format!("{count} times in a row"),
    };
    // Without times, so that a report can tell many of the same kind as one.
    let reason = format!(
        "EC2 has refused it {times}: {}; `mirrorstep reconcile` asks again, later each time, and `mirrorstep trigger {}` \
         at once",
        refusal.because, instance.instance_id
    );
    (Coverage::Uncovered, Some(reason))
}

/// What is to be known of an active assignment whose session EC2 does not show.
fn unseen(assignment: &Assignment, instance: &str) -> String {
    let target = &assignment.target_id;
    match ledger::trusted(assignment).as_str() {
        "" => format!(
            "the ledger has a session to {target}, and EC2 shows none: `mirrorstep reconcile` has it made again"
        ),
        trusted => format!(
            "the ledger has a session to {target}, and EC2 shows none{trusted}; after that `mirrorstep reconcile` has it \
             made again, and `mirrorstep trigger {instance}` waits for that time and makes it again"
        ),
    }
}

fn told(left_out: LeftOut) -> (Coverage, Option<String>) {
    let state = match left_out.outcome {
        Outcome::OptedOut => Coverage::OptedOut,
        _ => Coverage::NotMirrorable,
    };
    (state, Some(left_out.reason))
}

/// What the functions would decide about an interface that nothing covers.
fn verdict(explanation: &Explanation, interface: &Interface, stack: &str) -> (Coverage, Option<String>) {
    if let Some(left_out) = &explanation.left_out {
        return told(left_out.clone());
    }
    let reason = if let Some(picked) = &explanation.picked {
        format!(
            "{picked} could receive it: `mirrorstep trigger {}` has it mirrored",
            interface.instance_id
        )
    } else {
        let mut by_rule: BTreeMap<String, usize> = BTreeMap::new();
        for verdict in &explanation.verdicts {
            if let Some(Ok(serde_json::Value::String(rule))) = verdict.rejected_by.map(serde_json::to_value) {
                *by_rule.entry(rule).or_default() += 1;
            }
        }
        let rules: Vec<_> = by_rule
            .iter()
            .map(|(rule, count)| format!("{count} by {rule}"))
            .collect();
        format!(
            "no sensor can receive it ({}): `mirrorstep explain --stack {stack} --interface {}` says why, and what to \
             change",
            rules.join(", "),
            interface.interface_id
        )
    };
    (Coverage::Uncovered, Some(reason))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn refusal(error: &str, count: u32) -> Refusal {
        let refusal = json!({
            "error": error, "because": format!("create-session failed with {error}: In EC2's words"),
            "at": "2026-01-01T00:00:00Z", "count": count,
        });
        serde_json::from_value(refusal).unwrap()
    }

    #[test]
    fn what_ec2_refuses_is_told_with_its_words_and_what_comes_next() {
        let instance = json!({"InstanceId": "i-00000000000000001"});
        let instance: Instance = serde_json::from_value(instance).unwrap();
        let (state, reason) = refused(&refusal("SourceNotMirrorable", 3), &instance);
        assert!(state == Coverage::NotMirrorable && reason.unwrap().contains("In EC2's words"));
        for (count, times) in [(1, "once"), (3, "3 times in a row")] {
            let (state, reason) = refused(&refusal("SessionRefused", count), &instance);
            let reason = reason.unwrap();
            assert_eq!(state, Coverage::Uncovered);
            for part in [
                times,
                "In EC2's words",
                "`mirrorstep trigger i-00000000000000001`",
            ] {
                assert!(reason.contains(part), "{reason}");
            }
        }
    }

    #[test]
    fn a_sensor_that_is_down_is_told_with_ec2s_words() {
        let sensor = Sensor {
            target_id: "tmt-00000000000000001".to_owned(),
            zones: vec!["us-east-1a".to_owned()],
            kind: "network-interface",
            sessions: 0,
            assignments: 0,
            external: 0,
            capacity: None,
            full_until: None,
            down_until: Some(Timestamp::UNIX_EPOCH),
            down_because: Some("In EC2's words".to_owned()),
            draining: false,
            missing: false,
        };
        assert_eq!(
            sensor.note(),
            "down, tried again at 1970-01-01T00:00:00Z: In EC2's words"
        );
    }
}
