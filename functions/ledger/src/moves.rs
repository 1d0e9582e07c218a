//! Transitions that move an active assignment to another sensor, or give its session other settings.

use std::collections::BTreeSet;

use jiff::Timestamp;
use mirrorstep_core::assignment::{Assignment, AssignmentState, Change, SensorLoad, least_loaded};
use mirrorstep_core::config::SessionSettings;
use mirrorstep_core::pipeline::SessionChange;
use mirrorstep_core::{InterfaceId, StageError, TargetId};

use crate::read::Read;
use crate::transaction::{Counter, Refusal};
use crate::{Ledger, Refused, contention};

/// Whose session is to change, and where it may go.
#[derive(Debug, Clone)]
pub struct MoveRequest<'a> {
    /// The source interface.
    pub interface_id: &'a InterfaceId,
    /// What is to change.
    pub change: &'a SessionChange,
    /// The sensors that can receive it, each with whether it is in the source's zone.
    pub candidates: &'a [(TargetId, bool)],
    /// What a session of ours is to have. One that was adopted keeps its own.
    pub settings: &'a SessionSettings,
    /// The execution that asks.
    pub execution_arn: &'a str,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// The assignment is where the session is to be: by this call or an earlier one.
    Moved {
        /// The assignment now.
        assignment: Assignment,
        /// The assignment before, where this call moved it.
        before: Option<Box<Assignment>>,
        /// The loads that it rests on, and the counters that could not be read: their sensors were left out.
        loads: Read<SensorLoad>,
    },
    /// It stays as it is, for this reason.
    Stays {
        /// The assignment.
        assignment: Assignment,
        /// In words.
        reason: String,
        /// The loads that it rests on.
        loads: Read<SensorLoad>,
    },
    /// These candidates have never been counted.
    Uncounted(Vec<TargetId>),
    /// The interface has no active assignment any more.
    Lost(Option<Assignment>),
}

