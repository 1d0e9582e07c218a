//! An assignment's life, decided purely.
//!
//! The ledger records what happened to an interface's assignment as a sequence of events. The assignment is
//! the fold of its events, and a sensor's counter is the number of its live assignments: both follow from the
//! events alone, so that a transition is decided here and written by `mirrorstep-ledger` in one transaction.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::SessionSettings;
use crate::error::ErrorName;
use crate::ids::{FilterId, InstanceId, InterfaceId, SessionId, TargetId};

mod load;
mod refusal;

pub use load::{LEFT_ALONE_FOR, LeftAlone, SensorLoad, Trouble};
pub use refusal::Refusal;

/// The bond between an interface and the sensor that it is mirrored to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// The source interface.
    pub interface_id: InterfaceId,
    /// The instance that it was attached to.
    pub instance_id: InstanceId,
    /// Where the assignment is in its life.
    pub state: AssignmentState,
    /// The target of the session.
    pub target_id: TargetId,
    /// How many reservations the interface has had, this one included.
    pub generation: u64,
    /// How many events the assignment has had. Every transition is guarded by it.
    pub version: u64,
    /// The idempotency token of the create call, one for each generation
    /// (<https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html>, "Ensuring idempotency").
    pub client_token: String,
    /// The session's number on the interface, fixed when the reservation is made.
    pub session_number: i32,
    /// The session's filter, fixed when the reservation is made.
    pub filter_id: FilterId,
    /// The VXLAN network identifier, where one is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_network_id: Option<i32>,
    /// Bytes of each packet, where a limit is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet_length: Option<i32>,
    /// The session, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// When the interface was attached to its instance, as EC2 showed it before the reservation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached_at: Option<Timestamp>,
    /// Why it was released, while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_because: Option<String>,
    /// Whether a person ended its session, while it is released: `reconcile` does not cover the interface again. The
    /// event of a start does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept_off: bool,
    /// That EC2 refuses the interface's sessions, as attached as it is: from the first refusal until a session is
    /// created, or the interface is attached anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// The execution of the last event.
    pub execution_arn: String,
    /// The time of the last event.
    pub changed_at: Timestamp,
}

/// Where an assignment is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AssignmentState {
    /// A place on the sensor is held, the session is yet to be created.
    Reserved,
    /// The session exists.
    Active,
    /// Neither: the place is free again.
    Released,
}

/// A session that EC2 shows on an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedSession {
    /// `tms-…`.
    pub session_id: SessionId,
    /// Where it sends the packets.
    pub target_id: TargetId,
    /// Its number on the interface, 1 to 32766.
    pub session_number: i32,
}

impl Assignment {
    /// Whether it counts on its sensor: reserved or active.
    pub fn is_live(&self) -> bool {
        self.state != AssignmentState::Released
    }

    /// Until when the assignment is trusted though EC2 does not show its session. What is made, moved or deleted
    /// EC2 shows late (<https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>, "Eventual consistency"),
    /// so that before this time a session that was deleted by hand cannot be told from one that was made a moment ago.
    pub fn trusted_until(&self) -> Timestamp {
        self.changed_at + SESSION_GRACE
    }

    /// How long to wait before EC2 is asked again for a session that it does not show: as long again as it has been
    /// since the last change, so that one that is only late is found soon, and at last until the assignment is not
    /// trusted any more. In whole seconds, at least 1.
    pub fn look_again_in(&self, now: Timestamp) -> SignedDuration {
        let age = now.duration_since(self.changed_at).max(LOOK_AGAIN_AFTER);
        let left = self.trusted_until().duration_since(now);
        // A second more: what is trusted is so up to that very moment.
        let wait = age.min(left).as_secs() + 1;
        SignedDuration::from_secs(wait.max(1))
    }

    /// What its session is made with, beside the sensor.
    pub fn settings(&self) -> SessionSettings {
        SessionSettings {
            filter_id: self.filter_id.clone(),
            virtual_network_id: self.virtual_network_id,
            packet_length: self.packet_length,
        }
    }

