//! The invariants, each a function, over a second book of the ledger that is kept from what was committed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use mirrorstep_core::assignment::{Assignment, AssignmentState, Change, LedgerEvent, SensorLoad, apply};
use mirrorstep_core::{InterfaceId, SessionId, TargetId};
use serde_json::Value;

use crate::journal::Violation;

type Held = Result<(), Violation>;

/// What one invocation of `PickLeastLoaded` knows: its candidates, with whether each is local, and the loads that it
/// has read or was told.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub(crate) candidates: Vec<(TargetId, bool)>,
    pub(crate) loads: BTreeMap<TargetId, Read>,
}

/// A sensor's load as it was read, after so many commits.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    pub(crate) load: SensorLoad,
    pub(crate) after: u64,
}

impl View {
    /// The candidates with room that are the nearest: those that a pick at this time is made from.
    fn eligible(&self, at: Timestamp) -> BTreeMap<&TargetId, &Read> {
        let with_room = |near: bool| {
            let candidates = self.candidates.iter().filter(|(_, local)| *local == near);
            let read = candidates.filter_map(|(target, _)| self.loads.get_key_value(target));
            read.filter(|(_, read)| read.load.takes_sessions(at)).collect()
        };
        let local: BTreeMap<_, _> = with_room(true);
        if local.is_empty() { with_room(false) } else { local }
    }
}

/// One committed transaction.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    pub(crate) assignment: Option<Assignment>,
    pub(crate) event: Option<LedgerEvent>,
    /// The counters that it wrote, as they are now.
    pub(crate) loads: Vec<SensorLoad>,
}

/// A create call that EC2 carried out or refused.
#[derive(Debug)]
pub(crate) struct Create<'a> {
    pub(crate) interface_id: InterfaceId,
    pub(crate) parameters: BTreeMap<&'static str, String>,
    pub(crate) client_token: Option<&'a str>,
    /// The session, or the refusal.
    pub(crate) answer: Result<SessionId, String>,
}

/// A session as EC2 truly has it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) interface: String,
    pub(crate) target: String,
    /// Whether its interface is attached to an instance.
    pub(crate) is_attached: bool,
}

/// The second book.
#[derive(Debug, Default)]
pub(crate) struct Book {
    assignments: BTreeMap<InterfaceId, Assignment>,
    events: BTreeMap<InterfaceId, Vec<LedgerEvent>>,
    loads: BTreeMap<TargetId, SensorLoad>,
    live: BTreeMap<TargetId, u64>,
    /// Which generation each client token belongs to.
    tokens: BTreeMap<String, (InterfaceId, u64)>,
    /// What was created for each generation.
    created: BTreeMap<(InterfaceId, u64), SessionId>,
    /// How many transactions were committed.
    commits: u64,
    /// After which of them a sensor's load was as it is.
    changed_at: BTreeMap<TargetId, u64>,
    /// By candidates.
    evenings: BTreeMap<BTreeSet<TargetId>, Evening>,
}

/// A time in which nothing but placements with the same candidates has changed these candidates' loads.
#[derive(Debug)]
struct Evening {
    /// It began after so many commits.
    after: u64,
    placed_on: BTreeSet<TargetId>,
}

impl Evening {
    fn after(commits: u64) -> Self {
        Self {
            after: commits,
            placed_on: BTreeSet::new(),
        }
    }
}

/// A place taken: which sensor's, of which sensors with which loads when read.
struct Placement {
    on: TargetId,
    among: BTreeMap<TargetId, u64>,
    /// After how many commits the oldest of these loads was read.
    read_after: u64,
}

impl Placement {
    fn of(event: &LedgerEvent, view: &View) -> Option<Self> {
        let Change::Reserved { target_id, .. } = &event.change else {
            return None;
        };
        let eligible = view.eligible(event.at);
        Some(Self {
            on: target_id.clone(),
            read_after: eligible.values().map(|read| read.after).min().unwrap_or_default(),
            among: eligible
                .into_iter()
                .map(|(target, read)| (target.clone(), read.load.total()))
                .collect(),
        })
    }
}

