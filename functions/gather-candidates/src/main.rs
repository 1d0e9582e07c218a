//! The Lambda function `gather-candidates`.

use gather_candidates::GatherCandidates;
use mirrorstep_core::config::{Consent, FixedTags, Targets, UnverifiableTargets, local_zone_only};
use mirrorstep_ec2::Ec2;
use mirrorstep_reachability::GatherSettings;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), mirrorstep_handler::Error> {
    mirrorstep_handler::serve(|aws, environment| {
        Ok(GatherCandidates {
            ec2: Ec2::from_config(aws),
            targets: Targets::from(environment)?,
            settings: GatherSettings {
                local_zone_only: local_zone_only(environment)?,
                consent: Consent::from(environment)?,
                fixed: FixedTags::from(environment)?,
                unverifiable: UnverifiableTargets::from(environment)?,
            },
        })
    })
    .await
}
