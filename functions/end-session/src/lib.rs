//! Stage `end-session`: ends the session of an interface that is ours, and gives its place back.
//!
//! Ours is what the ledger says that we made, and what carries the tag [`MANAGED_TAG`] and goes to one of our targets. A
//! session that was adopted is another's: it is ended only where that is asked for by name.
//!
//! EC2 first, then the ledger: a place is given back when nothing takes it any more. If this dies in between, the same
//! input ends the same way, and `reconcile` gives back the place of a session that EC2 does not show. A place that is
//! only reserved is given back first: then who creates its session finds that it may not stay, and deletes it.

use std::collections::BTreeSet;

use mirrorstep_core::assignment::{Assignment, AssignmentState, ObservedSession};
use mirrorstep_core::config::Targets;
use mirrorstep_core::pipeline::{EndedSession, Invocation, Outcome, Stage, UnmirrorRequest};
#[cfg(doc)]
use mirrorstep_core::reconcile::MANAGED_TAG;
use mirrorstep_core::reconcile::Session;
use mirrorstep_core::{ErrorName, SessionId, StageError};
use mirrorstep_ec2::Ec2;
use mirrorstep_ledger::{Because, Ledger, Release};

/// The stage, with what it needs.
#[derive(Debug)]
pub struct EndSession {
    /// Where the session is.
    pub ec2: Ec2,
    /// Where its assignment is.
    pub ledger: Ledger,
    /// Which targets are ours.
    pub targets: Targets,
}

impl Stage for EndSession {
    const NAME: &'static str = "end-session";
    type Input = UnmirrorRequest;
    type Output = EndedSession;

    async fn run(&self, invocation: Invocation<UnmirrorRequest>) -> Result<EndedSession, StageError> {
        let Invocation {
            execution_arn,
            input: request,
        } = invocation;
        let assignment = self.ledger.assignment(&request.interface_id).await?;
        let reserved = assignment
            .as_ref()
            .filter(|assignment| assignment.state == AssignmentState::Reserved);
        if let Some(reserved) = reserved {
            self.give_back(reserved, &request, &execution_arn).await?;
        }
        let (ended, left) = self.sort(&request, assignment.as_ref()).await?;
        // One that was adopted is ours all the same where its session carries our tag.
        let is_ended = |assignment: &Assignment| {
            ended
                .iter()
                .any(|session| assignment.session_id.as_ref() == Some(&session.session_id))
        };
        let of_the_ledger = assignment.as_ref().filter(|assignment| {
            assignment.is_live() && (request.adopted || !assignment.is_adopted() || is_ended(assignment))
        });
        let recorded = of_the_ledger.and_then(|assignment| assignment.session_id.as_ref());
        let ids: BTreeSet<&SessionId> = ended
            .iter()
            .map(|session| &session.session_id)
            .chain(recorded)
            .collect();
        let mut was_there = false;
        for session in ids {
            was_there |= self.ec2.delete_session(session).await?;
            tracing::info!(%session, "ended: {}", request.reason);
        }
        let active = of_the_ledger.filter(|assignment| assignment.state == AssignmentState::Active);
        if let Some(active) = active {
            self.give_back(active, &request, &execution_arn).await?;
        }
        // The answer of an earlier call may be lost.
        let is_done_before = |assignment: &Assignment| {
            assignment.state == AssignmentState::Released && assignment.execution_arn == execution_arn
        };
        let is_ended =
            was_there || of_the_ledger.is_some() || assignment.as_ref().is_some_and(is_done_before);
        let (outcome, reason) = match (is_ended, left.is_empty()) {
            (true, _) => (Outcome::Unmirrored, request.reason),
            (false, false) => (
                Outcome::NotOurs,
                "its sessions were made by others: with --adopted those to our targets are ended too"
                    .to_owned(),
            ),
            (false, true) => (Outcome::Gone, "it has no session".to_owned()),
        };
        Ok(EndedSession {
            interface_id: request.interface_id,
            outcome,
            ended,
            left,
            reason,
        })
    }
}

impl EndSession {
    /// The sessions that EC2 shows of the interface: those that are to end, and the others.
    async fn sort(
        &self,
        request: &UnmirrorRequest,
        assignment: Option<&Assignment>,
    ) -> Result<(Vec<ObservedSession>, Vec<ObservedSession>), StageError> {
        let shown = self
            .ec2
            .sessions_of(std::slice::from_ref(&request.interface_id))
            .await?;
        if shown.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let ours: BTreeSet<String> = match &self.targets {
            Targets::Ids(ids) => ids.iter().map(ToString::to_string).collect(),
            tagged @ Targets::Tagged(_) => {
                let targets = self.ec2.targets(tagged).await?;
                targets
                    .into_iter()
                    .map(|target| target.traffic_mirror_target_id)
                    .collect()
            }
        };
        let (mut ended, mut left) = (Vec::new(), Vec::new());
        for session in shown.iter().filter_map(Session::of) {
            let is_managed = session.is_managed;
            let session = observed(session);
            let is_made_by_us = assignment.is_some_and(|assignment| {
                !assignment.is_adopted()
                    && (assignment.session_id.as_ref() == Some(&session.session_id)
                        || assignment.session_id.is_none() && assignment.asks_for(&session))
            });
            let is_to_ours = ours.contains(session.target_id.as_str());
            let is_to_end = is_made_by_us || is_to_ours && (request.adopted || is_managed);
            if is_to_end { &mut ended } else { &mut left }.push(session);
        }
        Ok((ended, left))
    }

    /// Gives the place of an assignment back. Where it has changed meanwhile, the stage is to be run again.
    async fn give_back(
        &self,
        live: &Assignment,
        request: &UnmirrorRequest,
        execution_arn: &str,
    ) -> Result<(), StageError> {
        let because = Because {
            kept_off: request.keep_off,
            ..Because::of(&request.reason)
        };
        match self.ledger.release(live, because, execution_arn).await? {
            Release::Released => Ok(()),
            Release::Kept(_) => Err(StageError::new(
                ErrorName::LedgerContention,
                format!(
                    "the assignment of {} to {} has changed while its session was ended",
                    live.interface_id, live.target_id
                ),
            )),
        }
    }
}

fn observed(session: Session) -> ObservedSession {
    ObservedSession {
        session_id: session.session_id,
        target_id: session.target_id,
        session_number: session.session_number,
    }
}
