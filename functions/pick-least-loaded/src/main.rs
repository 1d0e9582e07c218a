//! The Lambda function `pick-least-loaded`.

use mirrorstep_core::config::SessionSettings;
use mirrorstep_ledger::Ledger;
use pick_least_loaded::PickLeastLoaded;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), mirrorstep_handler::Error> {
    mirrorstep_handler::serve(|aws, environment| {
        Ok(PickLeastLoaded {
            ledger: Ledger::from_config(aws, environment)?,
            settings: SessionSettings::from(environment)?,
        })
    })
    .await
}