impl Book {
    /// Enters a committed transaction, and checks what it touches.
    pub(crate) fn committed(&mut self, committed: Committed, view: Option<&View>) -> Held {
        let mut placement = None;
        if let (Some(after), Some(event)) = (&committed.assignment, &committed.event) {
            let before = self.assignments.get(&after.interface_id);
            i1_one_live_assignment(before, event)?;
            placement = view.and_then(|view| Placement::of(event, view));
            if let Some(placement) = &placement {
                self.i3_least_loaded(event, placement)?;
            }
            i4_events_give_the_assignment(before, event, after)?;
            self.i5_one_token_for_each_generation(event)?;
        } else if committed.assignment.is_some() != committed.event.is_some() {
            return Err(Violation::new(
                "I4",
                "an assignment and its event in one transaction",
                format!("{committed:?}"),
            ));
        }
        let mut touched: Vec<TargetId> = Vec::new();
        if let Some(after) = committed.assignment {
            if after.is_live() {
                *self.live.entry(after.target_id.clone()).or_default() += 1;
            }
            touched.push(after.target_id.clone());
            let before = self.assignments.insert(after.interface_id.clone(), after);
            if let Some(before) = before.filter(Assignment::is_live) {
                *self.live.entry(before.target_id.clone()).or_default() -= 1;
                touched.push(before.target_id);
            }
        }
        if let Some(event) = committed.event {
            self.events
                .entry(event.interface_id.clone())
                .or_default()
                .push(event);
        }
        self.commits += 1;
        let mut changed: BTreeSet<TargetId> = BTreeSet::new();
        for load in committed.loads {
            touched.push(load.target_id.clone());
            changed.insert(load.target_id.clone());
            self.loads.insert(load.target_id.clone(), load);
        }
        touched.iter().try_for_each(|target| self.i2_counter(target))?;
        self.i3_even(changed, placement)
    }

    /// What the ledger holds of a sensor.
    pub(crate) fn sensor(&self, target: &str) -> Option<&SensorLoad> {
        self.loads.values().find(|load| load.target_id.as_str() == target)
    }

