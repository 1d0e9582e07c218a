//! Stage `pick-least-loaded`: reserves a place on the least loaded candidate in the ledger.

use jiff::Timestamp;
use mirrorstep_core::assignment::{Assignment, SensorLoad};
use mirrorstep_core::config::SessionSettings;
use mirrorstep_core::pipeline::{
    Candidacy, ConsideredLoad, Decision, Invocation, MirrorRequest, Picked, RejectedBy, Rejection,
    SessionChange, Stage,
};
use mirrorstep_core::{ErrorName, StageError, TargetId};
use mirrorstep_ledger::{Ledger, Move, MoveRequest, Read, Reservation, ReserveRequest};
use mirrorstep_reachability as reachability;
use serde_json::json;

/// The longest cause that an execution keeps is 32,768 characters
/// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_ExecutionFailedEventDetails.html>, `cause`). Room
/// is left for what Step Functions wraps around it.
const CAUSE_LENGTH: usize = 24_000;

/// The stage, with what it needs.
#[derive(Debug)]
pub struct PickLeastLoaded {
    /// Where the place is reserved.
    pub ledger: Ledger,
    /// What the session is to be created with.
    pub settings: SessionSettings,
}

impl Stage for PickLeastLoaded {
    const NAME: &'static str = "pick-least-loaded";
    type Input = Candidacy;
    type Output = Picked;

    async fn run(&self, invocation: Invocation<Candidacy>) -> Result<Picked, StageError> {
        let Invocation {
            execution_arn,
            input: candidacy,
        } = &invocation;
        let request = &candidacy.request;
        let mut settings = self.settings.clone();
        if let Some(filter_id) = reachability::fixed_filter(&request.choices)? {
            settings.filter_id = filter_id;
        }
        let candidates: Vec<(TargetId, bool)> = candidacy
            .candidates
            .iter()
            .map(|candidate| (candidate.target_id.clone(), candidate.local))
            .collect();
        if let Some(change) = &request.change {
            return self
                .move_away(candidacy, change, &candidates, &settings, execution_arn)
                .await;
        }
        let reservation = self
            .ledger
            .reserve(&ReserveRequest {
                interface_id: &request.interface_id,
                instance_id: &request.instance_id,
                candidates: &candidates,
                used_session_numbers: &candidacy.used_session_numbers,
                settings: &settings,
                observed_at: candidacy.observed_at,
                attached_at: candidacy.source.as_ref().and_then(|source| source.attached_at),
                execution_arn,
            })
            .await?;
        match reservation {
            Reservation::Reserved { assignment, loads } => {
                tracing::info!(target = %assignment.target_id, generation = assignment.generation, "reserved");
                Ok(Picked {
                    request: request.clone(),
                    decision: Decision::Reserved,
                    wait_seconds: 0,
                    trusted_until: None,
                    advisories: zone_crossing(candidacy, &assignment.target_id)
                        .into_iter()
                        .collect(),
                    assignment,
                    before: None,
                    reason: None,
                    loads: considered(&loads.readable, &candidates),
                    rejections: closed(&loads, self.ledger.now()),
                })
            }
            Reservation::Unseen(assignment) => Ok(unseen(request, assignment, self.ledger.now())),
            Reservation::Full(loads) => {
                let rejections: Vec<Rejection> = candidacy
                    .rejections
                    .iter()
                    .cloned()
                    .chain(closed(&loads, self.ledger.now()))
                    .collect();
                Err(no_eligible_sensor(request.interface_id.as_str(), &rejections))
            }
            Reservation::Uncounted(targets) => Err(uncounted(&targets)),
        }
    }
}

