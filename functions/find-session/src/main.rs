//! The Lambda function `find-session`.

use find_session::FindSession;
use mirrorstep_core::config::{Consent, FixedTags};
use mirrorstep_ec2::Ec2;
use mirrorstep_ledger::Ledger;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), mirrorstep_handler::Error> {
    mirrorstep_handler::serve(|aws, environment| {
        Ok(FindSession {
            ec2: Ec2::from_config(aws),
            ledger: Ledger::from_config(aws, environment)?,
            consent: Consent::from(environment)?,
            fixed: FixedTags::from(environment)?,
        })
    })
    .await
}
