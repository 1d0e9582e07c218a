//! Stage `create-session`: creates the reserved session in EC2, and marks the assignment active.
//!
//! Every parameter of the call comes from the reservation, its idempotency token among them, so that the stage
//! run again, or run by two executions that share a reservation, makes the same call and ends the same
//! (<https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html>, "Ensuring idempotency").

use mirrorstep_core::assignment::Assignment;
use mirrorstep_core::pipeline::{CreatedSession, Invocation, Picked, Stage};
use mirrorstep_core::{ErrorName, SessionId, StageError};
use mirrorstep_ec2::refusals::Class;
use mirrorstep_ec2::{ChangeRefusal, Ec2, Refusal};
use mirrorstep_ledger::{Activation, Ledger};

/// The stage, with what it needs.
#[derive(Debug)]
pub struct CreateSession {
    /// Where the session is created.
    pub ec2: Ec2,
    /// Where the assignment becomes active.
    pub ledger: Ledger,
}

impl Stage for CreateSession {
    const NAME: &'static str = "create-session";
    type Input = Picked;
    type Output = CreatedSession;

    async fn run(&self, invocation: Invocation<Picked>) -> Result<CreatedSession, StageError> {
        let Invocation {
            execution_arn,
            input:
                Picked {
                    request,
                    assignment: reserved,
                    ..
                },
        } = invocation;
        let session_id = match self.ec2.create_session(&reserved).await {
            Ok(session_id) => session_id,
            Err(ChangeRefusal::Undecided(error)) => return Err(error),
            Err(ChangeRefusal::Refused(refusal)) => self.explain(&reserved, refusal).await?,
        };
        match self
            .ledger
            .activate(&reserved, &session_id, &execution_arn)
            .await?
        {
            Activation::Active(assignment) => {
                tracing::info!(session = %session_id, target = %assignment.target_id, "created");
                Ok(CreatedSession {
                    request,
                    session_id,
                    assignment,
                })
            }
            Activation::Lost(standing) => Err(self.take_back(&reserved, &session_id, standing).await?),
        }
    }
}

impl CreateSession {
    /// What a refusal means, in the light of the sessions that the interface has: perhaps that the reserved
    /// session exists already.
    async fn explain(&self, reserved: &Assignment, refusal: Refusal) -> Result<SessionId, StageError> {
        let sessions = self.ec2.sessions_from(&reserved.interface_id).await?;
        if let Some(session) = sessions.iter().find(|session| reserved.asks_for(session)) {
            tracing::info!(session = %session.session_id, "exists already");
            return Ok(session.session_id.clone());
        }
        if let Some(other) = sessions
            .iter()
            .find(|session| session.session_number == reserved.session_number)
        {
            return Err(StageError::new(
                ErrorName::ReservationStale,
                format!(
                    "session number {} of {} was taken meanwhile by {} to {}",
                    reserved.session_number, reserved.interface_id, other.session_id, other.target_id
                ),
            ));
        }
        match refusal.class {
            Some(Class::NotMirrorable) => self.not_mirrorable(reserved, refusal.error).await,
            // AWS documents that an interface cannot be a source and a target at once, and not how EC2 says so
            // (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-sessions.html>, "Traffic mirror sources").
            Some(Class::SourceIsTarget) | None => self.source_is_target(reserved, refusal.error).await,
            Some(_) => Err(refusal.error),
        }
    }

    /// EC2 says that the interface must be attached to a supported instance. Its type is at fault only where the
    /// interface is attached to an instance that runs: else it is not attached yet, or not any more. Where it was not
    /// seen attached before the refusal, it may have been attached since, and EC2 is asked once more.
    async fn not_mirrorable(
        &self,
        reserved: &Assignment,
        refusal: StageError,
    ) -> Result<SessionId, StageError> {
        let (interface, instance) = (&reserved.interface_id, &reserved.instance_id);
        let shown = self.ec2.instance(instance).await?;
        let attachment = shown.as_ref().and_then(|shown| {
            let mut interfaces = shown.network_interfaces.iter();
            let own = interfaces.find(|shown| shown.network_interface_id == interface.as_str())?;
            Some(own.attachment.as_ref()?.status.as_deref().unwrap_or_default())
        });
        let state = shown.as_ref().map(|shown| shown.state.name.as_str());
        let (name, what) = match (attachment, state) {
            (Some("attached"), Some("running")) if reserved.attached_at.is_some() => return Err(refusal),
            (Some("attached"), Some("running")) => match self.ec2.create_session(reserved).await {
                Ok(session_id) => return Ok(session_id),
                Err(ChangeRefusal::Undecided(error)) => return Err(error),
                Err(ChangeRefusal::Refused(again)) if again.class == Some(Class::NotMirrorable) => {
                    return Err(again.error);
                }
                Err(ChangeRefusal::Refused(again)) => (
                    ErrorName::InterfaceNotReady,
                    format!("asked once more, it says: {}", again.error.message),
                ),
            },
            (None | Some("detached"), _) => (
                ErrorName::InstanceNotFound,
                format!("it is not attached to {instance} any more"),
            ),
            (_, Some("stopping" | "stopped" | "shutting-down" | "terminated")) => (
                ErrorName::InstanceNotFound,
                format!("{instance} is {}", state.unwrap_or_default()),
            ),
            (Some(attachment), _) => (
                ErrorName::InterfaceNotReady,
                format!(
                    "its attachment to {instance} is `{attachment}`, and {instance} is `{}`",
                    state.unwrap_or_default()
                ),
            ),
        };
        Err(StageError::new(name, format!("{}; {what}", refusal.message)))
    }

    async fn source_is_target(
        &self,
        reserved: &Assignment,
        refusal: StageError,
    ) -> Result<SessionId, StageError> {
        let interface = &reserved.interface_id;
        Err(match self.ec2.target_at(interface).await? {
            Some(target) => StageError::new(
                ErrorName::SourceNotMirrorable,
                format!(
                    "interface {interface} is traffic mirror target {} itself, though none of the configured ones: {}",
                    target.traffic_mirror_target_id, refusal.message
                ),
            ),
            None => refusal,
        })
    }

    /// The reservation was released while its session was being created: no assignment stands for that session,
    /// so it is deleted, unless the assignment that stands now has it.
    async fn take_back(
        &self,
        reserved: &Assignment,
        session_id: &SessionId,
        standing: Option<Assignment>,
    ) -> Result<StageError, StageError> {
        let is_wanted = standing.is_some_and(|standing| {
            standing.is_live()
                && standing
                    .session_id
                    .as_ref()
                    .is_none_or(|session| session == session_id)
                && standing.target_id == reserved.target_id
        });
        if !is_wanted {
            self.ec2.delete_session(session_id).await?;
            tracing::warn!(session = %session_id, "deleted: its reservation was released meanwhile");
        }
        Ok(StageError::new(
            ErrorName::ReservationStale,
            format!(
                "the reservation of {} on {} (generation {}) was released meanwhile",
                reserved.interface_id, reserved.target_id, reserved.generation
            ),
        ))
    }
}