impl PickLeastLoaded {
    /// The same for an interface that is mirrored already: its assignment is moved, or stays.
    async fn move_away(
        &self,
        candidacy: &Candidacy,
        change: &SessionChange,
        candidates: &[(TargetId, bool)],
        settings: &SessionSettings,
        execution_arn: &str,
    ) -> Result<Picked, StageError> {
        let request = &candidacy.request;
        let moved = self
            .ledger
            .move_away(&MoveRequest {
                interface_id: &request.interface_id,
                change,
                candidates,
                settings,
                execution_arn,
            })
            .await?;
        let (decision, assignment, before, loads, reason) = match moved {
            Move::Moved {
                assignment,
                before,
                loads,
            } => (Decision::Moved, assignment, before, loads, None),
            Move::Stays {
                assignment,
                reason,
                loads,
            } => (Decision::Stays, assignment, None, loads, Some(reason)),
            Move::Uncounted(targets) => return Err(uncounted(&targets)),
            Move::Lost(_) => {
                return Err(StageError::new(
                    ErrorName::ReservationStale,
                    format!("{} has no active assignment any more", request.interface_id),
                ));
            }
        };
        tracing::info!(target = %assignment.target_id, ?decision, reason, "decided");
        let left = change.leaves.iter().map(|target| leaving(target, change));
        Ok(Picked {
            request: request.clone(),
            decision,
            wait_seconds: 0,
            trusted_until: None,
            advisories: zone_crossing(candidacy, &assignment.target_id)
                .into_iter()
                .collect(),
            rejections: left
                .chain(closed_to(&loads, candidates, self.ledger.now()))
                .collect(),
            loads: considered(&loads.readable, candidates),
            reason,
            before,
            assignment,
        })
    }
}

/// That a session is to leave this sensor.
fn leaving(target: &TargetId, change: &SessionChange) -> Rejection {
    Rejection {
        target_id: target.clone(),
        stage: RejectedBy::Capacity,
        reason: "the session is to leave it".to_owned(),
        evidence: change.reason.clone(),
    }
}

/// Of the candidates, those that take no sessions now. The sensor that the session is on is looked at, and may be none.
fn closed_to(loads: &Read<SensorLoad>, candidates: &[(TargetId, bool)], now: Timestamp) -> Vec<Rejection> {
    let mut closed = closed(loads, now);
    closed.retain(|rejection| {
        candidates
            .iter()
            .any(|(target, _)| *target == rejection.target_id)
    });
    closed
}

/// That the sensor that was picked is in another zone than the source.
fn zone_crossing(candidacy: &Candidacy, picked: &TargetId) -> Option<String> {
    let source = candidacy.source.as_ref()?;
    let picked = candidacy
        .candidates
        .iter()
        .find(|candidate| candidate.target_id == *picked)?;
    reachability::zone_crossing(source, picked)
}

/// That the interface has an active assignment whose session EC2 does not show, and when to look again.
fn unseen(request: &MirrorRequest, assignment: Assignment, now: Timestamp) -> Picked {
    let until = assignment.trusted_until();
    let wait = assignment.look_again_in(now);
    tracing::info!(target = %assignment.target_id, %until, %wait, "EC2 does not show its session");
    Picked {
        request: request.clone(),
        decision: Decision::Unseen,
        wait_seconds: wait.as_secs().unsigned_abs(),
        trusted_until: Some(until),
        assignment,
        before: None,
        reason: None,
        loads: Vec::new(),
        rejections: Vec::new(),
        advisories: Vec::new(),
    }
}

fn uncounted(targets: &[TargetId]) -> StageError {
    let targets: Vec<&str> = targets.iter().map(TargetId::as_str).collect();
    StageError::new(
        ErrorName::SensorUncounted,
        format!(
            "the ledger has not counted these sensors' sessions yet: {}",
            targets.join(", ")
        ),
    )
}

fn considered(loads: &[SensorLoad], candidates: &[(TargetId, bool)]) -> Vec<ConsideredLoad> {
    let mut considered: Vec<ConsideredLoad> = loads
        .iter()
        .map(|load| ConsideredLoad {
            target_id: load.target_id.clone(),
            load: load.total(),
            local: candidates
                .iter()
                .any(|(target, local)| *target == load.target_id && *local),
        })
        .collect();
    considered.sort_by_key(|load| (!load.local, load.load));
    considered
}

