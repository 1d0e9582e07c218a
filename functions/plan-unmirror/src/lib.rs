//! Stage `plan-unmirror`: whose sessions are to end, and when each may be asked of EC2.
//!
//! Each call plans anew on what EC2 and the ledger show: the live assignments of sessions that we made, and the sessions to
//! our targets that carry our tag and that no assignment stands for. So it may run at any time, by several at once, and
//! again after a part of it is done.

use std::collections::{BTreeMap, BTreeSet};

use mirrorstep_core::assignment::Assignment;
use mirrorstep_core::config::{TagSelector, Targets};
use mirrorstep_core::moves::{ChangeKind, ChangeResult, Next, PacedChange, Progress, note_refusal, paced};
use mirrorstep_core::pipeline::{Invocation, Outcome, Stage, UnmirrorRequest};
use mirrorstep_core::reconcile::Session;
use mirrorstep_core::unmirror::{LeftSession, UnmirrorAllRequest, UnmirrorPlan, UnmirrorSummary};
use mirrorstep_core::{ErrorName, InterfaceId, StageError};
use mirrorstep_ec2::Ec2;
use mirrorstep_ledger::Ledger;

/// So many are planned in one call, and started by one execution of `change-sessions`: see `plan-moves`.
const PAGE: usize = 250;
/// So many interfaces and sessions are named in the summary.
const NAMED: usize = 100;

/// The stage, with what it needs.
#[derive(Debug)]
pub struct PlanUnmirror {
    /// What sessions there are.
    pub ec2: Ec2,
    /// Whose they are.
    pub ledger: Ledger,
    /// Which targets are ours.
    pub targets: Targets,
}

/// What is to end, and what others made.
struct Found {
    to_end: BTreeSet<InterfaceId>,
    left: Vec<LeftSession>,
}

impl Stage for PlanUnmirror {
    const NAME: &'static str = "plan-unmirror";
    type Input = UnmirrorAllRequest;
    type Output = UnmirrorPlan;

    async fn run(&self, invocation: Invocation<UnmirrorAllRequest>) -> Result<UnmirrorPlan, StageError> {
        let request = invocation.input;
        let mut progress = request.progress.clone();
        progress.plans += 1;
        let selected = self.selected(&request).await?;
        let is_selected =
            |interface: &InterfaceId| selected.as_ref().is_none_or(|ids| ids.contains(interface));
        let mut found = self.find(&request).await?;
        found.to_end.retain(|interface| is_selected(interface));
        found.left.retain(|session| is_selected(&session.interface_id));
        note(&mut progress, &request.results, &found.to_end);
        let is_stuck = |interface: &InterfaceId| progress.refused.contains_key(interface);
        let (stuck, to_end): (Vec<_>, Vec<_>) = found.to_end.into_iter().partition(is_stuck);
        let mut summary = UnmirrorSummary {
            outcome: "planned".to_owned(),
            unmirrored: progress.moved,
            stuck_count: stuck.len() as u64,
            stuck: progress.refused.clone(),
            left_count: found.left.len() as u64,
            left: found.left.into_iter().take(NAMED).collect(),
            ..UnmirrorSummary::default()
        };
        summary.stuck.retain(|interface, _| stuck.contains(interface));
        if request.dry_run {
            summary.planned_count = to_end.len() as u64;
            summary.planned = to_end.into_iter().take(PAGE).collect();
            return Ok(end(summary, progress));
        }
        let is_any_ended =
            progress.moved > request.progress.moved || progress.again.len() > request.progress.again.len();
        // Where no more refusals can be remembered, the same would be tried for ever.
        let is_hopeless = !request.results.is_empty() && !is_any_ended && progress.refused.len() >= NAMED;
        if to_end.is_empty() || is_hopeless {
            summary.stuck_count += to_end.len() as u64;
            let is_done = summary.stuck_count == 0;
            summary.outcome = String::from(if is_done { "unmirrored" } else { "notUnmirrored" });
            return Ok(end(summary, progress));
        }
        let times = paced(to_end.len().min(PAGE), self.ledger.now(), &mut progress.next_at);
        let changes = times
            .into_iter()
            .zip(to_end)
            .map(|(at, interface_id)| PacedChange {
                at,
                change: ChangeKind::Unmirror,
                request: UnmirrorRequest {
                    interface_id,
                    reason: request.reason.clone(),
                    adopted: request.adopted,
                    keep_off: request.keep_off,
                },
            });
        Ok(UnmirrorPlan {
            next: Next::Start,
            changes: changes.collect(),
            progress,
            summary,
        })
    }
}

fn end(summary: UnmirrorSummary, progress: Progress) -> UnmirrorPlan {
    UnmirrorPlan {
        next: Next::End,
        changes: Vec::new(),
        progress,
        summary,
    }
}

