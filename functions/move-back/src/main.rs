//! The Lambda function `move-back`.

use mirrorstep_ec2::Ec2;
use mirrorstep_ledger::Ledger;
use move_back::MoveBack;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), mirrorstep_handler::Error> {
    mirrorstep_handler::serve(|aws, environment| {
        Ok(MoveBack {
            ec2: Ec2::from_config(aws),
            ledger: Ledger::from_config(aws, environment)?,
        })
    })
    .await
}
