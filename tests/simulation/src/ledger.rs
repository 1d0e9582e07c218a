//! The invariants, each a function, over a second book of the ledger that is kept from what was committed.

use std::collections::BTreeMap;

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
    pub(crate) loads: BTreeMap<TargetId, SensorLoad>,
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
}

impl Book {
    /// Enters a committed transaction, and checks what it touches.
    pub(crate) fn committed(&mut self, committed: Committed, view: Option<&View>) -> Held {
        if let (Some(after), Some(event)) = (&committed.assignment, &committed.event) {
            let before = self.assignments.get(&after.interface_id);
            i1_one_live_assignment(before, event)?;
            self.i3_least_loaded(event, view)?;
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
        for load in committed.loads {
            touched.push(load.target_id.clone());
            self.loads.insert(load.target_id.clone(), load);
        }
        touched.iter().try_for_each(|target| self.i2_counter(target))
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
    fn i3_least_loaded(&self, event: &LedgerEvent, view: Option<&View>) -> Held {
        let (
            Change::Reserved {
                target_id: picked, ..
            },
            Some(view),
        ) = (&event.change, view)
        else {
            return Ok(());
        };
        let is_local = |target: &TargetId| view.candidates.iter().any(|(t, local)| t == target && *local);
        let with_room = |target: &TargetId| view.loads.get(target).filter(|load| !load.is_full(event.at));
        let at_commit = self.loads.get(picked).map_or(0, SensorLoad::total);
        let better = view.candidates.iter().find(|(target, local)| {
            target != picked
                && with_room(target).is_some_and(|load| {
                    (*local && !is_local(picked)) || (*local == is_local(picked) && load.total() < at_commit)
                })
        });
        match better {
            None => Ok(()),
            Some((target, _)) => Err(Violation::new(
                "I3",
                format!("{} on the least loaded sensor", event.interface_id),
                format!(
                    "{picked} picked, with a load of {at_commit} at commit, though {target} was read with {}",
                    view.loads[target].total()
                ),
            )),
        }
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
    /// a live assignment, and what else goes to a sensor is counted as its external load.
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
        if let Some(orphan) =
            ours().find(|session| !live().any(|a| a.interface_id.as_str() == session.interface))
        {
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
