//! What the stages would decide about one interface in a world that a [`Snapshot`] holds, and why.
//!
//! The decisions are those of this crate's rules and of [`least_loaded`], by the same code. What a snapshot has no
//! answer for is decided here:
//! - The load of a target is the number of the snapshot's sessions to it. There is no ledger, so no target is
//!   ever full.
//! - Where the source is not to be mirrored at all, every target is rejected by `target`, with the reason why
//!   the source is not.
//! - Where the snapshot holds subnets, an endpoint whose subnet is not among them, or any endpoint if the
//!   source's is not, is `unverifiable`: the snapshot contradicts itself. No rule needs a subnet's own
//!   description, so a snapshot without any is not incomplete.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use jiff::Timestamp;
use mirrorstep_core::assignment::{SensorLoad, least_loaded};
use mirrorstep_core::config::{Consent, FixedTags, UnverifiableTargets};
use mirrorstep_core::ids::{InstanceId, InterfaceId, TargetId};
use mirrorstep_core::network::{
    Instance, NetworkInterface, PrefixListEntry, RouteTable, SecurityGroup, TrafficMirrorTarget,
};
use mirrorstep_core::pipeline::{Candidacy, Choice, LeftOut, MirrorRequest, RejectedBy, Rejection};
use serde::Serialize;

use crate::remedy;
use crate::snapshot::Snapshot;
use crate::{GatherSettings, VisibleTarget};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The interface that is to be mirrored, as in the snapshot.
    pub interface_id: String,
    /// The targets in question, in this order, each once. `None`: all that the snapshot holds.
    pub targets: Option<Vec<String>>,
    /// Only endpoints in the source's zone are candidates.
    pub local_zone_only: bool,
    /// The tags by which instances and interfaces opt in and out.
    pub consent: Consent,
    /// The tags by which they fix their target or filter.
    pub fixed: FixedTags,
    /// What becomes of a target about which a rule cannot be decided.
    pub unverifiable: UnverifiableTargets,
}

/// The answer. What is serialised of it is a contract; the rest is for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The interface that was asked for.
    pub interface: String,
    /// One for each target.
    pub verdicts: Vec<Verdict>,
    /// The target that would be picked.
    pub picked: Option<TargetId>,
    /// Why the source is not to be mirrored, if so.
    #[serde(skip)]
    pub left_out: Option<LeftOut>,
    /// What tags chose for the source.
    #[serde(skip)]
    pub choices: Vec<Choice>,
    /// What a person should know and no rule rejects for.
    #[serde(skip)]
    pub advisories: Vec<String>,
    /// The commands that would take a rejection's cause away.
    #[serde(skip)]
    pub remedies: Vec<Remedy>,
}

/// What is decided about one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// `tmt-…`.
    pub target_id: TargetId,
    /// Whether the target could receive the interface's packets.
    pub eligible: bool,
    /// The first rule that rejects it.
    pub rejected_by: Option<RejectedBy>,
    /// Why it is rejected, in words.
    pub reason: Option<String>,
    /// The rule of a group, ACL entry, route or zone that decided; where it is eligible, those that let it through.
    /// `None` for a target of which nothing can be seen and that is allowed all the same.
    pub evidence: Option<String>,
    /// One of its endpoints is in the source's zone: of those that every rule lets through where the target is
    /// eligible, of all that are visible where it is not.
    pub local: bool,
    /// The snapshot's sessions to it.
    #[serde(skip)]
    pub sessions: u64,
}

/// A command that would take the cause of rejections away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remedy {
    /// The targets that it would help.
    pub targets: Vec<TargetId>,
    /// For a shell.
    pub command: String,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// The interface is not among the snapshot's.
    #[error("the snapshot has no interface {interface} in NetworkInterfaces{hint}")]
    UnknownInterface {
        /// The interface.
        interface: String,
        /// What to do.
        hint: &'static str,
    },
}

