//! Stage `release-instance`: gives back what the ledger holds for an instance that shuts down or has terminated.
//!
//! EC2 deletes a session with its source interface
//! (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-considerations.html>, "General"),
//! and most interfaces with their instance. One that outlives it keeps its session, and so its assignment. What EC2
//! shows is late, so an interface that it still shows is asked about again by the workflow, and at last left to
//! `reconcile`.

use std::collections::BTreeSet;

use mirrorstep_core::event::instance_of_event;
use mirrorstep_core::pipeline::{Invocation, ReleasedInstance, Stage};
use mirrorstep_core::unreadable::StandsFor;
use mirrorstep_core::{ErrorName, StageError};
use mirrorstep_ec2::Ec2;
use mirrorstep_ledger::{Because, Ledger, Read, Release};
use serde_json::Value;

/// The stage, with what it needs.
#[derive(Debug)]
pub struct ReleaseInstance {
    /// Where interfaces are looked up.
    pub ec2: Ec2,
    /// Where the assignments are.
    pub ledger: Ledger,
}

impl Stage for ReleaseInstance {
    const NAME: &'static str = "release-instance";
    type Input = Value;
    type Output = ReleasedInstance;

    async fn run(&self, invocation: Invocation<Value>) -> Result<ReleasedInstance, StageError> {
        let Invocation { execution_arn, input } = invocation;
        let (instance_id, state) = instance_of_event(&input, &["shutting-down", "terminated"])?;
        let Read {
            readable: mut live,
            unreadable,
        } = self.ledger.of_instance(&instance_id).await?;
        live.retain(mirrorstep_core::assignment::Assignment::is_live);
        // What cannot be read fails the execution, after all others have given their places back.
        let mut unreadable = unreadable
            .into_iter()
            .find(|item| {
                !matches!(
                    item.stands_for,
                    StandsFor::Assignment {
                        is_released: true,
                        ..
                    }
                )
            })
            .map(StageError::from);
        let mut answer = ReleasedInstance {
            instance_id: instance_id.clone(),
            released: Vec::new(),
            kept: Vec::new(),
        };
        if live.is_empty() {
            tracing::info!("nothing is assigned to it");
            return unreadable.map_or(Ok(answer), Err);
        }
        let ids: BTreeSet<_> = live
            .iter()
            .map(|assignment| assignment.interface_id.to_string())
            .collect();
        let shown: BTreeSet<_> = self
            .ec2
            .interfaces("network-interface-id", ids)
            .await?
            .into_iter()
            .map(|interface| interface.network_interface_id)
            .collect();
        let reason = format!("{instance_id} is {state}, and its interface is gone");
        for assignment in live {
            if shown.contains(assignment.interface_id.as_str()) {
                answer.kept.push(assignment.interface_id);
                continue;
            }
            match self
                .ledger
                .release(&assignment, Because::of(&reason), &execution_arn)
                .await
            {
                Ok(Release::Released) => answer.released.push(assignment.interface_id),
                Ok(Release::Kept(_)) => answer.kept.push(assignment.interface_id),
                Err(error) if error.name == ErrorName::LedgerUnreadable => unreadable = Some(error),
                Err(error) => return Err(error),
            }
        }
        tracing::info!(
            released = answer.released.len(),
            kept = answer.kept.len(),
            "released"
        );
        unreadable.map_or(Ok(answer), Err)
    }
}
