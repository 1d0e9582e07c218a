//! `mirrorstep drain` and `mirrorstep rebalance`: sessions that go to another sensor.
//!
//! Each move is one transition of the ledger, which takes the place on the other sensor and gives back the one on the
//! first, and then one `ModifyTrafficMirrorSession`. Nothing is remembered beside that, so either command can be
//! stopped at any time and run again: a session that the ledger has moved and EC2 has not is moved in EC2 first. Only
//! sensors that can receive the interface are considered, by the same code as the stages'.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use mirrorstep_core::assignment::{
    Assignment, AssignmentState, LeftAlone, SensorLoad, Trouble, least_loaded,
};
use mirrorstep_core::config::{Consent, Targets};
use mirrorstep_core::unreadable::Unreadable;
use mirrorstep_core::{Clock, ErrorName, InterfaceId, SessionId, TargetId};
use mirrorstep_ec2::MoveRefusal;
use mirrorstep_ledger::Ledger;
use mirrorstep_reachability::explain::{Question, explain};
use mirrorstep_reachability::snapshot::Snapshot;
use serde_json::{Value, json};

use crate::account::aws::{Account, Service};
use crate::account::collect::{Wanted, collect};
use crate::account::deployment::Deployment;
use crate::cli::{DrainOptions, RebalanceOptions};
use crate::error::{Error, Failure};
use terminal::{Terminal, print, printable};

/// Who is named in the ledger's events.
const WHO: &str = "mirrorstep";
/// So many rounds at most: each reads both sides anew and does what is left.
const ROUNDS: usize = 20;
/// So many times at most a drained sensor is looked at for what has become a session meanwhile.
const LOOKS: usize = 7;
/// How long it is waited in between.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Where sessions are moved.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    /// The account.
    pub account: &'a Account,
    /// The name of its ledger's table.
    pub table: &'a str,
    /// What the ledger's events are dated by.
    pub clock: Clock,
}

impl<'a> Place<'a> {
    /// A deployment's, by this machine's clock.
    fn of(deployment: &'a Deployment) -> Self {
        Self {
            account: &deployment.account,
            table: &deployment.outputs.ledger_table,
            clock: Clock::system(),
        }
    }
}

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
    /// Interfaces whose sessions cannot be moved, each with why.
    stuck: Stuck,
}

type Stuck = BTreeMap<InterfaceId, String>;

/// What is on a sensor that is drained, beside what is stuck there.
#[derive(Debug)]
struct Left {
    /// Places that executions hold: they become sessions, or are given back.
    reserved: u64,
    /// Sessions of the ledger that can be moved.
    movable: usize,
    /// Sessions that are not the ledger's.
    external: u64,
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
    /// The sensors that the ledger has not known until now, with what EC2 shows for them.
    met: BTreeMap<TargetId, SensorLoad>,
    /// The interfaces whose sessions EC2 refuses to move, with its words. They are not tried again.
    refused: Stuck,
    /// How many moves EC2 has turned down, for the sensor's sake or for the session's.
    turned_down: usize,
    /// What of the ledger cannot be read.
    unreadable: Vec<Unreadable>,
}

/// Stops new placements on a sensor, and moves its sessions away.
pub async fn drain(options: &DrainOptions, terminal: &Terminal) -> Result<ExitCode, Error> {
    let deployment = Deployment::find(&options.deployment).await?;
    let question = deployment.question("").await?;
    let (told, status) = drain_in(Place::of(&deployment), &question, options, terminal).await?;
    print(&told)?;
    Ok(status)
}