/// Answers a question from a snapshot.
pub fn explain(snapshot: &Snapshot, question: &Question) -> Result<Explanation, ExplainError> {
    let source = source(snapshot, &question.interface_id)?;
    let interface_id = InterfaceId::as_given(&source.network_interface_id);
    let targets = targets(snapshot, question);
    let candidacy = gather(snapshot, question, &interface_id, source, targets.clone());
    let candidacy = decide(snapshot, question, candidacy);

    let mut sessions: HashMap<&str, u64> = HashMap::new();
    for session in &snapshot.traffic_mirror_sessions {
        *sessions.entry(&session.traffic_mirror_target_id).or_default() += 1;
    }
    let loads: Vec<SensorLoad> = candidacy
        .candidates
        .iter()
        .map(|candidate| {
            let sessions = sessions.get(candidate.target_id.as_str()).copied();
            SensorLoad::new(candidate.target_id.clone(), sessions.unwrap_or_default(), 0)
        })
        .collect();
    let candidates = candidacy
        .candidates
        .iter()
        .map(|candidate| (&candidate.target_id, candidate.local));
    let picked = least_loaded(&interface_id, candidates, &loads, Timestamp::UNIX_EPOCH)
        .map(|load| load.target_id.clone());
    let crossing = candidacy.source.as_ref().and_then(|source| {
        let picked = candidacy
            .candidates
            .iter()
            .find(|candidate| Some(&candidate.target_id) == picked.as_ref())?;
        crate::zone_crossing(source, picked)
    });

    let verdicts: Vec<_> = targets
        .iter()
        .map(|target| {
            let sessions = sessions
                .get(target.target_id.as_str())
                .copied()
                .unwrap_or_default();
            verdict(target, source, &candidacy, sessions)
        })
        .collect();
    let mut advisories: Vec<_> = snapshot
        .traffic_mirror_sessions
        .iter()
        .filter(|session| session.network_interface_id == question.interface_id)
        .map(|session| {
            format!(
                "{} is mirrored already: session {}, number {}, to {}",
                question.interface_id,
                session.traffic_mirror_session_id,
                session.session_number,
                session.traffic_mirror_target_id
            )
        })
        .collect();
    advisories.extend(crossing);
    advisories.extend(candidacy.advisories);
    let remedies = remedies(snapshot, question, source, &targets, &verdicts);
    Ok(Explanation {
        interface: question.interface_id.clone(),
        verdicts,
        picked,
        left_out: candidacy.left_out,
        choices: candidacy.request.choices,
        advisories,
        remedies,
    })
}

pub(crate) fn source<'a>(
    snapshot: &'a Snapshot,
    interface_id: &str,
) -> Result<&'a NetworkInterface, ExplainError> {
    snapshot
        .network_interfaces
        .iter()
        .find(|interface| interface.network_interface_id == interface_id)
        .ok_or_else(|| ExplainError::UnknownInterface {
            interface: interface_id.to_owned(),
            hint: if snapshot.network_interfaces.is_empty() {
                ", which is empty: add the output of `aws ec2 describe-network-interfaces`"
            } else if instances_of(snapshot, interface_id).next().is_some() {
                ", only in Reservations: add the output of `aws ec2 describe-network-interfaces`"
            } else {
                ": check the id, and that the snapshot is of its account and Region"
            },
        })
}

fn instances_of<'a>(snapshot: &'a Snapshot, interface_id: &'a str) -> impl Iterator<Item = &'a Instance> {
    snapshot.instances.iter().filter(move |instance| {
        instance
            .network_interfaces
            .iter()
            .any(|interface| interface.network_interface_id == interface_id)
    })
}

pub(crate) fn targets(snapshot: &Snapshot, question: &Question) -> Vec<VisibleTarget> {
    let shown = snapshot.traffic_mirror_targets.iter();
    let id = |target: &TrafficMirrorTarget| TargetId::as_given(&target.traffic_mirror_target_id);
    let configured = match &question.targets {
        Some(ids) => {
            let mut asked = HashSet::new();
            ids.iter()
                .filter(|id| asked.insert(id.as_str()))
                .map(|id| TargetId::as_given(id))
                .collect()
        }
        None => shown.clone().map(id).collect(),
    };
    crate::visible_targets(
        configured,
        shown.map(|target| (id(target), target.clone())).collect(),
        &snapshot.network_interfaces,
        &snapshot.vpc_endpoints,
        &snapshot.instances,
    )
}

/// What `resolve-interfaces`, `check-existing-session` and `gather-candidates` come to.
pub(crate) fn gather(
    snapshot: &Snapshot,
    question: &Question,
    interface_id: &InterfaceId,
    source: &NetworkInterface,
    targets: Vec<VisibleTarget>,
) -> Candidacy {
    let attached_to = source
        .attachment
        .as_ref()
        .and_then(|attachment| attachment.instance_id.as_deref());
    let instance = snapshot
        .instances
        .iter()
        .find(|instance| Some(instance.instance_id.as_str()) == attached_to)
        .or_else(|| instances_of(snapshot, interface_id.as_str()).next());
    let instance_id = attached_to
        .or(instance.map(|instance| instance.instance_id.as_str()))
        .unwrap_or_default();
    let settings = GatherSettings {
        local_zone_only: question.local_zone_only,
        consent: question.consent.clone(),
        fixed: question.fixed.clone(),
        unverifiable: question.unverifiable,
    };
    let used_session_numbers = snapshot
        .traffic_mirror_sessions
        .iter()
        .filter(|session| session.network_interface_id == interface_id.as_str())
        .map(|session| session.session_number)
        .collect();
    let tags = instance.map_or_else(Vec::new, |instance| instance.tags.clone());
    let whose = match instance {
        Some(_) => format!("instance {instance_id}"),
        None if instance_id.is_empty() => format!("{interface_id} is attached to no instance and so"),
        None => format!("instance {instance_id}, which is not in Reservations,"),
    };
    let by_instance = crate::consent_verdict(interface_id, &tags, &question.consent, &whose);
    let request = MirrorRequest {
        interface_id: interface_id.clone(),
        instance_id: InstanceId::as_given(instance_id),
        instance_name: None,
        choices: crate::choices(&tags, &question.consent, &question.fixed, &whose),
        change: None,
    };
    let mut candidacy = crate::gather(
        request,
        Timestamp::UNIX_EPOCH,
        used_session_numbers,
        source,
        targets,
        &settings,
    );
    // A stage would not have been asked at all.
    if let Some(left_out) = by_instance {
        candidacy.left_out = Some(left_out);
        candidacy.candidates.clear();
        candidacy.rejections.clear();
        candidacy.advisories.clear();
    }
    candidacy
}