    /// Whether its session was made by somebody else, and found.
    pub fn is_adopted(&self) -> bool {
        self.client_token.starts_with(ADOPTED)
    }

    /// Whether this session is the one that the assignment is for.
    pub fn asks_for(&self, session: &ObservedSession) -> bool {
        session.target_id == self.target_id && session.session_number == self.session_number
    }
}

/// What the token of an adopted session begins with, which no create call ever has.
const ADOPTED: &str = "adopted-";

/// One thing that happened to an assignment: when, by which execution, what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerEvent {
    /// The interface whose assignment it is.
    pub interface_id: InterfaceId,
    /// The assignment's version after it: 1, 2, 3, …
    pub version: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// The execution that decided it.
    pub execution_arn: String,
    /// What it is. A member of its own, so that the table's indexes of assignments do not list events too.
    pub change: Change,
}

/// What can happen to an assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Change {
    /// A place on a sensor was taken, and every parameter of the create call fixed.
    Reserved {
        /// The instance of the interface.
        instance_id: InstanceId,
        /// The sensor.
        target_id: TargetId,
        /// The reservation's place among the interface's.
        generation: u64,
        /// The create call's idempotency token.
        client_token: String,
        /// The session's number.
        session_number: i32,
        /// The session's filter.
        filter_id: FilterId,
        /// The VXLAN network identifier, where one is configured.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        virtual_network_id: Option<i32>,
        /// Bytes of each packet, where a limit is configured.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        packet_length: Option<i32>,
        /// When the interface was attached to the instance, where EC2 shows it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attached_at: Option<Timestamp>,
    },
    /// The session was created.
    Activated {
        /// The session.
        session_id: SessionId,
    },
    /// A session that the ledger did not know, such as another tool's, was found in EC2 and taken over. Where the
    /// assignment was live, what it stood for is gone, and this session takes its place: the interface is never
    /// without an assignment in between.
    Adopted {
        /// The instance of the interface.
        instance_id: InstanceId,
        /// The sensor.
        target_id: TargetId,
        /// The assignment's place among the interface's.
        generation: u64,
        /// The session.
        session_id: SessionId,
        /// Its number.
        session_number: i32,
        /// Its filter.
        filter_id: FilterId,
        /// Its VXLAN network identifier.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        virtual_network_id: Option<i32>,
        /// Bytes of each packet, where it has a limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        packet_length: Option<i32>,
    },
    /// The session goes to another sensor, or is to have other settings, or both.
    Moved {
        /// The sensor that it is on from now on.
        target_id: TargetId,
        /// Its settings from now on, where they change.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        settings: Option<SessionSettings>,
        /// Why.
        reason: String,
        /// The error under which EC2 refused to change the session, where a move is taken back for that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<ErrorName>,
    },
    /// The place was given back.
    Released {
        /// Why.
        reason: String,
        /// The error under which EC2 refused the interface, where that is why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<ErrorName>,
        /// A person ended the session: the interface is not covered again until the event of a start asks for it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        kept_off: bool,
    },
}

/// An event that cannot follow on what is recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {version} of {interface_id} ({event}) cannot follow on {recorded}")]
pub struct ImpossibleEvent {
    interface_id: InterfaceId,
    version: u64,
    event: &'static str,
    recorded: String,
}

/// The assignment after `event`, given the assignment before it. A pure function: folding an interface's
/// events with it, from `None`, gives back its assignment.
pub fn apply(before: Option<&Assignment>, event: &LedgerEvent) -> Result<Assignment, ImpossibleEvent> {
    let in_order = event.version == before.map_or(0, |a| a.version) + 1
        && before.is_none_or(|a| a.interface_id == event.interface_id);
    let after = if in_order {
        match &event.change {
            Change::Reserved { .. } => reserved(before, event),
            Change::Activated { session_id } => activated(before, event, session_id),
            Change::Adopted { .. } => adopted(before, event),
            Change::Moved { .. } => moved(before, event),
            Change::Released { .. } => released(before, event),
        }
    } else {
        None
    };
    after.ok_or_else(|| ImpossibleEvent::new(before, event))
}