/// The same at this place, deciding by this question: what is to be printed, and the status.
pub async fn drain_in(
    place: Place<'_>,
    question: &Question,
    options: &DrainOptions,
    terminal: &Terminal,
) -> Result<(String, ExitCode), Error> {
    let sensor = &options.target;
    let dry_run = options.dry_run;
    let ledger = format!("the ledger {}", place.table);
    let mut mover = Mover::new(place, question, dry_run, terminal);
    mover.meet_sensors().await?;
    let known = mover.books().await?.1.contains_key(sensor);
    if !known && mover.unreadable.iter().all(|item| item.sensor() != Some(sensor)) {
        return Err(Error::NotShown {
            service: Service::DYNAMODB.name,
            what: format!("sensor {sensor}"),
            place: ledger,
        });
    }
    if !dry_run {
        mover.ledger.set_draining(sensor, !options.cancel).await?;
    }
    if options.cancel {
        let would = if dry_run { "would take" } else { "takes" };
        let told = if options.json {
            let drained = Drained {
                options,
                done: Done::default(),
                left: mover.left_on(sensor, &Stuck::new()).await?,
                unreadable: &mover.unreadable,
            };
            drained.in_json()
        } else {
            format!("{sensor} {would} new sessions again")
        };
        return Ok((told, ExitCode::SUCCESS));
    }
    let mut done = Done::default();
    let left = mover.empty(sensor, &options.deployment.stack, &mut done).await?;
    let drained = Drained {
        options,
        done,
        left,
        unreadable: &mover.unreadable,
    };
    let told = if options.json {
        drained.in_json()
    } else {
        drained.in_words()
    };
    Ok((told, status(drained.is_done())))
}

/// What came of a drain.
struct Drained<'a> {
    options: &'a DrainOptions,
    done: Done,
    left: Left,
    /// What of the ledger cannot be read.
    unreadable: &'a [Unreadable],
}

impl Drained<'_> {
    /// Whether all of the ledger can be read, nothing is stuck, and nothing is left to wait for. A dry run waits for
    /// nothing.
    fn is_done(&self) -> bool {
        self.done.stuck.is_empty()
            && self.unreadable.is_empty()
            && (self.options.dry_run || self.left.is_nothing())
    }

    fn in_words(&self) -> String {
        let Self { done, left, .. } = self;
        let mut lines = vec![format!(
            "{}: {}, {} cannot be",
            self.options.target,
            sessions_moved(done.moved.len(), self.options.dry_run),
            done.stuck.len()
        )];
        lines.extend(reasons(&done.stuck));
        lines.extend(left_out(self.unreadable));
        if !left.is_nothing() {
            lines.push(format!("- {}: run it again", left.under_way()));
        }
        if left.external > 0 {
            let external = counted(left.external, "session");
            lines.push(format!(
                "- {external} of others on it, which the ledger does not move"
            ));
        }
        lines.join("\n")
    }

    fn in_json(&self) -> String {
        let Self {
            options, done, left, ..
        } = self;
        json!({
            "dryRun": options.dry_run, "sensor": options.target, "moved": done.moved,
            "stuck": done.stuck.keys().collect::<Vec<_>>(), "stuckBecause": done.stuck,
            "reserved": left.reserved, "external": left.external, "unreadable": self.unreadable,
        })
        .to_string()
    }
}

impl Left {
    /// Whether nothing is to be waited for.
    fn is_nothing(&self) -> bool {
        self.reserved == 0 && self.movable == 0
    }

    fn under_way(&self) -> String {
        let mut said = Vec::new();
        if self.reserved > 0 {
            said.push(format!("{} under way", counted(self.reserved, "reservation")));
        }
        if self.movable > 0 {
            said.push(format!("{} still to be moved", counted(self.movable, "session")));
        }
        said.join(", ")
    }
}

/// Evens the sensors' loads out, as after sensors were added.
pub async fn rebalance(options: &RebalanceOptions, terminal: &Terminal) -> Result<ExitCode, Error> {
    let deployment = Deployment::find(&options.deployment).await?;
    let question = deployment.question("").await?;
    let (told, status) = rebalance_in(Place::of(&deployment), &question, options, terminal).await?;
    print(&told)?;
    Ok(status)
}

