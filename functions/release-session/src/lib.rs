//! Stage `release-session`: gives a reserved place back where its session will not be.
//!
//! Only the reservation that is handed in: one that has become a session meanwhile, by another execution of the
//! same interface, stays.

use mirrorstep_core::StageError;
use mirrorstep_core::pipeline::{Invocation, ReleaseRequest, Released, Stage};
use mirrorstep_ledger::{Because, Ledger, Refused, Release};

/// The stage, with what it needs.
#[derive(Debug)]
pub struct ReleaseSession {
    /// Where the place is held.
    pub ledger: Ledger,
}

impl Stage for ReleaseSession {
    const NAME: &'static str = "release-session";
    type Input = ReleaseRequest;
    type Output = Released;

    async fn run(&self, invocation: Invocation<ReleaseRequest>) -> Result<Released, StageError> {
        let Invocation {
            execution_arn,
            input:
                ReleaseRequest {
                    assignment,
                    error,
                    message,
                },
        } = invocation;
        let reason = match message.as_str() {
            "" => format!("create-session failed with {error}"),
            message => format!("create-session failed with {error}: {message}"),
        };
        let refused = Refused::told_by(&error, &message, self.ledger.now());
        let because = Because {
            refused,
            ..Because::of(&reason)
        };
        let released = match self.ledger.release(&assignment, because, &execution_arn).await? {
            Release::Released => true,
            Release::Kept(standing) => {
                tracing::info!(
                    state = standing.map(|standing| format!("{:?}", standing.state)),
                    "kept: the reservation is not the interface's any more, or has become a session"
                );
                false
            }
        };
        tracing::info!(target = %assignment.target_id, released, "{reason}");
        Ok(Released {
            interface_id: assignment.interface_id,
            target_id: assignment.target_id,
            released,
            reason,
        })
    }
}