impl ImpossibleEvent {
    fn new(before: Option<&Assignment>, event: &LedgerEvent) -> Self {
        Self {
            interface_id: event.interface_id.clone(),
            version: event.version,
            event: event.change.name(),
            recorded: before.map_or_else(
                || "nothing".to_owned(),
                |a| {
                    format!(
                        "version {} ({:?}, generation {})",
                        a.version, a.state, a.generation
                    )
                },
            ),
        }
    }
}

impl Change {
    /// What an error calls it.
    fn name(&self) -> &'static str {
        match self {
            Self::Reserved { .. } => "reserved",
            Self::Activated { .. } => "activated",
            Self::Adopted { .. } => "adopted",
            Self::Moved { .. } => "moved",
            Self::Released { .. } => "released",
        }
    }
}

/// [`Change::Reserved`]: the interface has no live assignment, and this is its next generation.
fn reserved(before: Option<&Assignment>, event: &LedgerEvent) -> Option<Assignment> {
    let Change::Reserved {
        instance_id,
        target_id,
        generation,
        client_token,
        session_number,
        filter_id,
        virtual_network_id,
        packet_length,
        attached_at,
    } = &event.change
    else {
        return None;
    };
    let follows =
        before.is_none_or(|a| !a.is_live()) && *generation == before.map_or(0, |a| a.generation) + 1;
    follows.then(|| Assignment {
        interface_id: event.interface_id.clone(),
        instance_id: instance_id.clone(),
        state: AssignmentState::Reserved,
        target_id: target_id.clone(),
        generation: *generation,
        version: event.version,
        client_token: client_token.clone(),
        session_number: *session_number,
        filter_id: filter_id.clone(),
        virtual_network_id: *virtual_network_id,
        packet_length: *packet_length,
        session_id: None,
        attached_at: *attached_at,
        released_because: None,
        kept_off: false,
        refusal: before.and_then(|before| before.refusal_on(instance_id, *attached_at).cloned()),
        execution_arn: event.execution_arn.clone(),
        changed_at: event.at,
    })
}

/// [`Change::Activated`]: a place is reserved.
fn activated(before: Option<&Assignment>, event: &LedgerEvent, session_id: &SessionId) -> Option<Assignment> {
    let before = before.filter(|before| before.state == AssignmentState::Reserved)?;
    Some(Assignment {
        state: AssignmentState::Active,
        session_id: Some(session_id.clone()),
        refusal: None,
        ..advanced(before, event)
    })
}

/// [`Change::Adopted`]: the session is not the live assignment's own already, and this is the interface's next
/// generation.
fn adopted(before: Option<&Assignment>, event: &LedgerEvent) -> Option<Assignment> {
    let Change::Adopted {
        instance_id,
        target_id,
        generation,
        session_id,
        session_number,
        filter_id,
        virtual_network_id,
        packet_length,
    } = &event.change
    else {
        return None;
    };
    let follows = before.is_none_or(|a| !a.is_live() || a.session_id.as_ref() != Some(session_id))
        && *generation == before.map_or(0, |a| a.generation) + 1;
    follows.then(|| Assignment {
        interface_id: event.interface_id.clone(),
        instance_id: instance_id.clone(),
        state: AssignmentState::Active,
        target_id: target_id.clone(),
        generation: *generation,
        version: event.version,
        // It was created already: nobody will create it with a token.
        client_token: format!("{ADOPTED}{session_id}"),
        session_number: *session_number,
        filter_id: filter_id.clone(),
        virtual_network_id: *virtual_network_id,
        packet_length: *packet_length,
        session_id: Some(session_id.clone()),
        attached_at: None,
        released_because: None,
        kept_off: false,
        refusal: None,
        execution_arn: event.execution_arn.clone(),
        changed_at: event.at,
    })
}

