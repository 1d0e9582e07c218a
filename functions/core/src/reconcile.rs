//! The ledger and EC2 brought together again: what differs, and what is to be done about it.
//!
//! Level-triggered: what is planned rests on what both sides show now and on nothing remembered, so it may be
//! planned at any time, by several at once, and again after a part of it is done. What both sides show is not of
//! one moment, and EC2 shows its changes late. So nothing is decided about an assignment that has changed within
//! [`SESSION_GRACE`], and every correction is made by a transaction that is guarded by what the plan rests on.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::assignment::{Assignment, AssignmentState, RESERVATION_LIFETIME, SESSION_GRACE, SensorLoad};
use crate::ids::{FilterId, InstanceId, InterfaceId, SessionId, TargetId};
use crate::moves::{ChangeRequest, PacedChange};
use crate::network::TrafficMirrorSession;
use crate::unreadable::Unreadable;

/// A session that EC2 shows, with what adopting it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// `tms-…`.
    pub session_id: SessionId,
    /// Its source.
    pub interface_id: InterfaceId,
    /// Its target.
    pub target_id: TargetId,
    /// Its filter.
    pub filter_id: FilterId,
    /// Its number on the interface.
    pub session_number: i32,
    /// Its VXLAN network identifier.
    pub virtual_network_id: Option<i32>,
    /// Bytes of each packet, where it has a limit.
    pub packet_length: Option<i32>,
    /// Whether it carries the tag of the sessions that this system makes.
    pub is_managed: bool,
}

/// The tag that a session of ours has from its first moment, with the value `true`.
pub const MANAGED_TAG: &str = "mirrorstep:managed";

impl Session {
    /// A session as EC2 shows it. `None` where one of its ids is none.
    pub fn of(shown: &TrafficMirrorSession) -> Option<Self> {
        Some(Self {
            session_id: shown.traffic_mirror_session_id.parse().ok()?,
            interface_id: shown.network_interface_id.parse().ok()?,
            target_id: shown.traffic_mirror_target_id.parse().ok()?,
            filter_id: shown.traffic_mirror_filter_id.parse().ok()?,
            session_number: shown.session_number,
            virtual_network_id: shown.virtual_network_id,
            packet_length: shown.packet_length,
            is_managed: shown
                .tags
                .iter()
                .any(|tag| tag.key == MANAGED_TAG && tag.value == "true"),
        })
    }
}

/// One thing to be corrected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Correction {
    /// A reservation whose session exists: the execution that made it has not said so.
    Activate(Assignment, SessionId),
    /// An assignment that rests on nothing any more, for this reason.
    Release(Assignment, String),
    /// A session to one of our targets that the ledger does not know, and the interface's live assignment, if it has
    /// one that rests on nothing any more: the session takes its place.
    Adopt(Session, Option<Assignment>),
    /// A session that goes to another target than the ledger has it.
    Follow(Assignment, TargetId),
}

impl Correction {
    /// The interface that it is about.
    pub fn interface(&self) -> &InterfaceId {
        match self {
            Self::Activate(assignment, _) | Self::Release(assignment, _) | Self::Follow(assignment, _) => {
                &assignment.interface_id
            }
            Self::Adopt(session, _) => &session.interface_id,
        }
    }