/// The candidates that take no sessions now, each with its reason, and those whose counter cannot be read.
fn closed(loads: &Read<SensorLoad>, now: Timestamp) -> Vec<Rejection> {
    let until = |until: Option<i64>| {
        until
            .and_then(|until| Timestamp::from_millisecond(until).ok())
            .map_or_else(String::new, |until| format!(" until {until:.0}"))
    };
    let rejection = |load: &SensorLoad| {
        let (stage, reason, evidence) = if load.is_down(now) {
            (
                RejectedBy::SensorDown,
                "EC2 refused a session to it, since it cannot receive",
                format!(
                    "left alone{}; {}",
                    until(load.down_until),
                    load.down_because.as_deref().unwrap_or_default()
                ),
            )
        } else {
            let reason = if load.draining {
                "the sensor is being drained"
            } else {
                "EC2 said that the target takes no more sessions"
            };
            let evidence = format!(
                "left alone{}; {} sessions in the ledger, {} others in this account",
                until(load.full_until),
                load.sessions,
                load.external
            );
            (RejectedBy::Capacity, reason, evidence)
        };
        Rejection {
            target_id: load.target_id.clone(),
            stage,
            reason: reason.to_owned(),
            evidence,
        }
    };
    let unreadable = loads.unreadable.iter().filter_map(|item| {
        Some(Rejection {
            target_id: item.sensor()?.clone(),
            stage: RejectedBy::Capacity,
            reason:
                "the ledger's counter of the sensor cannot be read: `mirrorstep reconcile` counts it anew"
                    .to_owned(),
            evidence: item.to_string(),
        })
    });
    let readable = loads.readable.iter();
    readable
        .filter(|load| !load.takes_sessions(now))
        .map(rejection)
        .chain(unreadable)
        .collect()
}

/// The error whose message, and so the failed execution's cause, is JSON with each rejection. Where there are
/// more than a cause can hold, those left out are counted; they are all in the state of the execution.
fn no_eligible_sensor(interface: &str, rejections: &[Rejection]) -> StageError {
    let message = if rejections.is_empty() {
        format!("no sensor can receive the packets of {interface}: no target is configured and visible")
    } else {
        format!(
            "no sensor can receive the packets of {interface}: each of {} was rejected",
            rejections.len()
        )
    };
    let mut kept = rejections.len();
    loop {
        let cause = json!({
            "message": message,
            "rejections": rejections[..kept],
            "rejectionsLeftOut": rejections.len() - kept,
        })
        .to_string();
        if cause.len() <= CAUSE_LENGTH || kept == 0 {
            return StageError::new(ErrorName::NoEligibleSensor, cause);
        }
        kept = kept * CAUSE_LENGTH / cause.len();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::cast_possible_truncation)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_cause_holds_each_rejection_or_says_how_many_it_leaves_out() {
        let rejection = |n: usize| Rejection {
            target_id: format!("tmt-{n:017x}").parse().unwrap(),
            stage: RejectedBy::SecurityGroup,
            reason: "blocked".into(),
            evidence: "sg-0123456789abcdef0: no rule".into(),
        };
        for count in [0, 8, 500] {
            let rejections: Vec<_> = (0..count).map(rejection).collect();
            let error = no_eligible_sensor("eni-0123456789abcdef0", &rejections);
            assert_eq!(error.name, ErrorName::NoEligibleSensor);
            assert!(error.message.len() < 32_768);
            let cause: Value = serde_json::from_str(&error.message).unwrap();
            let kept = cause["rejections"].as_array().unwrap().len();
            assert_eq!(
                kept + cause["rejectionsLeftOut"].as_u64().unwrap() as usize,
                count
            );
            assert!(count > 8 || kept == count);
        }
    }
}