/// [`Change::Moved`]: the session exists, and its target or its settings change.
fn moved(before: Option<&Assignment>, event: &LedgerEvent) -> Option<Assignment> {
    let Change::Moved {
        target_id,
        settings,
        reason,
        refused,
    } = &event.change
    else {
        return None;
    };
    let before = before.filter(|before| before.state == AssignmentState::Active)?;
    let settings = settings.clone().unwrap_or_else(|| before.settings());
    let is_changed = before.target_id != *target_id || before.settings() != settings;
    is_changed.then(|| Assignment {
        target_id: target_id.clone(),
        filter_id: settings.filter_id,
        virtual_network_id: settings.virtual_network_id,
        packet_length: settings.packet_length,
        refusal: before.refusal_after(*refused, reason, event.at),
        ..advanced(before, event)
    })
}

/// [`Change::Released`]: the assignment is live.
fn released(before: Option<&Assignment>, event: &LedgerEvent) -> Option<Assignment> {
    let Change::Released {
        reason,
        refused,
        kept_off,
    } = &event.change
    else {
        return None;
    };
    let before = before.filter(|before| before.is_live())?;
    Some(Assignment {
        state: AssignmentState::Released,
        released_because: Some(reason.clone()),
        kept_off: *kept_off,
        refusal: before.refusal_after(*refused, reason, event.at),
        ..advanced(before, event)
    })
}

/// The same assignment, with the event's version, execution and time.
fn advanced(before: &Assignment, event: &LedgerEvent) -> Assignment {
    Assignment {
        version: event.version,
        execution_arn: event.execution_arn.clone(),
        changed_at: event.at,
        ..before.clone()
    }
}

/// A reservation to be made: who asks, for which sensor.
#[derive(Debug, Clone, Copy)]
pub struct NewReservation<'a> {
    /// The source interface.
    pub interface_id: &'a InterfaceId,
    /// Its instance.
    pub instance_id: &'a InstanceId,
    /// The sensor that was picked.
    pub target_id: &'a TargetId,
    /// The numbers that other sessions hold on the interface.
    pub used_session_numbers: &'a [i32],
    /// The session's fixed parameters.
    pub settings: &'a SessionSettings,
    /// When the interface was attached to the instance, where EC2 shows it.
    pub attached_at: Option<Timestamp>,
    /// The execution that asks.
    pub execution_arn: &'a str,
    /// Now.
    pub at: Timestamp,
}

impl NewReservation<'_> {
    /// The event of this reservation after `before`, the interface's released assignment if it has one.
    ///
    /// The session number is the lowest that is free, so that two generations of one interface ask for the
    /// same number and EC2 refuses the second while the first one's session exists: an assumption, as vendors' tools see
    /// it. The token is a hash of everything that tells this reservation from any other, also from one of a ledger since
    /// deleted: the same token with other parameters is refused
    /// (<https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html>, "Ensuring idempotency").
    pub fn event(&self, before: Option<&Assignment>) -> LedgerEvent {
        let generation = before.map_or(0, |a| a.generation) + 1;
        let session_number = (1..=MAX_SESSION_NUMBER)
            .find(|n| !self.used_session_numbers.contains(n))
            .unwrap_or(1);
        let digest = Sha256::digest(
            format!(
                "{}/{generation}/{}/{}/{}",
                self.interface_id, self.target_id, self.execution_arn, self.at
            )
            .as_bytes(),
        );
        let client_token = digest
            .iter()
            .take(16)
            .fold("mirrorstep-".to_owned(), |mut token, byte| {
                use std::fmt::Write as _;
                let _ = write!(token, "{byte:02x}");
                token
            });
        LedgerEvent {
            interface_id: self.interface_id.clone(),
            version: before.map_or(0, |a| a.version) + 1,
            at: self.at,
            execution_arn: self.execution_arn.to_owned(),
            change: Change::Reserved {
                instance_id: self.instance_id.clone(),
                target_id: self.target_id.clone(),
                generation,
                client_token,
                session_number,
                filter_id: self.settings.filter_id.clone(),
                virtual_network_id: self.settings.virtual_network_id,
                packet_length: self.settings.packet_length,
                attached_at: self.attached_at,
            },
        }
    }
}