/// Where an assignment is to be.
enum Destination<'a> {
    /// As it is.
    Here(&'static str),
    /// On the same sensor, with other settings.
    Settings,
    /// On this sensor.
    Sensor(&'a SensorLoad),
}

impl Ledger {
    /// Moves an active assignment to the least loaded candidate, in one transition that takes the place there, gives
    /// back the one that it had, and writes down the settings that its session is to have; or finds that it stays.
    ///
    /// Guarded as a reservation is: the sensor has, at commit, no more load than any other candidate had when read, and
    /// takes sessions. Made again after its answer was lost, it finds its own work and answers with it.
    pub async fn move_away(&self, request: &MoveRequest<'_>) -> Result<Move, StageError> {
        for attempt in 0..Self::TRIES {
            let found = self.assignment(request.interface_id).await?;
            let active = match found {
                Some(found) if found.state == AssignmentState::Active => found,
                other => return Ok(Move::Lost(other)),
            };
            let sensors = request.candidates.iter().map(|(target, _)| target);
            let sensors: BTreeSet<&TargetId> = sensors.chain([&active.target_id]).collect();
            let loads = self.loads(sensors).await?;
            let uncounted = request.uncounted(&loads);
            if !uncounted.is_empty() {
                return Ok(Move::Uncounted(uncounted));
            }
            let now = self.now();
            let settings = request.settings_of(&active);
            let (target, counters) = match request.destination(&active, &settings, &loads.readable, now) {
                Destination::Here(reason) => {
                    // An earlier call of this execution moved it, or one that did not come to change the session.
                    let is_to_be_finished =
                        active.execution_arn == request.execution_arn || request.change.unfinished;
                    return Ok(if is_to_be_finished && request.may_stay(&active) {
                        Move::Moved {
                            assignment: active,
                            before: None,
                            loads,
                        }
                    } else {
                        Move::Stays {
                            assignment: active,
                            reason: reason.to_owned(),
                            loads,
                        }
                    });
                }
                Destination::Settings => (active.target_id.clone(), Vec::new()),
                Destination::Sensor(read) => {
                    let leave = Counter::Down {
                        target: &active.target_id,
                        left_alone: None,
                    };
                    (read.target_id.clone(), vec![leave, Counter::Up { read, now }])
                }
            };
            let change = Change::Moved {
                target_id: target,
                settings: (settings != active.settings()).then_some(settings),
                reason: request.change.reason.clone(),
                refused: None,
            };
            let event = self.event_after(&active, request.execution_arn, change);
            match self.write(Some(&active), &event, &counters).await? {
                Ok(assignment) => {
                    return Ok(Move::Moved {
                        assignment,
                        before: Some(Box::new(active)),
                        loads,
                    });
                }
                // The next round reads what stands.
                Err(Refusal::Assignment(_)) => {}
                Err(Refusal::Unreadable(error)) => return Err(error),
                Err(Refusal::Load(_) | Refusal::Conflict) => {
                    Self::wait(request.interface_id, request.execution_arn, attempt).await;
                }
            }
        }
        Err(contention("move the assignment of", request.interface_id))
    }

    /// Moves an active assignment to another sensor, if that one takes sessions and has no more than it was read with.
    /// `None` where the assignment or the sensor has changed meanwhile, or the sensor takes none.
    pub async fn move_to(
        &self,
        active: &Assignment,
        target: &TargetId,
        execution_arn: &str,
    ) -> Result<Option<Assignment>, StageError> {
        let now = self.now();
        let Some(read) = self.load(target).await?.filter(|load| load.takes_sessions(now)) else {
            return Ok(None);
        };
        let change = Change::Moved {
            target_id: target.clone(),
            settings: None,
            reason: format!("moved to {target}"),
            refused: None,
        };
        let counters = [
            Counter::Down {
                target: &active.target_id,
                left_alone: None,
            },
            Counter::Up { read: &read, now },
        ];
        self.transfer(active, change, &counters, execution_arn).await
    }

    /// Takes a move back that EC2 has refused for this reason: the assignment goes to the sensor on which EC2 shows the
    /// session, with these settings. The sensor that it leaves is left alone for a while, and a refusal of the interface
    /// remembered, if they are given. `None` where the assignment has changed meanwhile.
    pub async fn move_back(
        &self,
        moved: &Assignment,
        target: &TargetId,
        settings: Option<SessionSettings>,
        refused: Option<Refused>,
        reason: &str,
        execution_arn: &str,
    ) -> Result<Option<Assignment>, StageError> {
        let (left_alone, refused) = Refused::parts(refused);
        let counters = if *target == moved.target_id {
            Vec::new()
        } else {
            vec![
                Counter::Down {
                    target: &moved.target_id,
                    left_alone: left_alone.as_ref(),
                },
                Counter::Add { target },
            ]
        };
        let change = Change::Moved {
            target_id: target.clone(),
            settings,
            reason: reason.to_owned(),
            refused,
        };
        self.transfer(moved, change, &counters, execution_arn).await
    }

    /// Lets an active assignment follow its session, which EC2 shows on another sensor. False where the assignment
    /// has changed meanwhile.
    pub async fn follow(
        &self,
        active: &Assignment,
        target: &TargetId,
        execution_arn: &str,
    ) -> Result<bool, StageError> {
        let change = Change::Moved {
            target_id: target.clone(),
            settings: None,
            reason: format!("EC2 shows its session on {target}"),
            refused: None,
        };
        let counters = [
            Counter::Down {
                target: &active.target_id,
                left_alone: None,
            },
            Counter::Add { target },
        ];
        let followed = self.transfer(active, change, &counters, execution_arn).await?;
        Ok(followed.is_some())
    }

    async fn transfer(
        &self,
        active: &Assignment,
        change: Change,
        counters: &[Counter<'_>],
        execution_arn: &str,
    ) -> Result<Option<Assignment>, StageError> {
        let event = self.event_after(active, execution_arn, change);
        for attempt in 0..Self::TRIES {
            match self.write(Some(active), &event, counters).await? {
                Ok(moved) => return Ok(Some(moved)),
                Err(Refusal::Assignment(_) | Refusal::Load(_)) => return Ok(None),
                Err(Refusal::Unreadable(error)) => return Err(error),
                Err(Refusal::Conflict) => Self::wait(&active.interface_id, execution_arn, attempt).await,
            }
        }
        Err(contention("move the assignment of", &active.interface_id))
    }
}

impl MoveRequest<'_> {
    /// The candidates that have never been counted.
    fn uncounted(&self, loads: &Read<SensorLoad>) -> Vec<TargetId> {
        crate::reserve::uncounted(self.candidates, loads)
    }

    /// What the session is to have: a session that somebody else made keeps what it has.
    fn settings_of(&self, active: &Assignment) -> SessionSettings {
        if active.is_adopted() {
            active.settings()
        } else {
            self.settings.clone()
        }
    }

    /// Whether the sensor that the assignment is on is one that it may stay on.
    fn may_stay(&self, active: &Assignment) -> bool {
        self.change.leaves.as_ref() != Some(&active.target_id)
            && self
                .candidates
                .iter()
                .any(|(target, _)| *target == active.target_id)
    }

    fn destination<'a>(
        &'a self,
        active: &Assignment,
        settings: &SessionSettings,
        loads: &'a [SensorLoad],
        now: Timestamp,
    ) -> Destination<'a> {
        if self.may_stay(active) {
            return if *settings == active.settings() {
                Destination::Here("its session is as it should be")
            } else {
                Destination::Settings
            };
        }
        let leaves = [Some(&active.target_id), self.change.leaves.as_ref()];
        let is_local = |target: &TargetId| {
            let mut candidates = self.candidates.iter();
            candidates.any(|(candidate, local)| *local && candidate == target)
        };
        let must_be_local = self.change.even_out && is_local(&active.target_id);
        let others = self
            .candidates
            .iter()
            .filter(|(target, local)| !leaves.contains(&Some(target)) && (*local || !must_be_local))
            .map(|(target, local)| (target, *local));
        let Some(least) = least_loaded(self.interface_id, others, loads, now) else {
            return Destination::Here("no other sensor can receive it and has room");
        };
        let own = loads.iter().find(|load| load.target_id == active.target_id);
        let has_less = own.is_some_and(|own| least.total() + 2 <= own.total());
        if self.change.even_out && !has_less {
            return Destination::Here("no other sensor as near has two sessions less");
        }
        Destination::Sensor(least)
    }
}
