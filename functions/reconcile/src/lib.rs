//! Stage `reconcile`: brings the ledger and EC2 together again, step by step.
//!
//! First what both hold is compared and corrected. Then the sessions of ours are looked through, page by page, for those
//! that are not as the tags and the settings say by now: the workflow has them moved, given other settings or ended. At
//! last the running instances are looked through, page by page, for interfaces that nothing covers: for those the workflow puts the event of their start on the bus again, which is
//! backfill too. Each call does a bounded part and says where to go on. It may run at any time and twice at once:
//! every correction is guarded by what it rests on.

use std::collections::BTreeSet;

use mirrorstep_core::config::{
    Consent, ExistingSessionPolicy, FixedTags, IntentChanges, SessionSettings, Targets,
};
use mirrorstep_core::network::TrafficMirrorTarget;
use mirrorstep_core::pipeline::{Invocation, Stage};
use mirrorstep_core::reconcile::{Reconcile, Reconciled, Step};
use mirrorstep_core::{StageError, TargetId};
use mirrorstep_ec2::Ec2;
use mirrorstep_ledger::Ledger;

mod compare;
mod correct;
mod cover;
mod intend;

/// The stage, with what it needs.
#[derive(Debug)]
pub struct ReconcileStage {
    /// What there really is.
    pub ec2: Ec2,
    /// What the ledger holds.
    pub ledger: Ledger,
    /// Which targets are ours.
    pub targets: Targets,
    /// Which sessions cover an interface.
    pub policy: ExistingSessionPolicy,
    /// Which instances are to be mirrored.
    pub consent: Consent,
    /// By which tags they fix their target or filter.
    pub fixed: FixedTags,
    /// What the sessions are to have.
    pub settings: SessionSettings,
    /// What becomes of those that are not as they should be.
    pub intent_changes: IntentChanges,
}

impl Stage for ReconcileStage {
    const NAME: &'static str = "reconcile";
    type Input = Reconcile;
    type Output = Reconciled;

    async fn run(&self, invocation: Invocation<Reconcile>) -> Result<Reconciled, StageError> {
        let Invocation { execution_arn, input } = invocation;
        let Reconcile { next, summary } = input;
        match next.unwrap_or(Step::Compare { round: 0 }) {
            Step::Compare { round } => self.compare(round, summary, &execution_arn).await,
            Step::Intend { after, next_at } => self.intend(after, next_at, summary).await,
            Step::Cover { page } => self.cover(page, summary).await,
        }
    }
}

impl ReconcileStage {
    fn ours(&self, shown: &[TrafficMirrorTarget]) -> BTreeSet<TargetId> {
        match &self.targets {
            Targets::Ids(ids) => ids.iter().cloned().collect(),
            Targets::Tagged(_) => shown
                .iter()
                .filter_map(|target| target.traffic_mirror_target_id.parse().ok())
                .collect(),
        }
    }
}
