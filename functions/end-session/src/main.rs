//! The Lambda function `end-session`.

use end_session::EndSession;
use mirrorstep_core::config::Targets;
use mirrorstep_ec2::Ec2;
use mirrorstep_ledger::Ledger;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), mirrorstep_handler::Error> {
    mirrorstep_handler::serve(|aws, environment| {
        Ok(EndSession {
            ec2: Ec2::from_config(aws),
            ledger: Ledger::from_config(aws, environment)?,
            targets: Targets::from(environment)?,
        })
    })
    .await
}