/// The same at this place, deciding by this question: what is to be printed, and the status.
pub async fn rebalance_in(
    place: Place<'_>,
    question: &Question,
    options: &RebalanceOptions,
    terminal: &Terminal,
) -> Result<(String, ExitCode), Error> {
    let mut mover = Mover::new(place, question, options.dry_run, terminal);
    mover.meet_sensors().await?;
    let mut done = Done::default();
    let evenly = async |mover: &mut Mover<'_>| Ok((mover.even_out().await?, Stuck::new()));
    mover.work(&mut done, evenly).await?;
    let loads = mover.books().await?.1;
    let loads = loads.iter().map(|(target, load)| (target, load.total()));
    let told = if options.json {
        let sensors: Vec<_> = loads
            .map(|(target, sessions)| json!({"targetId": target, "sessions": sessions}))
            .collect();
        json!({
            "dryRun": options.dry_run, "moved": done.moved, "sensors": sensors,
            "stuck": done.stuck.keys().collect::<Vec<_>>(), "stuckBecause": done.stuck,
            "unreadable": mover.unreadable,
        })
        .to_string()
    } else {
        let mut lines = vec![sessions_moved(done.moved.len(), options.dry_run)];
        lines.extend(reasons(&done.stuck));
        lines.extend(left_out(&mover.unreadable));
        lines.extend(loads.map(|(target, sessions)| format!("- {target}: {}", counted(sessions, "session"))));
        lines.join("\n")
    };
    Ok((told, status(done.stuck.is_empty() && mover.unreadable.is_empty())))
}

