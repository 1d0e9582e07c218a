//! Which sessions are to go to which sensors: to empty a sensor, or to even the loads out. And what the workflows that
//! do so hand from one step to the next.
//!
//! A plan is no promise: each move is decided anew by `move-interface`, on what EC2 and the ledger show then. It says
//! which interfaces are worth asking about, in which order and how fast.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::assignment::{Assignment, SensorLoad, least_loaded};
use crate::ids::{InterfaceId, TargetId};
use crate::pipeline::{MoveRequest, Outcome, UnmirrorRequest};
use crate::unreadable::Unreadable;

/// A session that is to go to another sensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedMove {
    /// Its interface.
    pub interface_id: InterfaceId,
    /// The sensor that it leaves.
    pub from: TargetId,
    /// The sensor that would be picked as things stand.
    pub to: TargetId,
}

/// An active assignment, and the sensors that can receive its interface, each with whether it is in its zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movable {
    /// The assignment.
    pub assignment: Assignment,
    /// The sensors, its own among them if it can receive it.
    pub receivers: Vec<(TargetId, bool)>,
}

impl Movable {
    /// The sensors to which the session may go to even the loads out: those that take sessions in its own zone, and
    /// others only where it is in another zone already and its own has none.
    fn nearest(&self, loads: &BTreeMap<TargetId, SensorLoad>, now: Timestamp) -> BTreeSet<TargetId> {
        let is_here = |target: &TargetId| *target == self.assignment.target_id;
        let is_near = self
            .receivers
            .iter()
            .any(|(target, local)| *local && is_here(target));
        let open = self
            .receivers
            .iter()
            .filter(|(target, _)| !is_here(target))
            .filter(|(target, _)| loads.get(target).is_some_and(|load| load.takes_sessions(now)));
        let (near, far): (Vec<_>, Vec<_>) = open.partition(|(_, local)| *local);
        let chosen = if is_near || !near.is_empty() { near } else { far };
        chosen.into_iter().map(|(target, _)| target.clone()).collect()
    }
}

/// The moves from a sensor to others, each to the least loaded that can receive the interface; and the interfaces for
/// which there is none.
pub fn away_from(
    sensor: &TargetId,
    on_it: &[Movable],
    loads: &BTreeMap<TargetId, SensorLoad>,
    now: Timestamp,
) -> (Vec<PlannedMove>, Vec<InterfaceId>) {
    let mut loads: Vec<SensorLoad> = loads.values().cloned().collect();
    let (mut planned, mut stuck) = (Vec::new(), Vec::new());
    for movable in on_it {
        let interface = &movable.assignment.interface_id;
        let others = movable.receivers.iter().filter(|(target, _)| target != sensor);
        let others = others.map(|(target, local)| (target, *local));
        match least_loaded(interface, others, &loads, now).map(|load| load.target_id.clone()) {
            Some(to) => {
                add_one(&mut loads, &to);
                planned.push(PlannedMove {
                    interface_id: interface.clone(),
                    from: sensor.clone(),
                    to,
                });
            }
            None => stuck.push(interface.clone()),
        }
    }
    (planned, stuck)
}

/// The moves that even the loads out: from a sensor to one that has at least two sessions less, and is as near.
pub fn evenly(
    assignments: Vec<Movable>,
    loads: &BTreeMap<TargetId, SensorLoad>,
    now: Timestamp,
) -> Vec<PlannedMove> {
    let with_others = assignments.into_iter().map(|movable| {
        let others = movable.nearest(loads, now);
        (movable.assignment, others)
    });
    evening_out(with_others.collect(), loads, now)
}

