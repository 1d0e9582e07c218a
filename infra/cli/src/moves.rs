//! `mirrorstep drain` and `mirrorstep rebalance`: sessions that go to another sensor.
//!
//! Each move is one transition of the ledger, which takes the place on the other sensor and gives back the one on the
//! first, and then one `ModifyTrafficMirrorSession`. Nothing is remembered beside that, so either command can be
//! stopped at any time and run again: a session that the ledger has moved and EC2 has not is moved in EC2 first. Only
//! sensors that can receive the interface are considered, by the same code as the stages'.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use mirrorstep_core::assignment::{Assignment, AssignmentState, FULL_FOR, SensorLoad, least_loaded};
use mirrorstep_core::config::Consent;
use mirrorstep_core::explain::{Question, explain};
use mirrorstep_core::snapshot::Snapshot;
use mirrorstep_core::{Clock, InterfaceId, TargetId};
use mirrorstep_ec2::MoveRefusal;
use mirrorstep_ledger::Ledger;
use serde_json::{Value, json};

use crate::aws::{Account, Service};
use crate::cli::{DrainOptions, RebalanceOptions};
use crate::collect::{Wanted, collect};
use crate::deployment::Deployment;
use crate::error::Error;
use crate::terminal::{Terminal, print};

/// Who is named in the ledger's events.
const WHO: &str = "mirrorstep";
/// So many rounds at most: each reads both sides anew and does what is left.
const ROUNDS: usize = 20;

/// A session that is to go to another sensor.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Move {
    assignment: Assignment,
    to: TargetId,
}

/// What became of the moves.
#[derive(Debug, Default)]
struct Done {
    moved: Vec<Value>,
    /// Interfaces that no other sensor can receive, or has room for.
    stuck: BTreeSet<InterfaceId>,
}

/// The account's two sides and how moves are decided.
struct Mover<'a> {
    account: &'a Account,
    ledger: Ledger,
    /// What the functions decide by.
    question: &'a Question,
    dry_run: bool,
    terminal: &'a Terminal,
    /// Which other sensors can receive an interface, each with whether it is in its zone. None: it is gone, its session
    /// with it, and the ledger gives its place back without a move.
    reachable: BTreeMap<InterfaceId, Option<Vec<(TargetId, bool)>>>,
}

/// Stops new placements on a sensor, and moves its sessions away.
pub async fn drain(options: &DrainOptions, terminal: &Terminal) -> Result<ExitCode, Error> {
    let deployment = Deployment::find(&options.deployment).await?;
    let question = deployment.question("").await?;
    let place = (&deployment.account, deployment.outputs.ledger_table.as_str());
    drain_in(place, &question, options, terminal).await
}

