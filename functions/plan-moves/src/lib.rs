//! Stage `plan-moves`: which sessions are to go to another sensor, to empty one (`drain-sensor`) or to even the loads out
//! (`rebalance`), and when each may be asked of EC2.
//!
//! Each call plans anew on what EC2 and the ledger show, and hands on what it cannot see there: what became of the moves
//! that it planned before, and how fast they were asked for. Whether a move is made, and where to, `move-interface`
//! decides. So a plan may be made at any time, by several at once, and again after a part of it is done.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use mirrorstep_core::assignment::{Assignment, AssignmentState, SensorLoad};
use mirrorstep_core::config::{Consent, FixedTags, Targets, UnverifiableTargets};
use mirrorstep_core::moves::{
    ChangeKind, ChangeResult, Movable, MovesPlan, MovesRequest, MovesSummary, Next, PacedChange, PlannedMove,
    Progress, away_from, evenly, note_refusal, paced,
};
use mirrorstep_core::pipeline::{Invocation, MoveRequest, Outcome, SessionChange, Stage};
use mirrorstep_core::unreadable::Unreadable;
use mirrorstep_core::{ErrorName, InterfaceId, SessionId, StageError, TargetId};
use mirrorstep_ec2::{Ec2, Wanted};
use mirrorstep_ledger::Ledger;
use mirrorstep_reachability::explain::{Explanation, Question, explain};

/// So many moves are planned in one call, and started by one execution of `change-sessions`: each adds about 12 events to
/// a history of at most 25,000, and they and their results stay far below the size of a state
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html#service-limits-state-machine-executions>).
const PAGE: usize = 250;
/// So many interfaces are looked at with one snapshot.
const LOOKED_AT_TOGETHER: usize = 500;
/// So many refusals are remembered, and so many interfaces named in the summary.
const NAMED: usize = 100;
/// So many plans in a row find nothing to do but wait, at most.
const WAITS: u32 = 7;
/// A move that EC2 does not show for longer has not been made. AWS names no bound
/// (<https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>, "Eventual consistency"): an assumption, and
/// moving twice changes nothing.
const SHOWN_LATE: SignedDuration = SignedDuration::from_secs(60);
/// How long it is waited then, in seconds.
const WAIT_SECONDS: u64 = 10;

/// The stage, with what it needs.
#[derive(Debug)]
pub struct PlanMoves {
    /// What decides who can receive what.
    pub ec2: Ec2,
    /// What is on which sensor.
    pub ledger: Ledger,
    /// Which targets are ours.
    pub targets: Targets,
    /// Whether sensors in other zones are out of the question.
    pub local_zone_only: bool,
    /// Which instances are to be mirrored.
    pub consent: Consent,
    /// By which tags they fix their target or filter.
    pub fixed: FixedTags,
    /// What becomes of a sensor about which a rule cannot be decided.
    pub unverifiable: UnverifiableTargets,
}

impl Stage for PlanMoves {
    const NAME: &'static str = "plan-moves";
    type Input = MovesRequest;
    type Output = MovesPlan;

    async fn run(&self, invocation: Invocation<MovesRequest>) -> Result<MovesPlan, StageError> {
        let Invocation {
            execution_arn,
            input: mut request,
        } = invocation;
        note(&mut request);
        let mut planner = Planner {
            stage: self,
            question: self.question().await?,
            request: &request,
            loads: BTreeMap::new(),
            active: Vec::new(),
            unreadable: Vec::new(),
        };
        planner.read_books().await?;
        planner.meet_sensors(&execution_arn).await?;
        match &request.target_id {
            Some(sensor) => planner.drain(sensor).await,
            None => planner.rebalance().await,
        }
    }
}

