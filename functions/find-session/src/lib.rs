//! Stage `find-session`: the session of an interface that is to be changed, as the ledger has it and as EC2 shows it, and
//! what the instance's tags say by now.
//!
//! Where nothing is to be changed it says so, and why. Else what it answers is what `gather-candidates` takes.

use mirrorstep_core::assignment::{Assignment, AssignmentState, ObservedSession, SESSION_GRACE};
use mirrorstep_core::config::{Consent, FixedTags};
use mirrorstep_core::pipeline::{
    Decided, ExistingSessions, FoundSession, Invocation, MirrorRequest, MoveRequest, Outcome, SessionChange,
    Stage,
};
use mirrorstep_core::{InstanceId, StageError};
use mirrorstep_ec2::Ec2;
use mirrorstep_ledger::{Because, Ledger};
use mirrorstep_reachability as reachability;

/// The stage, with what it needs.
#[derive(Debug)]
pub struct FindSession {
    /// Where the session is.
    pub ec2: Ec2,
    /// Where its assignment is.
    pub ledger: Ledger,
    /// Which instances are to be mirrored.
    pub consent: Consent,
    /// By which tags they fix their target or filter.
    pub fixed: FixedTags,
}

impl Stage for FindSession {
    const NAME: &'static str = "find-session";
    type Input = MoveRequest;
    type Output = FoundSession;

    async fn run(&self, invocation: Invocation<MoveRequest>) -> Result<FoundSession, StageError> {
        let Invocation {
            execution_arn,
            input: MoveRequest { interface_id, change },
        } = invocation;
        let decided = |outcome: Outcome, reason: String| {
            tracing::info!(?outcome, "{reason}");
            Ok(FoundSession::Decided(Decided {
                interface_id: interface_id.clone(),
                outcome,
                reason,
            }))
        };
        // Taken before the call: what EC2 answers is at least as new.
        let observed_at = self.ledger.now();
        let active = match self.ledger.assignment(&interface_id).await? {
            Some(found) if found.state == AssignmentState::Active => found,
            Some(found) if found.is_live() => {
                let reason = format!("its session is being created by {}", found.execution_arn);
                return decided(Outcome::Stays, reason);
            }
            _ => {
                return decided(
                    Outcome::Gone,
                    format!("the ledger has no session of {interface_id}"),
                );
            }
        };
        let sessions = self.ec2.sessions_from(&interface_id).await?;
        let shown = sessions
            .iter()
            .find(|session| Some(&session.session_id) == active.session_id.as_ref());
        if shown.is_none() && observed_at.duration_since(active.changed_at) > SESSION_GRACE {
            return decided(
                Outcome::Gone,
                self.is_gone(&active, &sessions, &execution_arn).await?,
            );
        }
        // EC2 shows late what is moved: where it is moved already, moving it again changes nothing.
        let unfinished = shown.is_none_or(|shown| shown.target_id != active.target_id);
        let has_left = change
            .leaves
            .as_ref()
            .is_some_and(|leaves| *leaves != active.target_id);
        if has_left && !unfinished {
            return decided(
                Outcome::Stays,
                format!("its session is on {} already", active.target_id),
            );
        }
        // The one that it is attached to now: perhaps another than when it was assigned.
        let instance = self.ec2.instance_with(&interface_id).await?;
        let attached_to = instance
            .as_ref()
            .and_then(|instance| instance.instance_id.parse().ok());
        let instance_id: InstanceId = attached_to.unwrap_or_else(|| active.instance_id.clone());
        let tags = instance.map_or_else(Vec::new, |instance| instance.tags);
        let whose = format!("instance {instance_id}");
        if let Some(left_out) = reachability::consent_verdict(&interface_id, &tags, &self.consent, &whose) {
            return decided(left_out.outcome, left_out.reason);
        }
        tracing::info!(target = %active.target_id, unfinished, "found");
        let name = tags.iter().find(|tag| tag.key == "Name");
        Ok(FoundSession::ToBeChanged(ExistingSessions {
            request: MirrorRequest {
                interface_id,
                instance_id,
                instance_name: name.map(|tag| tag.value.clone()),
                choices: reachability::choices(&tags, &self.consent, &self.fixed, &whose),
                change: Some(SessionChange { unfinished, ..change }),
            },
            mirrored: true,
            sessions,
            observed_at,
        }))
    }
}

impl FindSession {
    /// That EC2 has not shown the session for so long that it is gone. Its place is given back, unless another session of
    /// the interface may take it: `reconcile` sees to that.
    async fn is_gone(
        &self,
        active: &Assignment,
        sessions: &[ObservedSession],
        execution_arn: &str,
    ) -> Result<String, StageError> {
        let reason = "EC2 does not show its session any more";
        if sessions.is_empty() {
            self.ledger
                .release(active, Because::of(reason), execution_arn)
                .await?;
        }
        Ok(reason.to_owned())
    }
}
