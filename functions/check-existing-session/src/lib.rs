//! Stage `check-existing-session`: does EC2 already show a session that counts as the interface's?
//!
//! Where one is found that completes a reservation of ours, because an earlier execution died between creating
//! it and saying so, the assignment is made active here.

use mirrorstep_core::StageError;
use mirrorstep_core::assignment::{AssignmentState, ObservedSession};
use mirrorstep_core::config::{ExistingSessionPolicy, Targets};
use mirrorstep_core::pipeline::{ExistingSessions, Invocation, MirrorRequest, Stage};
use mirrorstep_ec2::Ec2;
use mirrorstep_ledger::{Activation, Ledger};

/// The stage, with what it needs.
#[derive(Debug)]
pub struct CheckExistingSession {
    /// Where sessions are looked up.
    pub ec2: Ec2,
    /// Where reservations are.
    pub ledger: Ledger,
    /// Which targets are ours.
    pub targets: Targets,
    /// Which sessions count.
    pub policy: ExistingSessionPolicy,
}

impl Stage for CheckExistingSession {
    const NAME: &'static str = "check-existing-session";
    type Input = MirrorRequest;
    type Output = ExistingSessions;

    async fn run(&self, invocation: Invocation<MirrorRequest>) -> Result<ExistingSessions, StageError> {
        let Invocation {
            execution_arn,
            input: request,
        } = invocation;
        // Taken before the call: what EC2 answers is at least as new.
        let observed_at = self.ledger.now();
        let sessions = self.ec2.sessions_from(&request.interface_id).await?;
        let mirrored = self.counts(&sessions).await? || self.is_ours(&request, &sessions).await?;
        if mirrored {
            self.complete_reservation(&request, &sessions, &execution_arn)
                .await?;
        }
        tracing::info!(sessions = sessions.len(), mirrored, "checked");
        Ok(ExistingSessions {
            request,
            mirrored,
            sessions,
            observed_at,
        })
    }
}

impl CheckExistingSession {
    /// Whether one of the sessions makes the interface a mirrored one.
    async fn counts(&self, sessions: &[ObservedSession]) -> Result<bool, StageError> {
        if sessions.is_empty() {
            return Ok(false);
        }
        match (self.policy, &self.targets) {
            (ExistingSessionPolicy::Any, _) => Ok(true),
            (ExistingSessionPolicy::Managed, Targets::Ids(ids)) => {
                Ok(sessions.iter().any(|session| ids.contains(&session.target_id)))
            }
            (ExistingSessionPolicy::Managed, tagged @ Targets::Tagged(_)) => {
                let ours = self.ec2.targets(tagged).await?;
                Ok(sessions.iter().any(|session| {
                    ours.iter()
                        .any(|target| target.traffic_mirror_target_id == session.target_id.as_str())
                }))
            }
        }
    }

    /// Whether one of the sessions is the one that the ledger holds for the interface, though its sensor has been
    /// taken out of the configuration since: it is there, so the assignment stands.
    async fn is_ours(
        &self,
        request: &MirrorRequest,
        sessions: &[ObservedSession],
    ) -> Result<bool, StageError> {
        if sessions.is_empty() {
            return Ok(false);
        }
        let assignment = self.ledger.assignment(&request.interface_id).await?;
        Ok(assignment.is_some_and(|assignment| {
            assignment.is_live()
                && sessions
                    .iter()
                    .any(|session| assignment.session_id.as_ref() == Some(&session.session_id))
        }))
    }

    async fn complete_reservation(
        &self,
        request: &MirrorRequest,
        sessions: &[ObservedSession],
        execution_arn: &str,
    ) -> Result<(), StageError> {
        let Some(assignment) = self.ledger.assignment(&request.interface_id).await? else {
            return Ok(());
        };
        if assignment.state != AssignmentState::Reserved {
            return Ok(());
        }
        let Some(session) = sessions.iter().find(|session| assignment.asks_for(session)) else {
            return Ok(());
        };
        match self
            .ledger
            .activate(&assignment, &session.session_id, execution_arn)
            .await?
        {
            Activation::Active(_) => {
                tracing::info!(session = %session.session_id, "completed the reservation of an earlier execution");
            }
            // Another execution has gone on with it meanwhile, and leaves the ledger right.
            Activation::Lost(_) => {}
        }
        Ok(())
    }
}