impl PlanMoves {
    async fn question(&self) -> Result<Question, StageError> {
        let targets = match &self.targets {
            Targets::Ids(ids) => ids.iter().map(ToString::to_string).collect(),
            tagged @ Targets::Tagged(_) => {
                let shown = self.ec2.targets(tagged).await?.into_iter();
                shown.map(|target| target.traffic_mirror_target_id).collect()
            }
        };
        Ok(Question {
            interface_id: String::new(),
            targets: Some(targets),
            local_zone_only: self.local_zone_only,
            consent: self.consent.clone(),
            fixed: self.fixed.clone(),
            unverifiable: self.unverifiable,
        })
    }
}

/// Counts what was moved, and remembers what was not though it was planned. To even the loads out, what stays or is gone is
/// as good as what moves: only errors are remembered.
fn note(request: &mut MovesRequest) {
    for result in &request.results {
        match result.outcome {
            Some(Outcome::Moved) => request.progress.moved += 1,
            Some(_) if request.target_id.is_none() => {}
            _ => note_refusal(&mut request.progress, result, NAMED),
        }
    }
}

/// What a plan is made from.
struct Planner<'a> {
    stage: &'a PlanMoves,
    question: Question,
    request: &'a MovesRequest,
    loads: BTreeMap<TargetId, SensorLoad>,
    /// The active assignments, in the order of their interfaces.
    active: Vec<Assignment>,
    unreadable: Vec<Unreadable>,
}

/// Moves that the ledger has made and EC2 does not show.
#[derive(Default)]
struct Begun {
    /// Nobody has come to make them in EC2, as it seems.
    to_be_finished: Vec<PlannedMove>,
    /// Some are so young that EC2 may show them late.
    is_any_young: bool,
}

/// What is known of some interfaces.
#[derive(Default)]
struct Looked {
    movable: Vec<Movable>,
    /// Why an interface is not to be moved, or by what rules the sensors are rejected for it.
    because: BTreeMap<InterfaceId, String>,
    /// Those that are not to be moved at all.
    left_out: BTreeSet<InterfaceId>,
}

