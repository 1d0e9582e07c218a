//! The Lambda function `release-session`.

use mirrorstep_ledger::Ledger;
use release_session::ReleaseSession;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), mirrorstep_handler::Error> {
    mirrorstep_handler::serve(|aws, environment| {
        Ok(ReleaseSession {
            ledger: Ledger::from_config(aws, environment)?,
        })
    })
    .await
}
