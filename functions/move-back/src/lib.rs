//! Stage `move-back`: takes a move back in the ledger that EC2 has refused, to where EC2 shows the session.
//!
//! Only the move that is handed in: an assignment that has changed since stays as it is. Where EC2 does not know the session
//! any more, its place is given back.

use mirrorstep_core::assignment::{Assignment, SESSION_GRACE};
use mirrorstep_core::pipeline::{Invocation, MoveBackRequest, MovedBack, Stage};
use mirrorstep_core::{ErrorName, StageError};
use mirrorstep_ec2::Ec2;
use mirrorstep_ledger::{Because, Ledger, Refused, Release};

/// The stage, with what it needs.
#[derive(Debug)]
pub struct MoveBack {
    /// Where the session is.
    pub ec2: Ec2,
    /// Where its assignment is.
    pub ledger: Ledger,
}

impl Stage for MoveBack {
    const NAME: &'static str = "move-back";
    type Input = MoveBackRequest;
    type Output = MovedBack;

    async fn run(&self, invocation: Invocation<MoveBackRequest>) -> Result<MovedBack, StageError> {
        let Invocation {
            execution_arn,
            input:
                MoveBackRequest {
                    assignment: moved,
                    before,
                    error,
                    message,
                },
        } = invocation;
        let sessions = self.ec2.sessions_from(&moved.interface_id).await?;
        let reason = format!("modify-session failed with {error}: {message}");
        let since = before
            .as_ref()
            .map_or(moved.changed_at, |before| before.changed_at);
        let is_old = self.ledger.now().duration_since(since) > SESSION_GRACE;
        if ErrorName::named(&error) == Some(ErrorName::InstanceNotFound) && sessions.is_empty() && is_old {
            return self.give_back(&moved, reason, &execution_arn).await;
        }
        let shown = sessions
            .into_iter()
            .find(|session| Some(&session.session_id) == moved.session_id.as_ref())
            .map(|session| session.target_id)
            .filter(|target| *target != moved.target_id);
        // An earlier move may not have come to EC2 either: where EC2 shows the session is where it is.
        let target = shown.or_else(|| before.as_ref().map(|before| before.target_id.clone()));
        let target = target.unwrap_or_else(|| moved.target_id.clone());
        let settings = before
            .map(|before| before.settings())
            .filter(|settings| *settings != moved.settings());
        let moved_back = if target == moved.target_id && settings.is_none() {
            None
        } else {
            let refused = Refused::told_by(&error, &message, self.ledger.now());
            self.ledger
                .move_back(&moved, &target, settings, refused, &reason, &execution_arn)
                .await?
        };
        tracing::info!(%target, moved_back = moved_back.is_some(), "{reason}");
        Ok(MovedBack {
            interface_id: moved.interface_id,
            moved_back: moved_back.is_some(),
            target_id: target,
            reason,
        })
    }
}

impl MoveBack {
    /// The session is gone, and no other of the interface may take its place.
    async fn give_back(
        &self,
        moved: &Assignment,
        reason: String,
        execution_arn: &str,
    ) -> Result<MovedBack, StageError> {
        let because = Because::of(&reason);
        let release = self.ledger.release(moved, because, execution_arn).await?;
        tracing::info!("{reason}");
        Ok(MovedBack {
            interface_id: moved.interface_id.clone(),
            target_id: moved.target_id.clone(),
            moved_back: release == Release::Released,
            reason,
        })
    }
}
