//! Stage `modify-session`: brings a session in EC2 to where the ledger has it, with the settings that the ledger has.
//!
//! What the call says is the assignment's own, so that made again it changes nothing. Two executions may move one
//! interface, one after the other in the ledger and the other way round in EC2. So the ledger is read again after the
//! call: who finds that it has gone on starts over, and the last call that EC2 gets is the ledger's last word.

use mirrorstep_core::assignment::Assignment;
use mirrorstep_core::pipeline::{Invocation, ModifiedSession, Picked, Stage};
use mirrorstep_core::{ErrorName, StageError};
use mirrorstep_ec2::{ChangeRefusal, Ec2};
use mirrorstep_ledger::Ledger;

/// The stage, with what it needs.
#[derive(Debug)]
pub struct ModifySession {
    /// Where the session is.
    pub ec2: Ec2,
    /// Where its assignment is.
    pub ledger: Ledger,
}

impl Stage for ModifySession {
    const NAME: &'static str = "modify-session";
    type Input = Picked;
    type Output = ModifiedSession;

    async fn run(&self, invocation: Invocation<Picked>) -> Result<ModifiedSession, StageError> {
        let Picked {
            assignment, before, ..
        } = invocation.input;
        let Some(session_id) = assignment.session_id.clone() else {
            return Err(StageError::new(
                ErrorName::InvalidEvent,
                format!(
                    "the assignment of {} has no session: the input is not pick-least-loaded's",
                    assignment.interface_id
                ),
            ));
        };
        match self
            .ec2
            .modify_session(&assignment, &session_id, before.as_deref())
            .await
        {
            Ok(()) => {}
            Err(ChangeRefusal::Undecided(error)) => return Err(error),
            Err(ChangeRefusal::Refused(refusal)) => return Err(refusal.error),
        }
        let now = self.ledger.assignment(&assignment.interface_id).await?;
        if !now.is_some_and(|now| is_the_same(&now, &assignment)) {
            return Err(StageError::new(
                ErrorName::ReservationStale,
                format!(
                    "the assignment of {} to {} has changed while its session was moved",
                    assignment.interface_id, assignment.target_id
                ),
            ));
        }
        tracing::info!(session = %session_id, target = %assignment.target_id, "modified");
        Ok(ModifiedSession {
            interface_id: assignment.interface_id,
            session_id,
            target_id: assignment.target_id,
        })
    }
}

/// Whether both want the same of the same session.
fn is_the_same(now: &Assignment, then: &Assignment) -> bool {
    now.is_live()
        && now.session_id == then.session_id
        && now.target_id == then.target_id
        && now.settings() == then.settings()
}
