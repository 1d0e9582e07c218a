//! Stage `count-sessions`: enters sensors that the ledger has never seen, with the sessions that EC2 shows for
//! them as their load so far.

use mirrorstep_core::StageError;
use mirrorstep_core::pipeline::{CountRequest, CountedSensor, CountedSessions, Invocation, Stage};
use mirrorstep_ec2::Ec2;
use mirrorstep_ledger::Ledger;

/// The stage, with what it needs.
#[derive(Debug)]
pub struct CountSessions {
    /// Where sessions are counted.
    pub ec2: Ec2,
    /// Where the counts go.
    pub ledger: Ledger,
}

impl Stage for CountSessions {
    const NAME: &'static str = "count-sessions";
    type Input = CountRequest;
    type Output = CountedSessions;

    async fn run(&self, invocation: Invocation<CountRequest>) -> Result<CountedSessions, StageError> {
        let targets: Vec<_> = invocation
            .input
            .candidates
            .into_iter()
            .map(|candidate| candidate.target_id)
            .collect();
        let mut counts: Vec<_> = self.ec2.count_sessions_to(&targets).await?.into_iter().collect();
        counts.sort();
        self.ledger
            .enter_sensors(&counts, &invocation.execution_arn)
            .await?;
        tracing::info!(sensors = counts.len(), "counted");
        let counted = counts
            .into_iter()
            .map(|(target_id, sessions)| CountedSensor { target_id, sessions })
            .collect();
        Ok(CountedSessions { counted })
    }
}
