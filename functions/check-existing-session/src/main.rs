//! The Lambda function `check-existing-session`.

use check_existing_session::CheckExistingSession;
use mirrorstep_core::config::{ExistingSessionPolicy, Targets};
use mirrorstep_ec2::Ec2;
use mirrorstep_ledger::Ledger;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), mirrorstep_handler::Error> {
    mirrorstep_handler::serve(|aws, environment| {
        Ok(CheckExistingSession {
            ec2: Ec2::from_config(aws),
            ledger: Ledger::from_config(aws, environment)?,
            targets: Targets::from(environment)?,
            policy: ExistingSessionPolicy::from(environment)?,
        })
    })
    .await
}