    /// Whether it gives this sensor an assignment that it has not had.
    pub fn leads_to(&self, sensor: &TargetId) -> bool {
        match self {
            Self::Adopt(session, _) => session.target_id == *sensor,
            Self::Follow(_, target) => target == sensor,
            Self::Activate(..) | Self::Release(..) => false,
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The corrections, each interface's once.
    pub corrections: Vec<Correction>,
    /// How many sessions each of our sensors has that are neither the ledger's nor to be.
    pub externals: BTreeMap<TargetId, u64>,
    /// Sensors whose counter is missing, cannot be read, or is not the number of their assignments, as far as is seen: to
    /// be looked at closely.
    pub suspicious: Vec<TargetId>,
    /// Sessions to our targets that cannot be adopted, since their interface has another one of ours.
    pub second_sessions: Vec<SessionId>,
    /// Active assignments whose session EC2 does not show, and that have changed within [`SESSION_GRACE`]: trusted
    /// until [`Assignment::trusted_until`].
    pub trusted: Vec<Assignment>,
}

/// Compares what the ledger and EC2 show. `targets` are the sensors that are ours; `sessions` are all of the
/// account. An interface whose assignment cannot be read is left alone: what stands there may be its session's.
pub fn plan(
    assignments: &[Assignment],
    loads: &[SensorLoad],
    unreadable: &[Unreadable],
    sessions: &[Session],
    targets: &BTreeSet<TargetId>,
    now: Timestamp,
) -> Plan {
    let mut comparison = Comparison {
        assignments,
        loads,
        unreadable,
        sessions,
        targets,
        now,
        known: BTreeSet::new(),
        plan: Plan::default(),
    };
    comparison.judge_assignments();
    comparison.place_unknown_sessions();
    comparison.check_counters();
    comparison.plan
}

/// What both sides show, and what is planned so far.
struct Comparison<'a> {
    assignments: &'a [Assignment],
    loads: &'a [SensorLoad],
    unreadable: &'a [Unreadable],
    sessions: &'a [Session],
    targets: &'a BTreeSet<TargetId>,
    now: Timestamp,
    /// The sessions that an assignment stands for, or is about to.
    known: BTreeSet<&'a SessionId>,
    plan: Plan,
}

impl Comparison<'_> {
    /// Each live assignment, in the light of its interface's sessions.
    fn judge_assignments(&mut self) {
        let mut by_interface: HashMap<&InterfaceId, Vec<&Session>> = HashMap::new();
        for session in self.sessions {
            by_interface
                .entry(&session.interface_id)
                .or_default()
                .push(session);
        }
        for assignment in self.assignments.iter().filter(|assignment| assignment.is_live()) {
            let own = by_interface
                .get(&assignment.interface_id)
                .map_or(&[][..], Vec::as_slice);
            judge(
                assignment,
                own,
                self.targets,
                self.now,
                &mut self.known,
                &mut self.plan,
            );
        }
    }

    /// The sessions to our targets that no assignment stands for: they are adopted, or counted as their sensor's
    /// external load.
    fn place_unknown_sessions(&mut self) {
        let (now, plan) = (self.now, &mut self.plan);
        plan.externals = self.targets.iter().map(|target| (target.clone(), 0)).collect();
        let of_interface: HashMap<&InterfaceId, &Assignment> = self
            .assignments
            .iter()
            .map(|assignment| (&assignment.interface_id, assignment))
            .collect();
        let mut unknown: Vec<&Session> = self
            .sessions
            .iter()
            .filter(|session| {
                self.targets.contains(&session.target_id) && !self.known.contains(&session.session_id)
            })
            .collect();
        unknown.sort_by_key(|session| (&session.interface_id, session.session_number));
        // The place that such an assignment holds is in its sensor's counter.
        let mut held: BTreeMap<&InterfaceId, Option<&TargetId>> = self
            .unreadable
            .iter()
            .filter_map(|item| Some((item.assigned()?, item.held_on())))
            .collect();
        let mut adopted: BTreeSet<&InterfaceId> = BTreeSet::new();
        for session in unknown {
            let assignment = of_interface.get(&session.interface_id);
            let is_young =
                |assignment: &Assignment| now.duration_since(assignment.changed_at) <= SESSION_GRACE;
            if let Some(place) = held.get_mut(&session.interface_id) {
                if place.take_if(|held_on| **held_on == session.target_id).is_none() {
                    *plan.externals.entry(session.target_id.clone()).or_default() += 1;
                }
                continue;
            }
            match assignment {
                // EC2 may show for a while what is deleted already, and the ledger's index what is not yet so.
                Some(assignment) if is_young(assignment) => {}
                None
                | Some(Assignment {
                    state: AssignmentState::Released,
                    ..
                }) if adopted.insert(&session.interface_id) => {
                    plan.corrections.push(Correction::Adopt(session.clone(), None));
                }
                _ => {
                    plan.second_sessions.push(session.session_id.clone());
                    *plan.externals.entry(session.target_id.clone()).or_default() += 1;
                }
            }
        }
    }