    /// The interfaces with an active assignment, each with its sensor.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.active()
            .map(|assignment| (assignment.interface_id.as_str(), assignment.target_id.as_str()))
    }

    /// Whether an active assignment stands for this session, which we have made.
    pub(crate) fn is_ours(&self, session: &str) -> bool {
        let mut active = self.active();
        active.any(|assignment| {
            !assignment.is_adopted()
                && assignment
                    .session_id
                    .as_ref()
                    .is_some_and(|id| id.as_str() == session)
        })
    }

    /// The interfaces with a session that we have made, each with its sensor and its packet length.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&str, &str, Option<i32>)> {
        let made = self.active().filter(|assignment| !assignment.is_adopted());
        made.map(|assignment| {
            (
                assignment.interface_id.as_str(),
                assignment.target_id.as_str(),
                assignment.packet_length,
            )
        })
    }

    fn active(&self) -> impl Iterator<Item = &Assignment> {
        let assignments = self.assignments.values();
        assignments.filter(|assignment| assignment.state == AssignmentState::Active)
    }

    /// Whether a person has ended the interface's session, and nothing has asked for one since.
    pub(crate) fn is_kept_off(&self, interface: &str) -> bool {
        let mut assignments = self.assignments.values();
        assignments.any(|assignment| assignment.kept_off && assignment.interface_id.as_str() == interface)
    }

    /// How many transactions were committed so far.
    pub(crate) fn commits(&self) -> u64 {
        self.commits
    }

    /// A sensor's counter equals its live assignments.
    fn i2_counter(&self, target: &TargetId) -> Held {
        let live = self.live.get(target).copied().unwrap_or_default();
        let counter = self.loads.get(target).map(|load| load.sessions);
        if counter == Some(live) {
            return Ok(());
        }
        Err(Violation::new(
            "I2",
            format!("the counter of {target} at {live}, as many as its live assignments"),
            format!("{counter:?}"),
        ))
    }

    /// A sensor picked had, at commit, no more load than any other eligible one had when read.
    fn i3_least_loaded(&self, event: &LedgerEvent, placement: &Placement) -> Held {
        let at_commit = self.total(&placement.on);
        let among = &placement.among;
        if among.contains_key(&placement.on) && among.values().all(|load| at_commit <= *load) {
            return Ok(());
        }
        Err(Violation::new(
            "I3",
            format!("{} on the least loaded of {among:?}", event.interface_id),
            format!("{}, with a load of {at_commit} at commit", placement.on),
        ))
    }

    /// Interfaces with the same candidates are spread evenly while nothing else changes these: a sensor that one was
    /// placed on has at most one more than any other.
    fn i3_even(&mut self, changed: BTreeSet<TargetId>, placement: Option<Placement>) -> Held {
        let candidates = placement.map(|placement| {
            let among: BTreeSet<TargetId> = placement.among.into_keys().collect();
            (among, placement.on, placement.read_after)
        });
        for (among, evening) in &mut self.evenings {
            let is_own = candidates.as_ref().is_some_and(|(own, ..)| own == among);
            if !is_own && !among.is_disjoint(&changed) {
                *evening = Evening::after(self.commits);
            }
        }
        let begun = candidates.as_ref().and_then(|(among, ..)| {
            let commits = among.iter().filter_map(|target| self.changed_at.get(target));
            commits.max().copied()
        });
        let now = changed.into_iter().map(|target| (target, self.commits));
        self.changed_at.extend(now);
        let Some((among, on, read_after)) = candidates else {
            return Ok(());
        };
        let evening = self
            .evenings
            .entry(among.clone())
            .or_insert_with(|| Evening::after(begun.unwrap_or_default()));
        if read_after < evening.after {
            // It rests on what was before something else happened, and may well be uneven.
            *evening = Evening::after(self.commits);
            return Ok(());
        }
        evening.placed_on.insert(on);
        let placed_on = &self.evenings[&among].placed_on;
        let most = placed_on.iter().map(|target| self.total(target)).max();
        let loads: BTreeMap<_, _> = among.iter().map(|target| (target, self.total(target))).collect();
        if loads.values().all(|load| most <= Some(load + 1)) {
            return Ok(());
        }
        Err(Violation::new(
            "I3",
            format!("an even spread over {among:?}"),
            format!("{loads:?}, though nothing but placements with these candidates changed them"),
        ))
    }

    fn total(&self, target: &TargetId) -> u64 {
        self.loads.get(target).map_or(0, SensorLoad::total)
    }

    fn i5_one_token_for_each_generation(&mut self, event: &LedgerEvent) -> Held {
        let Change::Reserved {
            client_token,
            generation,
            ..
        } = &event.change
        else {
            return Ok(());
        };
        let of = (event.interface_id.clone(), *generation);
        match self.tokens.insert(client_token.clone(), of.clone()) {
            Some(other) if other != of => Err(Violation::new(
                "I5",
                format!("a client token of its own for {of:?}"),
                format!("that of {other:?}"),
            )),
            _ => Ok(()),
        }
    }

    /// Every parameter of a create call is as the reservation fixed it, and a repeated create is the same create.
    pub(crate) fn i5_create(&mut self, create: Create<'_>) -> Held {
        let generation = create
            .client_token
            .and_then(|token| self.tokens.get(token))
            .map(|(_, generation)| *generation)
            .or_else(|| self.assignments.get(&create.interface_id).map(|a| a.generation));
        let reserved = generation.and_then(|generation| {
            let events = self.events.get(&create.interface_id)?;
            events.iter().find_map(|event| match &event.change {
                Change::Reserved {
                    generation: of,
                    target_id,
                    session_number,
                    filter_id,
                    ..
                } if *of == generation => Some(BTreeMap::from([
                    ("TrafficMirrorTargetId", target_id.to_string()),
                    ("SessionNumber", session_number.to_string()),
                    ("TrafficMirrorFilterId", filter_id.to_string()),
                ])),
                _ => None,
            })
        });
        let Some((generation, reserved)) = generation.zip(reserved) else {
            return Err(Violation::new(
                "I5",
                "a create call that rests on a reservation",
                format!("{create:?}"),
            ));
        };
        if reserved != create.parameters {
            return Err(Violation::new(
                "I5",
                format!("{reserved:?}"),
                format!("{create:?}"),
            ));
        }
        let of = (create.interface_id.clone(), generation);
        match (self.created.get(&of), create.answer) {
            (None, Ok(session)) => {
                self.created.insert(of, session);
                Ok(())
            }
            (None, Err(_)) => Ok(()),
            (Some(earlier), Ok(session)) if *earlier == session => Ok(()),
            // Turned away before it was looked at: it is asked again.
            (Some(_), Err(code)) if code == "RequestLimitExceeded" => Ok(()),
            (Some(earlier), answer) => Err(Violation::new(
                "I5",
                format!(
                    "a repeated create of generation {generation} of {} to answer {earlier}",
                    of.0
                ),
                format!("{answer:?}"),
            )),
        }
    }

    /// A transaction was refused because its event exists, though its assignment stood before it.
    pub(crate) fn i4_event_without_assignment(interface: &str) -> Violation {
        Violation::new(
            "I4",
            format!("the events of {interface} to agree with its assignment"),
            "an event beyond the version that the assignment is written at",
        )
    }

    /// The ledger as it is in the table is what was committed to it, and its events, folded, give it back.
    pub(crate) fn i4_whole_ledger(&self, items: &[Value]) -> Held {
        let (mut assignments, mut loads) = (BTreeMap::new(), BTreeMap::new());
        let mut events: BTreeMap<InterfaceId, Vec<LedgerEvent>> = BTreeMap::new();
        for item in items {
            match item["sk"].as_str().unwrap_or_default() {
                "ASSIGNMENT" => {
                    let assignment: Assignment = read(item)?;
                    assignments.insert(assignment.interface_id.clone(), assignment);
                }
                "LOAD" => {
                    let load: SensorLoad = read(item)?;
                    loads.insert(load.target_id.clone(), load);
                }
                _ => {
                    let event: LedgerEvent = read(item)?;
                    events.entry(event.interface_id.clone()).or_default().push(event);
                }
            }
        }
        let mut folded = BTreeMap::new();
        for (interface, events) in &mut events {
            events.sort_by_key(|event| event.version);
            let mut assignment = None;
            for event in events.iter() {
                let next = apply(assignment.as_ref(), event);
                assignment =
                    Some(next.map_err(|error| Violation::new("I4", "events in order", error.to_string()))?);
            }
            folded.extend(assignment.map(|assignment| (interface.clone(), assignment)));
        }
        same(
            "the assignments, folded from their events,",
            &folded,
            &assignments,
        )?;
        same("the committed assignments", &self.assignments, &assignments)?;
        same("the committed counters", &self.loads, &loads)?;
        for (target, load) in &loads {
            let live = assignments
                .values()
                .filter(|assignment| assignment.is_live() && assignment.target_id == *target)
                .count();
            if load.sessions != u64::try_from(live).unwrap_or_default() {
                return Err(Violation::new(
                    "I2",
                    format!("the counter of {target} at {live}"),
                    format!("{load:?}"),
                ));
            }
        }
        Ok(())
    }

    /// At rest every live assignment has its session in EC2, every interface with a session to one of our targets has
    /// a live assignment if it is attached to an instance, and what else goes to a sensor is counted as its external
    /// load.
    pub(crate) fn i6_one_to_one(&self, sessions: &[Session], targets: &[String]) -> Held {
        let live = || {
            self.assignments
                .values()
                .filter(|assignment| assignment.is_live())
        };
        let matches = |assignment: &Assignment, session: &Session| {
            assignment.state == AssignmentState::Active
                && assignment
                    .session_id
                    .as_ref()
                    .is_some_and(|id| id.as_str() == session.id)
                && assignment.interface_id.as_str() == session.interface
                && assignment.target_id.as_str() == session.target
        };
        if let Some(alone) =
            live().find(|assignment| !sessions.iter().any(|session| matches(assignment, session)))
        {
            let own: Vec<&Session> = sessions
                .iter()
                .filter(|session| session.interface == alone.interface_id.as_str())
                .collect();
            return Err(Violation::new(
                "I6",
                format!("the session of {} in EC2: {alone:?}", alone.interface_id),
                format!("{own:?}"),
            ));
        }
        let ours = || {
            sessions
                .iter()
                .filter(|session| targets.contains(&session.target))
        };
        if let Some(orphan) = ours().find(|session| {
            session.is_attached && !live().any(|a| a.interface_id.as_str() == session.interface)
        }) {
            let last = self
                .assignments
                .values()
                .find(|assignment| assignment.interface_id.as_str() == orphan.interface);
            return Err(Violation::new(
                "I6",
                format!("a live assignment of {orphan:?}"),
                format!("{last:?}"),
            ));
        }
        let is_ours = |target: &TargetId| targets.iter().any(|ours| ours == target.as_str());
        for (target, load) in self.loads.iter().filter(|(target, _)| is_ours(target)) {
            let beside = ours().filter(|session| {
                session.target == target.as_str() && !live().any(|assignment| matches(assignment, session))
            });
            let beside = u64::try_from(beside.count()).unwrap_or_default();
            if load.external != beside {
                return Err(Violation::new(
                    "I6",
                    format!("an external load of {target} of {beside}"),
                    format!("{load:?}"),
                ));
            }
        }
        Ok(())
    }
}