/// What the filters come to.
fn decide(snapshot: &Snapshot, question: &Question, candidacy: Candidacy) -> Candidacy {
    let unverifiable = question.unverifiable;
    let candidacy = drop_dangling_subnets(snapshot, candidacy, unverifiable);
    let groups: HashMap<String, SecurityGroup> = snapshot
        .security_groups
        .iter()
        .map(|group| (group.group_id.clone(), group.clone()))
        .collect();
    let prefix_lists: &HashMap<String, Vec<PrefixListEntry>> = &snapshot.prefix_list_entries;
    let route_tables: &[RouteTable] = &snapshot.route_tables;
    let candidacy = crate::filter_security_groups(candidacy, &groups, prefix_lists, unverifiable);
    let candidacy = crate::filter_network_acls(candidacy, &snapshot.network_acls, unverifiable);
    crate::filter_routes(candidacy, route_tables, prefix_lists, unverifiable)
}

fn drop_dangling_subnets(
    snapshot: &Snapshot,
    mut candidacy: Candidacy,
    unverifiable: UnverifiableTargets,
) -> Candidacy {
    let Some(source) = candidacy.source.as_ref().filter(|_| !snapshot.subnets.is_empty()) else {
        return candidacy;
    };
    let known: HashSet<&str> = snapshot
        .subnets
        .iter()
        .map(|subnet| subnet.subnet_id.as_str())
        .collect();
    // One without a subnet is for the rules.
    let dangles = |subnet: &str| !subnet.is_empty() && !known.contains(subnet);
    let source_dangles = dangles(&source.subnet_id);
    let reason = "the snapshot names a subnet that it does not hold";
    for mut candidate in std::mem::take(&mut candidacy.candidates) {
        let mut evidence = Vec::new();
        if source_dangles {
            evidence.push(format!(
                "{}, the source's subnet, is not in Subnets",
                source.subnet_id
            ));
        }
        for endpoint in &candidate.endpoints {
            if dangles(&endpoint.subnet_id) {
                evidence.push(format!(
                    "{}, the subnet of {}, is not in Subnets",
                    endpoint.subnet_id, endpoint.interface_id
                ));
            }
        }
        let evidence = evidence.join("; ");
        if evidence.is_empty() {
            candidacy.candidates.push(candidate);
            continue;
        }
        if unverifiable == UnverifiableTargets::Allow {
            candidacy.advisories.push(format!(
                "{}: kept although {reason}: {evidence}",
                candidate.target_id
            ));
            candidacy.candidates.push(candidate);
            continue;
        }
        candidate
            .endpoints
            .retain(|endpoint| !source_dangles && !dangles(&endpoint.subnet_id));
        if candidate.endpoints.is_empty() {
            candidacy.rejections.push(Rejection {
                target_id: candidate.target_id,
                stage: RejectedBy::Unverifiable,
                reason: reason.to_owned(),
                evidence,
            });
        } else {
            candidate.local = candidate
                .endpoints
                .iter()
                .any(|endpoint| is_local(&endpoint.availability_zone, &source.availability_zone));
            candidacy.candidates.push(candidate);
        }
    }
    candidacy
}

fn is_local(zone: &str, source_zone: &str) -> bool {
    !zone.is_empty() && zone == source_zone
}