    /// The sensors whose counter is to be looked at closely.
    fn check_counters(&mut self) {
        let mut live: BTreeMap<&TargetId, u64> = BTreeMap::new();
        for assignment in self.assignments.iter().filter(|assignment| assignment.is_live()) {
            *live.entry(&assignment.target_id).or_default() += 1;
        }
        for target in self.unreadable.iter().filter_map(Unreadable::held_on) {
            *live.entry(target).or_default() += 1;
        }
        let recorded: BTreeMap<&TargetId, &SensorLoad> =
            self.loads.iter().map(|load| (&load.target_id, load)).collect();
        let suspicious = &mut self.plan.suspicious;
        for (target, load) in &recorded {
            if load.sessions != live.get(*target).copied().unwrap_or_default() {
                suspicious.push((*target).clone());
            }
        }
        let counters: BTreeSet<&TargetId> = self.unreadable.iter().filter_map(Unreadable::sensor).collect();
        let unrecorded = live.keys().filter(|target| !recorded.contains_key(*target));
        let to_be_seen: BTreeSet<&TargetId> = unrecorded.copied().chain(counters).collect();
        suspicious.extend(to_be_seen.into_iter().cloned());
    }
}

/// What is to be done about a live assignment, in the light of its interface's sessions.
fn judge<'a>(
    assignment: &Assignment,
    sessions: &[&'a Session],
    targets: &BTreeSet<TargetId>,
    now: Timestamp,
    known: &mut BTreeSet<&'a SessionId>,
    plan: &mut Plan,
) {
    let age = now.duration_since(assignment.changed_at);
    // It rests on nothing any more: another session of its interface takes its place, or nothing does.
    let replace = |known: &mut BTreeSet<&'a SessionId>, reason: &str| {
        let other = sessions
            .iter()
            .filter(|session| targets.contains(&session.target_id))
            .min_by_key(|session| session.session_number);
        match other {
            Some(other) => {
                known.insert(&other.session_id);
                Correction::Adopt((*other).clone(), Some(assignment.clone()))
            }
            None => Correction::Release(assignment.clone(), reason.to_owned()),
        }
    };
    match assignment.state {
        AssignmentState::Active => {
            let own = sessions
                .iter()
                .find(|session| Some(&session.session_id) == assignment.session_id.as_ref());
            match own {
                Some(session) => {
                    known.insert(&session.session_id);
                    if session.target_id != assignment.target_id && age > SESSION_GRACE {
                        plan.corrections
                            .push(Correction::Follow(assignment.clone(), session.target_id.clone()));
                    }
                }
                None if age > SESSION_GRACE => plan
                    .corrections
                    .push(replace(known, "EC2 does not show its session any more")),
                None => plan.trusted.push(assignment.clone()),
            }
        }
        AssignmentState::Reserved => {
            let own = sessions.iter().find(|session| {
                session.target_id == assignment.target_id
                    && session.session_number == assignment.session_number
            });
            match own {
                Some(session) => {
                    known.insert(&session.session_id);
                    if age > SESSION_GRACE {
                        plan.corrections.push(Correction::Activate(
                            assignment.clone(),
                            session.session_id.clone(),
                        ));
                    }
                }
                None if age > RESERVATION_LIFETIME => {
                    plan.corrections.push(replace(known, "reserved and abandoned"));
                }
                None => {}
            }
        }
        AssignmentState::Released => {}
    }
}