fn status(all_done: bool) -> ExitCode {
    if all_done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A line for each interface that is stuck.
fn reasons(stuck: &Stuck) -> impl Iterator<Item = String> {
    stuck
        .iter()
        .map(|(interface, reason)| format!("- {interface}: {}", printable(reason)))
}

/// A line for each item of the ledger that cannot be read.
fn left_out(unreadable: &[Unreadable]) -> impl Iterator<Item = String> {
    unreadable.iter().map(|item| {
        format!(
            "- left out: {}; `mirrorstep status` says how to mend it",
            printable(&item.to_string())
        )
    })
}

fn counted(count: impl TryInto<u64>, what: &str) -> String {
    match count.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

fn sessions_moved(count: usize, dry_run: bool) -> String {
    let moved = if dry_run { "would be moved" } else { "moved" };
    format!("{} {moved}", counted(count, "session"))
}

impl<'a> Mover<'a> {
    fn new(place: Place<'a>, question: &'a Question, dry_run: bool, terminal: &'a Terminal) -> Self {
        Self {
            account: place.account,
            ledger: Ledger::new(place.account.dynamodb.clone(), place.table, place.clock),
            question,
            dry_run,
            terminal,
            reachable: BTreeMap::new(),
            met: BTreeMap::new(),
            refused: Stuck::new(),
            turned_down: 0,
            unreadable: Vec::new(),
        }
    }

    /// Enters the configured sensors that the ledger does not know and EC2 shows, such as those added lately, with the
    /// sessions that EC2 shows for them.
    async fn meet_sensors(&mut self) -> Result<(), Error> {
        let (_, known) = self.books().await?;
        let is_unknown = |id: &str| {
            id.parse().ok().filter(|id: &TargetId| {
                !known.contains_key(id) && self.unreadable.iter().all(|item| item.sensor() != Some(id))
            })
        };
        let ec2 = &self.account.ec2;
        let shown = match &self.question.targets {
            Some(ours) => {
                let unknown = ours.iter().filter_map(|id| is_unknown(id)).collect();
                ec2.targets(&Targets::Ids(unknown)).await
            }
            None => ec2.all_targets().await,
        }
        .map_err(self.account.failed())?;
        let unknown: Vec<TargetId> = shown
            .iter()
            .filter_map(|target| is_unknown(&target.traffic_mirror_target_id))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let counts = ec2.count_sessions_to(&unknown).await;
        let mut counts: Vec<_> = counts.map_err(self.account.failed())?.into_iter().collect();
        counts.sort();
        if !self.dry_run {
            self.ledger.enter_sensors(&counts, WHO).await?;
        }
        let met = counts
            .into_iter()
            .map(|(target_id, external)| SensorLoad::new(target_id, 0, external));
        self.met = met.map(|load| (load.target_id.clone(), load)).collect();
        Ok(())
    }

    /// The active assignments that may be moved, by interface, and the sensors' loads.
    async fn books(&mut self) -> Result<(Vec<Assignment>, BTreeMap<TargetId, SensorLoad>), Error> {
        let books = self.ledger.books().await?;
        self.unreadable = books.unreadable;
        let mut active: Vec<_> = books
            .assignments
            .into_iter()
            .filter(|assignment| {
                assignment.state == AssignmentState::Active
                    && !self.refused.contains_key(&assignment.interface_id)
            })
            .collect();
        active.sort_by(|one, other| one.interface_id.cmp(&other.interface_id));
        // The index may not show yet what was entered just now.
        let mut loads = self.met.clone();
        loads.extend(books.loads.into_iter().map(|load| (load.target_id.clone(), load)));
        Ok((active, loads))
    }

    /// What is on a sensor. Its counter and the assignments are read consistently; of one that the index does not show
    /// yet the counter tells, and it is as good as under way.
    async fn left_on(&self, sensor: &TargetId, stuck: &Stuck) -> Result<Left, Error> {
        let books = self.ledger.books().await?;
        // No move gives such a place back.
        let held = books
            .unreadable
            .iter()
            .filter(|item| item.held_on() == Some(sensor));
        let held = held.count();
        let shown = books.assignments.into_iter();
        let shown: Vec<InterfaceId> = shown
            .filter(|assignment| assignment.is_live() && assignment.target_id == *sensor)
            .map(|assignment| assignment.interface_id)
            .collect();
        let mut on_it = self.ledger.assignments_of(&shown).await?.readable;
        on_it.retain(|assignment| {
            assignment.state == AssignmentState::Active && assignment.target_id == *sensor
        });
        let load = self.ledger.loads([sensor]).await?.readable;
        let (sessions, external) = load
            .first()
            .or_else(|| self.met.get(sensor))
            .map_or((0, 0), |load| (load.sessions, load.external));
        let movable = on_it.iter().filter(|assignment| {
            !stuck.contains_key(&assignment.interface_id) && !self.is_gone(&assignment.interface_id)
        });
        Ok(Left {
            reserved: sessions.saturating_sub((on_it.len() + held) as u64),
            // What would be moved is not in the way.
            movable: if self.dry_run { 0 } else { movable.count() },
            external,
        })
    }

    /// Plans and does, until nothing is left to do, or a round does nothing and EC2 has turned nothing down either: what
    /// it turned down, the next plan leaves out, and may do something else instead.
    async fn work(
        &mut self,
        done: &mut Done,
        plan: impl AsyncFn(&mut Self) -> Result<(Vec<Move>, Stuck), Error>,
    ) -> Result<(), Error> {
        if !self.dry_run {
            self.finish().await?;
        }
        for _ in 0..ROUNDS {
            let (planned, stuck) = plan(self).await?;
            done.stuck = stuck;
            let before = (done.moved.len(), self.turned_down);
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
            if (done.moved.len(), self.turned_down) == before || self.dry_run {
                break;
            }
        }
        done.stuck.extend(self.refused.clone());
        Ok(())
    }

    /// Moves a sensor's sessions away. Looks again for what has become a session meanwhile, until nothing is left, and
    /// [`LOOKS`] times at most. A dry run looks once. Answers with what is left.
    async fn empty(&mut self, sensor: &TargetId, named: &str, done: &mut Done) -> Result<Left, Error> {
        let away = async |mover: &mut Self| mover.away_from(sensor, named).await;
        let mut looks = 1;
        loop {
            self.work(done, away).await?;
            let left = self.left_on(sensor, &done.stuck).await?;
            if self.dry_run || left.is_nothing() || looks == LOOKS {
                return Ok(left);
            }
            looks += 1;
            self.terminal.line(&format!(
                "{sensor}: {}; looked at again in {} s",
                left.under_way(),
                LOOK_AGAIN_AFTER.as_secs()
            ));
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    }

    /// The moves from a sensor to others, each to the least loaded that can receive the interface.
    async fn away_from(&mut self, sensor: &TargetId, named: &str) -> Result<(Vec<Move>, Stuck), Error> {
        let (assignments, loads) = self.books().await?;
        let on_it: Vec<Assignment> = assignments
            .into_iter()
            .filter(|assignment| assignment.target_id == *sensor)
            .collect();
        self.look_at(&on_it, &loads).await?;
        let mut loads: Vec<SensorLoad> = loads
            .into_values()
            .filter(|load| load.target_id != *sensor)
            .collect();
        let (mut planned, mut stuck) = (Vec::new(), Stuck::new());
        for assignment in on_it {
            let interface = &assignment.interface_id;
            let candidates = self.candidates(&assignment);
            let to = least_loaded(interface, candidates, &loads, self.ledger.now());
            match to.map(|load| load.target_id.clone()) {
                Some(to) => {
                    add_one(&mut loads, &to);
                    planned.push(Move { assignment, to });
                }
                None if self.is_gone(interface) => {}
                None => {
                    let reason = format!(
                        "no other sensor can receive it and has room; `mirrorstep explain --stack {named} --interface \
                         {interface}`"
                    );
                    stuck.insert(interface.clone(), reason);
                }
            }
        }
        Ok((planned, stuck))
    }

    /// The moves that even the loads out: from a sensor to one that has at least two less, and as near.
    async fn even_out(&mut self) -> Result<Vec<Move>, Error> {
        let (assignments, loads) = self.books().await?;
        self.look_at(&assignments, &loads).await?;
        let now = self.ledger.now();
        let with_others = assignments.into_iter().map(|assignment| {
            let others = self.nearest(&assignment, &loads, now);
            (assignment, others)
        });
        Ok(evening_out(with_others.collect(), &loads, now))
    }

    /// Moves the sessions in EC2 that the ledger has moved, where an earlier run did not come to it. Where the other
    /// sensor cannot receive the interface by now, the ledger goes back instead.
    async fn finish(&mut self) -> Result<(), Error> {
        let (mut begun, loads) = self.books().await?;
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
        // Where the last event is not a move's, it is somebody else's doing, and reconcile follows it.
        begun.retain(|assignment| {
            let session = assignment.session_id.as_ref().map(SessionId::as_str);
            let target = session.and_then(|session| shown.get(session));
            assignment.execution_arn == WHO
                && target.is_some_and(|target| *target != assignment.target_id.as_str())
        });
        self.look_at(&begun, &loads).await?;
        for moved in &begun {
            let mut reachable = self.reachable(&moved.interface_id).iter();
            if self.is_gone(&moved.interface_id) || reachable.any(|(target, _)| *target == moved.target_id) {
                self.in_ec2(moved).await?;
            } else {
                let reason = format!("{} cannot receive it any more", moved.target_id);
                self.back(moved, None, &reason).await?;
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

    /// The sensors to which a session may go to even the loads out: those that take sessions in its own zone, and
    /// others only where it is in another zone already and its own has none.
    fn nearest(
        &self,
        assignment: &Assignment,
        loads: &BTreeMap<TargetId, SensorLoad>,
        now: Timestamp,
    ) -> BTreeSet<TargetId> {
        let is_near = self
            .reachable(&assignment.interface_id)
            .iter()
            .any(|(target, local)| *local && *target == assignment.target_id);
        let open = self
            .candidates(assignment)
            .filter(|(target, _)| loads.get(target).is_some_and(|load| load.takes_sessions(now)));
        let (near, far): (Vec<_>, Vec<_>) = open.partition(|(_, local)| *local);
        let chosen = if is_near || !near.is_empty() { near } else { far };
        chosen.into_iter().map(|(target, _)| target.clone()).collect()
    }

    /// One move: false where something has changed meanwhile, the other sensor has no room, or EC2 refuses.
    async fn carry_out(&mut self, Move { assignment, to }: &Move) -> Result<bool, Error> {
        match self.ledger.move_to(assignment, to, WHO).await {
            Ok(Some(moved)) => self.in_ec2(&moved).await,
            Ok(None) => Ok(false),
            Err(error) if error.name == ErrorName::LedgerUnreadable => {
                self.refused
                    .insert(assignment.interface_id.clone(), error.message);
                self.turned_down += 1;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Moves a session in EC2 to where the ledger has it. False where the ledger goes back instead, since the sensor is
    /// full or cannot receive or EC2 refuses this move, or where the session is gone.
    async fn in_ec2(&mut self, moved: &Assignment) -> Result<bool, Error> {
        let Some(session) = &moved.session_id else {
            return Ok(true);
        };
        match self.account.ec2.move_session(session, &moved.target_id).await {
            Ok(()) => Ok(true),
            // The assignment goes with it, when reconcile sees that it is gone.
            Err(MoveRefusal::Gone) => Ok(false),
            Err(MoveRefusal::Sensor(trouble, words)) => {
                let what = match trouble {
                    Trouble::Full => "is full",
                    Trouble::Down => "cannot receive",
                };
                let reason = format!("{} {what}: {words}", moved.target_id);
                self.terminal.line(&printable(&reason));
                let left_alone = LeftAlone::from(self.ledger.now(), trouble, reason.as_str());
                self.turned_down += 1;
                self.back(moved, Some(&left_alone), &reason).await?;
                Ok(false)
            }
            Err(MoveRefusal::Other(error)) => match self.account.failed()(error) {
                Error::Refused {
                    failure: Failure::NotAllowed | Failure::Other,
                    cause,
                    ..
                } => {
                    self.back(moved, None, &format!("EC2 refuses the move: {cause}"))
                        .await?;
                    self.refused.insert(moved.interface_id.clone(), cause);
                    self.turned_down += 1;
                    Ok(false)
                }
                error => Err(error),
            },
        }
    }

    /// Takes a move back in the ledger, to where EC2 shows the session.
    async fn back(
        &mut self,
        moved: &Assignment,
        left_alone: Option<&LeftAlone>,
        reason: &str,
    ) -> Result<(), Error> {
        let shown = self
            .account
            .ec2
            .sessions_of(std::slice::from_ref(&moved.interface_id))
            .await;
        let shown = shown.map_err(self.account.failed())?;
        let back = shown
            .iter()
            .find(|shown| {
                moved.session_id.as_ref().map(SessionId::as_str) == Some(&shown.traffic_mirror_session_id)
            })
            .and_then(|shown| shown.traffic_mirror_target_id.parse().ok());
        if let Some(back) = back {
            let done = self.ledger.move_back(moved, &back, left_alone, reason, WHO).await;
            match done {
                // It is moved in EC2 when the sensor's counter can be read.
                Err(error) if error.name == ErrorName::LedgerUnreadable => {
                    self.refused.insert(moved.interface_id.clone(), error.message);
                }
                done => _ = done?,
            }
        }
        Ok(())
    }
}

/// The moves that even the loads out, of assignments each with the sensors that it may go to: time and again the one
/// that takes the most from the fullest, and of equal ones that of the first interface.
fn evening_out(
    assignments: Vec<(Assignment, BTreeSet<TargetId>)>,
    loads: &BTreeMap<TargetId, SensorLoad>,
    now: Timestamp,
) -> Vec<Move> {
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
            Some(Move { assignment, to })
        });
        let Some(next) = next else {
            return moves;
        };
        let from = loads
            .iter_mut()
            .find(|load| load.target_id == next.assignment.target_id);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use mirrorstep_core::assignment::{Change, LedgerEvent, apply};

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
        moves: &[Move],
    ) -> Vec<u64> {
        let mut loads = before.clone();
        for Move { assignment, to } in moves {
            let others = assignments.iter().find(|(one, _)| one == assignment);
            assert!(others.unwrap().1.contains(to), "{assignment:?} to {to}");
            loads.get_mut(&assignment.target_id).unwrap().sessions -= 1;
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
        let order: Vec<_> = moves
            .iter()
            .map(|a_move| a_move.assignment.interface_id.as_str())
            .collect();
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
