//! The Lambda function `release-instance`.

use mirrorstep_ec2::Ec2;
use mirrorstep_ledger::Ledger;
use release_instance::ReleaseInstance;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), mirrorstep_handler::Error> {
    mirrorstep_handler::serve(|aws, environment| {
        Ok(ReleaseInstance {
            ec2: Ec2::from_config(aws),
            ledger: Ledger::from_config(aws, environment)?,
        })
    })
    .await
}