/// The same of assignments each with the sensors that it may go to: time and again the one that takes the most from the
/// fullest, and of equal ones that of the first interface.
fn evening_out(
    assignments: Vec<(Assignment, BTreeSet<TargetId>)>,
    loads: &BTreeMap<TargetId, SensorLoad>,
    now: Timestamp,
) -> Vec<PlannedMove> {
    // What is on one sensor and may go to the same others gains alike: only the first of them is looked at.
    let mut alike: BTreeMap<(TargetId, BTreeSet<TargetId>), VecDeque<Assignment>> = BTreeMap::new();
    for (assignment, others) in assignments {
        let from = assignment.target_id.clone();
        alike.entry((from, others)).or_default().push_back(assignment);
    }
    let mut loads: Vec<SensorLoad> = loads.values().cloned().collect();
    let mut moves = Vec::new();
    loop {
        let totals: BTreeMap<&TargetId, u64> =
            loads.iter().map(|load| (&load.target_id, load.total())).collect();
        let best = alike.iter().filter_map(|(key, waiting)| {
            let (from, others) = key;
            let least = others.iter().filter_map(|other| totals.get(other)).min()?;
            let gain = totals
                .get(from)?
                .checked_sub(least + 1)
                .filter(|gain| *gain > 0)?;
            Some((gain, Reverse(&waiting.front()?.interface_id), key))
        });
        let best = best.max().map(|(_, _, key)| key.clone());
        let next = best.and_then(|key| {
            let assignment = alike.get_mut(&key)?.pop_front()?;
            let others = key.1.iter().map(|other| (other, true));
            let to = least_loaded(&assignment.interface_id, others, &loads, now)?
                .target_id
                .clone();
            Some(PlannedMove {
                interface_id: assignment.interface_id,
                from: assignment.target_id,
                to,
            })
        });
        let Some(next) = next else {
            return moves;
        };
        let from = loads.iter_mut().find(|load| load.target_id == next.from);
        if let Some(load) = from {
            load.sessions = load.sessions.saturating_sub(1);
        }
        add_one(&mut loads, &next.to);
        moves.push(next);
    }
}

fn add_one(loads: &mut [SensorLoad], target: &TargetId) {
    if let Some(load) = loads.iter_mut().find(|load| load.target_id == *target) {
        load.sessions += 1;
    }
}

/// What `plan-moves` is asked: the state of `drain-sensor` and of `rebalance`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MovesRequest {
    /// The sensor that is to be emptied. Without one the loads are evened out.
    pub target_id: Option<TargetId>,
    /// The sensor is to take sessions again: nothing is moved.
    pub cancel: bool,
    /// Nothing is changed: what would be moved is told.
    pub dry_run: bool,
    /// Who asks, and why.
    pub reason: String,
    /// What became of the moves that were planned last.
    pub results: Vec<ChangeResult>,
    /// How far it has come.
    pub progress: Progress,
}

/// What became of one change, by the outcome of its execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeResult {
    /// The interface.
    pub interface_id: InterfaceId,
    /// How its execution ended. Absent where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The error that its execution failed with, or with which it could not be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How far a drain or a rebalance has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// How often it was planned.
    pub plans: u64,
    /// Sessions moved.
    pub moved: u64,
    /// The interfaces that did not move though they were to, each with why. They are not tried again.
    pub refused: BTreeMap<InterfaceId, String>,
    /// The interfaces that had a session again after theirs was ended: they get a second try, and no third.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub again: BTreeSet<InterfaceId>,
    /// How many plans in a row have found nothing to do but wait.
    pub waited: u32,
    /// When EC2 has room for the next change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
}

/// What `plan-moves` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MovesPlan {
    /// What is next.
    pub next: Next,
    /// The moves to be started, each at its time.
    pub changes: Vec<PacedChange<MoveRequest>>,
    /// How long to wait before the next plan, in seconds.
    pub wait_seconds: u64,
    /// How far it has come.
    pub progress: Progress,
    /// What came of it, as far as it is.
    pub summary: MovesSummary,
}

/// What a workflow does after a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Next {
    /// Starts what is planned.
    Start,
    /// Waits, and plans again.
    Wait,
    /// Ends.
    End,
}

/// A change to be started: an item of `change-sessions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PacedChange<T> {
    /// Not before this.
    pub at: Timestamp,
    /// Which workflow is started.
    pub change: ChangeKind,
    /// What `move-interface` or `unmirror-interface` is asked.
    pub request: T,
}

/// A workflow that changes a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ChangeKind {
    /// `move-interface`.
    Move,
    /// `unmirror-interface`.
    Unmirror,
}

/// What a workflow that changes a session is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ChangeRequest {
    /// `unmirror-interface`.
    Unmirror(UnmirrorRequest),
    /// `move-interface`.
    Move(MoveRequest),
}

