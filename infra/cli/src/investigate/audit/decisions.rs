//! What a state decided, in words from its output.

use std::collections::{BTreeMap, HashSet};

use mirrorstep_core::assignment::ObservedSession;
use mirrorstep_core::moves::{ChangeResult, MovesPlan};
use mirrorstep_core::pipeline::{
    Candidacy, CountedSessions, CreatedSession, Decision, EndedSession, ExistingSessions, FoundSession,
    LeftOut, ModifiedSession, MovedBack, Picked, Rejection, Released, ReleasedInstance, ResolvedInstance,
    TaggedSession,
};
use mirrorstep_core::unmirror::UnmirrorPlan;
use mirrorstep_core::{InterfaceId, TargetId};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::investigate::executions::short_name;

/// So many targets are named where they have something in common.
const MOST_NAMED: usize = 8;

/// What has been told already: a stage hands on the rejections of those before it.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    rejections: HashSet<(TargetId, String)>,
    advisories: HashSet<String>,
}

impl Decisions {
    /// What the state of this name decided by its output. Nothing, where it decides nothing, and where the output is
    /// not what this program knows.
    pub(super) fn of(&mut self, state: &str, output: &Value) -> Vec<String> {
        let told = match state {
            "CheckExistingSession" => {
                // It begins afresh from here.
                *self = Self::default();
                read(output).map(|answer| existing(&answer))
            }
            "GatherCandidates" => read(output).map(|answer| self.candidacy(&answer, output, true)),
            "FilterSecurityGroups" | "FilterNetworkAcls" | "FilterRoutes" => {
                read(output).map(|answer| self.candidacy(&answer, output, false))
            }
            "PickLeastLoaded" => read(output).map(|answer| self.picked(&answer)),
            "CountSessions" => read(output).map(|answer| counted(&answer)),
            "CreateSession" => read(output).map(|answer| created(&answer)),
            "TagSession" => tagged(output),
            "ReleaseSession" => read(output).map(|answer| released(&answer)),
            "ResolveInterfaces" => read(output).map(|answer| resolved(&answer)),
            "MirrorInterfaces" => Some(started(output)),
            "ReleaseInstance" => read(output).map(|answer| released_instance(&answer)),
            "Reconcile" => Some(reconciled(output)),
            "FindSession" => {
                // It begins afresh from here.
                *self = Self::default();
                read(output).map(|answer| found(&answer))
            }
            "ModifySession" => read(output).map(|answer: ModifiedSession| {
                vec![format!(
                    "session {} is on {} now",
                    answer.session_id, answer.target_id
                )]
            }),
            "MoveBack" => read(output).map(|answer| moved_back(&answer)),
            "EndSession" => read(output).map(|answer| ended(&answer)),
            "PlanMoves" => {
                read(output).map(|answer: MovesPlan| planned(answer.changes.len(), "session", "moved"))
            }
            "PlanUnmirror" => read(output)
                .map(|answer: UnmirrorPlan| planned(answer.changes.len(), "interface", "unmirrored")),
            "MoveSessions" | "EndSessions" | "ChangeSessions" => read(&output["results"]).map(changed),
            "AlreadyMirrored" | "NotMirrorable" | "OptedOut" | "Gone" | "Stays" | "Unmirrored"
            | "NotOurs" | "Drained" | "NotDrained" | "Cancelled" | "Planned" | "Rebalanced"
            | "NotRebalanced" | "NotUnmirrored" => outcome(output),
            _ => None,
        };
        told.unwrap_or_default()
    }