/// The highest session number
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateTrafficMirrorSession.html>, `SessionNumber`).
const MAX_SESSION_NUMBER: i32 = 32766;

/// How long EC2 may fail to show a session that was created. Until then an active assignment is trusted
/// (<https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>, "Eventual consistency"). AWS names no
/// bound: that this is long enough is an assumption, far beyond what is seen.
pub const SESSION_GRACE: SignedDuration = SignedDuration::from_mins(5);

/// The least pause before EC2 is asked again for a session that it does not show. AWS names no time: an assumption.
const LOOK_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(2);

/// How long an execution may hold a reservation before another may take it as abandoned: longer than the
/// retries of one state.
pub const RESERVATION_LIFETIME: SignedDuration = SignedDuration::from_mins(45);

/// What to do about a live assignment that stands where a new one was to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is active, and EC2 showed no session, which it may do for a while after one was made: look again.
    Unseen,
    /// It is reserved, and good: create its session. Two executions that do so make the same call.
    Shared,
    /// It rests on nothing any more: release it, for this reason, and reserve anew.
    Void(String),
    /// It is reserved for a sensor that this execution would not pick, perhaps by one still at work: wait.
    Busy,
}

/// Judges a live assignment by what this execution knows: when EC2 was asked and showed no session, and
/// whether the assignment's target is a candidate with the configured settings.
///
/// A reading of EC2 that is older than the assignment says nothing about it, so a stage that is run again a
/// week later with its old input takes nothing away.
pub fn judge(found: &Assignment, observed_at: Timestamp, acceptable: bool, now: Timestamp) -> Standing {
    let age = |at: Timestamp| at.duration_since(found.changed_at);
    match found.state {
        AssignmentState::Active if age(observed_at) > SESSION_GRACE => Standing::Void(format!(
            "EC2 showed no session at {observed_at}, though one was created at {}",
            found.changed_at
        )),
        AssignmentState::Active => Standing::Unseen,
        AssignmentState::Reserved if acceptable => Standing::Shared,
        AssignmentState::Reserved if age(now) > RESERVATION_LIFETIME => {
            Standing::Void(format!("reserved at {} and abandoned", found.changed_at))
        }
        AssignmentState::Reserved => Standing::Busy,
        AssignmentState::Released => Standing::Void("released".to_owned()),
    }
}

/// How candidates with the same load are ordered for one interface: by a hash of both, so that a crowd of
/// interfaces spreads over sensors that are equally loaded.
pub fn tie_break(interface_id: &InterfaceId, target_id: &TargetId) -> [u8; 32] {
    Sha256::digest(format!("{interface_id}/{target_id}").as_bytes()).into()
}

/// The sensor to take: of the local ones with room the least loaded, of the others only where no local one has
/// room. `candidates` are targets with whether they are local; `loads` must hold each of them, or it is passed
/// over.
pub fn least_loaded<'a>(
    interface_id: &InterfaceId,
    candidates: impl IntoIterator<Item = (&'a TargetId, bool)>,
    loads: &'a [SensorLoad],
    now: Timestamp,
) -> Option<&'a SensorLoad> {
    candidates
        .into_iter()
        .filter_map(|(target_id, local)| {
            let load = loads
                .iter()
                .find(|load| load.target_id == *target_id && load.takes_sessions(now))?;
            Some(((!local, load.total(), tie_break(interface_id, target_id)), load))
        })
        .min_by(|(left, _), (right, _)| left.cmp(right))
        .map(|(_, load)| load)
}