/// Counts what was ended, and remembers what was not though it was planned. What is gone by itself is neither.
///
/// What was ended and is to end still has another session by now, or EC2 shows late that it has none: then the next
/// execution finds nothing to end. Where that too has ended a session, something makes them as fast as this ends them.
fn note(progress: &mut Progress, results: &[ChangeResult], to_end: &BTreeSet<InterfaceId>) {
    for result in results {
        let interface = &result.interface_id;
        match result.outcome {
            Some(Outcome::Unmirrored) if !to_end.contains(interface) => {
                progress.again.remove(interface);
                progress.moved += 1;
            }
            Some(Outcome::Unmirrored) if progress.again.contains(interface) => {
                let refusal = ChangeResult {
                    reason: Some(
                        "its session was ended twice, and it has one again: find out what makes it"
                            .to_owned(),
                    ),
                    ..result.clone()
                };
                note_refusal(progress, &refusal, NAMED);
            }
            Some(Outcome::Unmirrored) => _ = progress.again.insert(interface.clone()),
            Some(Outcome::Gone) => progress.moved += u64::from(progress.again.remove(interface)),
            _ => note_refusal(progress, result, NAMED),
        }
    }
}

impl PlanUnmirror {
    /// The interfaces that the request is about. `None`: all.
    async fn selected(
        &self,
        request: &UnmirrorAllRequest,
    ) -> Result<Option<BTreeSet<InterfaceId>>, StageError> {
        if request.all {
            return Ok(None);
        }
        let tag = match &request.tag {
            None => None,
            Some(text) => Some(TagSelector::parse(text).ok_or_else(|| {
                StageError::new(
                    ErrorName::InvalidEvent,
                    format!("`tag` is `{text}`: it must be `key=value`, such as `team=blue`"),
                )
            })?),
        };
        if request.instance_ids.is_empty() && request.interface_ids.is_empty() && tag.is_none() {
            return Err(StageError::new(
                ErrorName::InvalidEvent,
                "the input says of no interface that its session is to end: give `interfaceIds`, `instanceIds`, `tag` as \
                 key=value, or `all: true`",
            ));
        }
        let mut instances = self.ec2.instances(&request.instance_ids).await?;
        if let Some(tag) = tag {
            instances.extend(self.ec2.instances_tagged(&tag).await?);
        }
        let mut selected: BTreeSet<InterfaceId> = request.interface_ids.iter().cloned().collect();
        let interfaces = instances.iter().flat_map(|instance| &instance.network_interfaces);
        selected.extend(interfaces.filter_map(|interface| interface.network_interface_id.parse().ok()));
        // An instance that EC2 does not show any more has assignments until they are given back.
        for instance in &request.instance_ids {
            let of_it = self.ledger.of_instance(instance).await?.readable.into_iter();
            selected.extend(of_it.map(|assignment| assignment.interface_id));
        }
        Ok(Some(selected))
    }

    async fn find(&self, request: &UnmirrorAllRequest) -> Result<Found, StageError> {
        let targets = self.ec2.targets(&self.targets).await?;
        let ours: BTreeSet<&str> = targets
            .iter()
            .map(|target| target.traffic_mirror_target_id.as_str())
            .collect();
        // The ledger first: a session that its assignments speak of is in EC2 by then.
        let books = self.ledger.books().await?;
        let sessions = self.ec2.all_sessions().await?;
        let of_interface: BTreeMap<&InterfaceId, &Assignment> = books
            .assignments
            .iter()
            .map(|assignment| (&assignment.interface_id, assignment))
            .collect();
        let mut to_end: BTreeSet<InterfaceId> = books
            .assignments
            .iter()
            .filter(|assignment| assignment.is_live() && (request.adopted || !assignment.is_adopted()))
            .map(|assignment| assignment.interface_id.clone())
            .collect();
        let mut left = Vec::new();
        for session in sessions.iter().filter_map(Session::of) {
            if !ours.contains(session.target_id.as_str()) || to_end.contains(&session.interface_id) {
                continue;
            }
            let assignment = of_interface.get(&session.interface_id);
            // EC2 shows late what was deleted.
            let is_deleted = assignment.is_some_and(|assignment| {
                !assignment.is_live() && assignment.session_id.as_ref() == Some(&session.session_id)
            });
            if is_deleted {
                continue;
            }
            if session.is_managed || request.adopted {
                to_end.insert(session.interface_id);
            } else {
                left.push(LeftSession {
                    session_id: session.session_id,
                    interface_id: session.interface_id,
                    target_id: session.target_id,
                });
            }
        }
        Ok(Found { to_end, left })
    }
}