    fn candidacy(&mut self, answer: &Candidacy, output: &Value, first: bool) -> Vec<String> {
        let mut told = Vec::new();
        if first {
            told.extend(
                answer
                    .request
                    .choices
                    .iter()
                    .map(|choice| format!("chosen by tag: {}", choice.reason)),
            );
        }
        match &answer.left_out {
            Some(left) => told.push(left_out(left)),
            None => told.push(match answer.candidates.len() {
                0 => "no candidate is left".to_owned(),
                1 => format!("1 candidate is left: {}", answer.candidates[0].target_id),
                count => format!("{count} candidates are left"),
            }),
        }
        self.rejected(&answer.rejections, &mut told);
        for admission in output["admissions"].as_array().into_iter().flatten() {
            let targets: Vec<&str> = admission["targetIds"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            if let Some(evidence) = admission["evidence"].as_str() {
                told.push(format!("let through: {}: {evidence}", some(&targets)));
            }
        }
        self.advised(&answer.advisories, &mut told);
        told
    }

    fn picked(&mut self, answer: &Picked) -> Vec<String> {
        let assignment = &answer.assignment;
        let mut told = Vec::new();
        match answer.decision {
            Decision::Reserved => told.push(format!(
                "picked: {}, generation {}, session number {}",
                assignment.target_id, assignment.generation, assignment.session_number
            )),
            Decision::Moved => told.push(format!(
                "to be moved to {}, settings filter {}",
                assignment.target_id, assignment.filter_id
            )),
            Decision::Stays => told.push(format!(
                "stays on {}: {}",
                assignment.target_id,
                answer.reason.as_deref().unwrap_or_default()
            )),
            Decision::Unseen => told.push(format!(
                "the ledger has a session{} to {}, and EC2 does not show it: made a moment ago, or deleted by hand; \
                 trusted until {:.0}, looked for again in {} s",
                assignment
                    .session_id
                    .as_ref()
                    .map_or_else(String::new, |id| format!(" {id}")),
                assignment.target_id,
                assignment.trusted_until(),
                answer.wait_seconds
            )),
        }
        if !answer.loads.is_empty() {
            let loads: Vec<String> = answer
                .loads
                .iter()
                .map(|load| {
                    let zone = if load.local { "" } else { " (another zone)" };
                    format!("{} {}{zone}", load.target_id, load.load)
                })
                .collect();
            told.push(format!(
                "sessions of each when it was picked: {}",
                loads.join(", ")
            ));
        }
        self.rejected(&answer.rejections, &mut told);
        self.advised(&answer.advisories, &mut told);
        told
    }

    fn rejected(&mut self, rejections: &[Rejection], told: &mut Vec<String>) {
        for rejection in rejections {
            let Rejection {
                target_id,
                stage,
                reason,
                evidence,
            } = rejection;
            let new = self
                .rejections
                .insert((target_id.clone(), format!("{reason}{evidence}")));
            if new {
                let stage = serde_json::to_value(stage).unwrap_or_default();
                let stage = stage.as_str().unwrap_or_default();
                told.push(format!(
                    "{target_id} is turned down ({stage}): {reason}: {evidence}"
                ));
            }
        }
    }

    fn advised(&mut self, advisories: &[String], told: &mut Vec<String>) {
        for advisory in advisories {
            if self.advisories.insert(advisory.clone()) {
                told.push(format!("note: {advisory}"));
            }
        }
    }
}

fn read<T: DeserializeOwned>(output: &Value) -> Option<T> {
    T::deserialize(output).ok()
}

/// The first few, and how many more.
fn some(ids: &[&str]) -> String {
    match ids.len().checked_sub(MOST_NAMED) {
        None | Some(0) => ids.join(", "),
        Some(more) => format!("{} and {more} more", ids[..MOST_NAMED].join(", ")),
    }
}

fn listed(ids: &[InterfaceId]) -> String {
    let ids: Vec<&str> = ids.iter().map(InterfaceId::as_str).collect();
    ids.join(", ")
}

fn left_out(left: &LeftOut) -> String {
    format!("{} is not to be mirrored: {}", left.interface_id, left.reason)
}

fn existing(answer: &ExistingSessions) -> Vec<String> {
    let mut told = vec![match (answer.mirrored, answer.sessions.len()) {
        (true, _) => "the interface is mirrored already".to_owned(),
        (false, 0) => "the interface is not mirrored: EC2 shows no session on it".to_owned(),
        (false, _) => "the interface is not mirrored: no session on it counts as its own".to_owned(),
    }];
    told.extend(answer.sessions.iter().map(|session| {
        format!(
            "session {} to {}, number {}",
            session.session_id, session.target_id, session.session_number
        )
    }));
    told
}

fn found(answer: &FoundSession) -> Vec<String> {
    match answer {
        FoundSession::Decided(decided) => vec![format!("nothing is to be changed: {}", decided.reason)],
        FoundSession::ToBeChanged(found) => {
            let change = found.request.change.as_ref();
            let mut told = existing(found);
            if let Some(leaves) = change.and_then(|change| change.leaves.as_ref()) {
                told.push(format!("its session is to leave {leaves}"));
            }
            if change.is_some_and(|change| change.unfinished) {
                told.push(
                    "EC2 shows it on another sensor than the ledger: an earlier move is finished".to_owned(),
                );
            }
            told
        }
    }
}

fn moved_back(answer: &MovedBack) -> Vec<String> {
    let did = if answer.moved_back {
        format!("the move is taken back, to {}", answer.target_id)
    } else {
        "nothing is taken back".to_owned()
    };
    vec![format!("{did}: {}", answer.reason)]
}

fn ended(answer: &EndedSession) -> Vec<String> {
    let of = |sessions: &[ObservedSession], what: &str| {
        let told =
            |session: &ObservedSession| format!("{what}: {} to {}", session.session_id, session.target_id);
        sessions.iter().map(told).collect::<Vec<_>>()
    };
    let mut told = of(&answer.ended, "ended");
    told.extend(of(&answer.left, "left alone, made by others"));
    told
}

fn planned(count: usize, what: &str, done: &str) -> Vec<String> {
    vec![match count {
        0 => "nothing more is to be started".to_owned(),
        1 => format!("1 {what} is to be {done}"),
        count => format!("{count} {what}s are to be {done}"),
    }]
}

/// What became of each change, counted where it went well, and told where it did not.
fn changed(results: Vec<ChangeResult>) -> Vec<String> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut failed = Vec::new();
    for result in results {
        match (result.outcome, result.error) {
            (Some(outcome), _) => *counts.entry(format!("{outcome:?}")).or_default() += 1,
            (None, Some(error)) => failed.push(format!(
                "{}: {error}: {}",
                result.interface_id,
                result.reason.unwrap_or_default()
            )),
            (None, None) => *counts.entry("started before".to_owned()).or_default() += 1,
        }
    }
    let counts = counts
        .iter()
        .map(|(outcome, count)| format!("{count} {}", outcome.to_lowercase()));
    let mut told = vec![counts.collect::<Vec<_>>().join(", ")];
    told.extend(failed);
    told
}