/// Where a reconciliation goes on. Without one it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "step")]
pub enum Step {
    /// Compares assignments and sessions, and corrects what differs.
    Compare {
        /// How often that was done before: each time takes so many corrections and no more.
        #[serde(default)]
        round: u32,
    },
    /// Looks through the sessions of ours for those that are not as the tags and the settings say by now.
    Intend {
        /// The interface after which it goes on, in their order. `None`: at the first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<InterfaceId>,
        /// When EC2 has room for the next change.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_at: Option<Timestamp>,
    },
    /// Looks through the running instances for interfaces that nothing covers.
    Cover {
        /// EC2's token of the page of instances that is next. `None`: the first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        page: Option<String>,
    },
}

/// What a reconciliation has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Summary {
    /// Reservations whose session was found.
    pub activated: u64,
    /// Sessions taken over.
    pub adopted: u64,
    /// Assignments released, their sessions being gone.
    pub released: u64,
    /// Reservations released, abandoned by their executions.
    pub expired: u64,
    /// Assignments that follow their session to another sensor.
    pub moved: u64,
    /// Sensors whose load by others was corrected.
    pub externals: u64,
    /// Sensors whose counter was corrected: this is an alarm.
    pub counters: u64,
    /// Sessions to our targets beside another one of ours on the same interface: left alone.
    pub second_sessions: u64,
    /// Sessions to our targets that the ledger does not know, of interfaces that are attached to no
    /// instance: left alone.
    pub unattached: u64,
    /// Corrections that another execution made meanwhile, or that must wait.
    pub left: u64,
    /// Corrections that the ledger did not take, each with its cause in the log: this is an alarm.
    pub failed: u64,
    /// Items of the ledger, and objects of EC2's answers, that cannot be read, each with its cause in the log: left
    /// alone. This is an alarm.
    pub unreadable: u64,
    /// Assignments whose session EC2 does not show, made a moment ago or deleted by hand: trusted for now.
    pub trusted: u64,
    /// Until when the last of these is trusted. The next reconciliation after that releases those whose session EC2
    /// still does not show, and has their interfaces mirrored anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted_until: Option<Timestamp>,
    /// Interfaces with a session of ours that are not to be mirrored any more: their sessions are ended, unless changes of
    /// intent are only reported.
    pub unwanted: u64,
    /// Interfaces whose session is to go to another target or to have other settings, by their tags or by the settings:
    /// they are changed, unless changes of intent are only reported.
    pub outdated: u64,
    /// Interfaces that are not to be mirrored and have a session of somebody else's to our targets: left alone.
    pub unwanted_of_others: u64,
    /// Running instances looked at.
    pub instances: u64,
    /// Running instances with an interface that nothing covers, for which the pipeline was started.
    pub started: u64,
}

/// What `reconcile` is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reconcile {
    /// Where to go on.
    pub next: Option<Step>,
    /// What was done before.
    pub summary: Summary,
}

/// The detail of an event that has an instance's interfaces mirrored: these, and not what covers itself or what EC2 has
/// refused lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", rename = "running")]
pub struct Running {
    /// The instance.
    pub instance_id: InstanceId,
    /// Those of its interfaces that nothing covers.
    pub interface_ids: Vec<InterfaceId>,
}

/// What `reconcile` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reconciled {
    /// Where to go on. `None`: it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Step>,
    /// What was done so far.
    pub summary: Summary,
    /// The instances with an interface that nothing covers, in tens: as many as one `PutEvents` takes. An execution that
    /// began before there were `events` reads them here.
    pub uncovered: Vec<Vec<InstanceId>>,
    /// The same, as the detail of the event that starts each of them.
    pub events: Vec<Vec<Running>>,
    /// How long EC2 needs for these at the rate that it allows, in seconds.
    pub wait_seconds: u64,
    /// Sessions to be changed or ended, each at its time.
    #[serde(default)]
    pub changes: Vec<PacedChange<ChangeRequest>>,
}