/// What came of a drain or of a rebalance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MovesSummary {
    /// The sensor that was to be emptied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_id: Option<TargetId>,
    /// `drained`, `notDrained`, `cancelled`, `rebalanced`, `notRebalanced`; `planned` of a dry run.
    pub outcome: String,
    /// Sessions moved.
    pub moved: u64,
    /// What would be moved, of a dry run: the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub planned: Vec<PlannedMove>,
    /// How many sessions would be moved, of a dry run.
    #[serde(default)]
    pub planned_count: u64,
    /// The interfaces whose sessions cannot be moved, each with why: the first of them.
    pub stuck: BTreeMap<InterfaceId, String>,
    /// How many there are.
    pub stuck_count: u64,
    /// Places on the sensor that executions hold, which become sessions or are given back.
    #[serde(default)]
    pub reserved: u64,
    /// Sessions on the sensor that are not the ledger's: nothing moves them.
    #[serde(default)]
    pub external: u64,
    /// The sensors' loads.
    pub sensors: BTreeMap<TargetId, u64>,
    /// What of the ledger cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unreadable>,
}

/// The name of the execution of `change-sessions` that one of this name starts after so many plans, as the definitions make
/// it.
pub fn page_name(execution: &str, plans: u64) -> String {
    format!("page-{plans}-{}", digest(execution))
}

/// What the names of the executions end with that one of this name starts, each behind its interface, as the definitions
/// make them.
pub fn digest(execution: &str) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(execution.as_bytes());
    digest.iter().take(16).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Remembers that a change was not made though it was planned, and why: of so many at most.
pub fn note_refusal(progress: &mut Progress, result: &ChangeResult, most: usize) {
    let outcome = || result.outcome.map(|outcome| format!("{outcome:?}"));
    let Some(what) = result.error.clone().or_else(outcome) else {
        return;
    };
    // What Step Functions tells of an execution that it waited for is JSON, cut off
    // (<https://docs.aws.amazon.com/step-functions/latest/dg/connect-stepfunctions.html#connect-stepfunctions-api-examples>).
    // That its cause comes first is an assumption: where it does not, the JSON is told as it is.
    let reason = result.reason.as_deref().map(|reason| {
        let cause = reason.strip_prefix("{\"Cause\":\"").unwrap_or(reason);
        cause.split("\",\"Error\"").next().unwrap_or(cause).to_owned()
    });
    let why = match (&result.error, &reason) {
        (Some(error), Some(reason)) => format!("{error}: {reason}"),
        (None, Some(reason)) => reason.clone(),
        (_, None) => what,
    };
    if progress.refused.len() < most {
        progress
            .refused
            .insert(result.interface_id.clone(), shortened(&why));
    }
}

/// The first words of a reason: the execution of the change has all of them.
fn shortened(why: &str) -> String {
    const MOST: usize = 300;
    match why.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &why[..end]),
        None => why.to_owned(),
    }
}

/// Changes of sessions that EC2 takes at once, and then in a second: of each action in itself
/// (<https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html#throttling-limits-rate-based>).
const BURST: i32 = 50;
const PER_SECOND: i64 = 5;

