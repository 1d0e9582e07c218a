//! One correction after the other, each counted.

use std::collections::BTreeMap;

use mirrorstep_core::assignment::Assignment;
use mirrorstep_core::reconcile::{Correction, Session, Summary};
use mirrorstep_core::{ErrorName, InstanceId, InterfaceId, SessionId, StageError, TargetId};
use mirrorstep_ledger::{Activation, Because, Ledger, Release};

/// Makes corrections in the ledger, and counts them.
pub(crate) struct Correcting<'a> {
    pub(crate) ledger: &'a Ledger,
    /// The instances of the interfaces whose sessions are to be adopted.
    pub(crate) instances: &'a BTreeMap<String, InstanceId>,
    pub(crate) execution_arn: &'a str,
    pub(crate) summary: &'a mut Summary,
}

impl Correcting<'_> {
    /// Makes these corrections. One that the ledger does not take, or whose items cannot be read, is counted as failed,
    /// and the others are made.
    pub(crate) async fn correct_each(&mut self, corrections: &[Correction]) -> Result<(), StageError> {
        for correction in corrections {
            match self.correct(correction).await {
                Err(error)
                    if matches!(
                        error.name,
                        ErrorName::LedgerContention | ErrorName::LedgerUnreadable
                    ) =>
                {
                    let interface = correction.interface();
                    tracing::error!(correction = "failed", %interface, "{error}");
                    self.summary.failed += 1;
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// Makes one correction. What makes each kind of them answers the count that it belongs to.
    async fn correct(&mut self, correction: &Correction) -> Result<(), StageError> {
        let count = match correction {
            Correction::Activate(reserved, session) => self.activate(reserved, session).await?,
            Correction::Release(live, reason) => self.release(live, reason).await?,
            Correction::Adopt(session, gone) => self.adopt(session, gone.as_ref()).await?,
            Correction::Follow(active, target) => self.follow(active, target).await?,
        };
        *count += 1;
        Ok(())
    }

    async fn activate(&mut self, reserved: &Assignment, session: &SessionId) -> Result<&mut u64, StageError> {
        let activation = self.ledger.activate(reserved, session, self.execution_arn);
        match activation.await? {
            Activation::Active(_) => {
                tell(
                    "activated",
                    &reserved.interface_id,
                    &reserved.target_id,
                    "its session exists",
                );
                Ok(&mut self.summary.activated)
            }
            Activation::Lost(_) => Ok(&mut self.summary.left),
        }
    }

    async fn release(&mut self, live: &Assignment, reason: &str) -> Result<&mut u64, StageError> {
        let release = self.ledger.release(live, Because::of(reason), self.execution_arn);
        match release.await? {
            Release::Released => {
                tell("released", &live.interface_id, &live.target_id, reason);
                if live.session_id.is_some() {
                    Ok(&mut self.summary.released)
                } else {
                    Ok(&mut self.summary.expired)
                }
            }
            Release::Kept(_) => Ok(&mut self.summary.left),
        }
    }

    async fn adopt(&mut self, session: &Session, gone: Option<&Assignment>) -> Result<&mut u64, StageError> {
        let instance = self
            .instances
            .get(session.interface_id.as_str())
            .or(gone.map(|gone| &gone.instance_id));
        let Some(instance) = instance else {
            return Ok(&mut self.summary.left);
        };
        let adopted = self
            .ledger
            .adopt(session, gone, instance, self.execution_arn)
            .await?;
        if adopted.is_none() {
            return Ok(&mut self.summary.left);
        }
        tell(
            "adopted",
            &session.interface_id,
            &session.target_id,
            "a session that the ledger did not know",
        );
        Ok(&mut self.summary.adopted)
    }

    async fn follow(&mut self, active: &Assignment, target: &TargetId) -> Result<&mut u64, StageError> {
        if !self.ledger.follow(active, target, self.execution_arn).await? {
            return Ok(&mut self.summary.left);
        }
        tell(
            "moved",
            &active.interface_id,
            target,
            "EC2 shows its session there",
        );
        Ok(&mut self.summary.moved)
    }
}

fn tell(name: &'static str, interface: &InterfaceId, target: &TargetId, why: &str) {
    tracing::warn!(correction = name, %interface, %target, "{why}");
}
