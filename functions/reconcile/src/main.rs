//! The Lambda function `reconcile`.

use mirrorstep_core::config::{
    Consent, ExistingSessionPolicy, FixedTags, IntentChanges, SessionSettings, Targets,
};
use mirrorstep_ec2::Ec2;
use mirrorstep_ledger::Ledger;
use reconcile::ReconcileStage;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), mirrorstep_handler::Error> {
    mirrorstep_handler::serve(|aws, environment| {
        Ok(ReconcileStage {
            ec2: Ec2::from_config(aws),
            ledger: Ledger::from_config(aws, environment)?,
            targets: Targets::from(environment)?,
            policy: ExistingSessionPolicy::from(environment)?,
            consent: Consent::from(environment)?,
            fixed: FixedTags::from(environment)?,
            settings: SessionSettings::from(environment)?,
            intent_changes: IntentChanges::from(environment)?,
        })
    })
    .await
}
