//! The Lambda function `plan-moves`.

use mirrorstep_core::config::{Consent, FixedTags, Targets, UnverifiableTargets, local_zone_only};
use mirrorstep_ec2::Ec2;
use mirrorstep_ledger::Ledger;
use plan_moves::PlanMoves;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), mirrorstep_handler::Error> {
    mirrorstep_handler::serve(|aws, environment| {
        Ok(PlanMoves {
            ec2: Ec2::from_config(aws),
            ledger: Ledger::from_config(aws, environment)?,
            targets: Targets::from(environment)?,
            local_zone_only: local_zone_only(environment)?,
            consent: Consent::from(environment)?,
            fixed: FixedTags::from(environment)?,
            unverifiable: UnverifiableTargets::from(environment)?,
        })
    })
    .await
}
