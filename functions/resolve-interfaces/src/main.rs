//! The Lambda function `resolve-interfaces`.

use mirrorstep_core::config::{Consent, FixedTags};
use mirrorstep_ec2::Ec2;
use resolve_interfaces::ResolveInterfaces;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), mirrorstep_handler::Error> {
    mirrorstep_handler::serve(|aws, environment| {
        Ok(ResolveInterfaces {
            ec2: Ec2::from_config(aws),
            consent: Consent::from(environment)?,
            fixed: FixedTags::from(environment)?,
        })
    })
    .await
}