/// The same with the ledger of this name in this account, deciding by this question.
pub async fn drain_in(
    place: (&Account, &str),
    question: &Question,
    options: &DrainOptions,
    terminal: &Terminal,
) -> Result<ExitCode, Error> {
    let sensor = &options.target;
    let dry_run = options.dry_run;
    let mut mover = Mover::new(place, question, dry_run, terminal);
    let known = mover.books().await?.1.contains_key(sensor);
    if !known {
        return Err(Error::NotShown {
            service: Service::DYNAMODB.name,
            what: format!("sensor {sensor}"),
            place: format!("the ledger {}", place.1),
        });
    }
    if !dry_run {
        mover.ledger.set_draining(sensor, !options.cancel).await?;
    }
    if options.cancel {
        let would = if dry_run { "would take" } else { "takes" };
        print(&if options.json {
            json!({"dryRun": dry_run, "sensor": sensor, "moved": [], "stuck": []}).to_string()
        } else {
            format!("{sensor} {would} new sessions again")
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let done = mover
        .work(async |mover: &mut Mover<'_>| {
            let (assignments, loads) = mover.books().await?;
            let on_it: Vec<Assignment> = assignments
                .into_iter()
                .filter(|assignment| assignment.target_id == *sensor)
                .collect();
            mover.look_at(&on_it, &loads).await?;
            let mut loads: Vec<SensorLoad> = loads
                .into_values()
                .filter(|load| load.target_id != *sensor)
                .collect();
            let mut planned = Vec::new();
            let mut stuck = BTreeSet::new();
            for assignment in on_it {
                let candidates = mover.candidates(&assignment);
                let now = mover.ledger.now();
                match least_loaded(&assignment.interface_id, candidates, &loads, now)
                    .map(|load| load.target_id.clone())
                {
                    Some(to) => {
                        add_one(&mut loads, &to);
                        planned.push(Move { assignment, to });
                    }
                    None if mover.is_gone(&assignment.interface_id) => {}
                    None => {
                        stuck.insert(assignment.interface_id);
                    }
                }
            }
            Ok((planned, stuck))
        })
        .await?;
    let left = done.stuck.len();
    print(&if options.json {
        json!({
            "dryRun": dry_run, "sensor": sensor, "moved": done.moved, "stuck": done.stuck,
        })
        .to_string()
    } else {
        let mut lines = vec![format!(
            "{sensor}: {}, {left} cannot be",
            sessions_moved(done.moved.len(), dry_run)
        )];
        lines.extend(done.stuck.iter().map(|interface| {
            format!(
                "- {interface}: no other sensor can receive it and has room; `mirrorstep explain --stack {} --interface \
                 {interface}`",
                options.deployment.stack
            )
        }));
        lines.join("\n")
    })?;
    Ok(if left == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Evens the sensors' loads out, as after sensors were added.
pub async fn rebalance(options: &RebalanceOptions, terminal: &Terminal) -> Result<ExitCode, Error> {
    let deployment = Deployment::find(&options.deployment).await?;
    let question = deployment.question("").await?;
    let place = (&deployment.account, deployment.outputs.ledger_table.as_str());
    rebalance_in(place, &question, options, terminal).await
}

/// The same with the ledger of this name in this account, deciding by this question.
pub async fn rebalance_in(
    place: (&Account, &str),
    question: &Question,
    options: &RebalanceOptions,
    terminal: &Terminal,
) -> Result<ExitCode, Error> {
    let mut mover = Mover::new(place, question, options.dry_run, terminal);
    let done = mover
        .work(async |mover: &mut Mover<'_>| {
            let (assignments, loads) = mover.books().await?;
            mover.look_at(&assignments, &loads).await?;
            Ok((mover.evening_out(assignments, loads), BTreeSet::new()))
        })
        .await?;
    let loads = mover.books().await?.1;
    let loads = loads.iter().map(|(target, load)| (target, load.total()));
    print(&if options.json {
        let sensors: Vec<_> = loads
            .map(|(target, sessions)| json!({"targetId": target, "sessions": sessions}))
            .collect();
        json!({"dryRun": options.dry_run, "moved": done.moved, "sensors": sensors}).to_string()
    } else {
        let mut lines = vec![sessions_moved(done.moved.len(), options.dry_run)];
        lines.extend(loads.map(|(target, sessions)| format!("- {target}: {sessions} sessions")));
        lines.join("\n")
    })?;
    Ok(ExitCode::SUCCESS)
}

fn sessions_moved(count: usize, dry_run: bool) -> String {
    let sessions = if count == 1 { "session" } else { "sessions" };
    let moved = if dry_run { "would be moved" } else { "moved" };
    format!("{count} {sessions} {moved}")
}

impl<'a> Mover<'a> {
    fn new(
        (account, table): (&'a Account, &str),
        question: &'a Question,
        dry_run: bool,
        terminal: &'a Terminal,
    ) -> Self {
        let clock = Clock::system();
        Self {
            account,
            ledger: Ledger::new(account.dynamodb.clone(), table, clock),
            question,
            dry_run,
            terminal,
            reachable: BTreeMap::new(),
        }
    }

    /// The active assignments, by interface, and the sensors' loads.
    async fn books(&self) -> Result<(Vec<Assignment>, BTreeMap<TargetId, SensorLoad>), Error> {
        let books = self.ledger.books().await?;
        let mut active: Vec<_> = books
            .assignments
            .into_iter()
            .filter(|assignment| assignment.state == AssignmentState::Active)
            .collect();
        active.sort_by(|one, other| one.interface_id.cmp(&other.interface_id));
        let loads = books.loads.into_iter().map(|load| (load.target_id.clone(), load));
        Ok((active, loads.collect()))
    }

    /// Plans and does, until nothing is left to do or a round does nothing.
    async fn work(
        &mut self,
        plan: impl AsyncFn(&mut Self) -> Result<(Vec<Move>, BTreeSet<InterfaceId>), Error>,
    ) -> Result<Done, Error> {
        let mut done = Done::default();
        if !self.dry_run {
            self.finish().await?;
        }
        for _ in 0..ROUNDS {
            let (planned, stuck) = plan(self).await?;
            done.stuck = stuck;
            let before = done.moved.len();
            let mut progress = self.terminal.progress("sessions moved");
            for (tried, a_move) in planned.iter().enumerate() {
                progress.set(tried, planned.len());
                let Move { assignment, to } = a_move;
                let (interface, from) = (&assignment.interface_id, &assignment.target_id);
                if self.dry_run || self.carry_out(a_move).await? {
                    let ended = if self.dry_run { "" } else { ", done" };
                    self.terminal
                        .line(&format!("{interface}: from {from} to {to}{ended}"));
                    done.moved
                        .push(json!({"interfaceId": interface, "from": from, "to": to}));
                }
            }
            if done.moved.len() == before || self.dry_run {
                break;
            }
        }
        Ok(done)
    }

    /// Moves the sessions in EC2 that the ledger has moved, where an earlier run did not come to it.
    async fn finish(&self) -> Result<(), Error> {
        let (assignments, _) = self.books().await?;
        let sessions = self
            .account
            .ec2
            .all_sessions()
            .await
            .map_err(self.account.failed())?;
        let shown: BTreeMap<&str, &str> = sessions
            .iter()
            .map(|session| {
                (
                    session.traffic_mirror_session_id.as_str(),
                    session.traffic_mirror_target_id.as_str(),
                )
            })
            .collect();
        for assignment in assignments {
            let Some(session) = &assignment.session_id else {
                continue;
            };
            let elsewhere = shown
                .get(session.as_str())
                .is_some_and(|target| *target != assignment.target_id.as_str());
            // Of another age than a move's it is somebody else's doing, and reconcile follows it.
            if elsewhere && assignment.execution_arn == WHO {
                self.in_ec2(&assignment).await?;
            }
        }
        Ok(())
    }

    /// Finds out which sensors can receive these interfaces, for those of which it is not known yet.
    async fn look_at(
        &mut self,
        assignments: &[Assignment],
        loads: &BTreeMap<TargetId, SensorLoad>,
    ) -> Result<(), Error> {
        let unknown: Vec<InterfaceId> = assignments
            .iter()
            .map(|assignment| assignment.interface_id.clone())
            .filter(|interface| !self.reachable.contains_key(interface))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        // A sensor that is not configured any more stays in the ledger, and gets no sessions.
        let targets: Vec<TargetId> = loads
            .keys()
            .filter(|target| match &self.question.targets {
                Some(ours) => ours.iter().any(|id| id == target.as_str()),
                None => true,
            })
            .cloned()
            .collect();
        let _looking = self.terminal.wait("EC2 is asked which sensors can receive what");
        let wanted = Wanted {
            interfaces: &unknown,
            targets: &targets,
            local_zone_only: self.question.local_zone_only,
            may_be_gone: true,
            ..Wanted::default()
        };
        let snapshot = collect(self.account, wanted).await?;
        let shown: BTreeSet<&str> = snapshot
            .network_interfaces
            .iter()
            .map(|interface| interface.network_interface_id.as_str())
            .collect();
        for interface in unknown {
            let reachable = if shown.contains(interface.as_str()) {
                Some(self.reachable_in(&snapshot, &interface, &targets)?)
            } else {
                None
            };
            self.reachable.insert(interface, reachable);
        }
        Ok(())
    }

    fn reachable_in(
        &self,
        snapshot: &Snapshot,
        interface: &InterfaceId,
        targets: &[TargetId],
    ) -> Result<Vec<(TargetId, bool)>, Error> {
        let question = Question {
            interface_id: interface.to_string(),
            targets: Some(targets.iter().map(ToString::to_string).collect()),
            // It is mirrored: whether it should be is not asked again.
            consent: Consent::default(),
            ..self.question.clone()
        };
        let explanation = explain(snapshot, &question).map_err(|error| Error::NoAnswer {
            place: "AWS".to_owned(),
            cause: error.to_string(),
        })?;
        Ok(explanation
            .verdicts
            .into_iter()
            .filter(|verdict| verdict.eligible)
            .map(|verdict| (verdict.target_id, verdict.local))
            .collect())
    }

    fn is_gone(&self, interface: &InterfaceId) -> bool {
        matches!(self.reachable.get(interface), Some(None))
    }

    fn reachable(&self, interface: &InterfaceId) -> &[(TargetId, bool)] {
        match self.reachable.get(interface) {
            Some(Some(reachable)) => reachable,
            _ => &[],
        }
    }

    fn candidates(&self, assignment: &Assignment) -> impl Iterator<Item = (&TargetId, bool)> {
        self.reachable(&assignment.interface_id)
            .iter()
            .filter(|(target, _)| *target != assignment.target_id)
            .map(|(target, local)| (target, *local))
    }

    /// The moves that even the loads out: from a sensor to one that has at least two less, and as near.
    fn evening_out(&self, assignments: Vec<Assignment>, loads: BTreeMap<TargetId, SensorLoad>) -> Vec<Move> {
        let now = self.ledger.now();
        let mut loads: Vec<SensorLoad> = loads.into_values().collect();
        let mut moves = Vec::new();
        let mut waiting = assignments;
        loop {
            let total = |target: &TargetId, loads: &[SensorLoad]| {
                loads
                    .iter()
                    .find(|load| load.target_id == *target)
                    .map_or(0, SensorLoad::total)
            };
            // The one whose move takes the most from the fullest.
            let best = waiting
                .iter()
                .enumerate()
                .filter_map(|(index, assignment)| {
                    let is_local = |target: &TargetId| {
                        self.reachable(&assignment.interface_id)
                            .iter()
                            .any(|(reached, local)| reached == target && *local)
                    };
                    let near = is_local(&assignment.target_id);
                    let candidates = self.candidates(assignment).filter(|(_, local)| *local || !near);
                    let to = least_loaded(&assignment.interface_id, candidates, &loads, now)?;
                    let from = total(&assignment.target_id, &loads);
                    let gain = from.checked_sub(to.total() + 1).filter(|gain| *gain > 0)?;
                    Some((gain, index, to.target_id.clone()))
                })
                .max_by_key(|(gain, index, _)| (*gain, std::cmp::Reverse(*index)));
            let Some((_, index, to)) = best else {
                return moves;
            };
            let assignment = waiting.swap_remove(index);
            if let Some(load) = loads
                .iter_mut()
                .find(|load| load.target_id == assignment.target_id)
            {
                load.sessions = load.sessions.saturating_sub(1);
            }
            add_one(&mut loads, &to);
            moves.push(Move { assignment, to });
        }
    }

    /// One move: false where something has changed meanwhile, or the other sensor has no room.
    async fn carry_out(&self, Move { assignment, to }: &Move) -> Result<bool, Error> {
        let Some(moved) = self.ledger.move_to(assignment, to, WHO).await? else {
            return Ok(false);
        };
        self.in_ec2(&moved).await.map(|moved_back| !moved_back)
    }

    /// Moves a session in EC2 to where the ledger has it. True where the ledger goes back instead, since the sensor is
    /// full or the session gone.
    async fn in_ec2(&self, moved: &Assignment) -> Result<bool, Error> {
        let Some(session) = &moved.session_id else {
            return Ok(false);
        };
        match self.account.ec2.move_session(session, &moved.target_id).await {
            Ok(()) => Ok(false),
            // The assignment goes with it, when reconcile sees that it is gone.
            Err(MoveRefusal::Gone) => Ok(true),
            Err(MoveRefusal::Full(words)) => {
                self.terminal
                    .line(&format!("{} is full: {words}", moved.target_id));
                let shown = self
                    .account
                    .ec2
                    .sessions_of(std::slice::from_ref(&moved.interface_id))
                    .await;
                let shown = shown.map_err(self.account.failed())?;
                let back = shown
                    .iter()
                    .find(|shown| shown.traffic_mirror_session_id == session.as_str())
                    .and_then(|shown| shown.traffic_mirror_target_id.parse().ok());
                if let Some(back) = back {
                    let full_until = self.ledger.now() + FULL_FOR;
                    self.ledger.move_back(moved, &back, full_until, WHO).await?;
                }
                Ok(true)
            }
            Err(MoveRefusal::Other(error)) => Err(self.account.failed()(error)),
        }
    }
}

fn add_one(loads: &mut [SensorLoad], target: &TargetId) {
    if let Some(load) = loads.iter_mut().find(|load| load.target_id == *target) {
        load.sessions += 1;
    }
}