/// An interface has at most one live assignment: no place is reserved while another is held.
fn i1_one_live_assignment(before: Option<&Assignment>, event: &LedgerEvent) -> Held {
    match (&event.change, before) {
        (Change::Reserved { .. }, Some(before)) if before.is_live() => Err(Violation::new(
            "I1",
            format!("no reservation while one is live: {before:?}"),
            format!("{event:?}"),
        )),
        _ => Ok(()),
    }
}

/// The event makes of the assignment before it the one that was written with it.
fn i4_events_give_the_assignment(
    before: Option<&Assignment>,
    event: &LedgerEvent,
    after: &Assignment,
) -> Held {
    match apply(before, event) {
        Ok(folded) if folded == *after => Ok(()),
        Ok(folded) => Err(Violation::new("I4", format!("{folded:?}"), format!("{after:?}"))),
        Err(error) => Err(Violation::new(
            "I4",
            "an event that can follow",
            error.to_string(),
        )),
    }
}

fn same<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &BTreeMap<K, V>,
    found: &BTreeMap<K, V>,
) -> Held {
    if expected == found {
        return Ok(());
    }
    let differing = expected
        .keys()
        .chain(found.keys())
        .find(|key| expected.get(key) != found.get(key));
    Err(Violation::new(
        "I4",
        format!("{what} {:?}", differing.and_then(|key| expected.get(key))),
        format!("in the table {:?}", differing.and_then(|key| found.get(key))),
    ))
}

fn read<T: serde::de::DeserializeOwned>(item: &Value) -> Result<T, Violation> {
    serde_json::from_value(item.clone())
        .map_err(|error| Violation::new("I4", "an item that can be read", format!("{error}: {item}")))
}