fn counted(answer: &CountedSessions) -> Vec<String> {
    let sensors = answer.counted.iter();
    sensors
        .map(|sensor| {
            let plural = if sensor.sessions == 1 { "" } else { "s" };
            format!(
                "{} has {} session{plural} in EC2",
                sensor.target_id, sensor.sessions
            )
        })
        .collect()
}

fn created(answer: &CreatedSession) -> Vec<String> {
    vec![format!(
        "session {} to {}, number {}",
        answer.session_id, answer.assignment.target_id, answer.assignment.session_number
    )]
}

fn tagged(output: &Value) -> Option<Vec<String>> {
    let answer: TaggedSession = read(output)?;
    let tags: Vec<String> = answer
        .tags
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    Some(vec![format!(
        "{} carries the tags {}",
        answer.session_id,
        tags.join(", ")
    )])
}

fn released(answer: &Released) -> Vec<String> {
    let did = if answer.released {
        "the place is given back"
    } else {
        "nothing is given back"
    };
    vec![format!("{did} on {}: {}", answer.target_id, answer.reason)]
}

fn resolved(answer: &ResolvedInstance) -> Vec<String> {
    let ids: Vec<InterfaceId> = answer
        .interfaces
        .iter()
        .map(|request| request.interface_id.clone())
        .collect();
    let mut told = vec![if ids.is_empty() {
        "no interface is to be mirrored".to_owned()
    } else {
        format!("to be mirrored: {}", listed(&ids))
    }];
    told.extend(answer.left_out.iter().map(left_out));
    told
}

fn started(output: &Value) -> Vec<String> {
    let started = output["started"].as_array().into_iter().flatten();
    started
        .map(|one| {
            let member = |name: &str| one[name].as_str().unwrap_or_default();
            format!(
                "{}: execution {}",
                member("interfaceId"),
                short_name(member("executionArn"))
            )
        })
        .collect()
}

fn released_instance(answer: &ReleasedInstance) -> Vec<String> {
    let mut told = vec![if answer.released.is_empty() {
        "no assignment is released".to_owned()
    } else {
        format!("released: {}", listed(&answer.released))
    }];
    if !answer.kept.is_empty() {
        told.push(format!("kept, as EC2 still shows them: {}", listed(&answer.kept)));
    }
    told
}

fn reconciled(output: &Value) -> Vec<String> {
    let counts: Vec<String> = output["summary"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, count)| **count != 0)
        .map(|(name, count)| match count.as_str() {
            Some(time) => format!("{name} {time}"),
            None => format!("{name} {count}"),
        })
        .collect();
    vec![if counts.is_empty() {
        "nothing to correct so far".to_owned()
    } else {
        format!("so far: {}", counts.join(", "))
    }]
}

fn outcome(output: &Value) -> Option<Vec<String>> {
    let outcome = output["outcome"].as_str()?;
    Some(vec![match output["reason"].as_str() {
        Some(reason) => format!("outcome {outcome}: {reason}"),
        None => format!("outcome {outcome}"),
    }])
}
