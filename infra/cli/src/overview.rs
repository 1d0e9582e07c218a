//! How a deployment stands at one moment: its sensors, the interfaces that run, and whether both sides agree.
//!
//! `mirrorstep status` prints it, `mirrorstep report` makes a page of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use mirrorstep_core::assignment::{Assignment, AssignmentState};
use mirrorstep_core::config::{Consent, ExistingSessionPolicy, Targets};
use mirrorstep_core::explain::{Explanation, Question, explain};
use mirrorstep_core::network::{Instance, NetworkInterface, TrafficMirrorTarget};
use mirrorstep_core::pipeline::{LeftOut, Outcome};
use mirrorstep_core::reachability::{consent_verdict, type_verdict};
use mirrorstep_core::snapshot::{Snapshot, VpcEndpoint};
use mirrorstep_core::{InterfaceId, TargetId, collect as needed};
use serde::Serialize;
use serde_json::{Value, json};

use crate::aws::Account;
use crate::collect::{Wanted, collect};
use crate::deployment::Deployment;
use crate::error::Error;
use crate::ledger::{self, Audit, Ledger, Session};
use crate::trigger::running;

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
    /// Nothing that could be mirrored is not, and the ledger agrees with EC2.
    pub fn is_well(&self) -> bool {
        self.differences.is_empty()
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
            "differences": self.differences,
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
                full_until: load
                    .and_then(|load| Timestamp::from_millisecond(load.full_until?).ok())
                    .filter(|until| *until > Timestamp::now()),
                draining: load.is_some_and(|load| load.draining),
                missing: target.is_none(),
            }
        })
        .collect();
    sensors.sort_by(|one, other| (&one.zones, &one.target_id).cmp(&(&other.zones, &other.target_id)));
    Ok(sensors)
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
    let endpoints = account
        .ec2
        .vpc_endpoint_interfaces(&needed::vpc_endpoints(&snapshot))
        .await
        .map_err(account.failed())?;
    let of_endpoint = endpoints.clone();
    snapshot.vpc_endpoints = endpoints
        .into_iter()
        .map(|(vpc_endpoint_id, network_interface_ids)| VpcEndpoint {
            vpc_endpoint_id,
            network_interface_ids,
        })
        .collect();
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
        let description = mirrorstep_core::reachability::load_balancer_description(target);
        let of_gateway = target
            .gateway_load_balancer_endpoint_id
            .as_ref()
            .and_then(|id| of_endpoint.get(id));
        let own = interfaces.iter().filter(|interface| {
            let id = &interface.network_interface_id;
            target.network_interface_id.as_ref() == Some(id)
                || description.as_ref() == Some(&interface.description)
                || of_gateway.is_some_and(|ids| ids.contains(id))
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
        match self.assignments.get(id) {
            Some(assignment) if assignment.state == AssignmentState::Reserved => (
                Coverage::Pending,
                Some(format!("a place on {} is reserved", assignment.target_id)),
            ),
            Some(assignment) if assignment.is_live() => (
                Coverage::Uncovered,
                Some(unseen(assignment, &instance.instance_id)),
            ),
            Some(Assignment {
                released_because: Some(because),
                instance_id,
                ..
            }) if because.contains("SourceNotMirrorable") && instance_id.as_str() == instance.instance_id => {
                (Coverage::NotMirrorable, Some(because.clone()))
            }
            _ => (Coverage::Uncovered, None),
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
            let snapshot = collect(
                &deployment.account,
                Wanted {
                    interfaces: &ids,
                    local_zone_only: question.local_zone_only,
                    may_be_gone: true,
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