/// When each of so many changes may be asked of EC2, no faster than it takes them: `next_at` is when it has room for the
/// next one, as far as those before tell, and moves on.
pub fn paced(count: usize, now: Timestamp, next_at: &mut Option<Timestamp>) -> Vec<Timestamp> {
    let interval = SignedDuration::from_millis(1000 / PER_SECOND);
    // Room that nobody has used is there, as much as EC2 keeps.
    let earliest = now - interval * (BURST - 1);
    let mut next = next_at.unwrap_or(earliest).max(earliest);
    let times = (0..count)
        .map(|_| {
            let at = next.max(now);
            next += interval;
            at
        })
        .collect();
    *next_at = Some(next);
    times
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::assignment::{Change, LedgerEvent, apply};

    use super::*;

    fn target(number: u64) -> TargetId {
        format!("tmt-{number:017x}").parse().unwrap()
    }

    fn targets(numbers: impl IntoIterator<Item = u64>) -> BTreeSet<TargetId> {
        numbers.into_iter().map(target).collect()
    }

    /// An active assignment of the interface of this number.
    fn on(target_id: &TargetId, number: u64) -> Assignment {
        let event = LedgerEvent {
            interface_id: format!("eni-{number:017x}").parse().unwrap(),
            version: 1,
            at: Timestamp::UNIX_EPOCH,
            execution_arn: "test".to_owned(),
            change: Change::Adopted {
                instance_id: format!("i-{number:017x}").parse().unwrap(),
                target_id: target_id.clone(),
                generation: 1,
                session_id: format!("tms-{number:017x}").parse().unwrap(),
                session_number: 1,
                filter_id: "tmf-00000000000000001".parse().unwrap(),
                virtual_network_id: None,
                packet_length: None,
            },
        };
        apply(None, &event).unwrap()
    }

    fn loads(sessions: &[u64]) -> BTreeMap<TargetId, SensorLoad> {
        let load = |(number, sessions): (u64, &u64)| SensorLoad::new(target(number), *sessions, 0);
        let loads = (0..).zip(sessions).map(load);
        loads.map(|load| (load.target_id.clone(), load)).collect()
    }

    /// The loads after the moves, each of which has to be allowed.
    fn after(
        assignments: &[(Assignment, BTreeSet<TargetId>)],
        before: &BTreeMap<TargetId, SensorLoad>,
        moves: &[PlannedMove],
    ) -> Vec<u64> {
        let mut loads = before.clone();
        for PlannedMove {
            interface_id,
            from,
            to,
        } in moves
        {
            let (assignment, others) = assignments
                .iter()
                .find(|(one, _)| one.interface_id == *interface_id)
                .unwrap();
            assert!(others.contains(to), "{interface_id} to {to}");
            assert_eq!(assignment.target_id, *from);
            loads.get_mut(from).unwrap().sessions -= 1;
            loads.get_mut(to).unwrap().sessions += 1;
        }
        loads.values().map(SensorLoad::total).collect()
    }

    #[test]
    fn five_thousand_sessions_are_evened_out_over_twenty_sensors_by_no_more_moves_than_it_takes() {
        let full = target(0);
        let others = targets(1..20);
        let assignments: Vec<_> = (0..5000)
            .map(|number| (on(&full, number), others.clone()))
            .collect();
        let mut sessions = vec![0; 20];
        sessions[0] = 5000;
        let before = loads(&sessions);
        let moves = evening_out(assignments.clone(), &before, Timestamp::UNIX_EPOCH);
        assert_eq!(moves.len(), 4750);
        assert_eq!(after(&assignments, &before, &moves), vec![250; 20]);
    }

    #[test]
    fn loads_are_even_within_one_where_sessions_may_go_to_some_sensors_only() {
        // Two zones of three sensors. In the one all is on one sensor, in the other nothing is to be done.
        let mut assignments = Vec::new();
        for number in 0..100 {
            assignments.push((on(&target(0), number), targets([1, 2])));
        }
        for number in 100..110 {
            let from = 3 + number % 3;
            let others = targets((3..6).filter(|other| *other != from));
            assignments.push((on(&target(from), number), others));
        }
        let before = loads(&[100, 0, 0, 3, 4, 3]);
        let moves = evening_out(assignments.clone(), &before, Timestamp::UNIX_EPOCH);
        let mut after = after(&assignments, &before, &moves);
        assert_eq!(after.split_off(3), [3, 4, 3]);
        after.sort_unstable();
        assert_eq!(after, [33, 33, 34]);
    }

    #[test]
    fn the_fullest_gives_first_and_of_equals_the_first_interface() {
        let assignments = vec![
            (on(&target(0), 1), targets([2])),
            (on(&target(1), 2), targets([2])),
            (on(&target(1), 3), targets([2])),
        ];
        let moves = evening_out(assignments, &loads(&[7, 9, 0]), Timestamp::UNIX_EPOCH);
        let order: Vec<_> = moves.iter().map(|a_move| a_move.interface_id.as_str()).collect();
        assert_eq!(
            order,
            [
                "eni-00000000000000002",
                "eni-00000000000000003",
                "eni-00000000000000001"
            ]
        );
    }
}