fn verdict(
    target: &VisibleTarget,
    source: &NetworkInterface,
    candidacy: &Candidacy,
    sessions: u64,
) -> Verdict {
    let target_id = target.target_id.clone();
    let candidate = candidacy
        .candidates
        .iter()
        .find(|candidate| candidate.target_id == target_id);
    if let Some(candidate) = candidate {
        return Verdict {
            eligible: true,
            rejected_by: None,
            reason: None,
            evidence: admitted_by(&target_id, candidacy),
            target_id,
            local: candidate.local,
            sessions,
        };
    }
    let rejection = candidacy
        .rejections
        .iter()
        .find(|rejection| rejection.target_id == target_id);
    let (stage, reason, evidence) = match (rejection, &candidacy.left_out) {
        (Some(rejection), _) => (
            rejection.stage,
            rejection.reason.clone(),
            rejection.evidence.clone(),
        ),
        (None, Some(left_out)) => (
            RejectedBy::Target,
            format!("the source is not to be mirrored: {}", left_out.reason),
            left_out.interface_id.to_string(),
        ),
        // The rules keep a target or reject it.
        (None, None) => (
            RejectedBy::Unverifiable,
            "no rule decided".to_owned(),
            target_id.to_string(),
        ),
    };
    Verdict {
        target_id,
        eligible: false,
        rejected_by: Some(stage),
        reason: Some(reason),
        evidence: Some(evidence),
        local: target
            .endpoints
            .iter()
            .any(|endpoint| is_local(&endpoint.availability_zone, &source.availability_zone)),
        sessions,
    }
}

/// What let a target through, rule by rule.
fn admitted_by(target_id: &TargetId, candidacy: &Candidacy) -> Option<String> {
    let evidence: Vec<_> = candidacy
        .admissions
        .iter()
        .filter(|admission| admission.target_id == *target_id)
        .map(|admission| admission.evidence.as_str())
        .collect();
    (!evidence.is_empty()).then(|| evidence.join("; "))
}

/// The commands that would mend rejections by a security group or a network ACL, each once.
fn remedies(
    snapshot: &Snapshot,
    question: &Question,
    source: &NetworkInterface,
    targets: &[VisibleTarget],
    verdicts: &[Verdict],
) -> Vec<Remedy> {
    let Ok(address) = source.private_ip_address.parse() else {
        return Vec::new();
    };
    let mut remedies: Vec<Remedy> = Vec::new();
    for (target, verdict) in targets.iter().zip(verdicts) {
        let evidence = verdict.evidence.as_deref().unwrap_or_default();
        let command = match verdict.rejected_by {
            Some(RejectedBy::SecurityGroup) => opening_group(snapshot, question, source, target, evidence),
            Some(RejectedBy::NetworkAcl) => {
                let ranges = sources(snapshot, question, address, target);
                snapshot
                    .network_acls
                    .iter()
                    .filter(|acl| names(evidence, &acl.network_acl_id))
                    .find_map(|acl| remedy::open_acl(acl, address, &ranges))
            }
            _ => None,
        };
        let Some(command) = command else { continue };
        let target_id = verdict.target_id.clone();
        match remedies.iter_mut().find(|remedy| remedy.command == command) {
            Some(remedy) => remedy.targets.push(target_id),
            None => remedies.push(Remedy {
                targets: vec![target_id],
                command,
            }),
        }
    }
    remedies
}

/// The command that opens a group of the endpoint that is to receive the source's packets.
fn opening_group(
    snapshot: &Snapshot,
    question: &Question,
    source: &NetworkInterface,
    target: &VisibleTarget,
    evidence: &str,
) -> Option<String> {
    let near = target.endpoints.iter().filter(|endpoint| {
        !question.local_zone_only || is_local(&endpoint.availability_zone, &source.availability_zone)
    });
    let (endpoint, group) = near
        .filter_map(|endpoint| Some((endpoint, endpoint.groups.first()?)))
        .find(|(_, group)| names(evidence, &group.group_id))?;
    let groups: Vec<&SecurityGroup> = snapshot
        .security_groups
        .iter()
        .filter(|shown| endpoint.groups.iter().any(|own| own.group_id == shown.group_id))
        .collect();
    let address = source.private_ip_address.parse().ok()?;
    let ranges = sources(snapshot, question, address, target);
    remedy::open_group(&group.group_id, &ranges, &groups)
}

/// From where mirrored packets come to a target; from this source in any case.
fn sources(
    snapshot: &Snapshot,
    question: &Question,
    address: Ipv4Addr,
    target: &VisibleTarget,
) -> Vec<Ipv4Net> {
    let endpoints: Vec<&NetworkInterface> = target.endpoints.iter().collect();
    let mut ranges = remedy::sources(snapshot, &endpoints, question.local_zone_only);
    if !ranges.iter().any(|range| range.contains(&address)) {
        ranges.push(Ipv4Net::from(address));
    }
    ranges
}

/// Whether an id stands in a text, as a whole word.
fn names(text: &str, id: &str) -> bool {
    !id.is_empty()
        && text
            .split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '-'))
            .any(|word| word == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_in_words_only_as_a_whole() {
        let evidence = "sg-12, sg-3: no rule admits udp 4789 from 10.0.1.5 (0 rules looked at)";
        assert!(names(evidence, "sg-12") && names(evidence, "sg-3"));
        assert!(!names(evidence, "sg-1") && !names(evidence, ""));
    }
}