impl Planner<'_> {
    async fn read_books(&mut self) -> Result<(), StageError> {
        let books = self.stage.ledger.books().await?;
        for assignment in books.assignments {
            if assignment.state == AssignmentState::Active {
                self.active.push(assignment);
            }
        }
        self.active
            .sort_by(|one, other| one.interface_id.cmp(&other.interface_id));
        self.loads = books
            .loads
            .into_iter()
            .map(|load| (load.target_id.clone(), load))
            .collect();
        self.unreadable = books.unreadable;
        Ok(())
    }

    /// Enters the configured sensors that the ledger does not know and EC2 shows, such as those added lately, with the
    /// sessions that EC2 shows for them.
    async fn meet_sensors(&mut self, execution_arn: &str) -> Result<(), StageError> {
        let unreadable: BTreeSet<&TargetId> = self.unreadable.iter().filter_map(Unreadable::sensor).collect();
        let ours = self.question.targets.iter().flatten();
        let unknown: Vec<TargetId> = ours
            .filter_map(|id| id.parse().ok())
            .filter(|id: &TargetId| !self.loads.contains_key(id) && !unreadable.contains(id))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let shown = self.stage.ec2.targets(&Targets::Ids(unknown)).await?;
        let shown: Vec<TargetId> = shown
            .iter()
            .filter_map(|target| target.traffic_mirror_target_id.parse().ok())
            .collect();
        let mut counts: Vec<_> = self
            .stage
            .ec2
            .count_sessions_to(&shown)
            .await?
            .into_iter()
            .collect();
        counts.sort();
        if !self.request.dry_run {
            self.stage.ledger.enter_sensors(&counts, execution_arn).await?;
        }
        for (target, external) in counts {
            let load = SensorLoad::new(target.clone(), 0, external);
            self.loads.insert(target, load);
        }
        Ok(())
    }

    /// Empties a sensor.
    async fn drain(&mut self, sensor: &TargetId) -> Result<MovesPlan, StageError> {
        let request = self.request;
        let unreadable = self.unreadable.iter().any(|item| item.sensor() == Some(sensor));
        if !self.loads.contains_key(sensor) && !unreadable {
            return Err(StageError::new(
                ErrorName::InvalidEvent,
                format!("the ledger has no sensor {sensor}, and it is not configured: check the id"),
            ));
        }
        let is_first = request.progress.plans == 0;
        if (is_first || request.cancel) && !request.dry_run {
            self.stage.ledger.set_draining(sensor, !request.cancel).await?;
        }
        // Read consistently: the table's index may show yet what was before.
        let loads = self.stage.ledger.loads([sensor]).await?.readable;
        self.loads
            .extend(loads.into_iter().map(|load| (load.target_id.clone(), load)));
        let is_drained_on = |load: &SensorLoad| load.draining || request.dry_run;
        if request.cancel || !unreadable && !self.loads.get(sensor).is_some_and(is_drained_on) {
            return Ok(self.end("cancelled", BTreeMap::new()));
        }
        let on_it: Vec<Assignment> = self
            .active
            .iter()
            .filter(|assignment| assignment.target_id == *sensor)
            .cloned()
            .collect();
        let now = self.stage.ledger.now();
        let (mut planned, mut stuck) = (Vec::new(), BTreeMap::new());
        let refused = &request.progress.refused;
        for some in on_it.chunks(LOOKED_AT_TOGETHER) {
            let looked = self.look_at(some).await?;
            let (moves, without) = away_from(sensor, &looked.movable, &self.loads, now);
            for interface in without {
                let because = looked.because.get(&interface).map_or("", String::as_str);
                stuck.insert(
                    interface,
                    format!("no other sensor can receive it and has room{because}"),
                );
            }
            for interface in looked.left_out {
                let because = looked.because.get(&interface).cloned().unwrap_or_default();
                stuck.insert(interface, because);
            }
            for a_move in moves {
                match refused.get(&a_move.interface_id) {
                    Some(why) => _ = stuck.insert(a_move.interface_id, why.clone()),
                    None => planned.push(a_move),
                }
            }
            if planned.len() >= PAGE && !request.dry_run {
                break;
            }
        }
        let held = self
            .unreadable
            .iter()
            .filter(|item| item.held_on() == Some(sensor));
        let known = on_it.len() as u64 + held.count() as u64;
        let sessions = self.loads.get(sensor).map_or(0, |load| load.sessions);
        // What the index does not show yet is as good as reserved.
        let reserved = sessions.saturating_sub(known);
        let begun = self.begun(sensor).await?;
        planned.extend(begun.to_be_finished.into_iter().filter(|a_move| {
            let why = refused.get(&a_move.interface_id);
            if let Some(why) = why {
                stuck.insert(a_move.interface_id.clone(), why.clone());
            }
            why.is_none()
        }));
        let is_under_way = reserved > 0 || begun.is_any_young;
        let mut plan = self.plan(planned, stuck, is_under_way);
        plan.summary.reserved = reserved;
        plan.summary.external = self.loads.get(sensor).map_or(0, |load| load.external);
        let is_drained = plan.summary.stuck_count == 0 && !is_under_way && self.unreadable.is_empty();
        plan.summary.outcome = outcome(request, is_drained, "drained", "notDrained");
        Ok(plan)
    }

    /// The sessions that EC2 shows on a sensor and that the ledger has on another one.
    async fn begun(&self, sensor: &TargetId) -> Result<Begun, StageError> {
        let mut begun = Begun::default();
        if self.request.dry_run {
            return Ok(begun);
        }
        let shown = self.stage.ec2.sessions_to(sensor).await?;
        let shown: BTreeSet<&SessionId> = shown.iter().map(|session| &session.session_id).collect();
        let now = self.stage.ledger.now();
        let elsewhere = self
            .active
            .iter()
            .filter(|assignment| assignment.target_id != *sensor);
        for assignment in elsewhere {
            if !assignment
                .session_id
                .as_ref()
                .is_some_and(|session| shown.contains(session))
            {
                continue;
            }
            if now.duration_since(assignment.changed_at) < SHOWN_LATE {
                begun.is_any_young = true;
            } else {
                begun.to_be_finished.push(PlannedMove {
                    interface_id: assignment.interface_id.clone(),
                    from: sensor.clone(),
                    to: assignment.target_id.clone(),
                });
            }
        }
        Ok(begun)
    }

    /// Evens the loads out.
    async fn rebalance(&mut self) -> Result<MovesPlan, StageError> {
        let now = self.stage.ledger.now();
        let least = self
            .loads
            .values()
            .filter(|load| load.takes_sessions(now) && self.is_ours(&load.target_id))
            .map(SensorLoad::total)
            .min();
        let gives = |target: &TargetId| {
            let total = self.loads.get(target).map(SensorLoad::total);
            total.zip(least).is_some_and(|(total, least)| total >= least + 2)
        };
        let refused = &self.request.progress.refused;
        let on_fuller: Vec<Assignment> = self
            .active
            .iter()
            .filter(|assignment| {
                gives(&assignment.target_id) && !refused.contains_key(&assignment.interface_id)
            })
            .cloned()
            .collect();
        let mut movable = Vec::new();
        for some in on_fuller.chunks(LOOKED_AT_TOGETHER) {
            let looked = self.look_at(some).await?;
            movable.extend(looked.movable);
        }
        let planned = evenly(movable, &self.loads, now);
        let mut plan = self.plan(planned, refused.clone(), false);
        let is_done = plan.summary.stuck_count == 0 && self.unreadable.is_empty();
        plan.summary.outcome = outcome(self.request, is_done, "rebalanced", "notRebalanced");
        Ok(plan)
    }

    fn is_ours(&self, target: &TargetId) -> bool {
        self.question
            .targets
            .iter()
            .flatten()
            .any(|id| id == target.as_str())
    }

    /// Which sensors can receive these interfaces. Those that EC2 does not show are left out: their sessions are gone
    /// with them, and the ledger gives their places back without a move.
    async fn look_at(&self, assignments: &[Assignment]) -> Result<Looked, StageError> {
        let mut looked = Looked::default();
        if assignments.is_empty() {
            return Ok(looked);
        }
        // A sensor that is not configured any more stays in the ledger, and gets no sessions.
        let targets: Vec<TargetId> = self
            .question
            .targets
            .iter()
            .flatten()
            .filter_map(|id| id.parse().ok())
            .collect();
        let interfaces: Vec<InterfaceId> = assignments
            .iter()
            .map(|assignment| assignment.interface_id.clone())
            .collect();
        let wanted = Wanted {
            interfaces: &interfaces,
            targets: &targets,
            local_zone_only: self.question.local_zone_only,
            ..Wanted::default()
        };
        let snapshot = self.stage.ec2.collect(wanted).await?;
        for assignment in assignments {
            let interface = &assignment.interface_id;
            let question = Question {
                interface_id: interface.to_string(),
                ..self.question.clone()
            };
            let Ok(explanation) = explain(&snapshot, &question) else {
                continue;
            };
            if let Some(left_out) = explanation.left_out {
                looked.because.insert(interface.clone(), left_out.reason);
                looked.left_out.insert(interface.clone());
                continue;
            }
            looked
                .because
                .insert(interface.clone(), rejections(&explanation, &assignment.target_id));
            looked.movable.push(Movable {
                assignment: assignment.clone(),
                receivers: explanation
                    .verdicts
                    .into_iter()
                    .filter(|verdict| verdict.eligible)
                    .map(|verdict| (verdict.target_id, verdict.local))
                    .collect(),
            });
        }
        Ok(looked)
    }

    /// What is next, after so many moves were found, and these interfaces that cannot be moved.
    fn plan(
        &self,
        planned: Vec<PlannedMove>,
        stuck: BTreeMap<InterfaceId, String>,
        is_to_be_waited_for: bool,
    ) -> MovesPlan {
        let request = self.request;
        let mut plan = self.end("", stuck);
        if request.dry_run {
            plan.summary.planned_count = planned.len() as u64;
            plan.summary.planned = planned.into_iter().take(PAGE).collect();
            return plan;
        }
        if planned.is_empty() {
            if is_to_be_waited_for && request.progress.waited < WAITS {
                plan.next = Next::Wait;
                plan.wait_seconds = WAIT_SECONDS;
                plan.progress.waited += 1;
            }
            return plan;
        }
        plan.progress.waited = 0;
        // The same would be tried for ever.
        let has_room = request.progress.refused.len() < NAMED;
        let changes_the_plan = |result: &ChangeResult| match result.outcome {
            Some(Outcome::Moved) => true,
            Some(_) if request.target_id.is_none() => false,
            _ => has_room,
        };
        if !request.results.is_empty() && !request.results.iter().any(changes_the_plan) {
            if request.target_id.is_some() {
                plan.summary.stuck_count += planned.len() as u64;
            }
            return plan;
        }
        let count = planned.len().min(PAGE);
        let times = paced(count, self.stage.ledger.now(), &mut plan.progress.next_at);
        plan.next = Next::Start;
        let to_request = |a_move: PlannedMove| MoveRequest {
            interface_id: a_move.interface_id,
            change: SessionChange {
                leaves: Some(a_move.from),
                even_out: request.target_id.is_none(),
                reason: request.reason.clone(),
                unfinished: false,
            },
        };
        plan.changes = times
            .into_iter()
            .zip(planned)
            .map(|(at, a_move)| PacedChange {
                at,
                change: ChangeKind::Move,
                request: to_request(a_move),
            })
            .collect();
        plan
    }

    /// That nothing is left to do.
    fn end(&self, outcome: &str, stuck: BTreeMap<InterfaceId, String>) -> MovesPlan {
        let progress = &self.request.progress;
        MovesPlan {
            next: Next::End,
            changes: Vec::new(),
            wait_seconds: 0,
            progress: Progress {
                plans: progress.plans + 1,
                ..progress.clone()
            },
            summary: MovesSummary {
                target_id: self.request.target_id.clone(),
                outcome: outcome.to_owned(),
                moved: progress.moved,
                stuck_count: stuck.len() as u64,
                stuck: stuck.into_iter().take(NAMED).collect(),
                sensors: self
                    .loads
                    .values()
                    .map(|load| (load.target_id.clone(), load.total()))
                    .collect(),
                unreadable: self.unreadable.iter().take(NAMED).cloned().collect(),
                ..MovesSummary::default()
            },
        }
    }
}

fn outcome(request: &MovesRequest, is_done: bool, done: &str, not_done: &str) -> String {
    let outcome = match (request.dry_run, is_done) {
        (true, _) => "planned",
        (false, true) => done,
        (false, false) => not_done,
    };
    outcome.to_owned()
}

/// By what rules the other sensors are rejected, each with how many, to be put behind a sentence.
fn rejections(explanation: &Explanation, own: &TargetId) -> String {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for verdict in explanation
        .verdicts
        .iter()
        .filter(|verdict| verdict.target_id != *own)
    {
        let rule = match verdict.rejected_by {
            Some(rule) => rule.as_str().to_owned(),
            None => "full or draining".to_owned(),
        };
        *counts.entry(rule).or_default() += 1;
    }
    if counts.is_empty() {
        return ": there is no other".to_owned();
    }
    let told: Vec<String> = counts
        .iter()
        .map(|(rule, count)| format!("{count} by {rule}"))
        .collect();
    format!(": {}", told.join(", "))
}
